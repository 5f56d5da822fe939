"""Whole options scored by vLLM: each is sent as a finished answer, and vLLM tells how likely it found every token.

One request reads one option (its prompt is read through once), so letters stay the cheaper question. A vLLM that holds
adapters cannot be asked so: there one request reads one token, of the beginnings that options share once. It opens no
connection and knows no messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from assistant.errors import BadReply

Number = TypeVar("Number", int, str)
Token = tuple[str, float]
"""A token's number and its log-probability after those before it."""


def prompt_tokens(reply: Any) -> list[Token]:
    """Return the tokens of a prompt from vLLM's `prompt_logprobs`; raises BadReply where it gives none."""
    listed = (reply.model_extra or {}).get("prompt_logprobs")
    if not listed:
        raise BadReply("The server gives no log-probabilities of the prompt (prompt_logprobs): options of several "
                       "tokens cannot be scored.")
    return [(number, float(told["logprob"])) for row in listed if row for number, told in list(row.items())[:1]]


def endings(closed: Sequence[Sequence[Number]], unclosed: int) -> tuple[int, list[tuple[Number, ...]]]:
    """Return where the options first differ, and the tokens of each from there to the end of the turn."""
    same = next((i for i, tokens in enumerate(zip(*closed, strict=False)) if len(set(tokens)) > 1),
                min(map(len, closed)))
    after = max(0, len(closed[0]) - unclosed - 1)
    return same, [tuple(row[same:len(row) - after]) for row in closed]


def edges(tails: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return every beginning of the tails, each once: its last token is what is to be scored after the others."""
    return sorted({tail[:length] for tail in tails for length in range(1, len(tail) + 1)})


def option_sums(closed: Sequence[Sequence[Token]], unclosed: int) -> list[float]:
    """Return the log-probability of each option, up to what all of them share.

    `closed` are the prompts with each option as the finished last turn; `unclosed` is the number of tokens of the first
    while its turn is open. What a template writes after the token that ends a turn counts for no option.
    """
    same, tails = endings([[number for number, _ in row] for row in closed], unclosed)
    return [sum(value for _, value in row[same:same + len(tail)]) for row, tail in zip(closed, tails, strict=True)]
