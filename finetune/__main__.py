"""`consilium finetune lora | qlora | full | merge` tune a generalist; `nano | init | vision` make one from nothing."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specialists.core.errors import BadData

VERBS = {
    "lora": "tune low-rank matrices on instruction data",
    "qlora": "the same, the frozen weights in 4 bits",
    "full": "tune every weight on instruction data",
    "merge": "write a checkpoint with an adapter's weights merged in",
    "parity": "compare next-token log-probabilities here with those of a running vLLM",
    "nano": "train consilium-nano from nothing: all the stages below",
    "init": "make an untrained consilium-nano with a tokenizer taught on instruction data",
    "vision": "teach its vision tower kinds of image and labels",
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
    evidence: Path | None = None
    """Folder of out-of-fold opinions, which soften the targets."""
    epochs: int = 40
    learning_rate: float = 1e-3
    allow: tuple[str, ...] = ()
    """Sets to teach although they measure what the generalist was not taught."""
    seed: int = 0


@dataclass(frozen=True)
class Merge:
    """Merge an adapter into its model."""

    model: Path
    adapter: Path
    out: Path


@dataclass(frozen=True)
class Parity:
    """Compare next-token log-probabilities here with those of a running vLLM; exit status 1 where they differ."""

    url: str
    """http://HOST:PORT/v1, with #NAME for one of several models or adapters there."""
    model: Path | None = None
    """The checkpoint; the embedded consilium-nano where none is named."""
    adapter: Path | None = None
    """The adapter that NAME is there."""
    tolerance: float = 0.05
    """Nats by which a log-probability may differ."""
    out: Path | None = None
    """JSON file for the figures."""


def _init(arguments: list[str]) -> None:
    import tyro

    from finetune.nano import NanoConfig
    from finetune.recipe import start

    config = tyro.cli(Init, args=arguments, prog="consilium finetune init")
    size = NanoConfig(vocabulary=config.vocabulary, vision_layers=config.vision_layers, seed=config.seed)
    start(config.data, config.out, size)


def _vision(arguments: list[str]) -> None:
    import tyro

    from finetune.data import Images
    from finetune.recipe import see
    from finetune.vision import VisionConfig
    from instruct_data.engine import examined
    from instruct_data.gather import gather
    from instruct_data.records import OUT_OF_DOMAIN

    config = tyro.cli(Vision, args=arguments, prog="consilium finetune vision")
    settings = VisionConfig(epochs=config.epochs, learning_rate=config.learning_rate, seed=config.seed)
    found = gather(config.images, config.evidence, exclude=OUT_OF_DOMAIN - set(config.allow))
    library = examined(found, config.out / "made")
    see(config.model, library, Images(config.images, config.out), config.out, settings, config.allow)


def _nano(arguments: list[str]) -> None:
    import tyro

    from finetune.recipe import Nano, run

    run(tyro.cli(Nano, args=arguments, prog="consilium finetune nano"))


def _full(arguments: list[str]) -> None:
    import tyro

    from finetune.config import FullTuning

    def train(config: FullTuning) -> None:
        from finetune.full import run

        run(config)

    _tune(tyro.cli(FullTuning, args=arguments, prog="consilium finetune full"), train)


def _lora(arguments: list[str], *, four_bits: bool = False) -> None:
    import tyro

    from finetune.config import LoraTuning, QloraTuning

    def train(config: LoraTuning) -> None:
        from finetune.lora import run

        run(config)

    verb = "qlora" if four_bits else "lora"
    settings = QloraTuning if four_bits else LoraTuning
    _tune(tyro.cli(settings, args=arguments, prog=f"consilium finetune {verb}"), train)


def _tune(config: Any, train: Callable[[Any], None]) -> None:
    """Run a recipe, or tell what it would do."""
    if config.print_launch:
        from finetune import launch

        sys.stdout.write(launch.told(config))
    elif config.dry_run:
        from finetune import dry_run

        sys.stdout.write(dry_run.told(config, colored=sys.stdout.isatty()))
    elif importlib.util.find_spec("trl") is None:
        raise BadData("Tuning needs TRL and TensorBoard: pip install -e '.[train]' in the project's folder.")
    else:
        train(config)


def _merge(arguments: list[str]) -> None:
    import tyro

    from finetune.merge import merge

    config = tyro.cli(Merge, args=arguments, prog="consilium finetune merge")
    merge(config.model, config.adapter, config.out)


def _parity(arguments: list[str]) -> int:
    import json

    import tyro

    from assistant.generalist.open import NANO
    from finetune import parity

    config = tyro.cli(Parity, args=arguments, prog="consilium finetune parity")
    opened = parity.opened(config.model or NANO, config.adapter)
    report = parity.compare(opened, config.url, tolerance=config.tolerance)
    sys.stdout.write(report.table() + "\n")
    if config.out is not None:
        config.out.write_text(json.dumps(report.json(), indent=1) + "\n")
    return 0 if report.agrees else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run `consilium finetune VERB`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] not in VERBS:
        known = "\n".join(f"  {verb:8}{what}" for verb, what in VERBS.items())
        sys.stdout.write(f"usage: consilium finetune VERB --help\n{known}\n")
        return 0 if arguments[:1] in ([], ["--help"], ["-h"]) else 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    run: dict[str, Callable[[list[str]], None]] = {
        "nano": _nano, "init": _init, "vision": _vision, "full": _full, "lora": _lora, "merge": _merge,
        "qlora": lambda words: _lora(words, four_bits=True)}
    if arguments[0] == "parity":
        return _parity(arguments[1:])
    run[arguments[0]](arguments[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
