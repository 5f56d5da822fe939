"""What a recipe is about to do: the pace, the reader and the conversations; found before any weight is loaded."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from finetune.beforehand import check_out, stage
from finetune.budget import Net, net_of
from finetune.config import Pace, TuneConfig, pace
from finetune.lessons import Lessons, check_apart, open_lessons, open_reader
from finetune.model import HABITS, folder_of

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """All that is known of a run beforehand."""

    config: TuneConfig
    net: Net
    pace: Pace
    lessons: Lessons
    held_out: Lessons | None


def planned(config: TuneConfig, *, stock: bool = False) -> Plan:
    """Read the checkpoint's sizes and the records; `stock` asks for the reader that keeps the text.

    Raises BadData for all that would end the run or spoil its figures; nothing is written.
    """
    check_out(config)
    net = net_of(config.model)
    chosen = pace(config, net.weights)
    stage(config, chosen)
    reader = open_reader(config.model, config.images, config.built or config.data, stock=stock)
    lessons = open_lessons(config.data, reader, chosen.most_tokens, allow=config.allow)
    held_out = None
    if config.validate:
        other = open_reader(config.model, config.images, config.built or config.validate, stock=stock)
        held_out = open_lessons(config.validate, other, chosen.most_tokens, allow=config.allow, splits=("train", "val"))
        check_apart(lessons, held_out)
    if not lessons.kinds and (folder_of(config.model) / HABITS).is_file():
        LOG.warning("no record names a kind of image: asked about such images, the result will say that it was not "
                    "taught their kind; name it in info.json beside them ({\"kind\": ...}), and build the data again")
    return Plan(config, net, chosen, lessons, held_out)
