"""Options of several tokens behind vLLM: read as finished answers, summed from where they part."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from assistant.errors import BadReply
from assistant.generalist.prompt_scores import edges, endings, option_sums
from assistant.generalist.served import ServedGeneralist
from tests.fakes import FakeOpenAIServer

ASKED = [{"role": "user", "content": "Which?"}]
LIKELY = {"benign": -1.0, "benign lesion": -3.0, "malignant": -2.0}
HEAD = [(1, -5.0), (2, -0.5)]


def told(option: str) -> list[tuple[int, float]]:
    """Return the tokens of an option, a word each; what it lacks to its likelihood stands at the end of the turn."""
    words = [(100 + sum(map(ord, word)), -0.25) for word in option.split()]
    return [*words, (7, LIKELY[option] + 0.25 * len(words))]


def prompt(body: Mapping[str, Any]) -> list[Any]:
    """Write the prompt as vLLM does: nothing of the first token, then each with its own log-probability alone."""
    option = body["messages"][-1]["content"]
    newline = [(8, -9.0 - len(option))]     # after the end of the turn: of no account
    tokens = [*HEAD, *(told(option)[:-1] if body["continue_final_message"] else [*told(option), *newline])]
    return [None, *({str(number): {"logprob": value, "rank": 3, "decoded_token": "x"}} for number, value in tokens)]


def test_the_end_of_the_turn_counts_and_what_the_template_writes_after_it_does_not() -> None:
    closed = [[("1", -1.0), ("2", -2.0), ("7", -0.5), ("8", -9.0)], [("1", -1.0), ("3", -1.0), ("4", -1.0),
                                                                      ("7", -0.1), ("8", -1.0)]]
    assert option_sums(closed, unclosed=2) == pytest.approx([-2.5, -2.1])
    assert option_sums([row[:-2] for row in closed], unclosed=2) == pytest.approx([-2.0, -2.0]), "no end at all"


def test_vllm_gives_the_posterior_of_whole_texts() -> None:
    with FakeOpenAIServer() as server:
        server.owner, server.prompt_logprobs = "vllm", prompt
        scores = ServedGeneralist(server.url).score(ASKED, list(LIKELY))
        (first, *_) = server.requests
    total = sum(map(math.exp, LIKELY.values()))
    assert {option: math.exp(value) for option, value in scores.items()} == pytest.approx(
        {option: math.exp(value) / total for option, value in LIKELY.items()})
    assert len(server.requests) == len(LIKELY) + 1
    assert (first["max_completion_tokens"], first["prompt_logprobs"], first["add_generation_prompt"]) == (1, 0, False)


def test_letters_stay_one_request_and_other_servers_are_asked_for_a_choice() -> None:
    with FakeOpenAIServer("A", logprobs={"A": -0.1, "B": -3.0}) as server:
        server.owner, server.prompt_logprobs = "vllm", prompt
        ServedGeneralist(server.url).score(ASKED, ["A", "B"])
        server.owner, server.reply = "somebody", "benign"
        ServedGeneralist(server.url).score(ASKED, ["benign", "malignant"])
    assert [request.get("structured_outputs") for request in server.requests] == [
        {"choice": ["A", "B"]}, {"choice": ["benign", "malignant"]}]


def test_a_vllm_that_keeps_them_back_is_named() -> None:
    with FakeOpenAIServer() as server:
        server.owner = "vllm"
        with pytest.raises(BadReply, match="prompt_logprobs"):
            ServedGeneralist(server.url).score(ASKED, ["benign", "malignant"])


WORDS = ["<begin>", "?", "<answer>", "a", "mass", "cyst", "on", "left", "<end>", "newline"]


def tokenized(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tokens of a conversation, a word each, framed as ChatML frames turns."""
    words = ["<begin>"]
    for message in body["messages"]:
        words += ["<answer>"] if message["role"] == "assistant" else []
        words += message["content"].split()
        is_open = body.get("continue_final_message") and message is body["messages"][-1]
        words += [] if is_open else ["<end>", "newline"]
    words += ["<answer>"] if body["add_generation_prompt"] else []
    return {"tokens": [WORDS.index(word) for word in words]}


def test_a_vllm_with_adapters_is_asked_token_by_token() -> None:
    """Its engine would die of `prompt_logprobs`, and with it the answers of all others."""
    said = {"a|mass": -1.0, "a|cyst": -0.5, "a mass|<end>": -0.1, "a mass|on": -2.5, "a mass on|left": -0.2,
            "a mass on left|<end>": -0.3, "a cyst|<end>": -0.4}

    def answer(body: Mapping[str, Any]) -> str:
        number, = body["allowed_token_ids"]
        assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
        return f"{body['messages'][-1]['content']}|{WORDS[number]}".replace(" ", "_")
    with FakeOpenAIServer(logprobs={key.replace(" ", "_"): value for key, value in said.items()}) as server:
        server.owner, server.adapters, server.answer = "vllm", {"skill": "/nowhere"}, answer
        server.routes = {"/tokenize": tokenized,
                         "/detokenize": lambda body: {"prompt": " ".join(WORDS[i] for i in body["tokens"])}}
        scores = ServedGeneralist(server.url).score(ASKED, ["a mass", "a mass on left", "a cyst"])
    sums = {"a mass": -1.1, "a mass on left": -4.0, "a cyst": -0.9}
    total = sum(map(math.exp, sums.values()))
    assert {option: math.exp(value) for option, value in scores.items()} == pytest.approx(
        {option: math.exp(value) / total for option, value in sums.items()})
    assert len(server.requests) == len(said), "what options share is read once"
    assert all("prompt_logprobs" not in request for request in server.requests)


def test_beginnings_are_scored_once() -> None:
    closed = [[0, 1, 5, 6, 9, 8], [0, 1, 5, 7, 9, 8], [0, 1, 5, 6, 4, 9, 8]]
    same, tails = endings(closed, unclosed=4)
    assert (same, tails) == (3, [(6, 9), (7, 9), (6, 4, 9)])
    assert edges(tails) == [(6,), (6, 4), (6, 4, 9), (6, 9), (7,), (7, 9)]
