"""The loss of nets that draw structures: each label is there or not, whatever the others are.

MONAI's DiceCELoss is that for one label alone: with several its cross-entropy is a softmax over the labels, which knows
no background and lets no pixel be of two of them (cup and disc).
"""

from __future__ import annotations

import torch.nn.functional as F
from monai.losses.dice import DiceLoss
from torch import Tensor

_dice = DiceLoss(sigmoid=True, batch=True)


def mask_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Return binary cross-entropy plus Dice loss over the batch, so that empty masks do not rule.

    Both are (B, labels, *space), masks 0 or 1; the loss is a scalar.
    """
    logits, masks = logits.float(), masks.float()
    return _dice(logits, masks) + F.binary_cross_entropy_with_logits(logits, masks)
