"""The fitted consilium: what was fitted on someone's validation data, as one small file that every face uses.

It holds the arbiter, and for each domain what evidence the generalist is shown and the threshold of its label sets.
It fits nothing (assistant/evaluation/calibrate.py does) and decides nothing in the generalist's place.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from assistant.collaboration import arbiter
from assistant.collaboration.arbiter import Arbiter
from assistant.collaboration.evidence import normalized
from assistant.collaboration.rad import SIMILAR_CASES
from assistant.errors import BadFitted
from assistant.steps import Evidence, LabelSet

log = logging.getLogger(__name__)

SHIPPED = Path(__file__).with_name("fitted.json")
VERSION = 1
WEIGHTS = ("sha256", "commit", "url", "adapter_sha256")
"""What tells one generalist's weights from another's in its revision; where a file lies tells nothing."""

Method = Literal["lac", "aps"]
"""Which labels a set takes: "lac" the probable ones (the smallest sets), "aps" the most probable ones until together
they are enough (sets that grow with how hard the case is). Sadinle et al., JASA 2019; Romano et al., NeurIPS 2020."""


@dataclass(frozen=True)
class DomainFit:
    """What is fitted for the questions whose options are a domain's labels."""

    labels: tuple[str, ...]
    hidden: tuple[str, ...] = ()
    """Names of specialists, or "similar_cases", that the generalist decides better without; the arbiter hears them."""
    quantile: float | None = None
    """Greatest strangeness of a label that a set still takes; None where there were too few cases for the level."""
    groups: int = 0
    """Patients or near-duplicate groups that the quantile rests on, one case each."""


@dataclass(frozen=True)
class Fitted:
    """Arbiter, evidence and label sets; without domains it is the arbiter alone."""

    arbiter: Arbiter = field(default_factory=Arbiter)
    domains: Mapping[str, DomainFit] = field(default_factory=dict)
    level: float = 0.9
    """In which share of new patients a label set holds the truth."""
    method: Method = "lac"
    made: Mapping[str, Any] = field(default_factory=dict)
    """What it was made of: sets, split, generalist, figures."""
    otherwise: Fitted | None = None
    """What answers the domains that it does not hold; None: it answers all. It stands in no file."""

    def of(self, domain: str | None) -> Fitted:
        """Return what answers a domain: this, or what ships where the domain was not fitted here."""
        return self if self.otherwise is None or domain in self.domains else self.otherwise

    def domain_fit(self, domain: str | None, options: Sequence[str]) -> DomainFit | None:
        """Return what is fitted for the domain; None where it was not fitted, or for other labels than the options."""
        found = self.domains.get(domain or "")
        if found is None or {normalized(x) for x in found.labels} != {normalized(x) for x in options}:
            return None
        return found

    def shown(self, domain: str | None, options: Sequence[str], evidence: Evidence) -> Evidence:
        """Return the evidence that the generalist is shown for its decision."""
        found = self.domain_fit(domain, options)
        return evidence if found is None else hide(evidence, found.hidden)

    def label_set(self, domain: str | None, believed: Mapping[str, float], label: str) -> LabelSet | None:
        """Return the labels that cannot be ruled out at the level, the decision always among them.

        Guarantee: over new patients like those of the validation data, one image each, the truth is in the set in at
        least `level` of them on average (split conformal, by domain); it is none for a single patient or label.
        """
        found = self.domain_fit(domain, list(believed))
        if found is None:
            return None
        return LabelSet(not_ruled_out(believed, label, found.quantile, self.method), self.level)

    def part(self, domain: str | None) -> Fitted:
        """Return what one question of the domain needs of it, for a trace."""
        used = self.of(domain)
        return replace(used, domains={k: v for k, v in used.domains.items() if k == domain}, made={}, otherwise=None)

    def fits(self, revision: Mapping[str, Any]) -> bool:
        """Tell whether it was fitted with a generalist of these weights, or for any."""
        made = self.made.get("generalist")
        if made is None:
            return True
        # Equal bits are the same weights, here or on a server.
        told = [key for key in WEIGHTS if key.endswith("sha256")] if made.get("sha256") else WEIGHTS
        return all(made.get(key) == revision.get(key) for key in told)

    def json(self) -> dict[str, Any]:
        """Return the object that stands in the file."""
        told = {name: value for name, value in asdict(self).items() if name != "otherwise"}
        return {"version": VERSION, **told, **({"otherwise": self.otherwise.json()} if self.otherwise else {})}


