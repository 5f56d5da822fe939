"""Replies that are bound to a form, on a tiny random checkpoint and on its tokenizer alone."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from assistant.errors import BadQuestion, GeneralistError
from assistant.generalist.grammar import Grammar, calls_of
from assistant.generalist.local import LocalGeneralist
from assistant.generalist.processors import frame, load_processor
from assistant.generalist.turns import CALL, forced, written_call
from tests.fakes import tiny_qwen3vl
from tests.families import checkpoint as checkpoint_of

HELLO = [{"role": "user", "content": "Which disease?"}]


def tool(name: str, **parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": name, "parameters": parameters}}


CASES = tool("cases", type="object", properties={"k": {"type": "integer", "minimum": 1, "maximum": 20}}, required=["k"])
BRAIN = tool("brain", type="object", properties={}, required=[])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_qwen3vl(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def generalist(checkpoint: Path) -> LocalGeneralist:
    return LocalGeneralist(checkpoint, max_new_tokens=60)


@pytest.fixture(scope="module")
def tokenizer(checkpoint: Path) -> Any:
    return load_processor(checkpoint).tokenizer


def bound(tokenizer: Any, tools: Sequence[Any], prefix: str = "") -> Grammar:
    found = calls_of(tokenizer, tools, [tokenizer.eos_token_id], prefix)
    assert found is not None
    return found


def whole(tokenizer: Any, tools: Sequence[Any], text: str, prefix: str = "") -> bool:
    """Tell whether the grammar lets a reply be this text, and end there."""
    grammar = bound(tokenizer, tools, prefix)
    try:
        grammar.take(tokenizer(text, add_special_tokens=False)["input_ids"])
    except GeneralistError:
        return False
    return bool(grammar.allowed()[tokenizer.eos_token_id])


@pytest.mark.parametrize("text", [
    "", "No tool fits: 2 < 3, <tool.", "{\"name\": \"none\"}", f"Ask.\n\n{written_call('brain', {})}",
    written_call("cases", {"k": 20}), f"{written_call('cases', {'k': 3})}\n{written_call('brain', {})}",
])
def test_texts_and_calls_on_offer_are_let_through(tokenizer: Any, text: str) -> None:
    assert whole(tokenizer, [CASES, BRAIN], text)


@pytest.mark.parametrize("text", [
    CALL, f"{CALL} as one may say", written_call("lung", {}), written_call("cases", {}),
    written_call("cases", {"k": 0}), written_call("cases", {"k": "3"}), written_call("brain", {"image": "it"}),
    written_call("brain", {})[:-1], written_call("brain", {}) + " And so on.",
    written_call("brain", {}).replace("brain", "brain\", \"x\": \""), "</tool_call>", "<tools>",
])
def test_what_is_no_call_of_a_tool_on_offer_is_not(tokenizer: Any, text: str) -> None:
    assert not whole(tokenizer, [CASES, BRAIN], text)


def test_a_tag_cannot_be_spelled_by_other_tokens(tokenizer: Any) -> None:
    grammar = bound(tokenizer, [BRAIN])
    spelled = [token for letter in CALL for token in tokenizer(letter, add_special_tokens=False)["input_ids"]]
    grammar.take(spelled[:-1])
    with pytest.raises(GeneralistError, match="grammar"):
        grammar.take(spelled[-1:])


@pytest.mark.parametrize(("schema", "fits", "fails"), [
    ({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": True}, {"b": 1}, None),
    ({"$ref": "#/$defs/x", "$defs": {"x": {"type": "object", "properties": {"a": {"enum": [1, 2]}}}}}, {"a": 2},
     {"a": 3}),
    ({"type": "object", "properties": {"a": {"type": "nonsense"}}}, {"a": [None]}, None),
    ({"type": "string"}, {"a": 1}, None),
    (None, {}, {"a": 1}),
], ids=["open", "ref", "no schema", "no object", "none"])
def test_schemas(tokenizer: Any, schema: Any, fits: Any, fails: Any) -> None:
    one = {"type": "function", "function": {"name": "it", "parameters": schema}}
    assert whole(tokenizer, [one], written_call("it", fits))
    assert fails is None or not whole(tokenizer, [one], written_call("it", fails))


@pytest.mark.parametrize(("choice", "rest"), [("required", 'cases", "arguments": {"k": 5}}\n</tool_call>'),
                                              ("cases", '{"k": 5}}\n</tool_call>')])
def test_a_forced_call_goes_on_where_it_was_begun(tokenizer: Any, choice: str, rest: str) -> None:
    prefix = forced(choice, [CASES, BRAIN])
    assert whole(tokenizer, [CASES, BRAIN], rest, prefix)
    assert not whole(tokenizer, [CASES, BRAIN], "I see it.", prefix)


def leaning(generalist: LocalGeneralist, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    """Make the model, otherwise random, fond of the tokens of some words, and most of all of calling."""
    model, processor = generalist.load()
    forward = model.forward
    fond = processor.tokenizer(words, add_special_tokens=False)["input_ids"]

    @functools.wraps(forward)
    def leant(*args: Any, **kwargs: Any) -> Any:
        out = forward(*args, **kwargs)
        out.logits[:, -1, fond] += 5.0
        out.logits[:, -1, processor.tokenizer.convert_tokens_to_ids(CALL)] += 9.0
        return out

    monkeypatch.setattr(model, "forward", leant)


def test_a_model_that_knows_nothing_writes_valid_calls(
    generalist: LocalGeneralist, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a batch and alone, streamed and whole, sampled and greedy: a random model's calls are ones on offer."""
    leaning(generalist, monkeypatch, written_call("cases", {"k": 3}))
    asked = [[{"role": "user", "content": "glioma " * n + "Which?"}] for n in range(4)]
    together = generalist.reply_many(asked, tools=[CASES, BRAIN])
    alone = [generalist.bind_tools([CASES, BRAIN]).invoke(one) for one in asked]  # type: ignore[arg-type]
    hot = generalist.reply_many(asked, tools=[CASES, BRAIN], temperature=1.5)
    streamed: Any = functools.reduce(lambda a, b: a + b, generalist.bind_tools([CASES, BRAIN]).stream(asked[1]))  # type: ignore[arg-type]
    schemas = {one["function"]["name"]: one["function"]["parameters"] for one in (CASES, BRAIN)}
    for reply in (*together, *alone, *hot):
        assert reply.tool_calls
        assert not reply.invalid_tool_calls or reply.response_metadata["finish_reason"] == "length"
        assert all(Draft202012Validator(schemas[call["name"]]).is_valid(call["args"]) for call in reply.tool_calls)
    said = [[(call["name"], call["args"]) for call in reply.tool_calls] for reply in (*together, *alone, streamed)]
    assert said[:4] == said[4:8]
    assert said[8] == said[1]


