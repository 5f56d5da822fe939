"""Nets as ONNX: equal to PyTorch, kept and found again, made again when damaged, left alone when unequal."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from specialists.core import onnx_export, onnx_files, registry
from specialists.core.card import write_card
from specialists.core.errors import NotExported
from specialists.core.method import Served
from specialists.core.specialist import Specialist
from specialists.core.study import Study, read_study
from tests.specialists.core.trained import specialist_files


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home of its own."""
    monkeypatch.setenv("CONSILIUM_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "onnx"


def studies(count: int) -> list[Study]:
    """Images of noise."""
    noise = np.random.default_rng(0)
    return [read_study(noise.integers(0, 255, (40, 50, 3), dtype=np.uint8)) for _ in range(count)]


def refuse_export(*_: object) -> None:
    """Stand where an exporter would, in a test in which none may be asked."""
    raise AssertionError("exported")


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_onnx_answers_as_pytorch_for_any_batch(tmp_path, home, task, flip):
    card = specialist_files(tmp_path, "net", task, input={"flip": flip})
    eager, quick = Specialist(card, tmp_path), Specialist(card, tmp_path, runtime="onnx")
    assert [eager.runtime, quick.runtime] == ["torch", "onnx"]
    for count in (1, 2, 9):
        for wanted, got in zip(eager.raw(studies(count)), quick.raw(studies(count)), strict=True):
            assert got.shape == wanted.shape
            np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert quick.predict(studies(1)[0]).words() == eager.predict(studies(1)[0]).words()


def test_the_file_is_found_again(tmp_path, home, monkeypatch):
    card = specialist_files(tmp_path, "net")
    before = Specialist(card, tmp_path, runtime="auto").raw(studies(1))
    (file,) = home.iterdir()
    monkeypatch.setattr(onnx_export, "export", refuse_export)
    again = Specialist(card, tmp_path, runtime="auto")
    assert again.runtime == "onnx"
    np.testing.assert_array_equal(again.raw(studies(1))[0], before[0])
    assert list(home.iterdir()) == [file]


def test_other_weights_take_the_place_of_the_old(tmp_path, home):
    card = specialist_files(tmp_path, "net")
    Specialist(card, tmp_path, runtime="auto")
    specialist_files(tmp_path, "net_of_another_name")
    (file,) = home.iterdir()
    other = replace(card, weights=replace_file(tmp_path, "net_of_another_name", "net"))
    assert Specialist(other, tmp_path, runtime="auto").runtime == "onnx"
    (new,) = home.iterdir()
    assert new.name != file.name


def replace_file(folder: Path, source: str, target: str) -> dict:
    """Put the weights of one specialist in the place of another's; return what its card says of them."""
    (folder / f"{target}.safetensors").write_bytes((folder / f"{source}.safetensors").read_bytes())
    return {**json.loads((folder / f"{source}.json").read_text())["weights"], "file": f"{target}.safetensors"}


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_file_is_made_again(tmp_path, home, caplog, damage):
    card = specialist_files(tmp_path, "net")
    wanted = Specialist(card, tmp_path, runtime="auto").raw(studies(1))[0]
    (file,) = home.iterdir()
    data = file.read_bytes()
    middle = len(data) // 2
    file.write_bytes({"cut": data[:middle], "empty": b"",
                      "changed": data[:middle] + bytes([data[middle] ^ 64]) + data[middle + 1:]}[damage])
    again = Specialist(card, tmp_path, runtime="auto")
    assert again.runtime == "onnx"
    assert "damaged" in caplog.text
    np.testing.assert_allclose(again.raw(studies(1))[0], wanted, atol=1e-6)
    assert [path.stat().st_size > 1000 for path in home.iterdir()] == [True]


def test_a_file_that_is_whole_and_no_net_is_made_again(tmp_path, home, caplog):
    card = specialist_files(tmp_path, "net")
    key = onnx_files.key_of(card, str(card.weights["sha256"]))
    home.mkdir(parents=True)
    onnx_files.keep(card, key, b"no net at all")
    assert Specialist(card, tmp_path, runtime="auto").runtime == "onnx"
    assert "damaged" in caplog.text


def test_an_unequal_export_is_refused_with_the_reason(tmp_path, home, caplog, monkeypatch):
    card = specialist_files(tmp_path, "net")
    traced = onnx_export._traced

    def wrong(eager, images):
        served = eager.served
        eager.served = torch.nn.Sequential(Scaled(), served)
        data = traced(eager, images)
        eager.served = served
        return data

    monkeypatch.setattr(onnx_export, "_traced", wrong)
    with caplog.at_level(logging.WARNING):
        fallen = Specialist(card, tmp_path, runtime="auto")
    assert fallen.runtime == "torch"
    assert "net answers by PyTorch" in caplog.text
    assert "outputs differ by" in caplog.text
    assert not list(home.iterdir())
    with pytest.raises(NotExported, match="differ"):
        Specialist(card, tmp_path, runtime="onnx")


class Scaled(torch.nn.Module):
    """Images a little brighter than given."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the images, 1.05 times."""
        return images * 1.05


def test_a_net_without_an_onnx_form_answers_by_pytorch(tmp_path, home, caplog, monkeypatch):
    card = specialist_files(tmp_path, "net")
    plain = Served.forward

    def odd(self, images):
        outputs, features = plain(self, images)
        return outputs + torch.linalg.eigvalsh(images[:, 0]).mean(), features  # ONNX knows no eigenvalues

    monkeypatch.setattr(Served, "forward", odd)
    assert Specialist(card, tmp_path, runtime="auto").runtime == "torch"
    assert "no ONNX form" in caplog.text


def test_nan_is_not_equal(tmp_path, home, monkeypatch):
    card = specialist_files(tmp_path, "net")
    monkeypatch.setattr(onnx_export, "difference", lambda *_: float("nan"))
    with pytest.raises(NotExported, match="nan"):
        Specialist(card, tmp_path, runtime="onnx")


def test_without_a_home_that_can_be_written_it_answers_by_pytorch(tmp_path, monkeypatch, caplog):
    card = specialist_files(tmp_path, "net")
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("CONSILIUM_HOME", str(tmp_path / "file"))
    assert Specialist(card, tmp_path, runtime="auto").runtime == "torch"
    assert "cannot be written" in caplog.text


def test_writers_at_once_leave_one_whole_file(tmp_path, home):
    card = specialist_files(tmp_path, "net")
    home.mkdir(parents=True)
    key, data = onnx_files.key_of(card, "weights"), b"x" * 200_000
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: onnx_files.keep(card, key, data), range(12)))
    (file,) = home.iterdir()
    assert file.read_bytes() == data