def strangeness(believed: Mapping[str, float], method: Method) -> dict[str, float]:
    """Return how strange each label is (0..1): the less probable it is, the stranger."""
    if method == "lac":
        return {label: 1 - share for label, share in believed.items()}
    return {label: sum(other for other in believed.values() if other >= share) for label, share in believed.items()}


def not_ruled_out(believed: Mapping[str, float], label: str, quantile: float | None, method: Method) -> tuple[str, ...]:
    """Return the decision's label and those no stranger than the quantile, the most probable first."""
    strange = strangeness(believed, method)
    kept = [x for x in believed if quantile is None or x == label or strange[x] <= quantile]
    return tuple(sorted(kept, key=lambda x: -believed[x]))


def hide(evidence: Evidence, hidden: Sequence[str]) -> Evidence:
    """Return the evidence without the opinions, cases and refusals of the named."""
    if SIMILAR_CASES in hidden:
        evidence = replace(evidence, rad=(), no_similar_case=False)
    return replace(evidence, moed=tuple(o for o in evidence.moed if o.specialist not in hidden),
                   refusals=tuple(r for r in evidence.refusals if r.specialist not in hidden))


def save(fitted: Fitted, path: Path) -> None:
    """Write the file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(fitted.json(), indent=1, ensure_ascii=False) + "\n")
    part.replace(path)


def load(path: Path) -> Fitted:
    """Read a file that `consilium calibrate` wrote; raises BadFitted."""
    wanted = "wanted a file that `consilium calibrate` wrote."
    try:
        found = json.loads(path.read_text())
    except OSError as error:
        raise BadFitted(f"{path.name} cannot be read ({error.strerror}); {wanted}") from None
    except ValueError:
        raise BadFitted(f"{path.name} is no JSON; {wanted}") from None
    if not isinstance(found, dict) or found.get("version") != VERSION:
        got = found.get("version") if isinstance(found, dict) else type(found).__name__
        raise BadFitted(f"{path.name} is of version {got}; wanted {VERSION}: run `consilium calibrate` again.")
    try:
        return read(found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadFitted(f"{path.name} is damaged ({type(error).__name__}: {error}); {wanted}") from None


def read(found: Mapping[str, Any]) -> Fitted:
    """Return what `Fitted.json` wrote."""
    domains = {name: DomainFit(tuple(fit["labels"]), tuple(fit["hidden"]), fit["quantile"], fit["groups"])
               for name, fit in found["domains"].items()}
    if found["method"] not in ("lac", "aps") or not 0 < found["level"] < 1:
        raise ValueError(f"label sets {found['method']!r} at level {found['level']}")
    return Fitted(Arbiter(**found["arbiter"]), domains, found["level"], found["method"], found["made"])


def of_trace(trace: Mapping[str, Any]) -> Fitted:
    """Return what a trace was answered with; earlier traces hold the arbiter alone."""
    return read(trace["fitted"]) if "fitted" in trace else Fitted(Arbiter(**trace["arbiter"]))


@cache
def shipped() -> Fitted:
    """Return what ships, read once."""
    return load(SHIPPED) if SHIPPED.exists() else Fitted(arbiter.shipped())


def chosen(found: Fitted | None, revision: Mapping[str, Any]) -> Fitted:
    """Return what is given for the domains that it holds; for all others what ships, as far as it fits the generalist.

    What was fitted with another generalist is not used, and a warning says so: its confidence would be untrue. Of what
    ships the arbiter alone is left there.
    """
    ships = shipped() if shipped().fits(revision) else Fitted(arbiter.shipped())
    if found is None:
        return ships
    if not found.fits(revision):
        log.warning("What was fitted belongs to another generalist and is not used: run `consilium calibrate` with "
                    "this one.")
        return ships
    return replace(found, otherwise=ships)
