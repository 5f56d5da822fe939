"""Replies that are bound to a form: which tokens may come next is told by llguidance.

Two forms: JSON of a schema (`response_format`), and free text with calls of the tools on offer. It writes nothing
itself. Calls are bound where the chat template writes them as turns.py reads them, each of their tags being one token;
any other template's calls stay free. That no call comes twice is no matter of grammar: turns.py drops repeats.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

from assistant.errors import BadQuestion, GeneralistError
from assistant.generalist.calls import closed
from assistant.generalist.turns import CALL, CALL_END, begun_call

COMPACT: Any = {"whitespace_flexible": False}
"""No blanks between the parts: a small model would write them for ever."""
SPACED: Any = {**COMPACT, "item_separator": ", ", "key_separator": ": ", "lenient": True}
"""As `tojson` of chat templates writes JSON; keywords of a schema that the grammar does not know bind nothing."""
ANY_OBJECT: Mapping[str, Any] = {"type": "object"}


class Grammar:
    """What one reply may go on with."""

    def __init__(self, matcher: LLMatcher, width: int) -> None:
        """Take a matcher of its own at its start, and how many tokens there are."""
        self.matcher, self.width = matcher, width
        self.bits = allocate_token_bitmask(1, width)

    def take(self, tokens: Sequence[int]) -> None:
        """Go on by tokens that are allowed; raises GeneralistError where one is not."""
        if not self.matcher.consume_tokens(list(tokens)):
            raise GeneralistError(f"The grammar of a reply does not go on: {self.matcher.get_error()}")

    def allowed(self) -> torch.Tensor:
        """Return which tokens (vocabulary,) may come next."""
        fill_next_token_bitmask(self.matcher, self.bits, 0)
        may = np.unpackbits(self.bits[0].view(np.uint8), bitorder="little")[:self.width]
        return torch.from_numpy(may.astype(bool))


def json_of(tokenizer: Any, response_format: Mapping[str, Any], ends: Sequence[int]) -> Grammar:
    """Return the grammar of OpenAI's response_format (json_object or json_schema); `ends` are tokens that end a reply.

    Raises BadQuestion for a schema that is none.
    """
    try:
        grammar = LLMatcher.grammar_from_json_schema(json.dumps(_schema(response_format)), overrides=COMPACT)
        return Grammar(_matcher(tokenizer, grammar, tuple(ends)).deep_copy(), len(tokenizer))
    except ValueError as fault:
        raise BadQuestion(f"response_format: {fault}") from fault


def _schema(response_format: Mapping[str, Any]) -> Any:
    form = response_format.get("json_schema") or {}
    return form.get("schema") if response_format["type"] == "json_schema" else ANY_OBJECT


def calls_of(
    tokenizer: Any, tools: Sequence[Mapping[str, Any]], ends: Sequence[int], prefix: str = "",
    response_format: Mapping[str, Any] | None = None,
) -> Grammar | None:
    """Return the grammar of free text and then calls of these tools; None where the tags are not tokens.

    With `response_format` (json_object or json_schema) there is no free text: it is either JSON of that form, or calls;
    raises BadQuestion for a schema that is none. `prefix` is what the reply was made to begin with. Arguments fit the
    tool's schema; names that it does not list are not allowed unless it says that others are. Where a schema cannot be
    read, any object fits.
    """
    if not _has_tags(tokenizer):
        return None
    offered = json.dumps([[tool["function"]["name"], tool["function"].get("parameters")] for tool in tools])
    form = None
    if response_format is not None:
        form = json.dumps({**_as_object(_schema(response_format)), "x-guidance": COMPACT})
    try:
        matcher = _matcher(tokenizer, _calls(tokenizer, offered, form), tuple(ends))
    except ValueError as fault:
        raise BadQuestion(f"response_format, or a tool's parameters: {fault}") from fault
    grammar = Grammar(matcher.deep_copy(), len(tokenizer))
    grammar.take(tokenizer(prefix, add_special_tokens=False)["input_ids"])
    return grammar


def _as_object(schema: Any) -> Mapping[str, Any]:
    return schema if isinstance(schema, Mapping) else {} if schema is not False else {"not": {}}


@lru_cache(maxsize=4)
def _vocabulary(tokenizer: Any, ends: tuple[int, ...]) -> Any:
    return from_tokenizer(tokenizer, n_vocab=len(tokenizer), eos_token=list(ends))


@lru_cache(maxsize=64)
def _matcher(tokenizer: Any, grammar: str, ends: tuple[int, ...]) -> LLMatcher:
    """Return a matcher at its start, to be copied; raises ValueError for a grammar that is none."""
    matcher = LLMatcher(_vocabulary(tokenizer, ends), grammar)
    if told := matcher.get_error():
        raise ValueError(told)
    return matcher


@lru_cache(maxsize=4)
def _has_tags(tokenizer: Any) -> bool:
    """Tell whether the tags of a call are tokens, and such as stand in the text of a reply."""
    return {CALL, CALL_END} <= {str(token) for token in tokenizer.added_tokens_decoder.values() if not token.special}


@lru_cache(maxsize=64)
def _calls(tokenizer: Any, offered: str, form: str | None = None) -> str:
    """Return the grammar of calls of tools, given as JSON: [[name, schema], ...]; in place of text JSON of a schema."""
    opens, closes = (f"<[{tokenizer.convert_tokens_to_ids(tag)}]>" for tag in (CALL, CALL_END))
    rules = [
        *(["start: answer | call (\"\\n\" call)*", f"answer: %json {form}"] if form else
          ["start: TEXT (call (\"\\n\" call)*)?", f"TEXT: /(.|\\n)*/ & ~/(.|\\n)*{CALL}(.|\\n)*/"]),
        f"call: {opens} \"\\n\" (NAMES) \"\\n\" {closes}",
    ]
    names = []
    for name, schema in json.loads(offered):
        begin = json.dumps(begun_call(name))
        names.append(f"call_{len(names)}")
        rules.append(f"{names[-1]}: {begin} %json {json.dumps(_readable(schema))} \"}}\"")
    return LLMatcher.grammar_from_lark("\n".join(rules).replace("NAMES", " | ".join(names)))


def _readable(schema: Any) -> dict[str, Any]:
    """Return a schema of arguments in which other names are forbidden, or any object's where llguidance cannot read it.
    """
    bound = closed(schema)
    try:
        unread = LLMatcher.validate_grammar(LLMatcher.grammar_from_json_schema(json.dumps(bound), overrides=SPACED))
    except (ValueError, RecursionError) as fault:    # nested too deeply
        unread = str(fault)
    if bound["type"] != "object" or unread:
        bound = dict(ANY_OBJECT)
    return {**bound, "x-guidance": SPACED}
