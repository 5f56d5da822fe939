"""A generalist in this process: a transformers checkpoint of images and text, with or without a GPU.

It trains nothing and speaks no HTTP; weights are read from a folder or the hub's cache at the first use.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from PIL import Image
from pydantic import PrivateAttr

from assistant.errors import BadQuestion, ToolsUnsupported
from assistant.generalist.adapters import check_adapter, sha256_of
from assistant.generalist.batching import LEFT, Gathering, More
from assistant.generalist.boxes import BoxCodec
from assistant.generalist.calls import callable_tools
from assistant.generalist.decoding import TOP, Sampler, Writing, end, likelihoods, parted, write
from assistant.generalist.generalist import Generalist, Messages, checked_options, renormalized
from assistant.generalist.grammar import Grammar, calls_of, json_of
from assistant.generalist.habits import Habits, read_habits
from assistant.generalist.lately import Lately
from assistant.generalist.processors import Frame, Row, codec_of, frame, joined, tokens, written
from assistant.generalist.rolling import Rolling, rolls
from assistant.generalist.scoring import next_tokens, sums
from assistant.generalist.turns import Splitter, forced, parse_reply, read_image, to_chat
from assistant.generalist.weights import Weights

REPLIES = "replies"
"""Key of the jobs that write replies, which any batch may hold."""
PICTURES = 64, 32 << 20
"""How many of the last images stay decoded, and how many bytes: several prompts are about the same."""


class LocalGeneralist(Generalist):
    """A vision-language checkpoint run by transformers.

    Greedy unless `temperature` is above 0; equal seeds then give equal texts. What threads ask at the same time runs as
    one batch, each adapter's by itself; one batch runs at a time, also of those that share the checkpoint.
    """

    path: str
    """Folder of a checkpoint, or a model's name on the hub."""
    adapter: str | None = None
    """Folder of a PEFT adapter laid over the checkpoint."""
    device: str = "auto"
    """"auto" is the first GPU, else the CPU."""
    max_new_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0
    batch_size: int = 16
    """Rows of one forward pass when scoring many."""

    _weights: Weights = PrivateAttr()
    _revision: dict[str, Any] | None = PrivateAttr(default=None)
    _codec: BoxCodec | None = PrivateAttr(default=None)
    _told: Habits | None = PrivateAttr(default=None)
    _frame: Frame | None = PrivateAttr(default=None)
    _gathering: Gathering = PrivateAttr()
    _pictures: Lately[Image.Image] = PrivateAttr(default_factory=lambda: Lately(*PICTURES))

    def __init__(self, path: str | Path, *, adapter: str | Path | None = None, **kwargs: Any) -> None:
        super().__init__(**{"path": str(path), "adapter": _folder(adapter), **kwargs})
        self._weights = Weights(self.path, self.device)
        # A score need not wait until the last of the replies with the same adapter is over.
        self._gathering = Gathering(self.batch_size, lambda running, waiting: running[1] == waiting[1])

    @property
    def _llm_type(self) -> str:
        return "consilium-local"

    @property
    def boxes(self) -> BoxCodec:
        """How this model family writes boxes."""
        if self._codec is None:
            self._codec = codec_of(self.path)
        return self._codec

    def load(self) -> tuple[Any, Any]:
        """Return model and processor, read at the first call, its adapter with them."""
        if self.adapter is not None:
            self._weights.lay(self.adapter)
        return self._weights.load()

    def ready(self) -> None:
        """Read the weights now; raises GeneralistError where they, or the adapter, cannot be."""
        self.load()

    def with_adapter(self, adapter: str) -> LocalGeneralist:
        """Return the same checkpoint, in memory once, with the PEFT adapter of a folder laid over it.

        Raises AdapterRefused where there is none; what it holds is read when it is first used.
        """
        check_adapter(str(_folder(adapter)))
        other = self.model_copy(update={"adapter": _folder(adapter)})
        other._revision = other._told = None
        return other

    def revision(self) -> dict[str, Any]:
        """Return model, sha256 over its weight files (of the hub, the commit), adapter and its sha256."""
        if self._revision is None:
            found: dict[str, Any] = {
                "model": self.path,
                "sha256": sha256_of(Path(self.path)),
                "adapter": self.adapter,
            }
            if found["sha256"] is None:
                found["commit"] = getattr(self.load()[0].config, "_commit_hash", None)
            if self.adapter:
                found["adapter_sha256"] = sha256_of(Path(self.adapter))
            self._revision = found
        return dict(self._revision)

    def count_tokens(self, text: str) -> int:
        """Return how many tokens a text has."""
        return len(self.load()[1].tokenizer(text, add_special_tokens=False)["input_ids"])

    def get_num_tokens(self, text: str) -> int:
        """Return how many tokens a text has, under LangChain's name."""
        return self.count_tokens(text)

    def score(self, messages: Messages, options: Sequence[str]) -> dict[str, float]:
        """Return the log-probability of each option as the reply, renormalized over the options.

        Options of one token each (letters) cost one forward pass and compare their logits; otherwise the
        score of an option is the sum over its tokens and the end of turn.
        """
        return self.score_many([messages], [options])[0]

    def score_many(
        self, conversations: Sequence[Messages], options: Sequence[Sequence[str]]
    ) -> list[dict[str, float]]:
        """Return `score` of each conversation, computed in batches with padding on the left."""
        _, processor = self.load()
        lead = self._answers.lead
        given = [checked_options(some) for some in options]
        scored: list[dict[str, float]] = []
        for start in range(0, len(conversations), self.batch_size):
            part = slice(start, start + self.batch_size)
            ids = [[_ids(processor, lead + o) for o in some] for some in given[part]]
            rows = zip([self._row(messages) for messages in conversations[part]], ids, strict=True)
            jobs = [(("score", self.adapter, _letters(job[1])), job) for job in rows]
            scored += self._gathering.ask(jobs, self._scored)
        return [
            renormalized(dict(zip(some, values.values(), strict=True)))
            for some, values in zip(given, scored, strict=True)
        ]

    def _scored(self, jobs: list[tuple[Row, list[list[int]]]]) -> list[dict[str, float]]:
        """Return the scores of rows, each with its options' ids, of one batch."""
        rows, options = zip(*jobs, strict=True)
        with self._weights.using(self.adapter) as model, torch.inference_mode():
            return self._scores(rows, options, model)

    def reply_many(
        self, conversations: Sequence[Messages], *, tools: Sequence[Mapping[str, Any]] | None = None, **settings: Any
    ) -> list[AIMessage]:
        """Return the reply to each conversation, computed in batches with padding on the left.

        They are those that `invoke` gives one by one; sampled ones depend on their seed.
        """
        self.load()
        stop = settings.pop("stop", None) or ()
        kwargs = {**settings, "tools": list(tools or ())}
        prompts = [self._prompt(messages, kwargs) for messages in conversations]
        replies = [self._writing(row, stop, own, prefix, watched=False) for row, prefix, own in prompts]
        # Rows of like length share a batch: less padding, and the long ones do not keep the short ones waiting.
        ordered = sorted(replies, key=lambda reply: reply.row["input_ids"].shape[1])
        self._gathering.enter([((REPLIES, self.adapter), reply) for reply in ordered], self._write)
        return [self._reply(reply, prefix) for reply, (_, prefix, _) in zip(replies, prompts, strict=True)]

    def _reply(self, done: Writing, prefix: str) -> AIMessage:
        """Return a whole reply as a message; raises GeneralistError."""
        cut = Splitter(stop=done.stop)
        for piece in done.pieces():
            cut.feed(piece)
        reply = parse_reply(cut.text, prefix)
        reply.usage_metadata = _usage(done.row, done.made)
        reply.response_metadata = self._about(done)
        return reply

    def next_tokens(self, messages: Messages, tools: Sequence[Mapping[str, Any]] = ()) -> torch.Tensor:
        """Return the log-probability (vocabulary,) of each token as the first of the reply, float32 on the CPU."""
        batch = self._batch([self._row(messages, tools)])
        return self._in_turn(lambda model: next_tokens(model, batch)[0])

    def _in_turn(self, work: Callable[[Any], torch.Tensor]) -> torch.Tensor:
        """Return what a job makes of the model, which batches that others join would never leave to it."""
        def run(jobs: list[Callable[[Any], torch.Tensor]]) -> list[torch.Tensor]:
            with self._weights.using(self.adapter) as model, torch.inference_mode():
                return [job(model) for job in jobs]
        return self._gathering.ask([(("turn", self.adapter, object()), work)], run)[0]

    def count_prompt(self, messages: Messages, tools: Sequence[Mapping[str, Any]] = ()) -> int:
        """Return how many tokens the prompt of a conversation has, those of its images too."""
        return int(self._row(messages, tools)["input_ids"].shape[1])

    def _scores(
        self, rows: Sequence[Row], options: Sequence[Sequence[list[int]]], model: Any
    ) -> list[dict[str, float]]:
        if _letters([ids for some in options for ids in some]):
            last = next_tokens(model, self._batch(rows))
            return [{str(i): float(last[b, ids[0]]) for i, ids in enumerate(some)} for b, some in enumerate(options)]
        end = self._processor.tokenizer.convert_tokens_to_ids(self._answers.end)
        at_once = max(1, self.batch_size // max(map(len, options)))
        found: list[list[float]] = []
        for start in range(0, len(rows), at_once):
            part = slice(start, start + at_once)
            tails = [[[*ids, end] for ids in some] for some in options[part]]
            found += sums(model, self._batch(rows[part]), tails, self.batch_size)
        return [{str(i): value for i, value in enumerate(values)} for values in found]

    def _row(self, messages: Messages, tools: Sequence[Mapping[str, Any]] = (), prefix: str = "") -> Row:
        _, processor = self.load()
        turns, images = to_chat(messages, self._reserved(), self._picture)
        template = processor.chat_template or processor.tokenizer.chat_template or ""
        if tools and "tools" not in template:
            raise ToolsUnsupported(
                f"The chat template of {self.path!r} takes no tools: ask without them "
                "(collaboration full or none), or choose another model."
            )
        try:
            text = written(processor, turns, tools, ask=True)
            row = tokens(processor, text + prefix, images, return_tensors="pt")
        except ValueError as error:
            raise BadQuestion(f"The generalist's processor refuses the conversation: {error}") from error
        limit = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        if limit and row["input_ids"].shape[1] > limit:
            raise BadQuestion(
                f"The conversation has {row['input_ids'].shape[1]} tokens; the generalist reads {limit}. "
                "Ask with fewer images or a shorter text."
            )
        return dict(row)

    @property
    def _model(self) -> Any:
        return self._weights.load()[0]

    @property
    def _processor(self) -> Any:
        return self._weights.load()[1]

    @property
    def _answers(self) -> Frame:
        """How the chat template frames an answer."""
        if self._frame is None:
            self._frame = frame(self._processor)
        return self._frame

    def _reserved(self) -> list[str]:
        """Return the tokens that only the chat template may write."""
        tokenizer = self._processor.tokenizer
        added = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
        return sorted({*added, *tokenizer.all_special_tokens}, key=len, reverse=True)

    def _picture(self, part: dict[str, Any]) -> Image.Image:
        """Return the image of a content block as the checkpoint was taught to see it."""
        if "image" in part:
            return self.as_taught(read_image(part))
        key = hashlib.sha256(repr(part).encode()).digest()
        picture = self._pictures.get(key)
        if picture is None:
            picture = self.as_taught(read_image(part))
            self._pictures.put(key, picture, 3 * picture.width * picture.height)
        return picture

    def as_taught(self, image: Image.Image) -> Image.Image:
        """Return the image as the checkpoint was taught to see it: a square where its consilium.json names a side."""
        return self._habits().shown(image)

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

    def _habits(self) -> Habits:
        told = self._told
        if told is None:
            told = read_habits(self.path)
            if self.adapter is not None:
                told = told.with_skill(read_habits(self.adapter))
            self._told = told
        return told

    def _batch(self, rows: Sequence[Row]) -> Row:
        """Return rows as one batch on the model's device, padded on the left, images one after the other."""
        _, processor = self.load()
        batch = joined(rows, {"input_ids": processor.tokenizer.pad_token_id or 0}, left=True)
        return {name: value.to(self._model.device) for name, value in batch.items()}

    def _stops(self) -> list[int]:
        end = self._model.generation_config.eos_token_id
        if end is None:
            end = self._processor.tokenizer.eos_token_id
        return list(end) if isinstance(end, list | tuple) else [end]

    def _settings(self, kwargs: Mapping[str, Any]) -> Any:
        """Return the generation config of a call; what the checkpoint says about sampling is not used."""
        settings = copy.deepcopy(self._model.generation_config)
        temperature = _temperature(self.temperature, kwargs)
        settings.update(
            do_sample=temperature > 0,
            temperature=temperature or 1.0,
            top_p=float(kwargs.get("top_p") or 1.0),
            top_k=TOP,
            max_new_tokens=int(kwargs.get("max_tokens") or self.max_new_tokens),
            max_length=None,
            eos_token_id=self._stops(),
        )
        if settings.pad_token_id is None:
            settings.pad_token_id = self._processor.tokenizer.pad_token_id or self._stops()[0]
        return settings

    def _writing(self, row: Row, stop: Sequence[str], kwargs: Mapping[str, Any], prefix: str, *, watched: bool
                 ) -> Writing:
        """Return a reply that is yet to be written; it ends early where its reader leaves."""
        most = int(kwargs.get("max_tokens") or self.max_new_tokens)
        reply = Writing(row, most, stop, dict(kwargs), self._grammar(kwargs, prefix), watched, self._sampler(kwargs))
        if (left := LEFT.get()) is not None:
            left.add_done_callback(lambda _: reply.leave())
        return reply

    def _sampler(self, kwargs: Mapping[str, Any]) -> Sampler | None:
        temperature = _temperature(self.temperature, kwargs)
        if not temperature:
            return None
        return Sampler(temperature, float(kwargs.get("top_p") or 1.0), int(kwargs.get("seed", self.seed)))

    def _begun(self, reply: Writing) -> Generator[str]:
        """Queue a reply and return its pieces."""
        self._gathering.enter([((REPLIES, self.adapter), reply)], self._write)
        return reply.pieces()

    def _write(self, replies: list[Writing], more: More) -> None:
        """Write replies and, where the model lets them join, those that come meanwhile; each holds its own fault."""
        tokenizer, wanted = self._processor.tokenizer, self._weights.wanted
        try:
            with self._weights.using(self.adapter) as model, torch.inference_mode():
                settings = self._settings(replies[0].settings)
                if self._weights.rolls and rolls(model, settings):
                    rolling = Rolling(model, tokenizer, settings.eos_token_id, self._joined)
                    replies = rolling.run(replies, self.batch_size, lambda room: [] if wanted else more(room))
                    self._weights.rolls = not replies
                for together in parted(replies):
                    self._close_in(model, together)
        except BaseException as fault:  # noqa: BLE001 it is raised again where the reply is read
            end(replies, fault, tokenizer)

    def _joined(self, replies: Sequence[Writing]) -> Row:
        return self._batch([reply.row for reply in replies])

    def _close_in(self, model: Any, replies: Sequence[Writing]) -> None:
        """Write replies as one batch that nobody joins, and leave the program's random state alone."""
        replies = [reply for reply in replies if not reply.over]
        if not replies:
            return
        given = replies[0].settings
        settings = self._settings({**given, "max_tokens": max(reply.most for reply in replies)})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(given.get("seed", self.seed)))
            write(model, self._joined(replies), replies, settings, self._processor.tokenizer)
        end(replies, None, self._processor.tokenizer)

    def _grammar(self, kwargs: Mapping[str, Any], prefix: str) -> Grammar | None:
        """Return what binds a reply to the form that is asked for, else its calls to the tools on offer."""
        form, tools = kwargs.get("response_format") or {}, _offered(kwargs)
        formed = form.get("type", "text") != "text"
        if tools and self._answers.calls:
            either = form if formed and not prefix else None
            found = calls_of(self._processor.tokenizer, tools, self._stops(), prefix, either)
            if found is not None or prefix:
                return found
        return json_of(self._processor.tokenizer, form, self._stops()) if formed else None

    def _about(self, done: Writing) -> dict[str, Any]:
        """Return how a reply ended and, where asked for, the log-probabilities of its tokens."""
        about: dict[str, Any] = {"finish_reason": done.finish}
        if done.settings.get("logprobs") and done.ids:
            batch = self._batch([_extended(done.row, done.ids)])
            logits = self._in_turn(
                lambda model: model(**batch, logits_to_keep=len(done.ids) + 1, use_cache=False).logits[0, :-1])
            top = int(done.settings.get("top_logprobs") or 0)
            about["logprobs"] = {"content": likelihoods(logits, done.ids, top, self._processor.tokenizer)}
        elif done.settings.get("logprobs"):
            about["logprobs"] = {"content": []}
        return about

    def _prompt(self, messages: Messages, kwargs: Mapping[str, Any]) -> tuple[Row, str, dict[str, Any]]:
        """Return the prompt, what the reply begins with, and the settings with tools as the reply may call them."""
        tools = _offered(kwargs)
        prefix = forced(kwargs.get("tool_choice"), tools)
        try:
            row = self._row(messages, tools, prefix)
        except RecursionError as fault:
            raise BadQuestion("Tools: their parameters are nested too deeply; wanted fewer levels.") from fault
        own = callable_tools(self._habits(), tools, messages, kwargs.get("tool_choice"))
        return row, prefix, {**kwargs, "tools": own}

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        self.load()
        row, prefix, own = self._prompt(messages, kwargs)
        reply = self._writing(row, stop or (), own, prefix, watched=False)
        self._begun(reply)
        return ChatResult(generations=[ChatGeneration(message=self._reply(reply, prefix))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        self.load()
        row, prefix, own = self._prompt(messages, kwargs)
        cut = Splitter(stop=stop or (), text=prefix)
        writing = self._writing(row, stop or (), own, prefix, watched=True)
        with contextlib.closing(self._begun(writing)) as pieces:
            for piece in pieces:
                shown = cut.feed(piece)
                if shown:
                    chunk = ChatGenerationChunk(message=AIMessageChunk(content=shown))
                    if run_manager:
                        run_manager.on_llm_new_token(shown, chunk=chunk)
                    yield chunk
        reply = parse_reply(cut.text)
        rest = str(reply.content)[len(cut.sent) :]
        yield ChatGenerationChunk(
            message=AIMessageChunk(
                content=rest,
                tool_calls=reply.tool_calls,
                invalid_tool_calls=reply.invalid_tool_calls,
                usage_metadata=_usage(row, writing.made),
                response_metadata=self._about(writing),
                chunk_position="last",
            )
        )


def _offered(kwargs: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the tools that a reply may call."""
    return [] if kwargs.get("tool_choice") == "none" else kwargs.get("tools") or []


def _temperature(own: float, kwargs: Mapping[str, Any]) -> float:
    return float(kwargs.get("temperature", own) or 0.0)


def _letters(options: Sequence[Sequence[int]]) -> bool:
    """Tell whether all options are of one token, whose scores are compared in one forward pass."""
    return all(len(ids) == 1 for ids in options)


def _ids(processor: Any, option: str) -> list[int]:
    return processor.tokenizer(option, add_special_tokens=False)["input_ids"]


def _extended(row: Row, tail: Sequence[int]) -> Row:
    """Return the row with tokens of text after it."""
    ids = row["input_ids"]
    more = {
        "input_ids": torch.tensor([tail], dtype=ids.dtype),
        "attention_mask": torch.ones((1, len(tail)), dtype=torch.long),
    }
    return {
        name: value
        if value.shape != ids.shape
        else torch.cat([value, more.get(name, torch.zeros((1, len(tail)))).to(value.dtype)], dim=1)
        for name, value in row.items()
    }


def _usage(row: Row, made: int) -> Any:
    read = int(row["input_ids"].shape[1])
    return {"input_tokens": read, "output_tokens": made, "total_tokens": read + made}


def _folder(adapter: str | Path | None) -> str | None:
    """Return a folder's whole path, which a trace can name."""
    return str(Path(adapter).expanduser().resolve()) if adapter else None
