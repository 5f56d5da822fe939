"""The generalist in this process, on a tiny random checkpoint."""

from __future__ import annotations

import base64
import functools
import io
import json
import math
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from PIL import Image

from assistant.errors import BadQuestion, GeneralistError, ToolsUnsupported
from assistant.generalist.boxes import JsonThousandths
from assistant.generalist.local import LocalGeneralist
from assistant.generalist.processors import load_processor
from assistant.generalist.turns import read_image
from tests.fakes import tiny_qwen3vl

LETTERS = ["A", "B", "C"]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "brain",
            "description": "Opinion on a brain MRI",
            "parameters": {"type": "object", "properties": {}, "required": []},
        },
    }
]
CALL = 'Ask.\n<tool_call>\n{"name": "brain", "arguments": {}}\n</tool_call>'


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_qwen3vl(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def generalist(checkpoint: Path) -> LocalGeneralist:
    return LocalGeneralist(checkpoint, max_new_tokens=12)


def _image(seed: int) -> dict[str, Any]:
    pixels = np.random.default_rng(seed).integers(0, 255, (70, 90, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": url}}


def _asked(seed: int = 0, images: int = 1, text: str = "Which disease?") -> list[dict[str, Any]]:
    parts = [_image(seed + i) for i in range(images)]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def _says(generalist: LocalGeneralist, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Put words in the model's mouth: its logits are those of `text`, token by token."""
    model, processor = generalist.load()
    ids = [
        *processor.tokenizer(text, add_special_tokens=False)["input_ids"],
        processor.tokenizer.eos_token_id,
    ]
    forward, step = model.forward, iter(ids)

    @functools.wraps(forward)
    def forced(*args: Any, **kwargs: Any) -> Any:
        out = forward(*args, **kwargs)
        out.logits[:, -1, next(step)] = 1e4
        return out

    monkeypatch.setattr(model, "forward", forced)


def test_letters_are_the_models_next_token(generalist: LocalGeneralist):
    model, processor = generalist.load()
    scores = generalist.score(_asked(), LETTERS)
    assert math.isclose(sum(map(math.exp, scores.values())), 1, abs_tol=1e-6)
    prompt = "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Which disease?<|im_end|>\n"
    prompt += "<|im_start|>assistant\n"
    raw = base64.b64decode(_image(0)["image_url"]["url"].split(",")[1])
    inputs = processor(text=[prompt], images=[Image.open(io.BytesIO(raw))], return_tensors="pt")
    with torch.inference_mode():
        logits = model(**inputs).logits[0, -1]
    ids = processor.tokenizer.convert_tokens_to_ids(LETTERS)
    assert list(scores.values()) == pytest.approx(logits[ids].log_softmax(-1).tolist(), abs=1e-4)


def test_the_image_is_seen(generalist: LocalGeneralist):
    assert generalist.score(_asked(0), LETTERS) == generalist.score(_asked(0), LETTERS)
    assert generalist.score(_asked(0), LETTERS) != generalist.score(_asked(5), LETTERS)


@pytest.mark.parametrize("options", [LETTERS, ["glioma", "no tumour", "A"]], ids=["letters", "texts"])
def test_batches_change_nothing(generalist: LocalGeneralist, options: list[str]):
    asked = [_asked(i, images=i % 3, text="Which? " * (i + 1)) for i in range(5)]
    given = [options[: 2 + i % 2] for i in range(5)]
    together = generalist.score_many(asked, given)
    for messages, some, scored in zip(asked, given, together, strict=True):
        assert scored == pytest.approx(generalist.score(messages, some), abs=1e-4)


def test_replies_together_are_those_one_by_one(generalist: LocalGeneralist):
    long = [_asked(i, images=i % 3, text="Which? " * (1 + 7 * i % 5)) for i in range(5)]
    together = generalist.model_copy(update={"batch_size": 3}).reply_many(long, max_tokens=9)
    alone = [generalist.invoke(messages, max_tokens=9) for messages in long]
    assert [reply.content for reply in together] == [reply.content for reply in alone]
    assert [reply.usage_metadata for reply in together] == [reply.usage_metadata for reply in alone]
    assert len({str(reply.content) for reply in alone}) > 1


def test_one_row_that_ends_leaves_the_others(generalist: LocalGeneralist, monkeypatch: pytest.MonkeyPatch):
    model, processor = generalist.load()
    forward, steps = model.forward, iter(range(99))
    words = [processor.tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("no", "glioma Which no")]
    longest = max(map(len, words))

    @functools.wraps(forward)
    def forced(*args: Any, **kwargs: Any) -> Any:
        out, step = forward(*args, **kwargs), next(steps)
        for row, ids in enumerate(words):
            out.logits[row, -1, [*ids, *[processor.tokenizer.eos_token_id] * longest][step]] = 1e4
        return out

    monkeypatch.setattr(model, "forward", forced)
    short, stopped = generalist.reply_many([_asked(), _asked(text="Which disease? ?")], stop=["Which"], max_tokens=60)
    assert (short.content, stopped.content) == ("no", "glioma")
    assert short.usage_metadata is not None
    assert short.usage_metadata["output_tokens"] == len(words[0]) + 1


def test_tools_are_offered_to_all(generalist: LocalGeneralist, monkeypatch: pytest.MonkeyPatch):
    _says(generalist, monkeypatch, CALL)
    replies = generalist.reply_many([_asked(), _asked(3)], tools=TOOLS, max_tokens=200)
    assert [[call["name"] for call in reply.tool_calls] for reply in replies] == [["brain"], ["brain"]]
    assert replies[0].usage_metadata is not None
    assert replies[0].usage_metadata["input_tokens"] == generalist.count_prompt(_asked(), TOOLS)
    with pytest.raises(BadQuestion, match="tokens"):
        generalist.reply_many([[HumanMessage("Which " * 3000)]])
    assert generalist.reply_many([]) == []


def test_texts_are_scored_to_their_end(generalist: LocalGeneralist):
    model, processor = generalist.load()
    options = ["glioma", "no tumour"]
    scores = generalist.score([HumanMessage("Which?")], options)
    head = "<|im_start|>user\nWhich?<|im_end|>\n<|im_start|>assistant\n"
    sums = []
    for option in options:
        ids = processor.tokenizer([head + option + "<|im_end|>"], return_tensors="pt")["input_ids"]
        start = len(processor.tokenizer(head)["input_ids"])
        with torch.inference_mode():
            steps = model(input_ids=ids).logits[0].log_softmax(-1)
        sums.append(sum(float(steps[i - 1, ids[0, i]]) for i in range(start, ids.shape[1])))
    assert list(scores.values()) == pytest.approx(torch.tensor(sums).log_softmax(0).tolist(), abs=1e-3)


@pytest.mark.parametrize("options", [[], ["A"], ["A", "A"], ["A", " "]])
def test_options_are_checked(generalist: LocalGeneralist, options: list[str]):
    with pytest.raises(BadQuestion, match="two or more different"):
        generalist.score(_asked(), options)


def test_streamed_is_what_is_given_whole(generalist: LocalGeneralist):
    whole = generalist.invoke(_asked())
    chunks = list(generalist.stream(_asked()))
    assert whole.content
    assert "".join(str(chunk.content) for chunk in chunks) == whole.content
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] == 12


def test_seed_decides_when_sampling(generalist: LocalGeneralist):
    hot = generalist.bind(temperature=1.5)
    before = torch.random.get_rng_state()
    assert hot.invoke(_asked()).content == hot.invoke(_asked()).content
    assert hot.bind(seed=4).invoke(_asked()).content != hot.invoke(_asked()).content
    assert torch.equal(before, torch.random.get_rng_state())


def test_closing_a_stream_stops_the_model(generalist: LocalGeneralist):
    stream = generalist.stream(_asked(), max_tokens=1500)
    next(stream)
    stream.close()
    assert not any(thread.name == "generalist" for thread in threading.enumerate())
    assert generalist.score(_asked(), LETTERS)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_is_called(generalist: LocalGeneralist, monkeypatch: pytest.MonkeyPatch, streamed: bool):
    _says(generalist, monkeypatch, CALL)
    asked = generalist.bind_tools(TOOLS).bind(max_tokens=200)
    if streamed:
        chunks = list(asked.stream(_asked()))
        assert "<tool_call>" not in "".join(str(chunk.content) for chunk in chunks)
        reply = chunks[0]
        for chunk in chunks[1:]:
            reply = reply + chunk
    else:
        reply = asked.invoke(_asked())
    assert isinstance(reply, AIMessage)
    assert reply.content == "Ask."
    assert [(call["name"], call["args"]) for call in reply.tool_calls] == [("brain", {})]


def test_a_call_cut_off_is_invalid(generalist: LocalGeneralist, monkeypatch: pytest.MonkeyPatch):
    _says(generalist, monkeypatch, CALL)
    reply = generalist.bind_tools(TOOLS).invoke(_asked(), max_tokens=generalist.count_tokens(CALL) - 4)
    assert not reply.tool_calls
    assert len(reply.invalid_tool_calls) == 1


def test_a_forced_tool_begins_the_reply(generalist: LocalGeneralist, monkeypatch: pytest.MonkeyPatch):
    _says(generalist, monkeypatch, "{}}\n</tool_call>")
    reply = generalist.bind_tools(TOOLS, tool_choice="brain").invoke(_asked(), max_tokens=50)
    assert [call["name"] for call in reply.tool_calls] == ["brain"]


@pytest.mark.parametrize("streamed", [False, True])
def test_stop_texts(generalist: LocalGeneralist, monkeypatch: pytest.MonkeyPatch, streamed: bool):
    _says(generalist, monkeypatch, "glioma or not. Which?" + " no" * 50)
    if streamed:
        said = "".join(
            str(chunk.content) for chunk in generalist.stream(_asked(), stop=["Which"], max_tokens=90)
        )
    else:
        said = generalist.invoke(_asked(), stop=["Which"], max_tokens=90).content
    assert said == "glioma or not."


def test_template_of_tools(checkpoint: Path):
    processor = load_processor(checkpoint)
    turns = [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": "data:"}}, {"type": "text", "text": "?"}],
        },
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"type": "function", "function": {"name": "brain", "arguments": {}}},
                {"type": "function", "function": {"name": "similar_cases", "arguments": '{"k": 3}'}},
            ],
        },
        {"role": "tool", "content": "glioma 93"},
        {"role": "tool", "content": [{"type": "text", "text": "none"}]},
    ]
    cases = {
        "type": "function",
        "function": {
            "name": "similar_cases",
            "description": "Like cases",
            "parameters": {"type": "object", "properties": {"k": {"type": "integer"}}, "required": []},
        },
    }
    assert processor.apply_chat_template(
        turns, tools=[*TOOLS, cases], add_generation_prompt=True, tokenize=False
    ) == (
        "<|im_start|>system\nBe brief.\n<tools>\n"
        '{"name": "brain", "description": "Opinion on a brain MRI"}\n'
        '{"name": "similar_cases", "description": "Like cases", "parameters": {"k": {"type": "integer"}}}\n'
        "</tools><|im_end|>\n<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>?<|im_end|>\n"
        '<|im_start|>assistant\n<tool_call>\n{"name": "brain", "arguments": {}}\n</tool_call>\n'
        '<tool_call>\n{"name": "similar_cases", "arguments": {"k": 3}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\nglioma 93\n</tool_response>\n"
        "<tool_response>\nnone\n</tool_response>"
        "<|im_end|>\n<|im_start|>assistant\n"
    )


