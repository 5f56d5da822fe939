"""The `vllm serve` command for a checkpoint and its adapters: it only writes the command, and knows vLLM 0.29 to 0.32.

vLLM is never imported: it runs in an environment of its own. What a family can do was read in vLLM 0.32's models.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from assistant.errors import AdapterRefused

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values that vLLM takes for --max-lora-rank."""
SEEING = re.compile(r"\b(visual|vision_tower|vision_model|vision_encoder|image_tower|merger|deepstack_merger_list"
                    r"|multi_modal_projector|connector|embed_vision|vision_language_adapter)\b")
"""What vision towers and connectors are called in the weights of all families."""
UNSUPPORTED = {"use_dora": "DoRA", "lora_bias": "biases of LoRA", "alora_invocation_tokens": "activated LoRA",
               "layer_replication": "replicated layers", "modules_to_save": "whole modules beside the matrices",
               "use_qalora": "QALoRA", "use_bdlora": "block-diagonal LoRA"}
"""Settings of PEFT that vLLM refuses, and their names."""


@dataclass(frozen=True)
class Family:
    """What vLLM does for one kind of checkpoint."""

    tools: str | None = None
    """Its --tool-call-parser; None where the family's template takes no tools."""
    lora: bool = True
    """It takes adapters."""
    tower: bool = True
    """It takes adapters on the vision tower and the connector."""


FAMILIES: dict[str, Family] = {
    "qwen3_5": Family("qwen3_xml"),
    "qwen3_vl": Family("hermes"),
    "qwen2_5_vl": Family("hermes"),
    "qwen2_vl": Family("hermes"),
    "interns1": Family("hermes", tower=False),
    "internvl": Family("hermes", tower=False),      # as transformers writes them; read by vLLM's InternS1
    "medgemma": Family(),
    "gemma4": Family("gemma4"),
    "gemma3": Family(),
    "paligemma": Family(),
    "llava_onevision": Family(lora=False),
    "llava": Family(),
    "idefics3": Family(),
    "smolvlm": Family(),
    "mistral3": Family("mistral", tower=False),
    "llama4": Family("llama4_pythonic"),
    "glm4v": Family("glm45"),
    "kimi_vl": Family(lora=False),
    "deepseek_vl": Family(lora=False),
}
"""By the beginning of a model type, or anywhere in a model's name; the first that fits counts."""
UNKNOWN = Family(lora=False)


@dataclass(frozen=True)
class VllmServer:
    """How the server runs, whatever it serves."""

    host: str = "127.0.0.1"
    port: int = 8000
    name: str = ""
    """What clients call the model; empty: its folder's or hub's name."""
    images: int = 16
    """Images that one prompt may hold."""
    tensor_parallel: int = 1
    """GPUs that one copy of the model is spread over."""
    more: tuple[str, ...] = ()
    """Further flags, taken as they are."""
    program: tuple[str, ...] = ("vllm", "serve")
    """What takes the flags."""


def vllm_command(model: str | Path, adapters: Mapping[str, Path] | None = None,
                 server: VllmServer | None = None) -> list[str]:
    """Return the words of the command that serves a checkpoint (a folder or a name on the hub) and its adapters.

    Raises AdapterRefused for an adapter that vLLM would refuse or, worse, serve without its vision part.
    """
    how = server or VllmServer()
    family = family_of(model)
    words = [*how.program, str(model), "--served-model-name", how.name or Path(str(model)).name,
             "--host", how.host, "--port", str(how.port), "--limit-mm-per-prompt", json.dumps({"image": how.images})]
    if how.tensor_parallel > 1:
        words += ["--tensor-parallel-size", str(how.tensor_parallel)]
    if family.tools and _takes_tools(model):
        words += ["--enable-auto-tool-choice", "--tool-call-parser", family.tools]
    if adapters:
        words += _with_adapters(model, family, adapters)
    return [*words, *how.more]


