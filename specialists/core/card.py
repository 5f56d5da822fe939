"""What a specialist promises: its task, labels, data, license and measured figures, kept beside its weights.

Loads no weights and knows no method: the tool schema, the row of the list and the page in the docs
come from it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from specialists.core.errors import BadCard

TASKS = ("classification", "segmentation", "grading", "detection", "instances", "volumetry", "anomaly", "triage")
QUESTIONS = {"classification": "Opinion on", "segmentation": "Where on", "grading": "How far along on",
             "detection": "How many and where on", "instances": "How many and where on",
             "volumetry": "How large on", "anomaly": "Whether anything is abnormal on"}
"""How a tool's description begins, by task."""
FIGURES = (("kappa", "kappa"), ("ap50", "AP50"), ("macro_f1", "F1"), ("dice", "Dice"), ("accuracy", "accuracy"),
           ("auroc", "AUROC"))
"""Of a card's figures the one that the list shows is the first of these, with its words."""
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True)
class Label:
    """A label with its code in a terminology, e.g. "SNOMED CT 393564001", where it has one."""

    name: str
    code: str | None = None


@dataclass(frozen=True)
class Card:
    """What a specialist answers, on what, how well, and under which license."""

    name: str
    """Name of the tool and of the files NAME.json and NAME.safetensors."""
    method: str
    """File of the method under the task's folder."""
    task: str
    """"triage", or one of the tasks in `specialists.catalog`."""
    domain: str
    """What specialists that share a label set and an index have in common, e.g. "brain_mri"."""
    title: str
    kinds: tuple[str, ...]
    """Kinds of image, as triage names them, that it accepts; triage itself accepts all."""
    modality: str
    body_part: str
    labels: tuple[Label, ...]
    """In the order of the network's outputs."""
    input: Mapping[str, Any] = field(default_factory=dict)
    """size, channels; flip (mirror image averaged in); mask_threshold, min_area, present (segmentation)."""
    paper: str = ""
    data: tuple[Mapping[str, Any], ...] = ()
    """One object a training set: {set, train, val, license, tier}."""
    license: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """{"val": {n, accuracy, macro_f1, ci95, brier, per_class: {label: f1}}, "test": ...}."""
    calibration: Mapping[str, Any] = field(default_factory=dict)
    """{temperature, ece}."""
    scope: Mapping[str, Any] = field(default_factory=dict)
    """{threshold, kept, refused}."""
    weights: Mapping[str, Any] = field(default_factory=dict)
    """{file, sha256, bytes}."""
    trained: Mapping[str, Any] = field(default_factory=dict)
    """{seed, seconds, command, epochs, parameters}."""
    limits: tuple[str, ...] = ()
    """What it cannot do, in sentences."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the method's Config."""

    def __post_init__(self) -> None:
        _check(self)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the labels in the order of the network's outputs."""
        return tuple(label.name for label in self.labels)

    @property
    def validated(self) -> dict[str, float]:
        """Validated F1 of each label, and of their mean under "macro"; empty without figures."""
        val = self.figures.get("val") or {}
        found = {label: float(f1) for label, f1 in (val.get("per_class") or {}).items()}
        return found if val.get("macro_f1") is None else {**found, "macro": float(val["macro_f1"])}

    def description(self) -> str:
        """Say in one short sentence what it answers; this is what the generalist reads of the tool."""
        subject = _with_article(self.kinds[0]) if len(self.kinds) == 1 else "an image"
        labels = ", ".join(self.label_names)
        if self.task == "triage":
            return "Which kind of image it is."
        return f"{QUESTIONS[self.task]} {subject}: {labels}."

    def tool_schema(self) -> dict[str, Any]:
        """Return the tool as OpenAI's function object; it takes no arguments: the image is the question's."""
        return {"type": "function", "function": {
            "name": self.name, "description": self.description(),
            "parameters": {"type": "object", "properties": {}, "required": []}}}

    def row(self) -> dict[str, str]:
        """Return what `consilium specialists list` shows."""
        return {"name": self.name, "task": self.task, "domain": self.domain, "method": self.method,
                "labels": ", ".join(self.label_names), "val": _figure(self), "license": self.license}

    def markdown(self) -> str:
        """Return the model card as it stands in the docs."""
        lines = [f"## {self.name}", "", f"{self.title}. {self.description()}", ""]
        paper = f" ({self.paper})" if self.paper else ""
        lines += [f"* **Task, method**: {self.task}, {self.method}{paper}"]
        lines += [f"* **Accepts**: {', '.join(self.kinds)} ({self.modality}, {self.body_part})"]
        coded = (f"{x.name} ({x.code})" if x.code else x.name for x in self.labels)
        lines += ["* **Labels**: " + ", ".join(coded)]
        lines += ["* **Data**: " + ("; ".join(_set(row) for row in self.data) or "not stated")]
        lines += [f"* **License of the weights**: {self.license or 'not stated'}"]
        lines += [f"* **Measured**: {_measured(self)}"]
        lines += [f"* **Limits**: {limit}" for limit in self.limits]
        return "\n".join(lines) + "\n"

    def json(self) -> dict[str, Any]:
        """Return the object that stands in NAME.json."""
        return asdict(self)