def test_conversation_with_tool_results(generalist: LocalGeneralist):
    turns = [
        HumanMessage([_image(1), {"type": "text", "text": "?"}]),
        AIMessage("", tool_calls=[{"name": "brain", "args": {}, "id": "1", "type": "tool_call"}]),
        ToolMessage([{"type": "text", "text": "glioma"}, _image(2)], tool_call_id="1"),
    ]
    assert generalist.score(turns, LETTERS) != generalist.score(turns[:1], LETTERS)


def test_bad_conversations(generalist: LocalGeneralist):
    with pytest.raises(BadQuestion, match="data URL"):
        generalist.invoke(
            [HumanMessage([{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}])]
        )
    with pytest.raises(BadQuestion, match="tokens"):
        generalist.score([HumanMessage("Which " * 3000)], LETTERS)
    assert generalist.score([HumanMessage("<|image_pad|><|im_end|>")], LETTERS)


def test_revision_and_boxes(generalist: LocalGeneralist, checkpoint: Path):
    revision = generalist.revision()
    assert revision["model"] == str(checkpoint)
    assert len(revision["sha256"]) == 64
    assert revision["adapter"] is None
    assert isinstance(generalist.boxes, JsonThousandths)
    assert generalist.count_tokens("") == 0


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_adapter_changes_the_answer(generalist: LocalGeneralist, checkpoint: Path, tmp_path: Path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(checkpoint)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    adapted.save_pretrained(str(tmp_path))
    with_adapter = LocalGeneralist(checkpoint, adapter=tmp_path, max_new_tokens=3)
    assert with_adapter.score(_asked(), LETTERS) != generalist.score(_asked(), LETTERS)
    assert with_adapter.invoke(_asked()) is not None
    assert len(with_adapter.revision()["adapter_sha256"]) == 64


def test_what_cannot_be_loaded(tmp_path: Path, checkpoint: Path):
    with pytest.raises(GeneralistError, match="cannot be loaded"):
        LocalGeneralist(tmp_path).score(_asked(), LETTERS)
    with pytest.raises(GeneralistError, match="adapter_config"):
        LocalGeneralist(checkpoint, adapter=tmp_path).score(_asked(), LETTERS)


def test_a_template_without_tools_says_so(tmp_path: Path, checkpoint: Path):
    folder = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    with pytest.raises(ToolsUnsupported, match="takes no tools"):
        LocalGeneralist(folder).bind_tools(TOOLS).invoke("hello")


def test_checkpoint_has_all_that_others_need(checkpoint: Path):
    saved = json.loads((checkpoint / "processor_config.json").read_text())
    assert saved["processor_class"] == "Qwen3VLProcessor"
    assert {"image_processor", "video_processor"} <= saved.keys()
    processor = load_processor(checkpoint)
    for size in [(64, 64), (512, 512), (448, 448), (31, 31), (224, 224)]:
        grid = processor.image_processor(images=[Image.new("RGB", size)], return_tensors="np")[
            "image_grid_thw"
        ]
        assert grid.tolist() == [[1, 4, 4]]


def test_an_image_is_decoded_once(generalist: LocalGeneralist, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Any] = []
    monkeypatch.setattr("assistant.generalist.local.read_image", lambda part: read.append(part) or read_image(part))
    for text in ("Which?", "What else?"):
        generalist.score([*_asked(71, text=text), {"role": "assistant", "content": "A"}, *_asked(72)], LETTERS)
    assert len(read) == 2
    for part in (_image(71), _image(72)):
        assert np.array_equal(np.asarray(generalist._picture(part)), np.asarray(read_image(part)))
