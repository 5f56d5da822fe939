"""The card of a run: card.json and README.md tell what was taught, on which terms, how, and with what loss."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from assistant.generalist.open import NANO
from finetune.config import command
from finetune.lessons import Lessons
from finetune.model import folder_of, hashes
from finetune.plan import Plan

LIBRARIES = ("torch", "transformers", "peft", "trl", "accelerate")
LIMITS = ("Research use only; not validated for any clinical use.",
          "The loss tells how well the answers' words are foretold, not whether they are right: "
          "`consilium evaluate` measures that.")
TIERS = {"A": "open", "B": "limited (non-commercial, share-alike or per image)", "C": "unstated, or research use only"}


def write_card(plan: Plan, figures: dict[str, Any]) -> None:
    """Write OUT/card.json and OUT/README.md."""
    config, base = plan.config, folder_of(plan.config.model)
    name = "consilium-nano" if config.model == NANO else str(config.model)
    card: dict[str, Any] = {
        "name": config.out.name, "recipe": config.verb,
        "base": {"model": name, "weights": plan.net.weights, "files": hashes(base)},
        "license": inherited(plan.lessons), "data": data(plan.lessons),
        "left_out": dict(plan.lessons.left_out), "allowed": list(config.allow),
        "held_out": data(plan.held_out) if plan.held_out else [],
        "conversations": len(plan.lessons.rows), "tokens": plan.lessons.tokens,
        "figures": figures, "settings": asdict(plan.pace), "seed": config.seed, "command": command(config),
        "date": datetime.now(UTC).date().isoformat(), "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES}, "files": hashes(config.out), "limits": list(LIMITS)}
    (config.out / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n")
    (config.out / "README.md").write_text(readme(card))


def data(lessons: Lessons) -> list[dict[str, Any]]:
    """Return the sets of the conversations with their terms."""
    return [{"set": name or "not named", "license": license or "not stated", "tier": tier, "conversations": count}
            for (name, license, tier), count in sorted(lessons.sets.items())]


def inherited(lessons: Lessons) -> str:
    """Return the terms that the weights inherit: all of the sets', the narrowest tier first."""
    tier = max((tier for _, _, tier in lessons.sets), default="") or "C"
    named = sorted({license or "not stated" for _, license, _ in lessons.sets})
    return f"tier {tier}, {TIERS.get(tier, TIERS['C'])}; inherits {'; '.join(named)}; and the base model's own terms"


def readme(card: dict[str, Any]) -> str:
    """Return the card in Markdown; its head is what model hubs read."""
    figures, held = card["figures"], card["figures"].get("held_out_loss")
    library = ["library_name: transformers" if card["recipe"] == "full" or "merged" in card else "library_name: peft"]
    lines = [
        "---", f"base_model: {json.dumps(card['base']['model'])}", *library, "license: other", "---", "",
        f"# {card['name']}", "", f"{card['recipe']} on {card['base']['model']}, {card['date']}.", "",
        f"**Terms**: {card['license']}.", "", "## Taught on", "",
        *table(("set", "license", "tier", "conversations"), [list(row.values()) for row in card["data"]]),
        f"{card['conversations']} conversations, {card['tokens']} tokens a pass; left out: "
        f"{', '.join(f'{n} ({why})' for why, n in card['left_out'].items()) or 'none'}.", "",
        "## Figures", "",
        *table(("steps", "seconds", "processes", "mean loss", "held-out loss before", "after"),
               [[figures["steps"], figures["seconds"], figures["processes"], figures["loss"],
                 held["before"] if held else "-", held["after"] if held else "-"]]),
        "`loss.png` has the curve, `log.jsonl` its rows.", "", "## Again", "", "```", card["command"], "```", "",
        "Settings: " + ", ".join(f"{name} {value}" for name, value in card["settings"].items())
        + f"; seed {card['seed']}. " + ", ".join(f"{name} {value}" for name, value in card["libraries"].items()) + ".",
        "", "## Limits", "", *(f"- {limit}" for limit in card["limits"])]
    return "\n".join(lines) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return a table in Markdown."""
    return [f"| {' | '.join(head)} |", "|" + " --- |" * len(head),
            *(f"| {' | '.join(str(cell).replace('|', '/') for cell in row)} |" for row in rows), ""]
