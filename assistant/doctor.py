"""Looks at what is installed: software, machine, weights, licenses.

It loads no model, repairs nothing and fetches nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from assistant.settings import paths
from specialists.core.card import Card, read_card
from specialists.core.errors import BadCard

PACKAGE = Path(__file__).parent
NANO = PACKAGE / "generalist" / "nano"
SHIPPED = PACKAGE.parent / "specialists" / "weights"

NEEDED = ("torch", "transformers", "safetensors", "monai", "faiss-cpu", "langchain", "langchain-openai",
          "numpy", "scipy", "pillow", "pydicom", "nibabel", "gradio", "fastapi", "uvicorn", "rich", "tyro")
"""Looked for where the package itself is not installed, so that it cannot say what it needs."""
NANO_FILES = ("config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja",
              "processor_config.json", "preprocessor_config.json", "card.json")

FORBIDS = re.compile(r"\bNC\b|non-?commercial|research|not stated|unstated|unknown|no licen[sc]e|GPL",
                     re.IGNORECASE)
"""Words of a license that forbid commercial use, do not state it, or bind what is built on it."""

State = Literal["ok", "absent", "broken"]


@dataclass(frozen=True)
class Part:
    """One thing that is, or should be, there."""

    group: Literal["software", "machine", "generalist", "specialist", "index"]
    name: str
    state: State
    detail: str = ""
    needed: bool = True
    bytes: int = 0
    license: str = ""
    data: tuple[Mapping[str, Any], ...] = ()
    """What it was taught on: {set, license, tier}."""

    def objection(self) -> str | None:
        """Say why this part may not be used commercially as its license stands, None where it may."""
        if self.group in ("software", "machine") or self.state == "absent":
            return None
        reasons = [f"{_terms_of(row)} (tier {row.get('tier') or '?'})" for row in self.data if _limited(row)]
        if not reasons and self.group != "index" and (not self.license or FORBIDS.search(self.license)):
            reasons = [self.license or "license not stated"]
        return "; ".join(reasons) or None


def _terms_of(row: Mapping[str, Any]) -> str:
    return f"{row.get('set', '?')}: {row.get('license') or 'license not stated'}"


def _limited(row: Mapping[str, Any]) -> bool:
    terms = str(row.get("license") or "")
    return row.get("tier") in ("B", "C") or not terms or bool(FORBIDS.search(terms))


@dataclass(frozen=True)
class Report:
    """All parts."""

    parts: tuple[Part, ...]

    @property
    def whole(self) -> bool:
        """Tell whether nothing that is needed is absent or broken."""
        return all(part.state == "ok" for part in self.parts if part.needed)

    @property
    def left_out(self) -> dict[str, str]:
        """Return name → reason of what to leave out where only commercial use is allowed."""
        return {f"{part.group} {part.name}": why for part in self.parts if (why := part.objection())}

    def json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {"whole": self.whole, "bytes": sum(p.bytes for p in self.parts),
                "parts": [asdict(part) for part in self.parts], "commercial_leave_out": self.left_out}


def examine(home: Path | None = None) -> Report:
    """Look at everything once; takes a second or two."""
    user = paths(home)
    folders = (SHIPPED, user.specialists)
    taught = [_nano(NANO), *(part for folder in folders for part in _specialists(folder)),
              *(part for folder in folders for part in _indexes(folder / "index"))]
    return Report((*_software(), *_machine(user.home), *_with_sets(taught)))


def _software() -> Iterator[Part]:
    """Yield what the installed package says that it needs, and what its extras add, but dev."""
    try:
        wanted = [Requirement(line) for line in metadata.requires("consilium") or []]
        yield Part("software", "consilium", "ok", metadata.version("consilium"), license="Apache-2.0")
    except metadata.PackageNotFoundError:
        wanted = [Requirement(name) for name in NEEDED]
        yield Part("software", "consilium", "absent", "runs from a folder, unchecked", needed=False)
    for requirement in wanted:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield _package(requirement, needed=True)
        elif not requirement.marker.evaluate({"extra": "dev"}):
            yield _package(requirement, needed=False)


def _package(wanted: Requirement, needed: bool) -> Part:
    try:
        found = metadata.distribution(wanted.name)
    except metadata.PackageNotFoundError:
        return Part("software", wanted.name, "absent", f"pip install '{wanted}'".partition(";")[0], needed)
    fits = wanted.specifier.contains(found.version, prereleases=True)
    detail = found.version if fits else f"{found.version}, wanted {wanted.specifier}"
    size = sum(path.stat().st_size for f in found.files or () if (path := Path(str(f.locate()))).is_file())
    terms = _terms(found.metadata.json)
    return Part("software", wanted.name, "ok" if fits else "broken", detail, needed, size, terms)


def _terms(about: Mapping[str, Any]) -> str:
    named = about.get("license_expression") or ""
    listed = [c.rpartition(" :: ")[2] for c in about.get("classifier") or () if c.startswith("License ::")]
    return (named or ", ".join(listed) or str(about.get("license") or "").partition("\n")[0])[:48]


def _machine(home: Path) -> Iterator[Part]:
    yield Part("machine", "GPU", *_gpu(), needed=False)
    yield Part("machine", "home", *_writable(home))


def _gpu() -> tuple[State, str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return "absent", "none found; everything runs on the CPU"
    try:
        found = subprocess.run([program, "--query-gpu=name,memory.total", "--format=csv,noheader"],
                               capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as fault:
        return "broken", f"nvidia-smi fails ({type(fault).__name__})"
    return "ok", "; ".join(found.stdout.split("\n")).strip("; ")


def _writable(home: Path) -> tuple[State, str]:
    """Try to write where it counts: in the home, or in the nearest folder above it that exists."""
    place = next(folder for folder in (home, *home.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as fault:
        return "broken", f"{home} cannot be written ({fault.strerror}); set CONSILIUM_HOME"
    return "ok", f"{home} ({shutil.disk_usage(place).free / 1e9:.1f} GB free)"


def _nano(folder: Path) -> Part:
    weights = sorted(folder.glob("model*.safetensors"))
    missing = [name for name in NANO_FILES if not (folder / name).is_file()]
    missing += [] if weights else ["model.safetensors"]
    if missing:
        return Part("generalist", "consilium-nano", "absent", f"{folder} lacks {', '.join(missing)}")
    card = _json(folder / "card.json")
    stated = card.get("weights") or {}
    faults = [f"{w.name}: {why}" for w in weights if (why := _damage(w, _stated(stated, w.name)))]
    sums = ", ".join(f"{w.name} {_sha256(w)[:12]}" for w in weights)
    return Part("generalist", "consilium-nano", "broken" if faults else "ok", "; ".join(faults) or sums,
                bytes=sum(f.stat().st_size for f in folder.iterdir() if f.is_file()),
                license=str(card.get("license") or ""), data=_rows(card.get("data")))


def _stated(weights: Any, name: str) -> str | None:
    """Return the sha256 that a card states for a file: {file, sha256}, a list of these, or {NAME: sha256}."""
    listed = weights if isinstance(weights, list) else [weights]
    for row in (r for r in listed if isinstance(r, Mapping)):
        if row.get("file", name) == name and isinstance(row.get("sha256"), str):
            return row["sha256"]
        if isinstance(row.get(name), str):
            return row[name]
    return None


def _specialists(folder: Path) -> Iterator[Part]:
    cards = sorted(folder.glob("*.json"))
    if folder == SHIPPED and not cards:
        yield Part("specialist", "(all)", "absent", f"no card in {folder}; install it again")
    for path in cards:
        try:
            card = read_card(path)
        except BadCard as fault:
            yield Part("specialist", path.stem, "broken", str(fault))
            continue
        yield _specialist(card, folder)


def _specialist(card: Card, folder: Path) -> Part:
    weights = folder / str(card.weights.get("file") or f"{card.name}.safetensors")
    fault = _damage(weights, card.weights.get("sha256"))
    size = weights.stat().st_size if weights.is_file() else 0
    return Part("specialist", card.name, "broken" if fault else "ok", fault or f"{card.task}, {card.method}",
                bytes=size, license=card.license, data=tuple(card.data))


def _indexes(folder: Path) -> Iterator[Part]:
    for path in sorted(folder.glob("*.json")):
        about, features = _json(path), path.with_suffix(".safetensors")
        columns, rows = about.get("columns") or [], about.get("rows") or []
        fault = _damage(features, None) or (None if rows else f"{path.name} holds no cases")
        size = path.stat().st_size + (features.stat().st_size if features.is_file() else 0)
        cases = [dict(zip(columns, row, strict=False)) for row in rows if isinstance(row, list)]
        yield Part("index", path.stem, "broken" if fault else "ok", fault or f"{len(rows)} cases", bytes=size,
                   data=tuple({"set": source, "license": terms} for source, terms in _sources(cases)))


def _sources(cases: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the places the cases come from (a case's source names its file too) and their terms."""
    return sorted({(str(case.get("source") or "?").partition(":")[0], str(case.get("license") or ""))
                   for case in cases})


