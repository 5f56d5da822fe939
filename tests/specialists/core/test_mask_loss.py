"""The loss of drawn structures: what is not there is learned, and one pixel may be of two."""

from __future__ import annotations

import pytest
import torch
from monai.losses.dice import DiceCELoss

from specialists.core.mask_loss import mask_loss


def test_one_label_is_monais_dice_and_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 1, 8, 8, generator=generator)
    masks = (torch.rand(3, 1, 8, 8, generator=generator) > 0.7).float()
    assert mask_loss(logits, masks) == pytest.approx(float(DiceCELoss(sigmoid=True, batch=True)(logits, masks)))


@pytest.mark.parametrize("labels", [1, 2, 4])
def test_what_is_not_there_is_learned_for_any_number_of_labels(labels):
    logits = torch.full((2, labels, 8, 8), 5.0, requires_grad=True)
    loss = mask_loss(logits, torch.zeros(2, labels, 8, 8, dtype=torch.uint8))
    loss.backward()
    assert loss.item() == pytest.approx(6.0, abs=0.02)  # 5.007 of the cross-entropy, 1 of Dice
    assert logits.grad is not None
    assert float(logits.grad.sum()) > 0.9


def test_a_pixel_of_two_structures_is_learned_as_both():
    logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
    for _ in range(200):
        (slope,) = torch.autograd.grad(mask_loss(logits, torch.ones(1, 2, 4, 4)), logits)
        logits = (logits - 20 * slope).detach().requires_grad_()
    assert logits.detach().sigmoid().min() > 0.9
