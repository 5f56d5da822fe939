"""A generalist behind any OpenAI-compatible server, vLLM first; it loads no weights and imports no torch.

What is sent are turns, images as data URLs and tools: never a header value of a study.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import openai
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessage, BaseMessage, convert_to_openai_messages
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI
from pydantic import PrivateAttr, SecretStr

from assistant.errors import AdapterRefused, BadQuestion, BadReply, GeneralistError, ServerUnreachable, ToolsUnsupported
from assistant.generalist.adapters import sha256_of
from assistant.generalist.batching import LEFT
from assistant.generalist.boxes import BoxCodec, codec_for
from assistant.generalist.calls import callable_tools, structural_tag
from assistant.generalist.generalist import Generalist, Messages, checked_options, renormalized
from assistant.generalist.habits import Habits, model_type, read_habits
from assistant.generalist.prompt_scores import Token, edges, endings, option_sums, prompt_tokens
from assistant.generalist.turns import as_messages, as_urls

MOST_TOP = 20
"""Alternatives a token that vLLM lists unless started with --max-logprobs."""
MOST_HASHED = 2 << 30
"""Bytes of weights that are read for their hash; a large model's would take minutes."""
OPTION_TOKENS = 64
"""Tokens an option may have."""


@dataclass(frozen=True)
class Listed:
    """A model or an adapter on a server."""

    root: str | None = None
    """Its folder, or its name on the hub, where the server tells it (vLLM does)."""
    parent: str | None = None
    """The model that it is an adapter of."""
    owner: str | None = None
    """Who serves it: "vllm"."""


