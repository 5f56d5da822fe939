"""The whole training of consilium-nano, stage after stage; each stage is also a command of its own.

tokenizer -> vision tower -> weighing evidence without images -> instruction -> looking -> all at once -> speaking
-> placing -> answering.
Evidence is out of fold (`consilium specialists train --zoo` writes it). The card says how long the stages of what ships
took, on one or two cores beside other work. Stopped, it goes on with the stage that it was at.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from assistant.generalist.local import LocalGeneralist
from finetune import looks, loop
from finetune.beforehand import check_folder
from finetune.data import Images
from finetune.loop import LoopConfig
from finetune.model import hashes, open_fast
from finetune.nano import NanoConfig, make_model, make_tokenizer, save
from finetune.vision import VisionConfig, lessons, teach
from instruct_data import excluded
from instruct_data.engine import examined
from instruct_data.gather import gather
from instruct_data.items import Item, Library
from instruct_data.kinds import looking
from instruct_data.mix import ANSWERING, LOOKING, PLACING, SPEAKING, TOGETHER, WEIGHING, build
from instruct_data.records import read, write
from specialists.core.errors import BadData

LOG = logging.getLogger(__name__)

TOOL_TEXT = [
    '{"name": "similar_cases", "description": "Labelled cases that look like this image.", "parameters": {"k": '
    '{"type": "integer", "minimum": 1, "maximum": 50, "default": 10}}}\n{"name": "expert", "arguments": {}}\n',
    '{"name": "brain_mri_small_cnn", "description": "Opinion on a brain MRI: no similar case"}\n<tool_call>\n',
    "made for; this image looks like; validated; breast_ultrasound_residual; fundus_hybrid; chest_child_xray_hybrid\n",
    "of 3 specialists say the same. of 10 similar cases carry this label. similar cases: refused\n",
]
"""Words of tool calls and evidence, so that the tokenizer needs no out-of-fold evidence."""


@dataclass(frozen=True)
class Nano:
    """Train consilium-nano from nothing."""

    data: Path
    """Data folder: one folder a set, each with records.jsonl."""
    evidence: Path
    """Folder of out-of-fold opinions and cases, DOMAIN.jsonl."""
    out: Path
    """Folder of all stages; the checkpoint is OUT/nano."""
    words: int = 12000
    """Conversations that the tokenizer is taught on."""
    vision_epochs: int = 40
    weighing: int = 60000
    """Conversations of the stage without images."""
    instructions: int = 45000
    """Conversations of all kinds."""
    looking: int = 60000
    """Conversations of the next stage, four in ten of them looks at the image alone."""
    whole: int = 40000
    """Conversations of the stage after it, of the same kinds, in which the vision tower learns, too."""
    speaking: int = 100000
    """Conversations of the next stage: tools, kinds of image, reports and dialogues before the others."""
    placing: int = 80000
    """Conversations of the stage after it, a third of them about where something is."""
    answering: int = 100000
    """Conversations of the last stage: open questions as many people ask them, and some of all else."""


@dataclass(frozen=True)
class Stage:
    """A stage of conversations."""

    name: str
    """Folder of the checkpoint that it ends with."""
    records: int
    shares: Mapping[str, float]
    """Of the kinds of conversation."""
    seed: int
    rate: float
    """Learning rate."""
    vision: float
    """Learning rate of what sees, as a share of the other."""
    mergers_only: bool = False
    batch: int = 32


def stages(config: Nano) -> tuple[Stage, ...]:
    """Return the stages of conversations in their order."""
    return (Stage("weighed", config.weighing, WEIGHING, 2, 1.5e-3, 0.0, batch=64),
            Stage("instructed", config.instructions, TOGETHER, 3, 1e-3, 1.0, mergers_only=True),
            Stage("looked", config.looking, LOOKING, 4, 1e-3, 1.0, mergers_only=True),
            Stage("whole", config.whole, LOOKING, 5, 6e-4, 0.25),
            Stage("spoken", config.speaking, SPEAKING, 7, 8e-4, 0.25),
            Stage("placed", config.placing, PLACING, 8, 8e-4, 0.4),
            Stage("nano", config.answering, ANSWERING, 9, 8e-4, 0.3))


def run(config: Nano) -> None:
    """Run all stages that are not finished yet and write the checkpoint with its card."""
    started, made = time.perf_counter(), config.out / "made"
    _same(config)
    library = examined(gather(config.data, config.evidence), made)

    def words() -> None:
        write(build(library, config.words, 1), config.out / "words" / "records.jsonl")
        start(config.out / "words", config.out / "start", NanoConfig())

    last = config.out / "seeing"
    _once(config.out, "words", words)
    _once(config.out, "seeing", lambda: see(config.out / "start", library, Images(config.data, config.out), last,
                                            VisionConfig(epochs=config.vision_epochs)))
    for stage in stages(config):
        _once(config.out, stage.name, partial(_taught, config, library, stage, last))
        last = config.out / stage.name
    told = validate_look(last, examined(gather(config.data, split="val"), made))
    LOG.info("look on validation: %s", told)
    write_card(last, library, config, round(time.perf_counter() - started))


def _taught(config: Nano, library: Library, stage: Stage, model: Path) -> None:
    """Build a stage's conversations and teach the checkpoint before it on them."""
    data = config.out / "conversations" / stage.name
    write(build(library, stage.records, stage.seed, shares=stage.shares), data / "records.jsonl")
    loop.run(LoopConfig(model=model, data=data, images=config.data, built=config.out, out=config.out / stage.name,
                        batch=stage.batch, learning_rate=stage.rate, vision_rate=stage.vision,
                        mergers_only=stage.mergers_only, seed=stage.seed))


