"""Every diagnosis set through every arm: cases collected, the generalist asked, distributions kept.

It computes no figure; what an arm shows and says stands in `arms`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from assistant import template
from assistant.collaboration import fitted as fitting
from assistant.collaboration.arbiter import Judged
from assistant.collaboration.fitted import Fitted
from assistant.evaluation import arms, knowing, report
from assistant.evaluation.arms import ARMS, GENERALIST_ARMS, Floats, Scores, View
from assistant.evaluation.cache import Cache
from assistant.evaluation.cases import (
    NEIGHBORS,
    CaseEvidence,
    Damage,
    Domain,
    LeftOut,
    NoMatchingSet,
    choose,
    collect,
    match_sets,
    open_domain,
    shuffle_evidence,
    unserved,
)
from assistant.evaluation.conditions import FAMILIES, MOST_CASES, conditions_of, natural
from assistant.evaluation.config import BadEvaluation, Config, Track, chosen, split_names
from assistant.evaluation.knowing import Told
from assistant.evaluation.report import Measured
from assistant.evaluation.robustness import Asking, Changed, all_under
from assistant.evaluation.views import changed, view_of
from assistant.evaluation.wrapped import cached_domain
from assistant.steps import LabelSet
from specialists.core import registry
from specialists.datasets.kinds import OUT_OF_DOMAIN
from specialists.datasets.layout import read_set, set_names


@dataclass(frozen=True)
class Diagnosis:
    """What all sets are measured with."""

    config: Config
    arms: Sequence[str]
    generalist: Scores | None
    """None where no arm asks it."""
    track: Track
    specialists: Cache = field(default_factory=Cache)
    """Remembers what specialists and index said."""
    fitted: Fitted = field(default_factory=fitting.shipped)
    """What was fitted on other cases than those measured."""

    def domains(self) -> dict[str, Domain]:
        """Return set name -> domain for the sets that are measured.

        Of sets without specialists those are measured that the generalist was never taught: what it says alone.
        """
        folder, wanted = self.config.folder, self.config.wanted_sets(set_names(self.config.folder))
        alone = [name for name in wanted if name in OUT_OF_DOMAIN and _several_labels(folder / name)]
        try:
            matched = match_sets(folder, split_names(self.config.sets), registry.cards(), registry.domains())
        except NoMatchingSet:
            if not alone or self.generalist is None:
                raise
            matched = {}
        neighbors = MOST_CASES if self.families else NEIGHBORS
        opened = {name: cached_domain(open_domain(name, neighbors), self.specialists, neighbors)
                  for name in set(matched.values())}
        without = {name: unserved(folder, name) for name in alone if name not in matched and self.generalist}
        return {name: opened[matched[name]] if name in matched else without[name]
                for name in wanted if name in matched or name in without}

    @property
    def families(self) -> list[str]:
        """Names of the families of conditions."""
        return chosen("family of conditions", self.config.conditions, FAMILIES)

    def measure(self, name: str, domain: Domain) -> tuple[Measured, Changed]:
        """Return a set with the distributions of its arms, and the same under each condition."""
        collected, left_out = self.collect(name, domain)
        cases = natural(collected, domain)
        if self.config.shuffle_evidence:
            cases = shuffle_evidence(cases, np.random.default_rng(self.config.seed))
        measured = self._measured(name, domain, cases, left_out)
        if not self.families or self.generalist is None:
            return measured, {}

        def under(damage: str | None) -> Sequence[CaseEvidence]:
            return self.collect(name, domain, damage)[0] if damage else collected
        count = len(conditions_of(domain, self.families)) * len(cases)
        asking = Asking(self.generalist, self._view(cases), self.config.question, self.config.seed,
                        self.track(f"{name}: conditions", count), self.fitted.of(domain.name))
        return measured, all_under(self.families, measured, under, asking)

    def _measured(self, name: str, domain: Domain, cases: Sequence[CaseEvidence], left_out: Sequence[LeftOut]
                  ) -> Measured:
        wanted = self.arms if domain.cards else [arm for arm in self.arms if arm == "generalist"]
        found = dict(self.asked(name, cases, domain, wanted))
        if domain.cards:
            found |= arms.opinion_arms(cases, domain)
        confidence = refer = None
        label_sets: Sequence[LabelSet | None] = ()
        if domain.cards and "generalist" in found:
            known, fitted = arms.judged(cases, domain.labels, found), self.fitted.of(domain.name)
            found["arbiter"] = arms.pooled(known, domain.labels, fitted.arbiter)
            if "gsco" in found:
                said = [arms.settle(one, fitted.arbiter) for one in known]
                confidence = np.array([x.confidence for x in said])
                refer = np.array([x.refer for x in said], dtype=bool)
                label_sets = [fitted.label_set(domain.name, x.believed, x.label) for x in said]
        return Measured(name, domain, cases, left_out, {arm: found[arm] for arm in wanted}, confidence, refer,
                        [x.labels for x in label_sets if x is not None] or None)

    def judged(self, name: str, domain: Domain) -> list[Judged]:
        """Return a set's cases as the arbiter is fitted on them."""
        cases, _ = self.collect(name, domain)
        return arms.judged(cases, domain.labels, self.asked(name, cases, domain, ["generalist", "gsco"]))

    def collect(self, name: str, domain: Domain, damage: str | None = None
                ) -> tuple[list[CaseEvidence], list[LeftOut]]:
        """Return the cases of a set with their evidence, and those left out; raises BadEvaluation without any.

        `damage` is the view (`views.CHANGES`) under which specialists and index see the images.
        """
        config = self.config
        samples = choose(read_set(config.folder / name, [config.split]), config.limit, config.seed)
        advance = self.track(f"{name}: specialists and cases", len(samples))
        cases, left_out = collect(samples, domain, damage=damaged(damage, config.seed), advance=advance)
        if not cases:
            first = f", first: {left_out[0].reason}" if left_out else ""
            raise BadEvaluation(f"No case of {name} in split {config.split!r} can be measured ({len(left_out)} "
                                f"left out{first}); wanted labeled, readable images.")
        return cases, left_out

    def asked(self, name: str, cases: Sequence[CaseEvidence], domain: Domain, wanted: Sequence[str]
              ) -> Mapping[str, Floats]:
        """Return what the generalist says; the arbiter needs its view of the image alone, and says so here."""
        generalist = self.generalist
        if generalist is None:
            return {}
        needed = {*wanted, "generalist"} if "arbiter" in wanted else {*wanted}

        def ask(some: Sequence[CaseEvidence], names: Sequence[str]) -> Mapping[str, Floats]:
            return arms.ask(some, domain, generalist, self._view(cases), names, question=self.config.question,
                            advance=self.track(f"{name}: generalist", len(cases)))
        return arms.as_fitted(cases, domain, self.fitted.of(domain.name),
                              [arm for arm in GENERALIST_ARMS if arm in needed], ask)

    def _view(self, cases: Sequence[CaseEvidence]) -> View:
        return view(cases, self.config.control, self.config.seed)


