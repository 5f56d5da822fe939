"""Similar cases: order, guards against own patient and near-duplicates, threshold, storing."""

from __future__ import annotations

import numpy as np
import pytest

from specialists.core.errors import BadData, MissingWeights
from specialists.core.index import CaseIndex, IndexCard, Row, case_vector, joined
from specialists.core.study import read_study


def rows(count: int = 12) -> list[Row]:
    """Cases of two labels; two a patient, three a group, all with hashes far apart."""
    hashes = np.random.default_rng(1).integers(0, 256, (count, 32), dtype=np.uint8)
    return [Row(f"case-{n}", "ab"[n % 2], f"p{n // 2}", f"g{n // 3}", "set", "CC0", hashes[n].tobytes())
            for n in range(count)]


def circle(count: int = 12) -> np.ndarray:
    """Unit vectors turning away from the first."""
    angles = np.linspace(0, np.pi * 0.9, count)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def index(threshold: float = -1.0) -> CaseIndex:
    """The cases on the circle, with a threshold."""
    return CaseIndex.build(rows(), circle(), IndexCard("brain_mri", ("x", "y"), threshold))


def test_most_similar_first():
    found = index().search(circle()[0] * 7, k=4)
    assert [n.id for n in found] == ["case-0", "case-1", "case-2", "case-3"]
    assert found[0].similarity == pytest.approx(1, abs=1e-3)
    assert (found[0].label, found[0].source, found[0].license) == ("a", "set", "CC0")
    assert len(index().search(circle()[0], k=100)) == 12
    assert index().search(circle()[0], k=0) == []


def test_own_patient_and_group_are_left_out():
    found = index().search(circle()[0], k=3, exclude_patient="p0")
    assert [n.id for n in found] == ["case-2", "case-3", "case-4"]  # still k of them
    found = index().search(circle()[0], k=12, exclude_group="g0")
    assert [n.id for n in found] == [f"case-{n}" for n in range(3, 12)]


def test_a_near_duplicate_takes_its_group_and_patient_with_it():
    twin = bytearray(rows()[4].dhash)
    twin[0] ^= 0xFF
    twin[1] ^= 0b111111  # 14 bits differ
    found = {n.id for n in index().search(circle()[4], k=12, dhash=bytes(twin))}
    assert found == {f"case-{n}" for n in range(12)} - {"case-3", "case-4", "case-5"}
    twin[2] ^= 1  # 15 bits differ: another image
    assert len(index().search(circle()[4], k=12, dhash=bytes(twin))) == 12


def test_cases_without_patient_group_or_hash_are_not_taken_for_each_other():
    bare = CaseIndex.build([Row(f"{n}", "a") for n in range(4)], circle(4), IndexCard("d", ("x",)))
    assert len(bare.search(circle(4)[0], k=4, exclude_patient="", dhash=bytes(32))) == 4


def test_nothing_under_the_threshold():
    assert index(threshold=0.9).search(np.array([0.0, -1.0]), k=5) == []
    assert [n.id for n in index(threshold=0.95).search(circle()[0], k=5)] == ["case-0", "case-1"]


def test_saved_and_loaded_is_the_same(tmp_path):
    index(0.5).save(tmp_path)
    loaded = CaseIndex.load(tmp_path, "brain_mri")
    assert loaded.rows == index().rows
    assert loaded.card == IndexCard("brain_mri", ("x", "y"), 0.5)
    assert loaded.search(circle()[5], 5) == index(0.5).search(circle()[5], 5)


def test_damaged_or_missing_index(tmp_path):
    with pytest.raises(MissingWeights, match="brain_mri"):
        CaseIndex.load(tmp_path, "brain_mri")
    index().save(tmp_path)
    (tmp_path / "brain_mri.json").write_text("{}")
    with pytest.raises(BadData, match="Build the index again"):
        CaseIndex.load(tmp_path, "brain_mri")
    (tmp_path / "brain_mri.json").write_text("{")
    with pytest.raises(BadData, match="no JSON"):
        CaseIndex.load(tmp_path, "brain_mri")


def test_misfits():
    with pytest.raises(BadData, match="wanted"):
        CaseIndex(IndexCard("d", ("x",)), rows(3), circle(4))
    with pytest.raises(ValueError, match="case_vector"):
        index().search(np.ones(5))


def test_case_vector_has_length_one():
    class Fixed:
        def __init__(self, vector):
            self.vector = np.asarray(vector, np.float32)

        def embed(self, study):
            return self.vector

    study = read_study(np.zeros((4, 4)))
    vector = case_vector([Fixed([1, 0]), Fixed([0, 1, 0]), Fixed([0.6, 0.8])], study)
    np.testing.assert_allclose(vector, np.array([1, 0, 0, 1, 0, 0.6, 0.8]) / np.sqrt(3), rtol=1e-6)
    twice = joined([circle(), circle()])
    np.testing.assert_allclose(twice @ twice[0], circle() @ circle()[0], atol=1e-6)
