"""A trained specialist as the start of a new net of the same shape: all its weights below the head."""

from __future__ import annotations

from safetensors.numpy import load_file
from torch import from_numpy, nn

from specialists.core import registry
from specialists.core.errors import MissingWeights
from specialists.core.packing import unpack

HEAD, NET = "head.", "model."


def begin(net: nn.Module, name: str) -> None:
    """Put the weights of the specialist `name` below the head of `net`; raises UnknownSpecialist or MissingWeights."""
    path = registry.place(name).with_suffix(".safetensors")
    stored = {key.removeprefix(NET): value for key, value in load_file(path).items() if key.startswith(NET)}
    state = {key: from_numpy(value) for key, value in unpack(stored).items() if not key.startswith(HEAD)}
    own = {key: value.shape for key, value in net.state_dict().items() if not key.startswith(HEAD)}
    if own != {key: value.shape for key, value in state.items()}:
        raise MissingWeights(f"The weights of {name} below its head have another shape than this net; wanted those of "
                             "the same method, configured alike. Choose another start, or none.")
    net.load_state_dict(state, strict=False)
