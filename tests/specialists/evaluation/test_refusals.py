"""What counts as kept and as refused."""

from __future__ import annotations

from specialists.core.card import Card, Label
from specialists.datasets.layout import Sample
from specialists.evaluation.refusals import Asked, chosen, refusals

CARD = Card(name="net", method="small_cnn", task="classification", domain="brain_mri", title="Net",
            kinds=("brain MRI",), modality="MR", body_part="BRAIN", labels=(Label("a"), Label("b")),
            data=({"set": "brains"},))


def row(dataset: str, kind: str, by_triage: bool = False, by_distance: bool = False) -> Asked:
    return Asked(dataset, kind, "g", by_triage, by_distance)


def test_kept_and_refused_as_used_and_by_each_alone():
    rows = [*[row("brains", "brain MRI")] * 8, row("brains", "brain MRI", True),
            row("brains", "brain MRI", False, True), row("skins", "dermoscopy", True),
            row("skins", "dermoscopy", False, True), row("knees", "knee X-ray", True), row("knees", "knee X-ray"),
            row("other brains", "brain MRI")]
    found = refusals(CARD, rows)
    assert (found["n"], found["kept"], found["others"], found["refused"]) == (10, 0.8, 4, 0.75)
    assert found["by_triage"] == {"kept": 0.9, "refused": 0.5}
    assert found["by_distance"] == {"kept": 0.9, "refused": 0.25}
    assert found["by_kind"] == {"dermoscopy": [2, 2], "knee X-ray": [1, 2]}
    assert found["other_sources"] == {"other brains": [1, 1]}


def test_no_images_no_share():
    assert refusals(CARD, [])["kept"] is None


def test_the_same_images_are_chosen_every_time(tmp_path):
    samples = [Sample(str(i), tmp_path, "s", "test", None, None, str(i), "", "", "")
               for i in range(20)]
    assert chosen(samples, 5) == chosen(samples, 5)
    assert len(chosen(samples, 5)) == 5
    assert chosen(samples, None) == samples
