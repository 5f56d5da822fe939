"""Six families of vision-language models in miniature: config, tokenizer, processor and chat template of each.

Weights are random, a few ten thousand; special tokens, templates and processor files are shaped like the real ones, so
that what loads, asks and tunes these does so with the models that users have. They know nothing of medicine.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForImageTextToText, GenerationConfig, PreTrainedTokenizerFast

from assistant.generalist.open import NANO

PIECES = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
WORDS = "system user assistant model User Assistant USER ASSISTANT A B C glioma no tumour What is shown on this image?"
WIDTH = 32
TEXT = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 4096}
VISION = {"hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
QWEN_VISION = {"depth": 2, "hidden_size": WIDTH, "intermediate_size": 48, "num_heads": 2, "patch_size": 14,
               "spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": WIDTH}
MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 2, 2]}
PIXELS = {"do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
          "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_convert_rgb": True}
QWEN = {**PIXELS, "size": {"shortest_edge": 3136, "longest_edge": 6272}, "temporal_patch_size": 2, "merge_size": 2}

CHATML = """{% if not messages or messages[0]['role'] != 'system' %}
{{- '<|im_start|>system\n' + default + '<|im_end|>\n' }}{% endif %}
{%- for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}
{%- if message['content'] is string %}{{ message['content'] }}
{%- else %}{% for part in message['content'] %}
{%- if part['type'] == 'image' %}{{ image }}{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}
{{- '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""

GEMMA = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' %}
{%- set first = (messages[0]['content'] if messages[0]['content'] is string else messages[0]['content'][0]['text'])
    + '\n\n' %}{% set told = messages[1:] %}
{%- else %}{% set first = '' %}{% set told = messages %}{% endif %}
{%- for message in told %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}
{{- '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\n' }}
{{- first if loop.first else '' }}
{%- if message['content'] is string %}{{ message['content'] | trim }}
{%- else %}{% for part in message['content'] %}
{%- if part['type'] == 'image' %}{{ '<start_of_image>' }}{% else %}{{ part['text'] | trim }}{% endif %}{% endfor %}
{%- endif %}{{ '<end_of_turn>\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"""

LLAVA = """{% for message in messages %}
{%- if message['role'] != 'system' %}{{ message['role'].upper() + ': ' }}{% endif %}
{%- for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}
{%- for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] + ' ' }}{% endfor %}
{%- endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"""

IDEFICS = """<|begin_of_text|>{% for message in messages %}{{ message['role'] | capitalize }}
{{- ':' if message['content'][0]['type'] == 'image' else ': ' }}
{%- for part in message['content'] %}
{%- if part['type'] == 'text' %}{{ part['text'] }}{% elif part['type'] == 'image' %}{{ '<image>' }}{% endif %}
{%- endfor %}{{ '<end_of_utterance>\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"""


@dataclass(frozen=True)
class Family:
    """One architecture: its tokens, what its config and processor file hold, and how its template speaks."""

    model_type: str
    special: dict[str, str]
    """Attribute of the tokenizer -> token; "eos_token", "pad_token", "bos_token" and those the processor asks for."""
    template: str
    config: Callable[[dict[str, int]], dict[str, Any]]
    """From ids by token to the config."""
    processor: dict[str, Any]
    more: tuple[str, ...] = ()
    """Further special tokens."""
    ends: tuple[str, ...] = ()
    """Tokens that end an answer, where it is not the tokenizer's end of text alone."""


def _chatml(image: str) -> str:
    return CHATML.replace("{{ image }}", f"{{{{ '{image}' }}}}").replace("default", "'You are a helpful assistant.'")


def _qwen25(ids: dict[str, int]) -> dict[str, Any]:
    return {"text_config": {**TEXT, "rope_parameters": MROPE},
            "vision_config": {**QWEN_VISION, "window_size": 56, "fullatt_block_indexes": [1]},
            "image_token_id": ids["<|image_pad|>"], "video_token_id": ids["<|video_pad|>"],
            "vision_start_token_id": ids["<|vision_start|>"], "vision_end_token_id": ids["<|vision_end|>"]}


def _qwen3(ids: dict[str, int]) -> dict[str, Any]:
    vision = {**QWEN_VISION, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]}
    return {**_qwen25(ids), "vision_config": vision,
            "text_config": {**TEXT, "rope_parameters": {**MROPE, "mrope_interleaved": True}}}


def _internvl(ids: dict[str, int]) -> dict[str, Any]:
    return {"text_config": {**TEXT, "model_type": "qwen2"},
            "vision_config": {**VISION, "image_size": [28, 28], "patch_size": [7, 7]},
            "image_token_id": ids["<IMG_CONTEXT>"], "image_seq_length": 4, "downsample_ratio": 0.5}


def _gemma3(ids: dict[str, int]) -> dict[str, Any]:
    return {"text_config": {**TEXT, "query_pre_attn_scalar": 16, "sliding_window": 64, "eos_token_id": ids["<eos>"],
                            "pad_token_id": ids["<pad>"], "bos_token_id": ids["<bos>"],
                            "layer_types": ["sliding_attention", "full_attention"]},
            "vision_config": {**VISION, "image_size": 28, "patch_size": 7, "vision_use_head": False},
            "mm_tokens_per_image": 4, "image_token_index": ids["<image_soft_token>"],
            "boi_token_index": ids["<start_of_image>"], "eoi_token_index": ids["<end_of_image>"],
            "eos_token_id": [ids["<eos>"], ids["<end_of_turn>"]]}


def _llava(ids: dict[str, int]) -> dict[str, Any]:
    return {"text_config": {**TEXT, "model_type": "llama"},
            "vision_config": {**VISION, "model_type": "clip_vision_model", "image_size": 28, "patch_size": 7,
                              "projection_dim": WIDTH},
            "image_token_index": ids["<image>"], "image_seq_length": 16}


def _idefics3(ids: dict[str, int]) -> dict[str, Any]:
    return {"text_config": {**TEXT, "model_type": "llama", "pad_token_id": ids["<|finetune_right_pad_id|>"]},
            "vision_config": {**VISION, "image_size": 28, "patch_size": 7}, "scale_factor": 2,
            "image_token_id": ids["<image>"]}


def _qwen_files(name: str, video: str) -> dict[str, Any]:
    return {"processor_class": name, "image_processor": {"image_processor_type": "Qwen2VLImageProcessor", **QWEN,
                                                         "patch_size": 14},
            "video_processor": {"video_processor_type": video, **QWEN, "patch_size": 14}}


QWEN_TOKENS = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
QWEN_MARKS = ("<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
SQUARE = {**PIXELS, "size": {"height": 28, "width": 28}}

FAMILIES = {
    "qwen2_5_vl": Family("qwen2_5_vl", QWEN_TOKENS, _chatml("<|vision_start|><|image_pad|><|vision_end|>"), _qwen25,
                         _qwen_files("Qwen2_5_VLProcessor", "Qwen2VLVideoProcessor"), QWEN_MARKS),
    "qwen3_vl": Family("qwen3_vl", QWEN_TOKENS, (NANO.parent / "chat_template.jinja").read_text(), _qwen3,
                       _qwen_files("Qwen3VLProcessor", "Qwen3VLVideoProcessor"), QWEN_MARKS),
    "internvl": Family(
        "internvl", {**QWEN_TOKENS, "start_image_token": "<img>", "end_image_token": "</img>",
                     "context_image_token": "<IMG_CONTEXT>", "video_token": "<video>"},
        _chatml("<IMG_CONTEXT>\\n"), _internvl,
        {"processor_class": "InternVLProcessor", "image_seq_length": 4,
         "image_processor": {"image_processor_type": "GotOcr2ImageProcessor", **SQUARE, "crop_to_patches": True,
                             "min_patches": 1, "max_patches": 2},
         "video_processor": {"video_processor_type": "InternVLVideoProcessor", **SQUARE}}, ("<|im_start|>",)),
    "gemma3": Family(
        "gemma3", {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "boi_token": "<start_of_image>",
                   "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}, GEMMA, _gemma3,
        {"processor_class": "Gemma3Processor", "image_seq_length": 4,
         "image_processor": {"image_processor_type": "Gemma3ImageProcessor", **SQUARE}},
        ("<start_of_turn>", "<end_of_turn>"), ends=("<eos>", "<end_of_turn>")),
    "llava": Family(
        "llava", {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "image_token": "<image>"}, LLAVA,
        _llava,
        {"processor_class": "LlavaProcessor", "patch_size": 7, "num_additional_image_tokens": 1,
         "vision_feature_select_strategy": "default",
         "image_processor": {"image_processor_type": "CLIPImageProcessor", **PIXELS, "size": {"shortest_edge": 28},
                             "do_center_crop": True, "crop_size": {"height": 28, "width": 28}}}),
    "idefics3": Family(
        "idefics3", {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>",
                     "pad_token": "<|finetune_right_pad_id|>"}, IDEFICS, _idefics3,
        {"processor_class": "Idefics3Processor", "image_seq_len": 4,
         "image_processor": {"image_processor_type": "Idefics3ImageProcessor", **PIXELS, "size": {"longest_edge": 56},
                             "max_image_size": {"longest_edge": 28}, "do_image_splitting": True, "do_pad": True}},
        ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>",
         *(f"<row_{r}_col_{c}>" for r in range(1, 7) for c in range(1, 7))), ends=("<|eot_id|>", "<end_of_utterance>")),
}


def checkpoint(name: str, folder: Path, seed: int = 0) -> Path:
    """Write a random checkpoint of a family to `folder`, as the hub would hold it; return the folder."""
    family = FAMILIES[name]
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(family)
    ids = {token: int(i) for token, i in tokenizer.get_vocab().items()}
    given = family.config(ids)
    given["text_config"] = {"vocab_size": len(tokenizer), **given["text_config"]}
    config = AutoConfig.for_model(family.model_type, **given)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(config)
        for parameter in model.parameters():  # larger than usual: random answers differ from image to image
            if parameter.ndim > 1 and not parameter.any():  # Gemma 3's connector starts at zero and would see nothing
                parameter.data.normal_(0, 0.02)
            if parameter.ndim > 1:
                parameter.data.mul_(4)
    ends = family.ends or (family.special["eos_token"],)
    model.generation_config = GenerationConfig(eos_token_id=[ids[e] for e in ends], pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "processor_config.json").write_text(json.dumps(family.processor))
    (folder / "chat_template.jinja").write_text(family.template)
    return folder


def _tokenizer(family: Family) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PIECES), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator([WORDS], trainers.BpeTrainer(
        vocab_size=400, min_frequency=1, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    marks = dict.fromkeys((*family.special.values(), *family.more))
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    plain = {k: v for k, v in family.special.items() if k in ("bos_token", "eos_token", "pad_token")}
    asked = {k: v for k, v in family.special.items() if k not in plain}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **plain, extra_special_tokens=asked,
                                   clean_up_tokenization_spaces=False, padding_side="left")
