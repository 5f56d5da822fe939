"""What a vision tower made of the last images: one asked about again, or twice in a batch, is not looked at again.

It knows the towers of Qwen3-VL and Qwen2.5-VL, which take the patches of images one after the other and mix no two of
them; those of other families stay as they are. It stands aside where gradients are wanted, and tuning, which opens its
models by itself, never meets it. Patches are embedded by a product of matrices: PyTorch's convolution of a single step
gives the same, but takes a CPU six times as long.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures, Qwen3VLVisionModel

from assistant.generalist.lately import Lately

TOWERS = (Qwen3VLVisionModel, Qwen2_5_VisionTransformerPretrainedModel)
IMAGES = 64
"""How many images are remembered, at most."""
BYTES = 256 << 20
"""How much memory they may take; one of 1024 x 1024 pixels takes 32 MB in Qwen3-VL-8B, consilium-nano's take 0.08."""

Key = tuple[str | None, tuple[int, ...], bytes]
"""The adapter that changes the tower, the grid (T, H, W) and the SHA-256 of the processed pixels."""
Seen = tuple[torch.Tensor, ...]
"""Of one image, (tokens, width) each: what the connector makes of the last layer, and of those in between."""


class Sight:
    """Stands in the place of a tower's forward, for whoever has the model alone (`weights`)."""

    def __init__(self, tower: Any) -> None:
        """Take the place of the tower's forward."""
        self.seen: Lately[Seen] = Lately(IMAGES, BYTES)
        self._tower, self._forward, self._adapter = tower, tower.forward, None
        tower.forward = self
        _Patches(tower.patch_embed)

    def under(self, adapter: str | None) -> None:
        """Tell which of PEFT's adapters is active; one that leaves tower and connector alone sees as the base does."""
        names = [f".{name}." for name, _ in self._tower.named_parameters()] if adapter else ()
        self._adapter = adapter if any(f".{adapter}." in name for name in names) else None

    def __call__(self, hidden_states: torch.Tensor, grid_thw: torch.Tensor, **kwargs: Any) -> Any:
        """Return what the tower makes of images: patches (N, values) of all, grids (images, 3)."""
        if torch.is_grad_enabled() or any(isinstance(value, torch.Tensor) for value in kwargs.values()):
            return self._forward(hidden_states, grid_thw=grid_thw, **kwargs)
        images = list(zip(hidden_states.split(grid_thw.prod(-1).tolist()), grid_thw, strict=True))
        keys = [self._key(*image) for image in images]
        found = {key: seen for key in keys if (seen := self.seen.get(key)) is not None}
        new = {key: image for key, image in zip(keys, images, strict=True) if key not in found}
        if new:
            found |= self._looked(new, kwargs)
        merged, *between = (torch.cat(parts) for parts in zip(*(found[key] for key in keys), strict=True))
        return BaseModelOutputWithDeepstackFeatures(pooler_output=merged, deepstack_features=between)

    def _key(self, pixels: torch.Tensor, grid: torch.Tensor) -> Key:
        raw = pixels.detach().cpu().contiguous().view(torch.uint8).numpy().data
        return self._adapter, tuple(grid.tolist()), hashlib.sha256(raw).digest()

    def _looked(self, images: Mapping[Key, tuple[torch.Tensor, torch.Tensor]], kwargs: Mapping[str, Any]
                ) -> dict[Key, Seen]:
        """Return what the tower makes of images, each in memory of its own, and remember it."""
        pixels, grids = zip(*images.values(), strict=True)
        made = self._forward(torch.cat(pixels), grid_thw=torch.stack(grids), **kwargs)
        layers = [made.pooler_output, *(getattr(made, "deepstack_features", None) or ())]
        sizes = [len(patches) // self._tower.spatial_merge_size ** 2 for patches in pixels]
        parts = zip(*(layer.split(sizes) for layer in layers), strict=True)
        found = {key: tuple(part.clone() for part in own) for key, own in zip(images, parts, strict=True)}
        for key, seen in found.items():
            self.seen.put(key, seen, sum(part.nbytes for part in seen))
        return found


class _Patches:
    """Stands in the place of the forward of a tower's patch embedding."""

    def __init__(self, embed: Any) -> None:
        self._embed, self._forward = embed, embed.forward
        embed.forward = self

    def __call__(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Embed patches (N, values)."""
        step = self._embed.proj
        if type(step) is not torch.nn.Conv3d:       # an adapter lies over it
            return self._forward(hidden_states)
        return torch.nn.functional.linear(hidden_states.to(step.weight.dtype), step.weight.flatten(1), step.bias)


def remembering(model: Any) -> Sight | None:
    """Let a model remember what it sees; None where its family's tower is not known."""
    tower = next((module for module in model.modules() if isinstance(module, TOWERS)), None)
    return None if tower is None else Sight(tower)
