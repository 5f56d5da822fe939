"""Copied into the environment of vLLM and imported there by every process.

PyPI's torchvision is a CUDA build; beside PyTorch without CUDA it imports only where these operators are declared.
"""

from torch import library

KEPT = library.Library("torchvision", "FRAGMENT")
for name in ("nms", "qnms"):
    KEPT.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
