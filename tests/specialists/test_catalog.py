"""The contract of a method, walked over the catalog: a new method is tested by existing."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch

import specialists
from specialists.catalog import METHODS, TASKS, method_module
from specialists.core import registry
from specialists.core.errors import UnknownSpecialist
from specialists.core.fit import fit
from specialists.core.method import class_weights, weighted_cross_entropy
from specialists.zoo import DOMAINS, OPINIONS, TOOLS

NAMES = [name for methods in METHODS.values() for name in methods]
CLASSIFIERS = sorted(METHODS["classification"])
FOLDER = Path(specialists.__file__).parent


def drawn(count: int = 16, size: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Return dark and bright squares (N, size, size, 3) and their classes."""
    rng = np.random.default_rng(0)
    targets = np.arange(count) % 2
    pixels = rng.integers(0, 60, (count, size, size, 3)) + 150 * targets[:, None, None, None]
    return pixels.astype(np.uint8), targets.astype(np.int64)


def trained(name: str) -> torch.nn.Module:
    """Return the method's tiny net after its tiny training."""
    module = method_module(name)
    config = module.tiny()
    torch.manual_seed(config.seed)
    pixels, targets = drawn(size=config.size)
    loss = weighted_cross_entropy(class_weights(targets, 2), config.label_smoothing)
    return fit(module.build(config), pixels, targets, loss, config)


def test_the_catalog_is_the_folders() -> None:
    assert set(METHODS) == set(TASKS)
    for task, methods in METHODS.items():
        assert {p.stem for p in (FOLDER / task).glob("*.py")} - {"__init__", "task"} == set(methods)


@pytest.mark.parametrize("name", NAMES)
def test_a_method_file_stands_in_the_order_of_all(name: str) -> None:
    module = method_module(name)
    source = inspect.getsource(module)
    places = [source.index(part) for part in ("METHOD = ", "class Config(", "def tiny(", "def build(")]
    assert places == sorted(places)
    assert module.METHOD.paper.startswith("https://")
    assert module.METHOD.license


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_training_twice_gives_equal_weights(name: str) -> None:
    first, second = (trained(name).state_dict() for _ in range(2))
    assert all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_parameter_gets_a_gradient_and_the_input_stays(name: str) -> None:
    module = method_module(name)
    config = module.tiny()
    net = module.build(config).train()
    images = torch.rand(4, 3, config.size, config.size)
    before = images.clone()
    net(images).square().sum().backward()
    assert torch.equal(images, before)
    assert [n for n, p in net.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_saved_weights_give_the_same_result(name: str, tmp_path: Path) -> None:
    net, module = trained(name), method_module(name)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    again = module.build(module.tiny()).eval()
    again.load_state_dict(torch.load(tmp_path / "net.pt"))
    images = torch.rand(2, 3, module.tiny().size, module.tiny().size)
    assert torch.equal(net(images), again(images))


def test_an_unknown_method_names_those_that_exist() -> None:
    with pytest.raises(UnknownSpecialist, match="small_cnn"):
        method_module("large_cnn")


def test_what_ships_has_complete_cards() -> None:
    shipped = {n: c for n, c in registry.cards().items() if (FOLDER / "weights" / f"{n}.json").is_file()}
    wanted = {f"{d.name}_{m}" for d in DOMAINS if d.ships for m in OPINIONS} | {t.name for t in TOOLS if t.ships}
    assert wanted | {"triage"} == set(shipped)
    for name, card in shipped.items():
        assert card.license, name
        assert card.paper.startswith("https://"), name
        assert card.limits, name
        assert card.figures["val"]["n"] > 0, name
        assert card.trained["seconds"] > 0, name
        assert (FOLDER / "weights" / f"{name}.safetensors").stat().st_size == card.weights["bytes"], name