def family_of(model: str | Path) -> Family:
    """Return what vLLM does for a checkpoint, by its config.json, or by its name where it is not here."""
    file = Path(model) / "config.json"
    told = str(json.loads(file.read_text()).get("model_type", "")) if file.is_file() else str(model)
    plain = re.sub(r"[-. ]", "_", told.lower())
    plain = re.sub(r"(gemma|llama)_(\d)", r"\1\2", plain)
    return next((family for name, family in FAMILIES.items() if name in plain), UNKNOWN)


def touches_vision(adapter: Path) -> bool:
    """Return whether an adapter changes the vision tower or the connector; raises AdapterRefused if unreadable.

    Its weights tell it: PEFT shortens target modules to endings ("q_proj") that towers and language share.
    """
    return any(SEEING.search(key) for key in _keys(adapter))


def lora_rank(adapter: Path) -> int:
    """Return the largest rank that an adapter has in any layer."""
    config = _config(adapter)
    return max([int(config["r"]), *map(int, (config.get("rank_pattern") or {}).values())])


def _with_adapters(model: str | Path, family: Family, adapters: Mapping[str, Path]) -> list[str]:
    if not family.lora:
        raise AdapterRefused(f"vLLM is not known to take adapters for {str(model)!r} (known: "
                             f"{', '.join(n for n, f in FAMILIES.items() if f.lora)}): merge it, with consilium "
                             "finetune merge, and serve the result.")
    for name, adapter in adapters.items():
        _check(name, adapter)
    seeing = [name for name, adapter in adapters.items() if touches_vision(adapter)]
    if seeing and not family.tower:
        raise AdapterRefused(f"Adapter {', '.join(seeing)} changes the vision tower or connector, which vLLM would "
                             f"leave out for {str(model)!r} without a word: merge it, with consilium finetune merge, "
                             "and serve the result.")
    rank = max(lora_rank(adapter) for adapter in adapters.values())
    most = next((r for r in RANKS if r >= rank), None)
    if most is None:
        raise AdapterRefused(f"An adapter has rank {rank}; vLLM takes at most {RANKS[-1]}: merge it, with consilium "
                             "finetune merge.")
    words = ["--enable-lora", "--max-loras", str(len(adapters)), "--max-lora-rank", str(most),
             "--lora-modules", *(f"{name}={Path(adapter).resolve()}" for name, adapter in adapters.items())]
    return [*words, "--enable-tower-connector-lora"] if seeing else words


def _check(name: str, adapter: Path) -> None:
    config = _config(adapter)
    if config.get("peft_type") != "LORA":
        raise AdapterRefused(f"Adapter {name!r} is of type {config.get('peft_type')}; vLLM serves LoRA alone.")
    odd = [word for key, word in UNSUPPORTED.items() if config.get(key)]
    if config.get("bias", "none") != "none":
        odd.append("biases")
    if odd:
        raise AdapterRefused(f"Adapter {name!r} has {', '.join(odd)}, which vLLM does not serve: merge it, with "
                             "consilium finetune merge, and serve the result.")


def _config(adapter: Path) -> dict[str, Any]:
    try:
        config = json.loads((Path(adapter) / "adapter_config.json").read_text())
    except (OSError, ValueError) as error:
        raise AdapterRefused(f"No adapter at {str(adapter)!r}: wanted a folder with adapter_config.json (PEFT); "
                             f"{error}") from error
    if not isinstance(config, dict) or not isinstance(config.get("r", 0), int):
        raise AdapterRefused(f"{str(adapter)!r}: adapter_config.json holds no configuration of PEFT.")
    return config


def _keys(adapter: Path) -> Iterable[str]:
    try:
        with safe_open(Path(adapter) / "adapter_model.safetensors", framework="np") as file:
            return list(file.keys())
    except (OSError, SafetensorError) as error:
        raise AdapterRefused(f"Adapter {str(adapter)!r} has no adapter_model.safetensors that can be read: {error}"
                             ) from error


def _takes_tools(model: str | Path) -> bool:
    """Return whether the chat template of a folder names tools; of a name on the hub the family decides."""
    folder = Path(model)
    if not (folder / "config.json").is_file():
        return True
    written = [file.read_text() for name in ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")
               if (file := folder / name).is_file()]
    return any(re.search(r"\btools\b", text) for text in written)