def test_the_key_follows_all_that_an_answer_depends_on(tmp_path):
    card = specialist_files(tmp_path, "net")
    keys = {onnx_files.key_of(one, sha256) for one, sha256 in [
        (card, "a"), (card, "b"), (replace(card, config={**card.config, "dropout": 0.3}), "a"),
        (replace(card, input={**card.input, "flip": True}), "a"), (replace(card, method="residual"), "a")]}
    assert len(keys) == 5
    assert onnx_files.key_of(replace(card, title="Another"), "a") == onnx_files.key_of(card, "a")


def test_threads_are_as_set_or_as_asked_of_openmp(monkeypatch):
    monkeypatch.setattr(onnx_files, "_threads", [])
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert onnx_files.threads() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert 1 <= onnx_files.threads() <= onnx_files.MOST_THREADS
    onnx_files.set_threads(2)
    assert onnx_files.threads() == 2
    with pytest.raises(ValueError, match="wanted 1 or more"):
        onnx_files.set_threads(0)


def test_a_method_with_an_input_of_its_own_keeps_it(tmp_path, home, monkeypatch):
    card = specialist_files(tmp_path, "net")
    module = sys.modules["specialists.classification.small_cnn"]
    monkeypatch.setattr(module, "prepare", lambda image: image.point(lambda value: 255 - value), raising=False)
    eager, quick = Specialist(card, tmp_path), Specialist(card, tmp_path, runtime="onnx")
    image = studies(1)[0].image()
    turned = read_study(image.point(lambda value: 255 - value))
    monkeypatch.delattr(module, "prepare")
    wanted = Specialist(card, tmp_path).raw([turned])[0]
    for specialist in (eager, quick):
        np.testing.assert_allclose(specialist.raw([read_study(image)])[0], wanted, atol=1e-5)


def test_an_exported_specialist_answers_without_pytorch(tmp_path, monkeypatch):
    home = tmp_path / "home"
    monkeypatch.setenv("CONSILIUM_HOME", str(home))
    cards = [specialist_files(home / "specialists", f"ward_{task}", task) for task in ("classification",
                                                                                       "segmentation")]
    for card in cards:
        write_card(card, home / "specialists" / f"{card.name}.json")
        assert registry.load(card.name).runtime == "onnx"
    code = ("import sys, numpy as np; from specialists.core import registry; from specialists.core.study import "
            "read_study; study = read_study(np.zeros((40, 50, 3), np.uint8)); "
            "found = [registry.load(f'ward_{t}').predict(study).specialist for t in ('classification', "
            "'segmentation')]; bad = {'torch', 'monai', 'sklearn', 'onnx'} & set(sys.modules); "
            "assert not bad, bad; print(found)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "ward_segmentation" in done.stdout
