"""A kind of image that a user adds: named, told apart, read again, and left out where it means nothing."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from specialists.core import kinds, registry
from specialists.core.errors import BadData
from specialists.core.scope import UNKNOWN
from specialists.core.study import Study, read_study
from tests.specialists.core.trained import specialist_files

NAME = "ward photo"
COLORS = {"red": (200, 40, 20), "blue": (20, 50, 200)}


def studies(color: str, count: int, seed: int = 0) -> list[Study]:
    """Noisy pictures of one color."""
    noise = np.random.default_rng([seed, len(color)])
    return [read_study(noise.normal(COLORS[color], 25, (40, 40, 3)).clip(0, 255).astype(np.uint8))
            for _ in range(count)]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A triage with random weights to which every image is unknown, and an empty home."""
    shipped = tmp_path / "weights"
    shipped.mkdir()
    specialist_files(shipped, "triage", "triage", domain="triage", reach=0.0)
    monkeypatch.setattr(registry, "SHIPPED", shipped)
    monkeypatch.setenv("CONSILIUM_HOME", str(tmp_path))
    kinds._left_out.cache_clear()
    return registry.home()


def test_an_added_kind_is_named_and_others_are_not(home):
    assert registry.triage().predict(studies("red", 1)[0]).label == UNKNOWN
    added = kinds.fit_kind(NAME, iter(studies("red", 40)), studies("red", 20, 1), home)
    assert added.kept == 1.0
    assert sum(path.stat().st_size for path in (home / "kinds").iterdir()) < 50_000
    triage = registry.triage()
    own = [finding.label for finding in triage.predict_many(studies("red", 20, 2))]
    assert own.count(NAME) >= 19
    others = triage.predict_many(studies("blue", 20, 3))
    assert {finding.label for finding in others} == {UNKNOWN}
    one = triage.predict(studies("red", 1, 2)[0])
    assert sum(one.probabilities.values()) == pytest.approx(1)
    assert triage.card.name == "triage"
    assert kinds.kind_of(studies("red", 12, 4)) == (NAME, 1.0)
    assert kinds.kind_of([*studies("red", 6, 4), *studies("blue", 6, 4)]) == (NAME, 0.5)
    assert kinds.kind_of([]) == (UNKNOWN, 0.0)
    assert kinds.kind_of(studies("red", 12, 4), kinds.triage_without([NAME])) == (UNKNOWN, 0.0)


def test_what_is_kept_is_what_triage_says_once_the_kind_is_added(home):
    wide = [*studies("red", 10, 1), *studies("blue", 10, 1)]
    assert kinds.fit_kind("first", studies("red", 40), wide, home).kept == 1.0
    second = kinds.fit_kind("second", studies("red", 40), studies("red", 20, 1), home)
    said = [finding.label for finding in registry.triage().predict_many(studies("red", 20, 1))]
    assert second.kept == said.count("second") / 20  # they are nearer to the first
    assert second.kept < 0.9
    alone = kinds.fit_kind("second", studies("red", 40), studies("red", 20, 1), home, kinds.triage_without(["first"]))
    assert alone.kept == 1.0


def test_a_kind_is_taken_away_by_its_own_name_alone(home):
    kinds.fit_kind(NAME, studies("red", 40), studies("red", 9, 1), home)
    kinds.remove_kind("ward_photo", home)
    assert kinds.kind_of(studies("red", 4)) == (NAME, 1.0)
    kinds.remove_kind(NAME, home)
    kinds.remove_kind(NAME, home)
    assert list((home / "kinds").iterdir()) == []


def test_an_even_image_stays_unknown(home):
    even = read_study(np.full((40, 40, 3), 90, np.uint8))
    kinds.fit_kind(NAME, [even] * 4, [even] * 2, home)
    assert registry.triage().predict(even).label == UNKNOWN


def test_a_kind_of_its_own_triage_wins_where_it_is_nearer(home, tmp_path):
    near = kinds.AddedKind("near", kinds.fit_kind(NAME, studies("red", 40), studies("red", 9, 1), home).scope, 0.9, "x")
    features = registry.load("triage").embed_many(studies("red", 2, 5))
    said = [kinds.Classification("triage", {"brain MRI": 0.9, UNKNOWN: 0.1})] * 2
    tight, wide = (kinds.Scope(near.scope.means, near.scope.whitening, limit) for limit in (1e-3, 1e3))
    assert kinds._claimed([near], tight, features, said) == ["near"] * 2
    assert kinds._claimed([near], wide, features, said) == [None] * 2


def test_a_kind_of_another_triage_is_left_out_and_said_so(home, caplog):
    kinds.fit_kind(NAME, studies("red", 40), studies("red", 9, 1), home)
    path = home / "kinds" / "ward_photo.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "triage": "another"}))
    with caplog.at_level(logging.WARNING):
        assert registry.triage().predict(studies("red", 1)[0]).label == UNKNOWN
        registry.triage()
    assert [r.getMessage() for r in caplog.records if NAME in r.getMessage()] == [
        "The added kind ward photo is of another triage and is left out; train its domain again."]


def test_a_damaged_kind_keeps_nobody_from_being_triaged(home, caplog):
    kinds.fit_kind(NAME, studies("red", 40), studies("red", 9, 1), home)
    (home / "kinds" / "ward_photo.safetensors").write_bytes(b"cut")
    with caplog.at_level(logging.WARNING):
        assert registry.triage().predict(studies("red", 1)[0]).label == UNKNOWN
    assert "could not be read" in caplog.text


def test_too_few_images(home):
    with pytest.raises(BadData, match="wanted 2 or more"):
        kinds.fit_kind(NAME, studies("red", 1), [], home)