def read_card(path: Path) -> Card:
    """Read NAME.json; raises BadCard that names the file."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        card = card_from(raw)
    except BadCard as error:
        raise BadCard(f"Card {path}: {error}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadCard(f"Card {path} could not be read ({type(error).__name__}); wanted JSON in UTF-8. "
                      "Write it again with write_card.") from None
    if card.name != path.stem:
        raise BadCard(f"Card {path}: got the name {card.name!r}; wanted {path.stem!r}, the name of its file. "
                      "Rename one of them.")
    return card


def write_card(card: Card, path: Path) -> None:
    """Write the card as indented JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(card.json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def card_from(raw: Any) -> Card:
    """Make a card of a JSON object; raises BadCard."""
    if not isinstance(raw, dict):
        raise BadCard(f"got {type(raw).__name__}; wanted a JSON object. Write it again with write_card.")
    known = {f.name for f in fields(Card)}
    missing = sorted({f.name for f in fields(Card) if f.default is f.default_factory is MISSING} - set(raw))
    unknown = sorted(map(str, set(raw) - known))
    if missing or unknown:
        raise BadCard(f"got the keys {unknown} that no card has, and not {missing}; wanted {sorted(known)}. "
                      "Correct the keys.")
    for name in ("kinds", "labels", "data", "limits"):
        if not isinstance(raw.get(name, []), list | tuple):
            raise BadCard(f"{name}: got {type(raw[name]).__name__}; wanted a list. Correct it.")
    values = {**raw, **{name: tuple(raw[name]) for name in ("kinds", "data", "limits") if name in raw}}
    try:
        values["labels"] = tuple(Label(**x) if isinstance(x, dict) else Label(x) for x in raw["labels"])
    except TypeError:
        raise BadCard('labels: wanted objects {"name": ..., "code": ...}. Correct them.') from None
    return Card(**values)


def _check(card: Card) -> None:
    def want(holds: bool, name: str, wanted: str) -> None:
        if not holds:
            raise BadCard(f"{name}: got {str(getattr(card, name))[:80]!r}; wanted {wanted}. Correct it.")

    for name in ("name", "method", "domain"):
        value = getattr(card, name)
        want(isinstance(value, str) and bool(NAME.fullmatch(value)), name, "a snake_case name")
    want(card.task in TASKS, "task", "one of " + ", ".join(TASKS))
    for name in ("title", "modality", "body_part", "paper", "license"):
        want(isinstance(getattr(card, name), str), name, "text")
    want(bool(card.kinds) and all(isinstance(k, str) and k for k in card.kinds), "kinds", "names of kinds")
    names = [label.name for label in card.labels]
    want(bool(names) and all(isinstance(n, str) and n for n in names) and len(set(names)) == len(names),
         "labels", "at least one label, each named once")
    for name in ("input", "figures", "calibration", "scope", "weights", "trained", "config"):
        want(isinstance(getattr(card, name), Mapping), name, "an object")
    want(all(isinstance(row, Mapping) for row in card.data), "data", "a list of objects")
    size = card.input.get("size", 1)
    want(isinstance(size, int) and 1 <= size <= 4096, "input", "a size from 1 to 4096")
    temperature = card.calibration.get("temperature", 1.0)
    want(isinstance(temperature, int | float) and 0 < temperature < 1e6, "calibration",
         "a temperature above 0")
    file = card.weights.get("file", f"{card.name}.safetensors")
    want(file == Path(str(file)).name and str(file).endswith(".safetensors"), "weights",
         "a .safetensors file beside the card, without a folder")


def _with_article(words: str) -> str:
    return ("an " if words[0].lower() in "aeiou" else "a ") + words


def _figure(card: Card) -> str:
    val = card.figures.get("val") or {}
    for key, words in FIGURES:
        if val.get(key) is not None:
            return f"{words} {100 * float(val[key]):.1f}"
    return "-"


def _set(row: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{key} {row[key]:,}" for key in ("train", "val") if isinstance(row.get(key), int))
    return f"{row.get('set', '?')} ({'; '.join(x for x in (counts, str(row.get('license', ''))) if x)})"


def _measured(card: Card) -> str:
    said = []
    for split, figures in card.figures.items():
        if isinstance(figures, Mapping):
            numbers = {key: value for key, value in figures.items() if isinstance(value, int | float)}
            said += [f"{split}: " + ", ".join(f"{key} {value:.4g}" for key, value in numbers.items())]
    return "; ".join(said) or "not stated"
