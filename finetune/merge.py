"""Merges an adapter into its model, so that one checkpoint serves."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from peft import PeftConfig, PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import ModulesToSaveWrapper
from safetensors import SafetensorError

from assistant.errors import AdapterRefused
from assistant.generalist.adapters import check_adapter, check_base
from assistant.generalist.habits import read_habits
from finetune import looks
from finetune.beforehand import check_folder, check_free
from finetune.card import readme
from finetune.model import HABITS, folder_of, hashes, open_checkpoint, save

CARD = "card.json"


def merge(model: Path, adapter: Path, out: Path) -> None:
    """Write the checkpoint `model` with the adapter's low-rank matrices added to its weights, and the adapter's card.

    It tells of itself what the two together would: the kinds of both, and what was named rightly with the adapter.
    Raises AdapterRefused where the adapter is broken or was not tuned on this model, and BadData where `out` is either,
    or holds another checkpoint or run.
    """
    check_folder(out, model=model, adapter=adapter)
    check_free(out)
    check_adapter(str(adapter))
    check_base(str(adapter), str(folder_of(model)))
    card = _card(adapter)
    habits = read_habits(folder_of(model)).with_skill(read_habits(adapter))
    save(_merged(model, adapter), model, out)
    if any((folder / HABITS).is_file() for folder in (folder_of(model), adapter)):
        looks.tell(out, habits.kinds, habits.look)
    if card:
        merged = {**card, "name": out.name, "merged": {"adapter": card["name"], "files": card["files"]},
                  "files": hashes(out)}
        (out / CARD).write_text(json.dumps(merged, indent=1, ensure_ascii=False) + "\n")
        (out / "README.md").write_text(readme(merged))


def _card(adapter: Path) -> dict[str, Any]:
    """Return the adapter's card, {} where it has none; raises AdapterRefused where it is not one of a run."""
    if not (adapter / CARD).is_file():
        return {}
    try:
        card = json.loads((adapter / CARD).read_text(encoding="utf-8"))
        readme({**card, "merged": card["files"]})
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        told = f"{type(error).__name__}: {error}"
        raise AdapterRefused(f"{CARD} of the adapter {adapter.name!r} cannot be read ({told}); wanted it as `consilium "
                             "finetune lora` writes it. Take it away to merge without it.") from error
    return card


def _merged(model: Path, adapter: Path) -> Any:
    """Return the net with the adapter merged in; raises AdapterRefused where the two do not fit."""
    base, _ = open_checkpoint(model)
    try:
        config: Any = PeftConfig.from_pretrained(str(adapter))
        if config.is_prompt_learning:
            raise ValueError(f"it is of type {config.peft_type}, not low-rank matrices (LoRA).")
        net = PeftModel(base, config)
        read = net.load_adapter(str(adapter), "default", torch_device="cpu")
        if lost := [*read.missing_keys, *read.unexpected_keys]:
            raise ValueError(f"{len(lost)} of its weights are missing or belong nowhere, such as {lost[0]}.")
        _check_untied(net, adapter)
        return net.merge_and_unload()
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, SafetensorError) as error:
        told = " ".join(str(error).split())
        raise AdapterRefused(f"Adapter {str(adapter)!r} does not fit {str(model)!r}: {told[:400]} Wanted one that was "
                             "tuned on this checkpoint.") from error


def _check_untied(net: Any, adapter: Path) -> None:
    """Raise AdapterRefused where it changes a matrix that stands in several places, which merging would change too."""
    places = Counter(id(weight) for _, weight in net.named_parameters(remove_duplicate=False))
    for name, module in net.named_modules():
        if isinstance(module, BaseTunerLayer):
            changed: Any = module.get_base_layer()
        elif isinstance(module, ModulesToSaveWrapper):
            changed = module.original_module
        else:
            continue
        if any(places[id(weight)] > 1 for weight in changed.parameters()):
            place = name.removeprefix("base_model.model.")
            raise AdapterRefused(f"Adapter {str(adapter)!r} changes {place}, whose matrix this checkpoint uses in "
                                 "another place too (tied embeddings): merged, it would change both. Serve "
                                 "the adapter over the checkpoint (--adapter), or tune one that leaves lm_head and the "
                                 "embeddings alone.")
