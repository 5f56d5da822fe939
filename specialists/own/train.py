"""From labelled images of one's own to specialists that are registered, measured and explained, in one call.

Every step is written under specialists/NAME in CONSILIUM_HOME, so that a second call goes on where the first one was
stopped. The generalist is not taught: it finds the new specialists by their cards.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from specialists.catalog import METHODS, method_module
from specialists.core import registry
from specialists.core.calibrate import softmax
from specialists.core.card import NAME, Card, read_card, write_card
from specialists.core.errors import BadData, UnknownSpecialist
from specialists.core.findings import Refusal
from specialists.core.fit import FitConfig
from specialists.core.index import CaseIndex
from specialists.core.panel import Panel
from specialists.core.scope import distance, fit_scope
from specialists.core.study import read_study
from specialists.datasets.layout import read_set
from specialists.datasets.table import Table
from specialists.datasets.triage import leaves, noise
from specialists.evaluation import measure
from specialists.own import report
from specialists.own.checks import Examined, Note, examine
from specialists.own.kinds import NAMED, forget_kinds, kinds_of, name_kind, some
from specialists.own.progress import Training, say, spell
from specialists.own.sources import NOT_STATED, read_source
from specialists.own.splits import split, write_records
from specialists.training import publish, runs
from specialists.zoo import DOMAINS, EPOCHS, OPINIONS, TOOLS, Domain

RESERVED = ("cases", "index", "kinds", "onnx", "triage", "unknown")
OTHERS = 40
"""Drawn pictures, none of which is of any kind, that the scope is measured on."""
USUAL_EPOCHS = 40


@dataclass(frozen=True)
class Wish:
    """What is to be made of the images."""

    name: str
    methods: tuple[str, ...] = ()
    """Methods of classification; none stands for the trio that ships."""
    title: str = ""
    kind: str = ""
    """What to call this kind of image; by default the name in words, or the known kind that they turn out to be."""
    license: str = ""
    source: str = ""
    flip_vertical: bool = False
    """Whether the kind of image has no upper side (skin, smears)."""
    seed: int = 0
    configs: Mapping[str, FitConfig] = field(default_factory=dict)
    """A method's configuration in place of the usual one; `labels` is set to those found."""

    def config(self, method: str, labels: int = 2) -> FitConfig:
        """Return the configuration of a method."""
        if method in self.configs:
            return dataclasses.replace(self.configs[method], labels=labels)  # type: ignore[call-arg]
        return method_module(method).Config(labels=labels, epochs=EPOCHS.get(method, USUAL_EPOCHS), seed=self.seed,
                                            flip_vertical=self.flip_vertical)


class Trained(Panel):
    """The specialists just made, asked together: `predict(image)` gives their finding."""

    def __init__(self, domain: str) -> None:
        """Take a domain that `train` has registered."""
        super().__init__(domain)
        self.report = registry.home() / domain / "report.html"


def train(data: str | Path, name: str, methods: Sequence[str] = (), *, tell: Callable[[str], None] = say,
          **wishes: object) -> Trained:
    """Check the images, train, calibrate, measure, write report and cards, register; return what was made.

    `wishes` are the other fields of `Wish`. Called again on the same images it goes on where it was stopped.
    Raises BadData or UnknownSpecialist saying what to do.
    """
    wish = Wish(name, tuple(methods) or OPINIONS, **wishes)  # type: ignore[arg-type]
    folder = check_name(wish)
    source = read_source(Path(data), name, wish.license, wish.source)
    tell(f"{len(source.samples)} labelled images in {Path(data).name} ({source.read})")
    found = examine(source, [wish.config(method).size for method in wish.methods])
    found = _sided(wish, found, folder)
    _tell_checks(found, tell)
    _fit_all(wish, found, folder, tell)
    trio = [publish.read_run(folder / "runs" / method, found.samples) for method in wish.methods]
    before = kinds_of(name, registry.home())
    domain, note = name_kind(_domain(wish), found.samples, registry.home())
    tell(_marked(note))
    notes = (*found.notes, note)
    made = folder / "made"
    shutil.rmtree(made, ignore_errors=True)
    cards = [_publish(wish, domain, run, made, notes, Path(data).name) for run in trio]
    cases = publish.index(domain, trio, found.dhashes, made)
    _register(wish, made)
    forget_kinds(before, registry.home())
    probabilities = np.mean([_test(run)[0] for run in trio], axis=0)
    rows = trio[0].rows("test")
    page = report.Page(domain, cards, notes, trio[0].samples, rows, trio[0].targets[rows], probabilities,
                       cases.card.figures, _answered([trio[0].samples[row].path for row in rows], name))
    figures = report.write(page, folder)
    tell(_last_words(wish, figures, cards, cases, page))
    return Trained(name)