class ServedGeneralist(Generalist):
    """A model on a server; `model` None asks the server for the first it has."""

    base_url: str
    model: str | None = None
    api_key: SecretStr | None = None
    max_tokens: int = 512
    temperature: float = 0.0
    seed: int = 0
    timeout_s: float = 120.0
    """Longest silence of the server before the call fails."""
    parallel: int = 8
    """Requests under way at once when many are scored or answered."""
    retries: int = 2
    """Further attempts when the server is busy or does not answer."""
    habits: str | None = None
    """Folder (or file) of the checkpoint's consilium.json; None: the folder that the server names, if it is here."""

    _chat: ChatOpenAI | None = PrivateAttr(default=None)
    _told: Habits | None = PrivateAttr(default=None)
    _known: dict[str, Listed] | None = PrivateAttr(default=None)
    _hashed: str | None = PrivateAttr(default=None)
    """Hash of the model's weights, "" where it is not known here; None before it is asked for."""
    _base: str | None = PrivateAttr(default=None)
    """The model that `model` is an adapter of, where it is one."""

    def __init__(
        self, base_url: str, model: str | None = None, api_key: str | SecretStr | None = None, **kwargs: Any
    ) -> None:
        secret = SecretStr(api_key) if isinstance(api_key, str) else api_key
        super().__init__(**{"base_url": _with_version(base_url), "model": model, "api_key": secret, **kwargs})

    @property
    def _llm_type(self) -> str:
        return "consilium-served"

    @property
    def boxes(self) -> BoxCodec:
        """How the model writes boxes: by its family where its folder is here, else by its name."""
        base, _ = self._folders()
        return codec_for((model_type(base) if base else None) or self._base or self.model or "")

    @property
    def look_record(self) -> Mapping[str, float]:
        """Validated F1 (0..1) of the labels that it names in words, as its consilium.json states."""
        return self._habits().look

    @property
    def taught_kinds(self) -> frozenset[str]:
        """Kinds of image that it was taught, as its consilium.json states."""
        return self._habits().kinds

    @property
    def skill_kinds(self) -> frozenset[str]:
        """Kinds of image that its adapter was taught, as the adapter's consilium.json states."""
        return self._habits().skill

    def revision(self) -> dict[str, Any]:
        """Return the model's name on its server, the server's address without credentials, and the adapter.

        Of an adapter's weights the hash is told where its folder, as the server names it, can be read from here; of the
        model's, too, where they are small enough to be read for it: what was fitted with them is known by it.
        """
        found = {"model": self._connected().model_name, "url": self.base_url, "adapter": None}
        if self._hashed is None:
            folder, _ = self._folders()
            small = folder is not None and _weight_bytes(folder) <= MOST_HASHED
            self._hashed = (sha256_of(folder) if folder and small else None) or ""
        if self._hashed:
            found["sha256"] = self._hashed
        if self._base is None:
            return found
        sha256 = _sha256(self._listed().get(str(self.model), Listed()).root)
        return {**found, "model": self._base, "adapter": self.model, "adapter_sha256": sha256}

    def ready(self) -> None:
        """Ask the server for its models; raises AdapterRefused where it has no adapter of this name."""
        listed = self._listed()
        if self._base is not None and self.model not in listed:
            raise AdapterRefused(
                f"The server {self.base_url} has no adapter {self.model!r}. Known: {', '.join(listed)}. Start vLLM "
                f"with --enable-lora --lora-modules {self.model}=FOLDER."
            )

    def with_adapter(self, adapter: str) -> ServedGeneralist:
        """Return the same server's adapter of this name (vLLM: --lora-modules NAME=FOLDER)."""
        other = self.model_copy(update={"model": adapter})
        other._chat, other._base = None, self._base or self._connected().model_name
        other._told = None
        return other

    def score(self, messages: Messages, options: Sequence[str]) -> dict[str, float]:
        """Return log-probabilities over the options from one request of structured choice with logprobs.

        Options of one letter give the model's posterior over them in one request. Longer ones vLLM reads one by one,
        as finished answers, or token by token where it holds adapters; of another server only the chosen one's
        probability is known, and the others share the rest: ask it with letters where figures matter. A server that
        ignores or refuses the choice is read by its first token's alternatives.
        """
        given = checked_options(options)
        wanted: dict[str, Any] = {"logprobs": True, "top_logprobs": MOST_TOP, "temperature": 0.0}
        longest = 1 if all(len(option) == 1 for option in given) else OPTION_TOKENS
        if longest > 1 and self._is_vllm():
            return renormalized(self._by_token(messages, given) if self._has_adapters() else
                                self._whole(messages, given))
        choice = {"extra_body": {"structured_outputs": {"choice": given}}}
        try:
            text, tokens = self._chosen(messages, max_tokens=longest, **wanted, **choice)
        except BadReply as refused:
            if not isinstance(refused.__cause__, openai.BadRequestError):
                raise
            text, tokens = self._chosen(messages, max_tokens=longest, **wanted)
        return renormalized(_option_scores(text, tokens, given))

    def score_many(
        self, conversations: Sequence[Messages], options: Sequence[Sequence[str]]
    ) -> list[dict[str, float]]:
        """Return `score` of each conversation, several requests at a time: a server batches them."""
        self._connected()
        with ThreadPoolExecutor(max_workers=self.parallel) as pool:
            return list(pool.map(lambda pair: self.score(*pair), zip(conversations, options, strict=True)))

    def reply_many(
        self, conversations: Sequence[Messages], *, tools: Sequence[Mapping[str, Any]] | None = None, **settings: Any
    ) -> list[AIMessage]:
        """Return the reply to each conversation, several requests at a time: a server batches them."""
        self._connected()
        offered = {"tools": list(tools)} if tools else {}
        with ThreadPoolExecutor(max_workers=self.parallel) as pool:
            return list(pool.map(lambda messages: self.invoke(list(messages), **offered, **settings), conversations))  # type: ignore[arg-type]

    def _is_vllm(self) -> bool:
        return self._listed_once().get(self._connected().model_name, Listed()).owner == "vllm"

    def _has_adapters(self) -> bool:
        """Return whether the server holds adapters: vLLM's engine then dies of `prompt_logprobs` (0.32, on a CPU)."""
        return any(model.parent for model in self._listed_once().values())

    def _whole(self, messages: Messages, options: Sequence[str]) -> dict[str, float]:
        """Return the log-probability of each option as the whole reply, up to what they share."""
        asked = convert_to_openai_messages(self._turns(messages))
        turns = asked if isinstance(asked, list) else [asked]
        with self._translated(), self._client() as client, ThreadPoolExecutor(self.parallel) as pool:
            def read(option: str, *, open_turn: bool = False) -> list[Token]:
                said: Any = [*turns, {"role": "assistant", "content": option}]
                how = {"prompt_logprobs": 0, "add_generation_prompt": False, "continue_final_message": open_turn}
                return prompt_tokens(client.chat.completions.create(
                    model=self._connected().model_name, messages=said, max_completion_tokens=1, extra_body=how))

            unclosed = pool.submit(read, options[0], open_turn=True)
            closed = list(pool.map(read, options))
            return dict(zip(options, option_sums(closed, len(unclosed.result())), strict=True))

    def _by_token(self, messages: Messages, options: Sequence[str]) -> dict[str, float]:
        """Return the log-probability of each option as the whole reply, up to what they share, token by token."""
        asked = convert_to_openai_messages(self._turns(messages))
        turns: Any = asked if isinstance(asked, list) else [asked]
        with self._translated(), self._client() as client, ThreadPoolExecutor(self.parallel) as pool:
            model = self._connected().model_name

            def tokens(said: Sequence[Any], **how: bool) -> list[int]:
                body = {"model": model, "messages": [{"role": "user", "content": "?"}, *said],
                        "add_generation_prompt": False, **how}
                return client.post(_beside(self.base_url, "tokenize"), cast_to=dict[str, Any], body=body)["tokens"]

            def answer(text: str) -> list[Any]:
                return [{"role": "assistant", "content": text}]

            closed = [tokens(answer(option)) for option in options]
            begin = len(tokens([], add_generation_prompt=True))
            same, tails = endings(closed, len(tokens(answer(options[0]), continue_final_message=True)))

            def score(edge: tuple[int, ...]) -> float:
                before = [*closed[0][begin:same], *edge[:-1]]
                how: dict[str, Any] = {"allowed_token_ids": [edge[-1]]}
                said: list[Any] = []
                if before:
                    text = client.post(_beside(self.base_url, "detokenize"), cast_to=dict[str, Any],
                                       body={"model": model, "tokens": before})["prompt"]
                    said = answer(text)
                    how |= {"add_generation_prompt": False, "continue_final_message": True}
                reply = client.chat.completions.create(model=model, messages=[*turns, *said], temperature=0.0,
                                                       max_completion_tokens=1, logprobs=True, extra_body=how)
                told = reply.choices[0].logprobs
                if told is None or not told.content:
                    raise BadReply("The server gives no log-probabilities: options of several tokens cannot be scored.")
                return told.content[0].logprob

            wanted = edges(tails)
            found = dict(zip(wanted, pool.map(score, wanted), strict=True))
            return {option: sum(found[tail[:n]] for n in range(1, len(tail) + 1))
                    for option, tail in zip(options, tails, strict=True)}

    def _chosen(self, messages: Messages, **kwargs: Any) -> tuple[str, list[dict[str, Any]]]:
        """Return the reply's text and its tokens with their log-probabilities."""
        reply = self._whole_reply(as_messages(messages), None, None, kwargs).generations[0]
        tokens = ((reply.generation_info or {}).get("logprobs") or {}).get("content") or []
        if not tokens:
            raise BadReply(
                f"The server {self.base_url} gives no log-probabilities of tokens, and options cannot be "
                "scored without: use a server that gives them (vLLM does), or a local model."
            )
        return str(reply.message.content).strip(), tokens

    def _connected(self) -> ChatOpenAI:
        if self._chat is None:
            key = self.api_key or SecretStr("none")  # as in `_listed`
            if self.model is None:
                self.model = self._first_model()
            self._chat = ChatOpenAI(
                model=self.model,
                base_url=self.base_url,
                api_key=key,
                timeout=self.timeout_s,
                max_retries=self.retries,
                max_completion_tokens=self.max_tokens,
                temperature=self.temperature,
                seed=self.seed,
                use_responses_api=False,
                stream_usage=False,
            )
        return self._chat

    def _first_model(self) -> str:
        listed = self._listed()
        if not listed:
            raise BadReply(
                f"The server {self.base_url} lists no model: name one, as in {self.base_url}#MODEL."
            )
        return next(iter(listed))

    def _listed(self) -> dict[str, Listed]:
        """Return the server's models and adapters by name."""
        with self._translated(), self._client() as client:
            return {
                model.id: Listed(getattr(model, "root", None), getattr(model, "parent", None), model.owned_by)
                for model in client.models.list().data
            }

    def _listed_once(self) -> dict[str, Listed]:
        """Return what the server listed when it was first asked; nothing where it lists no models."""
        if self._known is None:
            try:
                self._known = self._listed()
            except BadReply:
                self._known = {}
        return self._known

    def _client(self) -> openai.OpenAI:
        key = self.api_key or SecretStr("none")  # given always: else a key meant for OpenAI would be sent
        return openai.OpenAI(
            base_url=self.base_url,
            api_key=key.get_secret_value(),
            timeout=self.timeout_s,
            max_retries=self.retries,
        )

    def _folders(self) -> tuple[Path | None, Path | None]:
        """Return the folders of the checkpoint and of its adapter, where the server names ones of this machine."""
        listed, own = self._listed_once(), self._listed_once().get(self._connected().model_name, Listed())
        base = self._base or own.parent
        whole = listed.get(base, Listed()) if base else own
        return _here(whole.root), _here(own.root) if base else None

    def _habits(self) -> Habits:
        """Return what the checkpoint and its adapter say of themselves."""
        told = self._told
        if told is None:
            base, skill = self._folders()
            place = self.habits or base
            told = read_habits(place) if place else Habits()
            told = self._told = told.with_skill(read_habits(skill)) if skill else told
        return told

    def _turns(self, messages: Messages) -> list[BaseMessage]:
        """Return the messages as they are sent, their images as the checkpoint was taught to see them."""
        habits = self._habits()
        return [as_urls(turn, habits.shown if habits.square else None) for turn in as_messages(messages)]

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if LEFT.get() is not None:      # read piece by piece, it ends where whoever asked leaves
            return generate_from_stream(_until_left(self._stream(messages, stop, run_manager, **kwargs)))
        return self._whole_reply(messages, stop, run_manager, kwargs)

    def _whole_reply(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        run_manager: CallbackManagerForLLMRun | None,
        kwargs: Mapping[str, Any],
    ) -> ChatResult:
        chat, turns, sent = self._connected(), self._turns(messages), self._sent(messages, kwargs)
        with self._translated(tools="tools" in sent):
            return chat._generate(turns, stop, run_manager, **sent)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Generator[ChatGenerationChunk]:
        chat, turns, sent = self._connected(), self._turns(messages), self._sent(messages, kwargs)
        finished = False
        with self._translated(tools="tools" in sent):
            for chunk in chat._stream(turns, stop, run_manager, **sent):
                finished = finished or bool((chunk.generation_info or {}).get("finish_reason"))
                yield chunk
        if not finished:
            raise BadReply(f"The server {self.base_url} broke off in the middle of its reply: ask again.")

    def _sent(self, messages: Messages, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the call's settings as they are sent; calls are held to what the checkpoint's habits allow."""
        habits, tools, choice = self._habits(), kwargs.get("tools") or (), kwargs.get("tool_choice")
        binds = (habits.matched or habits.stated) and not kwargs.get("response_format")
        if not (binds and tools and choice != "none" and self._is_vllm()):
            return _sent(kwargs)
        held = json.dumps(structural_tag(callable_tools(habits, tools, messages, choice), choice))
        more = {**(kwargs.get("extra_body") or {}), "structured_outputs": {"structural_tag": held}}
        return {**kwargs, "tools": list(tools), "tool_choice": "auto", "extra_body": more}

    @contextlib.contextmanager
    def _translated(self, tools: bool = False) -> Iterator[None]:
        """Raise a client library's errors as ours, with what to do."""
        try:
            yield
        except (openai.APIConnectionError, httpx.TransportError) as error:
            raise ServerUnreachable(
                f"No answer from the generalist's server {self.base_url} ({error}): is it running, and the "
                "address right? Wanted an OpenAI-compatible server, such as vLLM's."
            ) from error
        except openai.APIStatusError as error:
            raise self._status(error, tools) from error
        except openai.APIError as error:
            raise BadReply(f"The server {self.base_url} failed: {error.message}") from error
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise BadReply(
                f"The server {self.base_url} replied with something that is no chat completion: {error}. "
                "Wanted an OpenAI-compatible server; its address mostly ends in /v1."
            ) from error

    def _status(self, error: openai.APIStatusError, tools: bool) -> GeneralistError:
        told = f"The server {self.base_url} answered {error.status_code}: {error.message}"
        if tools and error.status_code in (400, 404, 422, 501) and "tool" in error.message.lower():
            return ToolsUnsupported(
                f"{told} It takes no tools as it runs: start vLLM with --enable-auto-tool-choice "
                "--tool-call-parser hermes, or ask with collaboration full or none."
            )
        if error.status_code in (401, 403):
            return BadReply(f"{told} Set CONSILIUM_API_KEY to a key it accepts.")
        if error.status_code == 404:
            return BadReply(f"{told} Is there a model {self.model!r}, and does the address end in /v1?")
        if error.status_code in (429, 502, 503, 504):
            return ServerUnreachable(f"{told} It is too busy or not ready: try again later.")
        return BadReply(told)


def _until_left(chunks: Generator[ChatGenerationChunk]) -> Iterator[ChatGenerationChunk]:
    """Yield the chunks; raises CancelledError, and lets go of the server, once nobody waits for them."""
    left = LEFT.get()
    with contextlib.closing(chunks):
        for chunk in chunks:
            if left is not None and left.done():
                raise CancelledError("nobody waits for the reply")
            yield chunk


def _with_version(base_url: str) -> str:
    """Return the address without credentials or a trailing slash, with /v1 where it names no path."""
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadQuestion(f"Server {base_url!r}: wanted an address such as http://127.0.0.1:8000/v1.")
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/") or "/v1", "", ""))


def _beside(base_url: str, name: str) -> str:
    """Return the address of a route of vLLM's own, which stands beside /v1."""
    return f"{base_url.removesuffix('/v1')}/{name}"


def _here(root: str | None) -> Path | None:
    """Return the folder that a server names, if it is one of this machine; a bare name is none."""
    folder = Path(root) if root else None
    return folder if folder is not None and folder.is_absolute() and folder.is_dir() else None


def _weight_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _sha256(folder: str | None) -> str | None:
    """Return the hash of the adapter in a folder of this machine."""
    return sha256_of(Path(folder)) if folder else None


def _sent(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the call's settings in OpenAI's words."""
    sent = dict(kwargs)
    tools = sent.get("tools")
    if not tools:
        return {name: value for name, value in sent.items() if name not in ("tools", "tool_choice")}
    sent["tools"] = [_strict(tool) for tool in tools]
    chosen = sent.get("tool_choice")
    if chosen == "any":
        sent["tool_choice"] = "required"
    elif isinstance(chosen, str) and chosen not in ("auto", "none", "required"):
        sent["tool_choice"] = {"type": "function", "function": {"name": chosen}}
    return sent


def _strict(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tool marked strict where OpenAI allows it: vLLM keeps to the schema only then."""
    function = dict(tool.get("function") or {})
    schema = dict(function.get("parameters") or {})
    if set(schema.get("properties") or {}) != set(schema.get("required") or []):
        return dict(tool)
    schema = {"type": "object", "properties": {}, "required": [], **schema, "additionalProperties": False}
    return {**tool, "function": {**function, "parameters": schema, "strict": True}}


def _option_scores(
    text: str, tokens: Sequence[Mapping[str, Any]], options: Sequence[str]
) -> dict[str, float]:
    """Return log-probabilities of the options, not yet renormalized."""
    top: dict[str, float] = {}
    for row in tokens[0].get("top_logprobs") or [tokens[0]]:
        word, value = row["token"].strip(), max(float(row["logprob"]), -1e4)
        top[word] = (
            max(value, top[word]) + math.log1p(math.exp(-abs(value - top[word]))) if word in top else value
        )
    found = [option for option in options if option in top]
    if len(found) < len(options) and text in options and len(text) > 1:
        return _shared(sum(float(token["logprob"]) for token in tokens), text, options)
    if not found:
        raise BadReply(f"The reply {text[:60]!r} is none of the options {', '.join(options)}.")
    floor = min(top.values())  # what is not in the list is at most as likely as the last in it
    return {option: top.get(option, floor) for option in options}


def _shared(logprob: float, chosen: str, options: Sequence[str]) -> dict[str, float]:
    share = min(1 - 1e-6, max(math.exp(min(0.0, logprob)), 1 / len(options)))
    rest = math.log((1 - share) / (len(options) - 1))
    return {option: math.log(share) if option == chosen else rest for option in options}
