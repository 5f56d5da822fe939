"""The recipe for ordered grades: crop, losses, augmentation, and the net that sees both eyes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from specialists.core.fit import fit
from specialists.core.method import Served
from specialists.datasets.drawn import fundus
from specialists.grading import dr_recipe
from specialists.grading.dr_recipe import Config


def eye(side: int = 96) -> Image.Image:
    return Image.fromarray(fundus(np.random.default_rng(0), side, 3).pixels)


def test_the_crop_keeps_the_field_and_is_done_once() -> None:
    page = Image.new("RGB", (240, 140), (4, 3, 5))
    page.paste(eye(), (72, 22))
    cropped = dr_recipe.prepare(page)
    assert abs(cropped.width - 90) <= 4  # the field is 0.92 of the drawn side
    assert abs(cropped.height - 90) <= 4
    assert dr_recipe.prepare(cropped) is cropped


def test_an_image_without_a_black_border_stays() -> None:
    gray = Image.fromarray(np.random.default_rng(0).integers(60, 200, (64, 80), dtype=np.uint8))
    assert dr_recipe.prepare(gray) is gray


def test_an_odd_box_gives_the_central_square() -> None:
    page = Image.new("RGB", (100, 60))
    page.paste((200, 120, 60), (48, 0, 54, 60))
    assert dr_recipe.prepare(page).size == (60, 60)
    assert dr_recipe.prepare(Image.new("RGB", (50, 70))).size == (50, 50)


@pytest.mark.parametrize("name", ["mse", "ce"])
def test_a_loss_teaches_and_answers_with_one_number(name: str) -> None:
    config = dataclasses.replace(dr_recipe.tiny(), loss=name, epochs=10, augmentation="none", label_smoothing=0.0)
    rng = np.random.default_rng(0)
    grades = np.arange(24) % 3
    pixels = (rng.integers(0, 40, (24, 32, 32, 3)) + 80 * grades[:, None, None, None]).astype(np.uint8)
    torch.manual_seed(0)
    net = fit(dr_recipe.build(config), pixels, grades.astype(np.float32), dr_recipe.loss(config), config)
    with torch.inference_mode():
        said, features = Served(net, True)(torch.from_numpy(pixels).movedim(-1, 1).float() / 255)
    assert said.shape == (24, 1)
    assert features.shape == (24, 16)
    assert np.corrcoef(said[:, 0].numpy(), grades)[0, 1] > 0.8


@pytest.mark.parametrize("name", dr_recipe.LOSSES)
def test_every_loss_is_least_at_the_true_grade(name: str) -> None:
    measure = dr_recipe.loss(dataclasses.replace(dr_recipe.tiny(), loss=name, label_smoothing=0.0))
    said = [[0.0], [1.0], [2.0]] if name in ("mse", "mae") else [[4.0, 1, 0], [1, 4, 1], [0, 1, 4]]
    truth = torch.tensor([0.0, 1.0, 2.0])
    right, wrong = (float(measure(lambda images: images, torch.tensor(said), grades))  # type: ignore[arg-type]
                    for grades in (truth, truth.flip(0)))
    assert right < wrong


def test_the_answer_of_a_distribution_is_its_mean_or_its_top() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.1, 0.4]]))
    mean = dr_recipe.build(dataclasses.replace(dr_recipe.tiny(), loss="ce"))
    top = dr_recipe.build(dataclasses.replace(dr_recipe.tiny(), loss="ce", top=True))
    assert mean.grade(logits).item() == pytest.approx(0.9)
    assert top.grade(logits).item() == 0


@pytest.mark.parametrize("kind", dr_recipe.AUGMENTATIONS)
def test_augmentation_follows_the_seed_and_keeps_grades(kind: str) -> None:
    images, grades = torch.rand(6, 3, 24, 24), torch.arange(6)
    config = Config(augmentation=kind)
    first, second = (dr_recipe.augment(images, grades, config, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], grades)
    assert torch.equal(first[0], images) == (kind == "none")
    assert first[0].min() >= 0
    assert first[0].max() <= 1


def test_choices_that_are_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match="focal"):
        Config(loss="focal")


def test_class_balanced_sampling_draws_the_rare_as_often() -> None:
    class Count(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.weight * images.mean()

    seen: list[int] = []

    def loss(model: torch.nn.Module, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        seen.extend(int(v) for v in targets)
        return model(images)

    targets = np.array([0] * 90 + [1] * 10)
    config = dataclasses.replace(dr_recipe.tiny(), epochs=8, batch=20, balanced=True, augmentation="none")
    fit(Count(), np.zeros((100, 16, 16, 3), np.uint8), targets, loss, config)
    assert 0.4 < np.mean(seen) < 0.6


def test_both_orders_of_a_pair_are_taught() -> None:
    own, other = dr_recipe.pairs(["p", "q", "p", "r"])
    assert own.tolist() == [0, 2]
    assert other.tolist() == [2, 0]


def test_the_pair_net_learns_which_eye_is_asked_about() -> None:
    features = torch.randn(400, 16, generator=torch.Generator().manual_seed(0))
    grades = 2 + features[:, 0].clamp(-2, 2)
    own, other = dr_recipe.pairs([str(i // 2) for i in range(400)])
    head = dr_recipe.fit_pair(features[own], features[other], grades[own], epochs=20)
    with torch.inference_mode():
        left, right = head(features[:1], features[1:2]), head(features[1:2], features[:1])
        said = head(features[own], features[other])[:, 0]
    assert not torch.allclose(left, right)
    assert np.corrcoef(said.numpy(), grades[own].numpy())[0, 1] > 0.8