def damaged(name: str | None, seed: int) -> Damage | None:
    """Return what a view does to an image, None where it is shown as it is."""
    return None if name is None else lambda study: changed(study, name, seed)


def view(cases: Sequence[CaseEvidence], control: str | None, seed: int) -> View:
    """Return what the generalist sees of each case as a data URL; under "text-only" no layer below shows it."""
    named = None if control == "text-only" else control
    shown = view_of(named, [("", (case.sample.path,)) for case in cases], seed)
    return lambda place: template.png_url(shown((cases[place].sample.path,))[0])


def _several_labels(folder: Path) -> bool:
    return len({sample.label for sample in read_set(folder)} - {None}) > 1


def told(measured: Measured) -> Told | None:
    """Return what users of a set are told with each answer; None where it was not asked for."""
    if measured.confidence is None:
        return None
    right = report.predicted(measured, arms.DECIDED) == arms.truths(measured.cases, measured.domain.labels)
    decided = measured.arms[arms.DECIDED]
    return Told(measured.name, measured.confidence, right, [case.group for case in measured.cases], measured.refer,
                measured.label_sets, [case.truth for case in measured.cases],
                {"decision": decided.max(axis=1), "agreement of samples": knowing.agreement(decided)})


def arms_of(config: Config) -> list[str]:
    """Return the arms that are measured; raises BadEvaluation where nothing is."""
    beside = config.triage or config.tasks or config.benchmark
    if config.arms == "none" and not beside:
        raise BadEvaluation("--arms none measures nothing; wanted names of arms, or --tasks or --triage beside it.")
    if config.arms == "none" or (not config.arms and (config.tasks or config.benchmark)):
        return []
    return chosen("arm", config.arms or "all", ARMS)


def asks_generalist(wanted: Sequence[str]) -> bool:
    """Return whether any of the arms needs the generalist."""
    return bool({*GENERALIST_ARMS, "arbiter"} & {*wanted})
