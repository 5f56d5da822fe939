"""In which precision nets are trained on this machine.

A CPU that cannot multiply bfloat16 itself does so 4 to 50 times slower than float32 (docs/log.md), and most laptops
cannot.
"""

from __future__ import annotations

from typing import Literal

import torch

NATIVE = ("avx512_bf16", "amx_bf16")
"""What a CPU that multiplies bfloat16 itself says of itself."""


def mixed_precision() -> Literal["bf16", "no"]:
    """Return what accelerate calls it: bfloat16 beside float32 on a GPU or such a CPU, else float32 alone."""
    if torch.cuda.is_available():
        return "bf16"
    told = getattr(torch.cpu, "get_capabilities", dict)()  # PyTorch before 2.10 does not tell
    return "bf16" if any(told.get(name) for name in NATIVE) else "no"