def _with_sets(parts: Sequence[Part]) -> list[Part]:
    """Return the parts with set and tier of all data: cases state terms alone, cards whose terms these are."""
    known = {row["license"]: row for part in parts for row in part.data if row.get("license") and row.get("tier")}
    return [replace(part, data=_named(part.data, known)) if part.group == "index" else part for part in parts]


def _named(data: Iterable[Mapping[str, Any]], known: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    found = {}
    for row in data:
        card = known.get(row["license"], row)
        found[card.get("set")] = {"set": card.get("set"), "license": row["license"], "tier": card.get("tier")}
    return tuple(found.values())


def _rows(data: Any) -> tuple[Mapping[str, Any], ...]:
    return tuple(row for row in data if isinstance(row, Mapping)) if isinstance(data, Sequence) else ()


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _damage(weights: Path, sha256: str | None) -> str | None:
    """Say what is wrong with a safetensors file (8 bytes of length, a JSON header, tensors), if anything."""
    if not weights.is_file():
        return f"{weights.name} is missing"
    with weights.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(min(length, 100_000_000)))
            header.pop("__metadata__", None)
            end = max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
        except (ValueError, AttributeError, KeyError, TypeError):
            return f"{weights.name} is no safetensors file"
    if weights.stat().st_size != 8 + length + end:
        return f"{weights.name} is cut off: {weights.stat().st_size} of {8 + length + end} bytes"
    if sha256 and _sha256(weights) != sha256:
        return f"{weights.name} is not the file that its card names (sha256 differs)"
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tables(report: Report, *, commercial_ok: bool = False) -> Iterator[RenderableType]:
    """Yield what the command prints."""
    for title, groups in (("Software", ("software",)), ("Machine", ("machine",)),
                          ("Weights", ("generalist", "specialist", "index"))):
        yield _table(title, [part for part in report.parts if part.group in groups])
    own = sum(p.bytes for p in report.parts if p.group not in ("software", "machine"))
    every = sum(p.bytes for p in report.parts)
    yield Text(f"Total {every / 1e6:.0f} MB, of which {own / 1e6:.1f} MB weights and indexes.")
    yield from _licenses(report, commercial_ok)
    broken = [f"{part.group} {part.name}" for part in report.parts if part.needed and part.state != "ok"]
    verdict = f"Broken or absent: {', '.join(broken)}." if broken else "All that is needed is there."
    yield Text(verdict, "bold")
    yield Text("Research use only; not a medical device.", style="dim")


def _table(title: str, parts: Sequence[Part]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in ("part", "state", "MB", "license", ""):
        table.add_column(column, overflow="fold", justify="right" if column == "MB" else "left",
                         no_wrap=column in ("part", "state"))
    for part in parts:
        state = part.state if part.needed or part.state == "ok" else f"{part.state}, optional"
        size = f"{part.bytes / 1e6:.1f}" if part.bytes else ""
        table.add_row(*map(Text, (part.name, state, size, part.license, part.detail)))
    return table


def _licenses(report: Report, commercial_ok: bool) -> Iterator[RenderableType]:
    inherited = sorted({_terms_of(row) for part in report.parts for row in part.data})
    if inherited:
        yield Text("\n  ".join(["Licenses that weights and indexes inherit from their data:", *inherited]))
    if commercial_ok:
        reasons = [f"\n  {name}: {why}" for name, why in report.left_out.items()]
        yield Text("For commercial use leave out:" + ("".join(reasons) or " nothing."))
