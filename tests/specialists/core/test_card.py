"""Cards: what they promise, what is refused, and what is made from them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from specialists.core.card import Card, Label, card_from, read_card, write_card
from specialists.core.errors import BadCard


def card(**changes) -> Card:
    """A complete card."""
    whole = Card(
        name="brain_mri_small_cnn", method="small_cnn", task="classification", domain="brain_mri",
        title="Brain tumours", kinds=("brain MRI",), modality="MR", body_part="BRAIN",
        labels=(Label("glioma", "SNOMED CT 393564001"), Label("no tumour")),
        input={"size": 64, "channels": 3},
        paper="https://arxiv.org/abs/1409.1556",
        data=({"set": "brain", "train": 1200, "license": "CC0", "tier": "A"},),
        license="CC0",
        figures={"val": {"n": 50, "macro_f1": 0.91, "per_class": {"glioma": 0.9, "no tumour": 0.92}}},
        calibration={"temperature": 1.3, "ece": 0.02}, scope={"threshold": 1.4},
        limits=("One slice at a time.",),
        weights={"file": "brain_mri_small_cnn.safetensors"}, config={"labels": 2, "widths": [8, 16]})
    return replace(whole, **changes)


def test_written_and_read_is_the_same(tmp_path):
    path = tmp_path / "deep" / "brain_mri_small_cnn.json"
    write_card(card(), path)
    assert read_card(path) == card()


def test_the_tool_is_short_and_takes_no_arguments():
    assert card().tool_schema() == {"type": "function", "function": {
        "name": "brain_mri_small_cnn", "description": "Opinion on a brain MRI: glioma, no tumour.",
        "parameters": {"type": "object", "properties": {}, "required": []}}}
    masks = card(task="segmentation", kinds=("ultrasound",), labels=(Label("lesion"),))
    assert masks.description() == "Where on an ultrasound: lesion."


def test_row_figures_and_page():
    assert card().row() == {"name": "brain_mri_small_cnn", "task": "classification", "domain": "brain_mri",
                            "method": "small_cnn", "labels": "glioma, no tumour", "val": "F1 91.0",
                            "license": "CC0"}
    assert card(figures={}).row()["val"] == "-"
    assert card().validated == {"glioma": 0.9, "no tumour": 0.92, "macro": 0.91}
    assert card(figures={}).validated == {}
    page = card().markdown()
    for said in ("## brain_mri_small_cnn", "glioma (SNOMED CT 393564001)", "brain (train 1,200; CC0)",
                 "macro_f1 0.91", "One slice at a time."):
        assert said in page


@pytest.mark.parametrize("changes", [
    {"name": "Brain MRI"}, {"name": "../weights"}, {"task": "magic"}, {"labels": ()}, {"kinds": ()},
    {"title": 3}, {"labels": (Label("a"), Label("a"))}, {"input": {"size": 0}}, {"input": {"size": "64"}},
    {"figures": [1]}, {"calibration": {"temperature": 0}}, {"weights": {"file": "../../secret.safetensors"}},
    {"weights": {"file": "code.pkl"}}, {"data": ("set",)}, {"labels": (Label(""),)}, {"method": "os.path"}])
def test_a_broken_card_is_refused(changes):
    with pytest.raises(BadCard, match="wanted"):
        card(**changes)


def test_keys_of_the_file():
    raw = card().json()
    assert card_from(json.loads(json.dumps(raw))) == card()
    assert card_from({**raw, "labels": ["glioma"]}).labels == (Label("glioma"),)
    without = {key: value for key, value in raw.items() if key != "labels"}
    for broken in ({**raw, "surprise": 1}, without, [1], {**raw, "kinds": "MRI"},
                   {**raw, "labels": [{"called": "x"}]}, {**raw, "labels": None}):
        with pytest.raises(BadCard, match="wanted"):
            card_from(broken)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"null", b'{"name": "x"}'])
def test_a_broken_file_is_named(tmp_path, content):
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(BadCard, match=r"broken\.json"):
        read_card(path)


def test_the_name_is_the_file(tmp_path):
    path = tmp_path / "other.json"
    path.write_text(json.dumps(card().json()))
    with pytest.raises(BadCard, match="'other'"):
        read_card(path)
