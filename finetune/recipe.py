"""The whole training of consilium-nano, stage after stage; each stage is also a command of its own.

tokenizer -> vision tower -> weighing evidence without images -> instruction -> looking. Evidence is out of fold
(`consilium specialists train --zoo` writes it). About an hour and a half on two cores.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from assistant.generalist.local import LocalGeneralist
from finetune import looks, loop
from finetune.data import Images
from finetune.loop import LoopConfig
from finetune.model import hashes, open_fast
from finetune.nano import NanoConfig, make_model, make_tokenizer, save
from finetune.vision import VisionConfig, lessons, teach
from instruct_data import excluded
from instruct_data.engine import examined
from instruct_data.gather import gather
from instruct_data.items import Library
from instruct_data.kinds import looking
from instruct_data.mix import LOOKING, build
from instruct_data.records import read, write

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
    vision_epochs: int = 40
    weighing: int = 28000
    """Conversations of the stage without images."""
    instructions: int = 50000
    """Conversations of all kinds."""
    looking: int = 34000
    """Conversations of the last stage, half of them looks at the image alone."""


def run(config: Nano) -> None:
    """Run all stages and write the checkpoint with its card."""
    started, made = time.perf_counter(), config.out / "made"
    library = examined(gather(config.data, config.evidence), made)
    write(build(library, 6000, 1), config.out / "words" / "records.jsonl")
    start(config.out / "words", config.out / "start", NanoConfig())
    counts = see(config.out / "start", library, Images(config.data, config.out), config.out / "seeing",
                 VisionConfig(epochs=config.vision_epochs))
    write(build(library, config.weighing, 2, ["weighing", "imagined"]), config.out / "weighing" / "records.jsonl")
    write(build(library, config.instructions, 3), config.out / "instructions" / "records.jsonl")
    first = LoopConfig(model=config.out / "seeing", data=config.out / "weighing", images=config.data,
                       built=config.out, out=config.out / "weighed", vision_rate=0, learning_rate=1.5e-3, batch=64)
    loop.run(first)
    write(build(library, config.looking, 4, shares=LOOKING), config.out / "looking" / "records.jsonl")
    second = replace(first, model=first.out, data=config.out / "instructions", out=config.out / "instructed",
                     vision_rate=1, mergers_only=True, learning_rate=1e-3, batch=32, seed=3)
    loop.run(second)
    loop.run(replace(second, model=second.out, data=config.out / "looking", out=config.out / "nano", vision_rate=0.5,
                     learning_rate=8e-4, seed=4))
    told = validate_look(config.out / "nano", examined(gather(config.data, split="val"), made))
    LOG.info("look on validation: %s", told)
    write_card(config.out / "nano", library, counts, round(time.perf_counter() - started))


def start(data: Path, out: Path, config: NanoConfig) -> None:
    """Write an untrained checkpoint whose tokenizer is taught on the records' text."""
    texts = [json.dumps(r.tools, ensure_ascii=False) + "\n".join(map(_text, r.messages))
             for _, r in zip(range(20000), read(data / "records.jsonl"), strict=False)]
    tokenizer = make_tokenizer(texts + TOOL_TEXT * 300, config.vocabulary)
    save(make_model(tokenizer, config), tokenizer, out)


def see(model: Path, library: Library, images: Images, out: Path, config: VisionConfig,
        allow: Sequence[str] = ()) -> dict[str, int]:
    """Teach the vision tower on all examined items of a known kind; return the number of images of each set.

    Raises BadData for images of sets that may not be taught, whatever they are called, unless `allow` names the set.
    """
    net, tokenizer = open_fast(model)
    items = [i for i in library.items if i.kind]  # an image of an unknown kind teaches a tower nothing by its name
    excluded.refuse((i.sample.path for i in items), allow)
    teach(net, np.stack([images(i.image) for i in items]), lessons(items, config.belief), config)
    save(net, tokenizer, out)
    return dict(sorted(Counter(i.sample.dataset for i in items).items()))


def validate_look(folder: Path, library: Library) -> dict[str, float]:
    """Measure on examined validation images which labels the checkpoint names rightly; tell it in consilium.json."""
    rows = [row for item in library.items for row in looking.make(item, library, random.Random(0))]
    record = looks.measured(LocalGeneralist(folder, device="cpu"), rows, library.data, folder.parent)
    looks.tell(folder, (i.kind for i in library.items), record)
    return record


def write_card(folder: Path, library: Library, images: dict[str, int], seconds: int) -> None:
    """Write card.json: what the checkpoint was taught on and which terms it inherits."""
    sets = {i.sample.dataset: i.sample for i in library.items}
    card: dict[str, Any] = {
        "name": "consilium-nano", "version": "0", "architecture": "Qwen3-VL, small, trained from nothing",
        "license": "research and other non-commercial use only, with attribution (inherits the sets' terms)",
        "data": [{"set": name, "train": images.get(name, 0), "license": s.license, "tier": s.tier}
                 for name, s in sorted(sets.items())],
        "never_seen": ["head_ct_hemorrhage", "wbc_segmentation", "nih_chestxray8_subset"],
        "trained": {"seconds": seconds, "seed": 3,
                    "command": "consilium finetune nano --data DIR --evidence DIR --out DIR"},
        "figures": "results/consilium.json", "weights": hashes(folder),
        "limits": ["Weak alone: it was taught on some 7,000 small images.",
                   "Sees 160 x 160 pixels in 25 tokens; small findings are lost.",
                   "Not validated for any clinical use."]}
    (folder / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n")


def _text(message: Any) -> str:
    content, calls = message["content"], json.dumps(message.get("tool_calls", ""))
    words: Sequence[str] = [content] if isinstance(content, str) else [p.get("text", "") for p in content]
    return f"system\nuser\nassistant\n{' '.join(words)}{calls}"
