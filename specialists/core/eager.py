"""A specialist's net as PyTorch runs it: built as its card configures it, on any device; exports nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from specialists.catalog import method_module
from specialists.core.card import Card
from specialists.core.errors import BadCard, MissingWeights
from specialists.core.inputs import reader
from specialists.core.method import Served
from specialists.core.packing import unpack


class Eager:
    """The net in single precision; holds no state that an answer changes."""

    runtime = "torch"

    def __init__(self, card: Card, tensors: Mapping[str, np.ndarray], device: str = "cpu") -> None:
        """Take the stored tensors, the net's under "model."; raises BadCard or MissingWeights."""
        module = method_module(card.method)
        try:
            net: torch.nn.Module = module.build(module.Config(**_frozen(card.config)))
        except (TypeError, ValueError) as error:
            raise BadCard(f"Card {card.name}: its config does not fit the method {card.method!r} ({error}); "
                          "wanted the arguments of its Config. Train it again.") from error
        stored = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
        state = {name: torch.from_numpy(value) for name, value in unpack(stored).items()}
        try:
            net.load_state_dict(state)
        except RuntimeError as error:
            raise MissingWeights(f"The weights of {card.name} do not fit the method {card.method!r} as its "
                                 "card configures it; wanted those it was trained with.") from error
        self.device = torch.device(device)
        self.served = Served(net, card.input.get("flip") is True).eval().requires_grad_(False).to(self.device)
        self.read = reader(module)
        self.nbytes = sum(value.nbytes for value in state.values())

    @torch.inference_mode()
    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return outputs (B, ...) and features (B, D) of images (B, C, ...) in 0..1."""
        outputs, features = self.served(torch.from_numpy(images).to(self.device))
        return outputs.float().cpu().numpy(), features.float().cpu().numpy()


def _frozen(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a card's config with lists as tuples, as frozen dataclasses hold them."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}
