"""What ships, on real images: a few of the validation splits; figures are made by `consilium evaluate`."""

from __future__ import annotations

from pathlib import Path

import pytest

from assistant import Assistant
from specialists.core import registry
from specialists.core.study import read_study
from specialists.datasets.kinds import KIND_OF
from specialists.datasets.layout import read_set
from specialists.zoo import DOMAINS

pytestmark = pytest.mark.data


def test_triage_names_the_kind_of_most_images(data_dir: Path) -> None:
    samples = [s for name in sorted(KIND_OF) for s in read_set(data_dir / name, ["val"])[:4]]
    found = registry.triage().predict_many([read_study(s.path) for s in samples])
    wrong = [(s.id, f.label) for f, s in zip(found, samples, strict=True) if f.label != KIND_OF[s.dataset]]
    assert len(wrong) / len(samples) <= 0.1, wrong


@pytest.mark.parametrize("domain", [d.name for d in DOMAINS if d.ships])
def test_a_card_tells_the_truth_about_validation(data_dir: Path, domain: str) -> None:
    name = next(d.dataset for d in DOMAINS if d.name == domain)
    samples = read_set(data_dir / name, ["val"])
    specialist = registry.load(f"{domain}_small_cnn")
    logits, _ = specialist.raw([read_study(s.path) for s in samples])
    names = specialist.card.label_names
    right = sum(names[i] == s.label for i, s in zip(logits.argmax(1), samples, strict=True))
    assert right / len(samples) == pytest.approx(specialist.card.figures["val"]["accuracy"], abs=0.02)


def test_a_question_is_answered_with_evidence_and_never_with_the_own_case(data_dir: Path, tmp_path: Path) -> None:
    labels = registry.cards()["chest_child_xray_small_cnn"].label_names
    assistant, known = Assistant(home=tmp_path), 0
    for sample in read_set(data_dir / "kermany_chest_xray", ["train"])[:6]:
        answer = assistant.ask(sample.path, "What is the diagnosis?", options=labels, collaboration="full")
        assert answer.label in labels
        assert sample.id not in {c.id for c in answer.evidence.rad}
        known += answer.kind == "paediatric chest X-ray" and bool(answer.evidence.moed and answer.evidence.rad)
    assert known >= 4
