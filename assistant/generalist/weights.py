"""One checkpoint in memory and the PEFT adapters laid over it; whoever runs it has it alone.

It knows no conversations and trains nothing.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForImageTextToText
from transformers.utils import logging as transformers_logging

from assistant.errors import AdapterRefused, GeneralistError
from assistant.generalist.adapters import check_adapter, check_base
from assistant.generalist.processors import load_processor
from assistant.generalist.sight import Sight, remembering


class Weights:
    """A checkpoint's model and processor, read at their first use, and any number of adapters by their folders."""

    def __init__(self, path: str, device: str = "auto") -> None:
        """Take a folder or a name on the hub, and where to run: "auto" is the first GPU, else the CPU."""
        self.path, self.device = path, device
        self.model: Any = None
        self.processor: Any = None
        self.sight: Sight | None = None
        """What the model saw last, where its family is known."""
        self.rolls = True
        """Replies may join those that are being written (`rolling`), as far as is known."""
        self.wanted: set[object] = set()
        """Who waits to lay an adapter: a running batch takes in nobody meanwhile, and none begins."""
        self._user = 0
        """The thread that runs the model."""
        self._lock = threading.RLock()
        self._laid = threading.Condition()
        self._names: dict[str, str] = {}
        self._active: str | None = None

    def load(self) -> tuple[Any, Any]:
        """Return model and processor: float32 on a CPU, the stored type on a GPU."""
        found = self.model, self.processor
        if found[0] is not None:        # without waiting for whoever runs it
            return found
        with self._lock:
            if self.model is None:
                gpu = self.device == "auto" and torch.cuda.is_available()
                device = "cuda" if gpu else "cpu" if self.device == "auto" else self.device
                try:
                    with _quiet():
                        model: Any = AutoModelForImageTextToText.from_pretrained(
                            self.path, dtype=torch.float32 if device == "cpu" else "auto"
                        )
                    self.processor = load_processor(self.path)
                except (OSError, ValueError) as error:
                    raise GeneralistError(
                        f"Generalist {self.path!r} cannot be loaded: {error} Wanted the folder of a "
                        "vision-language checkpoint, or a model's name on the hub."
                    ) from error
                self.sight = remembering(model)
                self.model = model.to(device).eval()
            return self.model, self.processor

    def lay(self, adapter: str) -> None:
        """Read an adapter beside those that are there; raises AdapterRefused where it does not fit."""
        if adapter in self._names:
            return
        with self._first(), self._lock:
            if adapter in self._names:
                return
            check_adapter(adapter)
            check_base(adapter, self.path)
            self.load()
            try:
                self._read(adapter, f"adapter_{len(self._names)}")
            except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
                self._forget()
                told = " ".join(str(error).split())
                raise AdapterRefused(
                    f"Adapter {adapter!r} does not fit {self.path!r}: {told[:400]} Wanted one that was tuned "
                    "on this checkpoint."
                ) from error

    @contextlib.contextmanager
    def _first(self) -> Iterator[None]:
        """Be waited for by whoever would run the model next."""
        me = object()
        self.wanted.add(me)
        try:
            yield
        finally:
            with self._laid:
                self.wanted.discard(me)
                self._laid.notify_all()

    @contextlib.contextmanager
    def using(self, adapter: str | None = None) -> Iterator[Any]:
        """Yield the model with this adapter (None: with none), for the caller alone until the block ends.

        Within a block of its own a thread gets the model as it is, whoever waits.
        """
        if self._user == threading.get_ident():
            yield self.model
            return
        with self._laid:
            self._laid.wait_for(lambda: not self.wanted)
        with self._lock:
            if adapter is not None:
                self.lay(adapter)
            model, _ = self.load()
            if self._names and adapter != self._active:
                if adapter is None:
                    model.base_model.disable_adapter_layers()
                else:
                    model.base_model.enable_adapter_layers()
                    model.set_adapter(self._names[adapter], inference_mode=True)
                self._activated(adapter)
            self._user = threading.get_ident()
            try:
                yield model
            finally:
                self._user = 0

    def _read(self, adapter: str, name: str) -> None:
        # bitsandbytes, which peft imports, complains of a kernel that no CPU needs.
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
        from peft import PeftConfig, PeftModel  # slow to import, seldom wanted

        config: Any = PeftConfig.from_pretrained(adapter)
        if config.is_prompt_learning:
            raise ValueError(f"it is of type {config.peft_type}, not low-rank matrices (LoRA).")
        config.inference_mode = True
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            if self._names:
                self.model.add_adapter(name, config)
            else:
                self.model = PeftModel(self.model, config, adapter_name=name)
            read = self.model.load_adapter(adapter, name, torch_device=str(self.model.device))
        if lost := [*read.missing_keys, *read.unexpected_keys]:
            raise ValueError(f"{len(lost)} of its weights are missing or belong nowhere, such as {lost[0]}.")
        self.model.eval()
        self.model.base_model.enable_adapter_layers()
        self.model.set_adapter(name, inference_mode=True)
        self._names[adapter] = name
        if self.sight is not None:
            self.sight.seen.clear()         # an adapter may bring biases, which all share
        self._activated(adapter)

    def _activated(self, adapter: str | None) -> None:
        self._active = adapter
        if self.sight is not None:
            self.sight.under(None if adapter is None else self._names[adapter])

    def _forget(self) -> None:
        """Drop a model that holds half an adapter; it is read again at its next use."""
        self.model, self.sight, self._active = None, None, None
        self._names.clear()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Show no bar while weights are read."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
