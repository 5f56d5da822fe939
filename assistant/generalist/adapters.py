"""Adapters by name: what may be a name, what a folder must hold, and its hash; nothing is loaded here."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from assistant.errors import AdapterRefused, BadQuestion

FILES = ("adapter_config.json", "adapter_model.safetensors")
NAME = re.compile(r"[A-Za-z0-9][\w.:-]{0,63}")
RESERVED = ("consilium", "consilium-generalist")
"""Names of models that are no adapters."""


def named(words: Iterable[str]) -> dict[str, str]:
    """Return name -> adapter of words such as brain=PATH; raises BadQuestion that says what is wrong."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, adapter = word.partition("=")
        if not equals or not adapter.strip():
            raise BadQuestion(f"Adapter {word!r}: wanted NAME=PATH, as in brain=runs/brain.")
        if name in found:
            raise BadQuestion(f"Adapter {name!r} is given twice; wanted each name once.")
        found[check_name(name)] = adapter.strip()
    return found


def one(word: str) -> tuple[str, str]:
    """Return name and adapter of one word: NAME=PATH, or PATH alone, named as its folder where that can be a name."""
    if "=" in word and not Path(word).is_dir():
        return next(iter(named([word]).items()))
    name = Path(word).resolve().name
    return name if NAME.fullmatch(name) and name not in RESERVED else "adapter", word


def check_name(name: str) -> str:
    """Return the name if requests can ask for it as a model; raises BadQuestion."""
    if not NAME.fullmatch(name) or name in RESERVED:
        raise BadQuestion(f"Adapter name {name!r}: wanted letters, digits, dots, hyphens and underscores, at most 64, "
                          f"and none of {', '.join(RESERVED)}.")
    return name


def check_adapter(adapter: str) -> None:
    """Raise AdapterRefused unless the folder holds what PEFT writes; opens no file."""
    missing = [name for name in FILES if not (Path(adapter) / name).is_file()]
    if missing:
        raise AdapterRefused(f"No adapter at {adapter!r}: it lacks {' and '.join(missing)}; wanted the folder that "
                             "PEFT or consilium finetune lora wrote.")


def check_base(adapter: str, base: str) -> None:
    """Raise AdapterRefused where the adapter's card.json names the weights that it was tuned on, and they are others.

    A base of the same shape takes any adapter without complaint, and answers nonsense.
    """
    card = Path(adapter) / "card.json"
    told = _read(card).get("base") if card.is_file() else None
    stated = {str(row["file"]): row["sha256"] for row in (told or {}).get("files", ())}
    here = {file.name: file for file in Path(base).glob("*.safetensors")}
    if not stated or not here:
        return
    if stated.keys() != here.keys() or any(_digest([file]) != stated[name] for name, file in here.items()):
        raise AdapterRefused(f"Adapter {adapter!r} was tuned on other weights than those of {base!r}: on "
                             f"{str((told or {}).get('model'))!r}, as its card.json says. Name that checkpoint, or "
                             "take the card away if the weights are the same in other files.")


def _read(card: Path) -> dict[str, Any]:
    try:
        told = json.loads(card.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AdapterRefused(f"{card.name} of the adapter {card.parent.name!r} cannot be read: {error}") from error
    return told if isinstance(told, dict) else {}


def sha256_of(folder: Path) -> str | None:
    """Return the SHA-256 over the folder's weight files (safetensors) by name; None where there is none."""
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    return _digest(files) if files else None


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
