"""The consilium's public names; nothing heavy is loaded before one of them is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assistant.assistant import Assistant
    from assistant.steps import Answer, Question

__all__ = ["Answer", "Assistant", "Question"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        module = "assistant.assistant" if name == "Assistant" else "assistant.steps"
        return getattr(import_module(module), name)
    raise AttributeError(f"module 'assistant' has no attribute {name!r}; known: {', '.join(__all__)}")