def test_rows_of_one_batch_keep_to_forms_of_their_own(generalist: LocalGeneralist) -> None:
    """A reply in JSON, one with tools and a free one, put at once, are what they are alone."""
    form = {"type": "json_schema", "json_schema": {"schema": {"enum": ["left", "right"]}}}
    kinds: list[dict[str, Any]] = [{"response_format": form}, {"tools": [BRAIN]}, {}]
    alone = [generalist.invoke(HELLO, **kind).content for kind in kinds]  # type: ignore[arg-type]
    rows = [generalist._writing(*_row(generalist, kind), watched=False) for kind in kinds]
    generalist._gathering.enter([("greedy", row) for row in rows], generalist._write)
    assert ["".join(row.pieces()).strip() for row in rows] == alone
    assert generalist._gathering.rows[-1] == 3
    assert json.loads(str(alone[0])) in ("left", "right")


def _row(generalist: LocalGeneralist, kind: dict[str, Any]) -> tuple[Any, tuple[str, ...], dict[str, Any], str]:
    row, prefix, own = generalist._prompt(HELLO, kind)
    return row, (), own, prefix


def test_before_a_call_every_text_is_allowed(tokenizer: Any) -> None:
    """What is forbidden there is no text: control tokens, and bytes that begin no character."""
    allowed = bound(tokenizer, [CASES]).allowed()
    marks = {str(token) for token in tokenizer.added_tokens_decoder.values()} - {CALL, tokenizer.eos_token}
    texts = {number: tokenizer.decode([number]) for number in range(len(tokenizer))}
    forbidden = [text for number, text in texts.items() if not allowed[number]]
    assert all(text in marks or "\ufffd" in text for text in forbidden)
    assert len(forbidden) < len(texts)
    assert not any(allowed[number] for number, text in texts.items() if text in marks)


