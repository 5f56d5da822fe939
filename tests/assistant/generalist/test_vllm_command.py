"""The command that starts vLLM: what each family gets, and adapters that vLLM would serve wrongly are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from assistant.errors import AdapterRefused
from assistant.generalist.vllm_command import VllmServer, lora_rank, touches_vision, vllm_command
from tests.families import FAMILIES, checkpoint

LANGUAGE = "language_model.layers.0.self_attn.q_proj"
VISION = {"qwen3_vl": "visual.blocks.0.attn.qkv", "qwen2_5_vl": "visual.merger.mlp.0",
          "gemma3": "vision_tower.encoder.layers.0.self_attn.q_proj", "llava": "multi_modal_projector.linear_1",
          "idefics3": "connector.modality_projection.proj", "internvl": "multi_modal_projector.linear_1"}


def adapter(folder: Path, *modules: str, **config: Any) -> Path:
    """Write an adapter as PEFT does; only its names and its configuration matter here."""
    folder.mkdir(parents=True)
    rank = int(config.get("r", 4))
    save_file({f"base_model.model.model.{module}.lora_{side}.weight": np.zeros((rank, rank), np.float32)
               for module in modules for side in "AB"}, folder / "adapter_model.safetensors")
    told = {"peft_type": "LORA", "r": rank, "bias": "none", "target_modules": ["q_proj"], **config}
    (folder / "adapter_config.json").write_text(json.dumps(told))
    return folder


def after(words: list[str], flag: str) -> str:
    return words[words.index(flag) + 1]


def test_a_checkpoint_of_a_folder(tmp_path: Path) -> None:
    model = checkpoint("qwen3_vl", tmp_path / "mine")
    assert vllm_command(model) == [
        "vllm", "serve", str(model), "--served-model-name", "mine", "--host", "127.0.0.1", "--port", "8000",
        "--limit-mm-per-prompt", '{"image": 16}', "--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
    words = vllm_command(model, server=VllmServer("0.0.0.0", 9000, "nano", 4, 2, ("--dtype", "float32"), ("python",)))
    assert words[0] == "python"
    assert (after(words, "--tensor-parallel-size"), after(words, "--served-model-name")) == ("2", "nano")
    assert words[-2:] == ["--dtype", "float32"]
    assert json.loads(after(words, "--limit-mm-per-prompt")) == {"image": 4}


@pytest.mark.parametrize(("name", "parser"), [
    ("Qwen/Qwen3-VL-8B-Instruct", "hermes"), ("Qwen/Qwen2.5-VL-7B-Instruct", "hermes"),
    ("Qwen/Qwen3.5-9B", "qwen3_xml"), ("google/gemma-4-31B-it", "gemma4"),
    ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "llama4_pythonic"), ("google/medgemma-4b-it", None),
    ("google/gemma-3-4b-it", None), ("llava-hf/llava-1.5-7b-hf", None), ("someone/something", None)])
def test_the_tool_parser_is_the_familys(name: str, parser: str | None) -> None:
    words = vllm_command(name)
    assert ("--enable-auto-tool-choice" in words) == (parser is not None)
    assert parser is None or after(words, "--tool-call-parser") == parser


@pytest.mark.parametrize("name", FAMILIES)
def test_a_template_without_tools_gets_no_parser(tmp_path: Path, name: str) -> None:
    words = vllm_command(checkpoint(name, tmp_path / name))
    assert ("--tool-call-parser" in words) == (name == "qwen3_vl")


def test_adapters_of_the_language_alone(tmp_path: Path) -> None:
    model = checkpoint("qwen3_vl", tmp_path / "mine")
    two = {"brain": adapter(tmp_path / "a", LANGUAGE, r=4),
           "chest": adapter(tmp_path / "b", LANGUAGE, r=8, rank_pattern={"q_proj": 24})}
    words = vllm_command(model, two)
    assert words[words.index("--enable-lora"):] == [
        "--enable-lora", "--max-loras", "2", "--max-lora-rank", "32", "--lora-modules",
        f"brain={tmp_path / 'a'}", f"chest={tmp_path / 'b'}"]
    assert lora_rank(two["chest"]) == 24


@pytest.mark.parametrize("name", VISION)
def test_an_adapter_of_tower_or_connector_gets_its_flag_or_is_refused(tmp_path: Path, name: str) -> None:
    model = checkpoint(name, tmp_path / "mine")
    seeing = adapter(tmp_path / "a", LANGUAGE, VISION[name])
    assert touches_vision(seeing)
    assert not touches_vision(adapter(tmp_path / "b", LANGUAGE))
    if name == "internvl":      # vLLM's InternS1, which reads what transformers writes, takes none
        with pytest.raises(AdapterRefused, match="vision tower or connector"):
            vllm_command(model, {"a": seeing})
    else:
        assert vllm_command(model, {"a": seeing})[-1] == "--enable-tower-connector-lora"


@pytest.mark.parametrize(("config", "says"), [
    ({"use_dora": True}, "DoRA"), ({"modules_to_save": ["lm_head"]}, "whole modules"), ({"r": 1024}, "rank 1024"),
    ({"peft_type": "IA3"}, "type IA3"), ({"bias": "all"}, "biases"), ({"r": "many"}, "no configuration")])
def test_what_vllm_does_not_serve_is_refused(tmp_path: Path, config: dict[str, Any], says: str) -> None:
    folder = adapter(tmp_path / "a", LANGUAGE)
    told = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**told, **config}))
    with pytest.raises(AdapterRefused, match=says):
        vllm_command("Qwen/Qwen3-VL-8B-Instruct", {"a": folder})


def test_broken_folders_and_families_without_adapters(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a", LANGUAGE)
    with pytest.raises(AdapterRefused, match="not known to take adapters"):
        vllm_command("llava-hf/llava-onevision-7b", {"a": folder})
    (folder / "adapter_model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(AdapterRefused, match="cannot be read|can be read"):
        vllm_command("Qwen/Qwen3-VL-8B-Instruct", {"a": folder})
    shutil.rmtree(folder)
    with pytest.raises(AdapterRefused, match="wanted a folder"):
        vllm_command("Qwen/Qwen3-VL-8B-Instruct", {"a": folder})
