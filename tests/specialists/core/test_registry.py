"""The registry: what ships, what the home holds, broken cards, and loading once."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from specialists.core import registry
from specialists.core.errors import BadCard, MissingWeights, UnknownSpecialist
from specialists.core.index import CaseIndex, IndexCard, Row
from specialists.core.loaded import Loaded
from specialists.core.specialist import Specialist
from specialists.core.study import read_study
from tests.specialists.core.trained import specialist_files


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """An empty folder that ships and an empty home."""
    shipped, home = tmp_path / "weights", tmp_path / "home"
    shipped.mkdir()
    (home / "specialists").mkdir(parents=True)
    monkeypatch.setattr(registry, "SHIPPED", shipped)
    monkeypatch.setenv("CONSILIUM_HOME", str(home))
    return shipped, home / "specialists"


def test_shipped_and_own_specialists(folders):
    shipped, home = folders
    specialist_files(shipped, "breast_b")
    specialist_files(shipped, "breast_a")
    specialist_files(home, "ward_net", domain="ward")
    specialist_files(home, "ward_unet", "segmentation", domain="ward")
    assert list(registry.cards()) == ["breast_a", "breast_b", "ward_net", "ward_unet"]
    assert registry.domains() == {"breast": ("breast_a", "breast_b"), "ward": ("ward_net",)}
    assert registry.problems() == []
    assert registry.load("ward_net").card.domain == "ward"
    assert registry.load("breast_a") is registry.load("breast_a")


def test_no_home_at_all(monkeypatch, tmp_path):
    monkeypatch.setenv("CONSILIUM_HOME", str(tmp_path / "absent"))
    assert isinstance(registry.cards(), dict)


def test_a_broken_card_hides_no_other(folders):
    shipped, home = folders
    specialist_files(shipped, "breast_a")
    (home / "broken.json").write_text("{")
    assert list(registry.cards()) == ["breast_a"]
    assert len(registry.problems()) == 1
    assert "broken.json" in registry.problems()[0]
    with pytest.raises(BadCard, match=r"broken\.json"):
        registry.load("broken")
    assert registry.load("breast_a")


def test_one_of_the_home_replaces_none_that_ships(folders):
    shipped, home = folders
    specialist_files(shipped, "breast_a")
    specialist_files(home, "breast_a", domain="other")
    assert registry.cards()["breast_a"].domain == "breast"
    assert "belongs to one that ships" in registry.problems()[0]


def test_a_changed_card_is_read_again(folders):
    _, home = folders
    specialist_files(home, "ward_net")
    before = registry.load("ward_net")
    assert registry.cards()["ward_net"].title == "ward_net"
    path = home / "ward_net.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "title": "another title"}))
    assert registry.cards()["ward_net"].title == "another title"
    assert registry.load("ward_net") is not before


def test_unknown_names_say_what_there_is(folders):
    specialist_files(folders[0], "breast_a")
    with pytest.raises(UnknownSpecialist, match=r"'lde'\. Known: breast_a\."):
        registry.load("lde")
    with pytest.raises(UnknownSpecialist, match="Known: none"):
        registry.load_index("breast")
    with pytest.raises(UnknownSpecialist, match="triage"):
        registry.triage()
    for name in ("../breast_a", "", "/etc/passwd"):
        with pytest.raises(UnknownSpecialist):
            registry.load(name)
        with pytest.raises(UnknownSpecialist):
            registry.load_index(name)


def test_a_card_without_weights_is_listed_and_refused(folders):
    specialist_files(folders[0], "breast_a")
    (folders[0] / "breast_a.safetensors").unlink()
    assert "breast_a" in registry.cards()
    with pytest.raises(MissingWeights):
        registry.load("breast_a")


def test_similar_cases_through_the_domains_index(folders):
    shipped, _ = folders
    for name in ("breast_a", "breast_b"):
        specialist_files(shipped, name)
    noise = np.random.default_rng(0)
    images = [read_study(noise.integers(0, 255, (40, 40), dtype=np.uint8)) for _ in range(4)]
    card = IndexCard("breast", ("breast_a", "breast_b"))
    features = np.stack([_vector(study, card.specialists) for study in images])
    rows = [Row(f"{n}", "benign", f"p{n}", f"g{n}", "set", "CC0", study.dhash())
            for n, study in enumerate(images)]
    CaseIndex.build(rows, features, card).save(shipped / "index")
    assert registry.load_index("breast") is registry.load_index("breast")
    assert np.linalg.norm(registry.case_vector("breast", images[2])) == pytest.approx(1, abs=1e-5)
    assert {n.id for n in registry.similar_cases("breast", images[2])} == {"0", "1", "3"}  # not itself
    assert {n.id for n in registry.similar_cases("breast", images[2], patient="p0")} == {"1", "3"}
    assert len(registry.similar_cases("breast", images[2], k=1)) == 1


def _vector(study, names):
    return np.concatenate([registry.load(name).embed(study) for name in names]) / np.sqrt(len(names))


def test_listing_loads_no_network_library():
    code = ("import sys; from specialists.core import registry; registry.cards(); "
            "bad = {'torch', 'faiss', 'sklearn', 'transformers'} & set(sys.modules); assert not bad, bad")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_is_loaded_stays_within_the_budget(folders, monkeypatch):
    monkeypatch.setattr(registry, "LOADED", Loaded(10**9))
    for name in ("breast_a", "breast_b"):
        specialist_files(folders[0], name)
    first, second = registry.load("breast_a"), registry.load("breast_b")
    assert registry.LOADED.nbytes == first.nbytes + second.nbytes > 0
    registry.LOADED.resize(second.nbytes)
    assert registry.load("breast_b") is second
    assert registry.load("breast_a") is not first
    assert registry.LOADED.nbytes == first.nbytes


def test_threads_load_a_specialist_once(folders, monkeypatch):
    specialist_files(folders[0], "breast_a")
    opened, plain = [], Specialist.__init__

    def counted(self, *args, **kwargs):
        opened.append(self)
        plain(self, *args, **kwargs)

    monkeypatch.setattr(Specialist, "__init__", counted)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: registry.load("breast_a"), range(16)))
    assert len(opened) == 1
    assert all(one is opened[0] for one in found)
    assert found[0].runtime == "onnx"