def _flags(config: Nano) -> dict[str, int]:
    """Return the flags that say how much is taught."""
    return {name: value for name, value in asdict(config).items() if isinstance(value, int)}


def _same(config: Nano) -> None:
    """Note the flags in OUT; raises BadData where its finished stages were made with others."""
    file = config.out / "flags.json"
    told = json.dumps(_flags(config))
    if file.is_file() and file.read_text() != told:
        raise BadData(f"{config.out} holds stages of other flags: {file.read_text()}; got {told}. Name another --out, "
                      "or take it away.")
    config.out.mkdir(parents=True, exist_ok=True)
    file.write_text(told)


def _once(out: Path, name: str, make: Callable[[], None]) -> None:
    """Run a stage, unless it was finished before."""
    mark = out / f"{name}.finished"
    if mark.is_file():
        LOG.info("stage %s was finished before", name)
        return
    make()
    mark.touch()


def start(data: Path, out: Path, config: NanoConfig) -> None:
    """Write an untrained checkpoint whose tokenizer is taught on the records' text."""
    texts = [json.dumps(r.tools, ensure_ascii=False) + "\n".join(map(_text, r.messages))
             for _, r in zip(range(20000), read(data / "records.jsonl"), strict=False)]
    tokenizer = make_tokenizer(texts + TOOL_TEXT * 300, config.vocabulary)
    save(make_model(tokenizer, config), tokenizer, out)


def see(model: Path, library: Library, images: Images, out: Path, config: VisionConfig,
        allow: Sequence[str] = ()) -> None:
    """Teach the vision tower on all examined items of a known kind.

    Raises BadData for images of sets that may not be taught, whatever they are called, unless `allow` names the set,
    and where `out` is `model`.
    """
    check_folder(out, model=model)
    net, tokenizer = open_fast(model)
    items = _teaching(library)
    excluded.refuse((i.sample.path for i in items), allow)
    teach(net, np.stack([images(i.image) for i in items]), lessons(items, config.belief), config)
    save(net, tokenizer, out)


def _teaching(library: Library) -> list[Item]:
    """Return what teaches a tower: an image of an unknown kind teaches it nothing by its name."""
    return [i for i in library.items if i.kind]


def validate_look(folder: Path, library: Library) -> dict[str, float]:
    """Measure on examined validation images which labels the checkpoint names rightly; tell it in consilium.json."""
    rows = [row for item in library.items for row in looking.make(item, library, random.Random(0))]
    record = looks.measured(LocalGeneralist(folder, device="cpu"), rows, library.data, folder.parent)
    looks.tell(folder, (i.kind for i in library.items), record)
    return record


def write_card(folder: Path, library: Library, config: Nano, seconds: int) -> None:
    """Write card.json: what the checkpoint was taught on, how, and which terms it inherits; it was not measured yet."""
    images = Counter(i.sample.dataset for i in _teaching(library))
    sets = {i.sample.dataset: i.sample for i in library.items}
    card: dict[str, Any] = {
        "name": "consilium-nano", "architecture": "Qwen3-VL, small, trained from nothing",
        "license": "research and other non-commercial use only, with attribution (inherits the sets' terms)",
        "data": [{"set": name, "train": images[name], "license": s.license, "tier": s.tier}
                 for name, s in sorted(sets.items())],
        "never_seen": ["head_ct_hemorrhage", "wbc_segmentation", "nih_chestxray8_subset"],
        "trained": {"seconds": seconds, "stages": [{"stage": s.name, "conversations": s.records, "seed": s.seed}
                                                   for s in stages(config)],
                    "command": "consilium finetune nano --data DIR --evidence DIR --out DIR", "flags": _flags(config)},
        "weights": hashes(folder),
        "limits": [f"Weak alone: it was taught on {len(library.items)} small images.",
                   "Sees 160 x 160 pixels in 25 tokens; small findings are lost.",
                   "Not validated for any clinical use."]}
    (folder / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n")


def _text(message: Any) -> str:
    content, calls = message["content"], json.dumps(message.get("tool_calls", ""))
    words: Sequence[str] = [content] if isinstance(content, str) else [p.get("text", "") for p in content]
    return f"system\nuser\nassistant\n{' '.join(words)}{calls}"
