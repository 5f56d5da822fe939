"""`consilium finetune init | vision | full | lora | merge`: the stages that make a generalist."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

VERBS = {
    "init": "make an untrained consilium-nano with a tokenizer taught on instruction data",
    "vision": "teach its vision tower kinds of image and labels",
    "full": "tune every weight on instruction data",
    "lora": "tune low-rank matrices on instruction data",
    "merge": "write a checkpoint with an adapter's weights merged in",
}

TOOL_TEXT = [
    '{"name": "similar_cases", "description": "Labelled cases that look like this image.", "parameters": {"k": '
    '{"type": "integer", "minimum": 1, "maximum": 50, "default": 10}}}\n{"name": "expert", "arguments": {}}\n',
    '{"name": "brain_mri_small_cnn", "description": "Opinion on a brain MRI: no similar case"}\n<tool_call>\n',
    "made for; this image looks like; validated; breast_ultrasound_residual; fundus_hybrid; chest_child_xray_hybrid\n",
    "of 3 specialists say the same. of 10 similar cases carry this label. similar cases: refused\n",
]
"""Words of tool calls and evidence, so that the tokenizer needs no out-of-fold evidence."""


@dataclass(frozen=True)
class Init:
    """Make an untrained checkpoint."""

    data: Path
    """Folder with records.jsonl, whose text teaches the tokenizer."""
    out: Path
    vocabulary: int = 4096
    vision_layers: int = 4
    seed: int = 0


@dataclass(frozen=True)
class Vision:
    """Teach the vision tower of a checkpoint."""

    model: Path
    images: Path
    """Data folder: one folder a set, each with records.jsonl."""
    out: Path
    epochs: int = 24
    learning_rate: float = 1e-3
    most: int = 1000
    """Images of a set at most."""
    seed: int = 0


@dataclass(frozen=True)
class Merge:
    """Merge an adapter into its model."""

    model: Path
    adapter: Path
    out: Path


def _init(arguments: list[str]) -> None:
    import tyro

    from finetune.nano import NanoConfig, make_model, make_tokenizer, save
    from instruct_data.records import read

    config = tyro.cli(Init, args=arguments, prog="consilium finetune init")
    texts = [json.dumps(r.tools, ensure_ascii=False) + "\n".join(_text(m) for m in r.messages)
             for _, r in zip(range(20000), read(config.data / "records.jsonl"), strict=False)]
    tokenizer = make_tokenizer(texts + TOOL_TEXT * 300, config.vocabulary)
    size = NanoConfig(vocabulary=config.vocabulary, vision_layers=config.vision_layers, seed=config.seed)
    save(make_model(tokenizer, size), tokenizer, config.out)


def _text(message: object) -> str:
    content = message["content"]  # type: ignore[index]
    calls = json.dumps(message.get("tool_calls", ""))  # type: ignore[attr-defined]
    words = content if isinstance(content, str) else " ".join(p.get("text", "") for p in content)
    return f"system\nuser\nassistant\n{words}{calls}"


def _vision(arguments: list[str]) -> None:
    import random

    import numpy as np
    import tyro

    from finetune.data import Images
    from finetune.model import open_checkpoint
    from finetune.nano import save
    from finetune.vision import VisionConfig, teach
    from instruct_data.items import gather

    config = tyro.cli(Vision, args=arguments, prog="consilium finetune vision")
    model, tokenizer = open_checkpoint(config.model)
    rng, items = random.Random(config.seed), []
    for _, of_set in sorted(gather(config.images).by_set.items()):
        items += rng.sample(list(of_set), min(config.most, len(of_set)))
    images = Images(config.images)
    pixels = np.stack([images(i.image) for i in items])
    pairs = [(i.sample.dataset, i.label if i.labels else i.kind) for i in items]
    settings = VisionConfig(epochs=config.epochs, learning_rate=config.learning_rate, seed=config.seed)
    counts = teach(model, pixels, pairs, settings)
    save(model, tokenizer, config.out)
    told = {"images": counts, "epochs": config.epochs, "seed": config.seed}
    (config.out / "vision.json").write_text(json.dumps(told, indent=1) + "\n")


def _full(arguments: list[str]) -> None:
    import tyro

    from finetune.config import TuneConfig
    from finetune.full import run

    run(tyro.cli(TuneConfig, args=arguments, prog="consilium finetune full"))


def _lora(arguments: list[str]) -> None:
    import tyro

    from finetune.config import TuneConfig
    from finetune.lora import run

    run(tyro.cli(TuneConfig, args=arguments, prog="consilium finetune lora"))


def _merge(arguments: list[str]) -> None:
    import tyro

    from finetune.merge import merge

    config = tyro.cli(Merge, args=arguments, prog="consilium finetune merge")
    merge(config.model, config.adapter, config.out)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `consilium finetune VERB`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] not in VERBS:
        known = "\n".join(f"  {verb:8}{what}" for verb, what in VERBS.items())
        sys.stdout.write(f"usage: consilium finetune VERB --help\n{known}\n")
        return 0 if arguments[:1] in ([], ["--help"], ["-h"]) else 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    {"init": _init, "vision": _vision, "full": _full, "lora": _lora, "merge": _merge}[arguments[0]](arguments[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
