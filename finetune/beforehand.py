"""What is refused before a weight is loaded or a file written: runs that could not end, or would spoil what is there.

It trains nothing and reads neither records nor weights.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

from finetune.config import LOOKS, Pace, TuneConfig
from specialists.core.errors import BadData

STAGES = Path(__file__).with_name("deepspeed")
"""Folder of the configurations that have a name: NAME.json."""
RESULTS = ("card.json", "config.json", "adapter_config.json", "README.md")
"""Files by which a folder shows that it holds something already."""
FREE = (*LOOKS, "save_steps", "save_minutes", "workers")
"""Settings that may differ when a run goes on."""


def check_out(config: TuneConfig) -> None:
    """Raise BadData where --out cannot take this run: a source of it, another run or result, or no place to write."""
    check_folder(config.out, model=config.model)
    last_checkpoint(config)
    if not (config.out / "checkpoints" / "settings.json").is_file():
        check_free(config.out)


def check_folder(out: Path, **sources: Path) -> None:
    """Raise BadData where a result in `out` would overwrite one of its sources, or cannot be written."""
    for name, source in sources.items():
        if _same(source, out) or (out / "checkpoints").resolve() in source.resolve().parents:
            raise BadData(f"--out {str(out)!r} would overwrite --{name} {str(source)!r}, from which it is made; name "
                          "another folder with --out.")
    there = next(place for place in (out.absolute(), *out.absolute().parents) if place.exists())
    if not there.is_dir():
        raise BadData(f"--out {str(out)!r}: {there.name!r} is a file; wanted a folder. Name another with --out.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise BadData(f"--out {str(out)!r}: nothing may be written in {there.name!r}; allow it, or name another folder "
                      "with --out.")


def check_free(out: Path) -> None:
    """Raise BadData where a result would overwrite what `out` holds: a checkpoint, adapter, run, somebody's notes."""
    if found := next((name for name in RESULTS if (out / name).exists()), None):
        raise BadData(f"--out {str(out)!r} holds {found} already, which would be overwritten; name another folder "
                      "with --out.")


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve() or (one.exists() and other.exists() and one.samefile(other))


def settings(config: TuneConfig) -> dict[str, object]:
    """Return the settings that must be the same when a run goes on."""
    told = {name: value for name, value in asdict(replace(config)).items() if name not in FREE}
    return json.loads(json.dumps(told, default=str))


def last_checkpoint(config: TuneConfig) -> Path | None:
    """Return the last whole checkpoint of this very run; raises BadData where the folder holds another run.

    A run without a whole checkpoint has nothing to go on from: whatever it failed of, its settings bind nobody.
    """
    folder = config.out / "checkpoints"
    if (config.out / "card.json").is_file():
        raise BadData(f"{config.out.name!r} holds a finished run; name another folder with --out.")
    whole = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json")]
    noted, now = folder / "settings.json", settings(config)
    if whole and noted.is_file() and (old := json.loads(noted.read_text())) != now:
        differing = ", ".join(sorted(k for k in {*old, *now} if old.get(k) != now.get(k)))
        raise BadData(f"{config.out.name!r} holds a run with other settings ({differing}); go on with the same, name "
                      "another folder with --out, or delete it.")
    return max(whole, key=lambda path: int(path.name.split("-")[1]), default=None)


def stage(config: TuneConfig, pace: Pace) -> str | None:
    """Return the file of the DeepSpeed configuration; None for none."""
    if pace.deepspeed == "none":
        return None
    file = STAGES / f"{pace.deepspeed}.json" if "." not in pace.deepspeed else Path(pace.deepspeed)
    if not file.is_file():
        named = ", ".join(sorted(path.stem for path in STAGES.glob("*.json")))
        raise BadData(f"--deepspeed {pace.deepspeed}: wanted none, {named}, or a JSON file.")
    if config.verb == "qlora" and _zero_stage(file) == 3:
        raise BadData("--deepspeed: weights in 4 bits are not spread over devices; take zero2.")
    return str(file)


def _zero_stage(file: Path) -> object:
    try:
        return json.loads(file.read_text())["zero_optimization"]["stage"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadData(f"--deepspeed {file.name}: wanted a JSON object with zero_optimization and its stage, as "
                      "DeepSpeed reads it.") from error
