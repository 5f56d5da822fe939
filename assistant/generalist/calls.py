"""Which calls a reply may make: the tools as a checkpoint's habits bind them, and the form that holds a server to them.

Here replies are held to it by `grammar.py`; vLLM takes it as a structural tag. The prompt shows the tools as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from assistant.generalist.habits import Habits
from assistant.generalist.matched import matched
from assistant.generalist.stated import stated
from assistant.generalist.turns import CALL, CALL_END, begun_call, forced

COMBINED = ("allOf", "anyOf", "oneOf", "$ref", "patternProperties", "additionalProperties", "unevaluatedProperties")
"""Keywords by which a schema may allow names beside its properties."""


def callable_tools(habits: Habits, tools: Sequence[Mapping[str, Any]], messages: Sequence[Any], choice: str | None
                   ) -> Sequence[Mapping[str, Any]]:
    """Return the tools (OpenAI's form) that a reply may call, and with what, under a `tool_choice`."""
    if habits.matched and choice not in {tool["function"]["name"] for tool in tools}:
        tools = matched(tools, messages)
    return stated(tools, messages) if habits.stated else tools


def closed(schema: Any) -> dict[str, Any]:
    """Return a schema of arguments in which names that it does not list are forbidden, unless it says otherwise."""
    told = {"type": "object", **schema} if isinstance(schema, dict) else {"type": "object", "properties": {}}
    return told if any(word in told for word in COMBINED) else {"properties": {}, **told, "additionalProperties": False}


def structural_tag(tools: Sequence[Mapping[str, Any]], choice: str | None) -> dict[str, Any]:
    """Return free text with calls of these tools as vLLM's structural tag; any `choice` but auto wants one call.

    Raises BadQuestion for a choice that is none.
    """
    must = bool(forced(choice, tools))
    names = {tool["function"]["name"] for tool in tools}
    offered = [tool["function"] for tool in tools if choice not in names or tool["function"]["name"] == choice]
    tags = [{"type": "tag", "begin": f"{CALL}\n{begun_call(tool['name'])}",
             "content": {"type": "json_schema", "json_schema": closed(tool.get("parameters"))},
             "end": f"}}\n{CALL_END}"} for tool in offered]
    free = {"type": "triggered_tags", "triggers": [CALL], "tags": tags, "at_least_one": must, "stop_after_first": must}
    return {"type": "structural_tag", "format": free}