def check_name(wish: Wish) -> Path:
    """Return the folder of this name; raises BadData where the name or a method cannot be had."""
    name, shipped = wish.name, [path.stem for path in registry.SHIPPED.glob("*.json")]
    if not NAME.fullmatch(name):
        raise BadData(f"Got the name {name!r}; wanted small letters, digits and _, a letter first, e.g. my_disease.")
    ours = {*RESERVED, *shipped, *(d.name for d in DOMAINS), *(t.name for t in TOOLS),
            *(method for methods in METHODS.values() for method in methods)}
    cards = registry.cards()
    taken = [card.name for card in cards.values() if card.name in {f"{name}_{method}" for method in wish.methods}
             and (card.domain != name or card.name in shipped)]
    if name in ours or taken or any(card.name == name for card in cards.values()):
        raise BadData(f"The name {name!r} belongs to {taken[0] if taken else 'something that is there already'}; "
                      "wanted one of your own. Choose another one.")
    known = METHODS["classification"]
    for method in wish.methods:
        if method not in known:
            raise UnknownSpecialist(f"No method of classification named {method!r}. Known: {', '.join(known)}. Choose "
                                    "among these; none stands for the trio.")
    folder = registry.home() / name
    if folder.exists() and not (folder / "records.jsonl").is_file() and any(folder.iterdir()):
        raise BadData(f"{folder} is there and was not made by this command. Choose another name or move it away.")
    return folder


def _sided(wish: Wish, found: Examined, folder: Path) -> Examined:
    """Put the images on their sides, those of an earlier call where they stood, and write it down."""
    known: dict[str, str] = {}
    if (folder / "records.jsonl").is_file():
        known = {s.id: s.split for s in read_set(folder)}
    sided = split(found.samples, known, wish.seed)
    place = {sample.id: row for row, sample in enumerate(found.samples)}
    rows = [place[sample.id] for sample in sided.samples]
    write_records(sided.samples, folder / "records.jsonl")
    return Examined(sided.samples, {size: pixels[rows] for size, pixels in found.pixels.items()},
                    tuple(found.dhashes[row] for row in rows), (*found.notes, *sided.notes))


def _tell_checks(found: Examined, tell: Callable[[str], None]) -> None:
    for note in found.notes:
        tell(_marked(note))
    counts = Counter((str(s.label), s.split) for s in found.samples)
    width = max(len(label) for label in found.labels)
    tell(f"  {'':<{width}}  train   val  test")
    for label in found.labels:
        tell(f"  {label:<{width}}  {counts[label, 'train']:5}  {counts[label, 'val']:4}  {counts[label, 'test']:4}")


def _marked(note: Note) -> str:
    return f"{'!' if note.serious else '-'} {note.words()}"


def _fit_all(wish: Wish, found: Examined, folder: Path, tell: Callable[[str], None]) -> None:
    """Train what is not trained yet on just these images."""
    targets = np.array([found.labels.index(str(s.label)) for s in found.samples], dtype=np.int64)
    configs = {method: wish.config(method, len(found.labels)) for method in wish.methods}
    tables = {method: Table(found.samples, found.pixels[config.size], targets, found.labels)
              for method, config in configs.items()}
    images, epochs = {}, {method: config.epochs for method, config in configs.items()}
    for method, table in tables.items():
        rows = table.rows("train")
        parts = [rows, *(np.setdiff1d(rows, held) for held in runs.folds(table, rows, configs[method].seed))]
        images |= {(method, part): len(taught) for part, taught in zip(runs.PARTS, parts, strict=True)}
    with Training(images, epochs, tell) as training:
        for method, config in configs.items():
            place = folder / "runs" / method
            if _same_task(place, tables[method], config) and publish.done(place):
                training.finished(method)
                tell(f"{method} is trained on these images already")
                continue
            runs.train(method, config, tables[method], place, training.of(method))


def _same_task(place: Path, table: Table, config: FitConfig) -> bool:
    """Tell whether what stands in a run's folder is of these images; if not, empty it and note the new task."""
    rows = [(s.id, s.label, s.split, s.group) for s in table.samples]
    task = hashlib.sha256(repr((config, table.labels, rows)).encode())
    task.update(table.pixels.data)
    note = place / "task.txt"
    if note.is_file() and note.read_text() == task.hexdigest():
        return True
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    note.write_text(task.hexdigest())
    return False


