"""`consilium finetune nano | init | vision | full | lora | merge`: the stages that make a generalist."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

VERBS = {
    "nano": "train consilium-nano from nothing: all the stages below",
    "init": "make an untrained consilium-nano with a tokenizer taught on instruction data",
    "vision": "teach its vision tower kinds of image and labels",
    "full": "tune every weight on instruction data",
    "lora": "tune low-rank matrices on instruction data",
    "merge": "write a checkpoint with an adapter's weights merged in",
}


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
    epochs: int = 20
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

    from finetune.nano import NanoConfig
    from finetune.recipe import start

    config = tyro.cli(Init, args=arguments, prog="consilium finetune init")
    size = NanoConfig(vocabulary=config.vocabulary, vision_layers=config.vision_layers, seed=config.seed)
    start(config.data, config.out, size)


def _vision(arguments: list[str]) -> None:
    import tyro

    from finetune.recipe import see
    from finetune.vision import VisionConfig

    config = tyro.cli(Vision, args=arguments, prog="consilium finetune vision")
    settings = VisionConfig(epochs=config.epochs, learning_rate=config.learning_rate, seed=config.seed)
    see(config.model, config.images, config.out, settings, config.most)


def _nano(arguments: list[str]) -> None:
    import tyro

    from finetune.recipe import Nano, run

    run(tyro.cli(Nano, args=arguments, prog="consilium finetune nano"))


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
    run = {"nano": _nano, "init": _init, "vision": _vision, "full": _full, "lora": _lora, "merge": _merge}
    run[arguments[0]](arguments[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