def test_without_tools_no_grammar_is_made(generalist: LocalGeneralist, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("a grammar was made")
    monkeypatch.setattr("assistant.generalist.local.calls_of", never)
    generalist.invoke(HELLO, max_tokens=1)  # type: ignore[arg-type]
    generalist.bind_tools([BRAIN], tool_choice="none").invoke(HELLO, max_tokens=1)  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="was made"):
        generalist.bind_tools([BRAIN]).invoke(HELLO, max_tokens=1)  # type: ignore[arg-type]


@pytest.mark.parametrize(("find", "put"), [
    ('{"name": ', '{"function": '), ("<tool_call>\\n", "[TOOL_CALLS]"),
    ("{{- function.arguments if", "{{- raise_exception('no calls') if true else function.arguments if"),
], ids=["other keys", "other tags", "a template that fails"])
def test_calls_of_other_formats_stay_free(checkpoint: Path, tmp_path: Path, find: str, put: str) -> None:
    assert frame(load_processor(checkpoint)).calls
    other = Path(shutil.copytree(checkpoint, tmp_path / "other"))
    template = other / "chat_template.jinja"
    text = template.read_text()
    assert find in text
    template.write_text(text.replace(find, put))
    assert not frame(load_processor(other)).calls


def test_tags_that_are_no_tokens_leave_calls_free(tmp_path: Path) -> None:
    """Spelled letter by letter, a tag is nothing that the grammar could hold on to."""
    spelled = load_processor(checkpoint_of("qwen3_vl", tmp_path)).tokenizer
    assert calls_of(spelled, [BRAIN], [spelled.eos_token_id]) is None


FORM = {"type": "json_schema", "json_schema": {"schema": {"type": "object", "properties": {"r": {"enum": ["left"]}},
                                                          "required": ["r"], "additionalProperties": False}}}


@pytest.mark.parametrize(("text", "fits"), [
    ('{"r":"left"}', True), ('{"r":"right"}', False), ("Left.", False), (written_call("cases", {"k": 3}), True),
    (written_call("cases", {"k": 30}), False), ('{"r":"left"}' + written_call("cases", {"k": 3}), False)])
def test_tools_beside_a_form_are_called_or_the_form_is_filled(tokenizer: Any, text: str, fits: bool) -> None:
    grammar = calls_of(tokenizer, [CASES, BRAIN], [tokenizer.eos_token_id], "", FORM)
    assert grammar is not None
    try:
        grammar.take(tokenizer(text, add_special_tokens=False)["input_ids"])
        ends = bool(grammar.allowed()[tokenizer.eos_token_id])
    except GeneralistError:
        ends = False
    assert ends is fits


def test_a_tool_that_must_be_called_is_called_whatever_the_form(generalist: LocalGeneralist) -> None:
    bound = generalist.bind_tools([CASES, BRAIN], tool_choice="cases", response_format=FORM, max_tokens=40)
    (call,) = bound.invoke(HELLO).tool_calls
    assert call["name"] == "cases"
    assert 1 <= call["args"]["k"] <= 20


def test_what_is_nested_too_deeply_is_told(generalist: LocalGeneralist) -> None:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(300):
        schema = {"type": "object", "properties": {"a": schema}}
    form = {"type": "json_schema", "json_schema": {"schema": schema}}
    with pytest.raises(BadQuestion, match="response_format"):
        generalist.invoke(HELLO, response_format=form)
    with pytest.raises(BadQuestion, match="nested too deeply"):
        generalist.bind_tools([tool("deep", **schema)], max_tokens=4).invoke(HELLO)