def _domain(wish: Wish) -> Domain:
    words = wish.name.replace("_", " ")
    return Domain(wish.name, wish.name, wish.kind or words, wish.title or f"Opinion on {words}", NOT_STATED, NOT_STATED,
                  flip_vertical=wish.flip_vertical)


def _publish(wish: Wish, domain: Domain, run: publish.Run, made: Path, notes: Sequence[Note], data: str) -> Card:
    """Write card and weights of one opinion, with its figures on test and what the checks found."""
    card = publish.opinion(domain, run, made)
    random = np.random.default_rng(0)
    drawn = [leaves(96, random) if n % 2 else noise(96, random) for n in range(OTHERS)]
    card = publish.with_refusals(card, made, [read_study(picture) for picture in drawn])
    probabilities, kept = _test(run)
    rows = run.rows("test")
    figures = measure.classification(probabilities, run.targets[rows], run.groups(rows), run.labels)
    scope = {**card.scope, "refused_drawn": card.scope["refused"], "kept_test": kept}
    scope.pop("refused")
    licenses = sorted({sample.license for sample in run.samples})
    limits = (*(note.words(0).removesuffix(" and 0 more") for note in notes if note.serious and note.kind in LIMITING),
              *publish.LIMITS)
    command = " ".join(["consilium specialists train", *(() if wish.methods == OPINIONS else wish.methods),
                        f"--data {data} --name {wish.name}"])
    said = "; ".join(licenses)
    card = dataclasses.replace(
        card, figures={**card.figures, "test": figures}, scope=scope, limits=limits,
        license=NOT_STATED if licenses == [NOT_STATED] else f"as the images: {said}",
        calibration={**card.calibration, "test_ece": figures["ece"]}, trained={**card.trained, "command": command})
    write_card(card, made / f"{card.name}.json")
    return card


LIMITING = ("kind", "no patients", "tiny classes", "telltale", "alike", "leak", "copies with different labels")
"""Kinds of notes that stand on the card."""


def _test(run: publish.Run) -> tuple[np.ndarray, float]:
    """Return calibrated probabilities (n, L) of the test rows, and which part of these the scope keeps."""
    train, val, test = (run.rows(side) for side in ("train", "val", "test"))
    features = run.raw["features"]
    scope = fit_scope(features[train], run.targets[train], features[val])
    kept = round(float((distance(features[test], scope) <= scope.threshold).mean()), 4)
    return softmax(run.raw["logits"][test] / publish.temperatures(run)[1]), kept


def _answered(paths: Sequence[Path], domain: str) -> tuple[int, int]:
    """Return how many of the images the domain answers, asked as in use, and how many were asked."""
    panel = Panel(domain)
    asked = some(paths)
    return sum(not isinstance(panel.predict(path), Refusal) for path in asked), len(asked)


def _register(wish: Wish, made: Path) -> None:
    """Move what was made to where the registry looks: weights first, so that no card stands without them."""
    home = registry.home()
    (home / "index").mkdir(parents=True, exist_ok=True)
    fresh = {path.name for path in made.glob("*.json")}
    for path in home.glob(f"{wish.name}_*.json"):
        if path.name not in fresh and read_card(path).domain == wish.name:  # of an earlier call with more methods
            path.unlink()
            path.with_suffix(".safetensors").unlink(missing_ok=True)
    for pattern in ("*.safetensors", "index/*.safetensors", "index/*.json", "*.json"):
        for path in sorted(made.glob(pattern)):
            path.replace(home / path.relative_to(made))
    shutil.rmtree(made)


def _last_words(wish: Wish, figures: Mapping[str, object], cards: Sequence[Card], cases: CaseIndex,
                page: report.Page) -> str:
    seconds = sum(float(card.trained["seconds"]) for card in cards)
    return "\n".join([
        f"On {figures['n']} test images: macro-F1 {figures['macro_f1']:.3f} ({report.interval(figures)}), "
        f"accuracy {figures['accuracy']:.3f}, calibration error {figures['ece']:.3f}",
        f"{'!' if page.answered[0] < NAMED * page.answered[1] else '-'} {report.asked(page.answered)}",
        f"Registered: {', '.join(card.name for card in cards)}; {len(cases.rows)} similar cases; "
        f"trained in {spell(seconds)}",
        f"Report: {registry.home() / wish.name / 'report.html'}",
        f"Try it: consilium specialists predict {wish.name} IMAGE"])
