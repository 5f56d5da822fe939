"""Makes the untrained consilium-nano: a stock Qwen3-VL in a small configuration, with a tokenizer of its own.

It trains nothing. The files are those that transformers' Auto classes and vLLM read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn import functional
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb_vision

from assistant.generalist.habits import MATCHED, STATED

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
           "<|video_pad|>")
PLAIN = ("<tools>", "</tools>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
"""Not special for the tokenizer: parsers of tool calls read them in the text."""

WORDS = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
         r"|\s+(?!\S)|\s+")
"""Qwen's split with one change: numbers up to 999 may be one token, so that a percentage is."""

SIZE = 160
"""Side in pixels of the square that an image becomes: 100 patches, 25 visual tokens."""
HABITS = {"square": SIZE, "arguments": STATED, "tools": MATCHED}
"""What serving keeps to, told in consilium.json."""


@dataclass(frozen=True)
class NanoConfig:
    """Size of the net; the defaults give about 7 M parameters."""

    vocabulary: int = 4096
    width: int = 256
    layers: int = 4
    vision_width: int = 192
    vision_layers: int = 4
    seed: int = 0


def make_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer taught on `texts`, with the project's chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([  # type: ignore[assignment]
        pre_tokenizers.Split(Regex(WORDS), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    room = vocabulary - len(SPECIAL) - len(PLAIN)
    numbers = [" ".join(str(n) for n in range(100))] * 50
    trainer = trainers.BpeTrainer(vocab_size=room, min_frequency=2, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([*numbers, *texts], trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in PLAIN])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>",
                                   model_max_length=4096, clean_up_tokenization_spaces=False, padding_side="left")
    fast.chat_template = resources.files("assistant").joinpath("generalist", "chat_template.jinja").read_text()
    return fast


def make_model(tokenizer: PreTrainedTokenizerFast, config: NanoConfig) -> Qwen3VLForConditionalGeneration:
    """Return the net with random weights from `config.seed`."""
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}
    text = {"vocab_size": -(-len(tokenizer) // 64) * 64, "hidden_size": config.width,
            "intermediate_size": config.width * 11 // 4, "num_hidden_layers": config.layers,
            "num_attention_heads": config.width // 64, "num_key_value_heads": max(1, config.width // 128),
            "head_dim": 64, "max_position_embeddings": 4096, "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0, "mrope_section": [12, 10, 10],
                                "mrope_interleaved": True},
            "pad_token_id": ids["<|endoftext|>"], "tie_word_embeddings": True}
    vision = {"depth": config.vision_layers, "hidden_size": config.vision_width,
              "intermediate_size": 4 * config.vision_width, "num_heads": config.vision_width // 64, "patch_size": 16,
              "spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": config.width,
              "num_position_embeddings": (SIZE // 16) ** 2, "deepstack_visual_indexes": [1, 2]}
    torch.manual_seed(config.seed)
    model = Qwen3VLForConditionalGeneration(Qwen3VLConfig(
        text_config=text, vision_config=vision, tie_word_embeddings=True, image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"], vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"]))
    model.generation_config = GenerationConfig(eos_token_id=[ids["<|im_end|>"], ids["<|endoftext|>"]],
                                               pad_token_id=ids["<|endoftext|>"], do_sample=False)
    return model


def save(model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write weights in bf16 (files under 15 MB), tokenizer and processor files."""
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="14MB")  # type: ignore[operator]
    tokenizer.save_pretrained(folder)
    image = {"image_processor_type": "Qwen2VLImageProcessor", **_processing()}
    video = {"video_processor_type": "Qwen3VLVideoProcessor", **_processing()}
    name = {"processor_class": "Qwen3VLProcessor"}
    # Three files: stock AutoProcessor and vLLM want the first whole, with its video block; older loaders the others.
    _write(folder / "processor_config.json", {**name, "image_processor": image, "video_processor": video})
    _write(folder / "preprocessor_config.json", {**name, **image})
    _write(folder / "video_preprocessor_config.json", {**name, **video})
    _write(folder / "consilium.json", HABITS)


def _processing() -> dict[str, Any]:
    # The pixel limits leave slack around 160 * 160, else the resizer's float division rounds a square to 144 or 176.
    return {"do_resize": True, "size": {"shortest_edge": 25000, "longest_edge": 26000}, "do_rescale": True,
            "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
            "do_convert_rgb": True, "resample": 3, "patch_size": 16, "temporal_patch_size": 2, "merge_size": 2}


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")


def patches(images: torch.Tensor) -> torch.Tensor:
    """Return (B * 100, 1536) patches of images (B, 3, 160, 160) in 0..1, in the order of the stock processor."""
    count, side = len(images), SIZE // 32
    x = ((images - 0.5) / 0.5).unsqueeze(1).expand(-1, 2, -1, -1, -1)  # two equal frames: a still image
    x = x.reshape(count, 2, 3, side, 2, 16, side, 2, 16)
    return x.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(count * 4 * side * side, 3 * 2 * 16 * 16)


def grid(count: int) -> torch.Tensor:
    """Return image_grid_thw (count, 3) for square images."""
    return torch.tensor([[1, SIZE // 16, SIZE // 16]] * count)


def hasten(model: Qwen3VLForConditionalGeneration) -> None:
    """Make training on a CPU faster with equal results: patches as one matrix product, equal images as one batch.

    A 3-D convolution whose stride is its kernel is a matrix product, and costs half of the step otherwise; the
    stock attention walks through the images one by one.
    """
    embed = model.model.visual.patch_embed

    def product(hidden_states: torch.Tensor) -> torch.Tensor:
        weight = embed.proj.weight
        return functional.linear(hidden_states, weight.view(len(weight), -1), embed.proj.bias)

    embed.forward = product
    for block in model.model.visual.blocks:
        block.attn.forward = _together(block.attn)


def _together(attention: torch.nn.Module) -> Callable[..., torch.Tensor]:
    def forward(hidden_states: torch.Tensor, cu_seqlens: torch.Tensor, position_embeddings: Any = None,
                **_: Any) -> torch.Tensor:
        count = len(cu_seqlens) - 1
        qkv = attention.qkv(hidden_states).view(len(hidden_states), 3, attention.num_heads, -1)
        q, k, v = qkv.unbind(1)
        q, k = apply_rotary_pos_emb_vision(q, k, *position_embeddings)
        q, k, v = (x.view(count, -1, *x.shape[1:]).transpose(1, 2).to(qkv.dtype) for x in (q, k, v))
        # Written out: at 100 tokens the fused kernel's backward pass costs more than all else together.
        mixed = (q @ k.transpose(2, 3) * attention.scaling).softmax(dim=-1).to(v.dtype) @ v
        return attention.proj(mixed.transpose(1, 2).reshape(len(hidden_states), -1))
    return forward
