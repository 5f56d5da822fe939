"""Small stand-ins for tests: a random vision-language checkpoint and a server that speaks OpenAI's protocol.

They know nothing of medicine; their answers are arbitrary but repeatable.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
MARKS = ("<tools>", "</tools>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen's tokenizers part a text before merging, but with numbers up to 999 whole."""
WORDS = "system user assistant name arguments glioma meningioma no tumour Which disease does the image show?"


def tiny_qwen3vl(path: str | Path, seed: int = 0) -> Path:
    """Write a random Qwen3-VL checkpoint of 0.2 M parameters to `path` and return it; 4 tokens an image."""
    import torch
    from transformers import GenerationConfig, Qwen3VLConfig, Qwen3VLForConditionalGeneration

    out = Path(path)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer()
    ids = {mark: int(tokenizer.convert_tokens_to_ids(mark)) for mark in SPECIAL}
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "max_position_embeddings": 2048,
            "pad_token_id": ids["<|endoftext|>"],
            "tie_word_embeddings": True,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 100000.0,
                "mrope_section": [4, 2, 2],
                "mrope_interleaved": True,
            },
        },
        vision_config={
            "depth": 2,
            "hidden_size": 48,
            "intermediate_size": 96,
            "num_heads": 3,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": 64,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3VLForConditionalGeneration(config)
        # Random weights of the usual size repeat the last token and hardly tell one image from another.
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "embed" not in name:
                parameter.data.mul_(6)
    model.generation_config = GenerationConfig(
        eos_token_id=[ids["<|im_end|>"], ids["<|endoftext|>"]], pad_token_id=ids["<|endoftext|>"]
    )
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)
    _write_processor(out)
    return out


def _tokenizer() -> Any:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        [WORDS],
        trainers.BpeTrainer(
            vocab_size=400,
            min_frequency=1,
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in SPECIAL])
    tokenizer.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in MARKS])
    whole = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    template = Path(__file__).parents[1] / "assistant" / "generalist" / "chat_template.jinja"
    whole.chat_template = template.read_text()
    return whole


def _write_processor(out: Path) -> None:
    shared = {
        "do_resize": True,
        "size": {"shortest_edge": 4000, "longest_edge": 4200},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "do_convert_rgb": True,
        "resample": 3,
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
    }
    image = {"image_processor_type": "Qwen2VLImageProcessor", **shared}
    video = {"video_processor_type": "Qwen3VLVideoProcessor", **shared}
    whole = {"processor_class": "Qwen3VLProcessor", "image_processor": image, "video_processor": video}
    (out / "processor_config.json").write_text(json.dumps(whole))
    (out / "preprocessor_config.json").write_text(json.dumps(image))


class FakeOpenAIServer:
    """An OpenAI-compatible server on loopback; it gives `replies` in turn, then `reply` for ever.

    A reply is a text, a message as a dict (content, tool_calls), or an int: that HTTP status with an error.
    `logprobs` is the top list of the first token; with it empty, none are sent. Bodies stand in `requests`,
    their headers in `headers`. With `chunks` set, a stream breaks off after so many pieces.
    """

    def __init__(
        self,
        reply: str = "A",
        *,
        replies: Sequence[str | dict[str, Any] | int] = (),
        logprobs: Mapping[str, float] | None = None,
        model: str = "fake",
        chunks: int | None = None,
    ) -> None:
        self.reply, self.replies, self.logprobs, self.model = (
            reply,
            list(replies),
            dict(logprobs or {}),
            model,
        )
        self.chunks = chunks
        self.adapters: dict[str, str] = {}
        """Name -> folder of the adapters that are listed beside the model, as vLLM lists them."""
        self.owner = "somebody"
        """Who serves, as /v1/models tells it; vLLM says "vllm"."""
        self.prompt_logprobs: Callable[[Mapping[str, Any]], list[Any]] | None = None
        """Makes vLLM's prompt_logprobs of the body, where it asks for them."""
        self.root = model
        """Folder of the model, or its name, as vLLM tells it."""
        self.refused: set[str] = set()
        """Names of body fields that are answered with 400."""
        self.answer: Callable[[Mapping[str, Any]], str | dict[str, Any] | int] | None = None
        """Makes the reply of the body, in place of `replies`."""
        self.routes: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {}
        """What other paths answer, as vLLM's /tokenize; they are not among the requests."""
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        fake = self

        class Handler(_Handler):
            server_fake = fake

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """Base address, ending in /v1."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> FakeOpenAIServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def next_reply(self) -> str | dict[str, Any] | int:
        """Return the reply of this turn."""
        return self.replies.pop(0) if self.replies else self.reply


class _Handler(BaseHTTPRequestHandler):
    server_fake: FakeOpenAIServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer /v1/models."""
        if self.path != "/v1/models":
            self._json(404, {"error": {"message": "no such path"}})
            return
        fake = self.server_fake
        adapters = [{"id": name, "root": root, "parent": fake.model} for name, root in fake.adapters.items()]
        told = {"object": "model", "owned_by": fake.owner}
        listed = [{**told, **row} for row in ({"id": fake.model, "root": fake.root}, *adapters)]
        self._json(200, {"object": "list", "data": listed})

    def do_POST(self) -> None:
        """Answer /v1/chat/completions."""
        fake = self.server_fake
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if route := fake.routes.get(self.path):
            self._json(200, route(body))
            return
        fake.requests.append(body)
        fake.headers.append({name.lower(): value for name, value in self.headers.items()})
        refused = fake.refused & body.keys()
        if self.path != "/v1/chat/completions":
            self._json(404, {"error": {"message": "no such path"}})
        elif refused:
            self._json(400, {"error": {"message": f"unknown fields: {', '.join(sorted(refused))}"}})
        else:
            self._answer(fake.answer(body) if fake.answer else fake.next_reply(), body)

    def _answer(self, reply: str | dict[str, Any] | int, body: Mapping[str, Any]) -> None:
        if isinstance(reply, int):
            self._json(reply, {"error": {"message": f"status {reply} as told"}})
            return
        message = {"role": "assistant", **({"content": reply} if isinstance(reply, str) else reply)}
        if body.get("stream"):
            self._stream(message)
            return
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": "stop",
            "logprobs": self._logprobs(message, body),
        }
        self._json(
            200,
            {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": self.server_fake.model,
                "choices": [choice],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
                **self._prompt(body),
            },
        )

    def _prompt(self, body: Mapping[str, Any]) -> dict[str, Any]:
        told = self.server_fake.prompt_logprobs
        return {"prompt_logprobs": told(body)} if told and "prompt_logprobs" in body else {}

    def _logprobs(self, message: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any] | None:
        top = self.server_fake.logprobs
        if not body.get("logprobs") or not top:
            return None
        listed = [{"token": token, "logprob": value, "bytes": None} for token, value in top.items()]
        words = str(message.get("content") or "").split(" ")
        return {
            "content": [
                {
                    "token": word,
                    "logprob": top.get(word, -0.5),
                    "bytes": None,
                    "top_logprobs": listed[: body.get("top_logprobs", 0)],
                }
                for word in words
            ]
        }

    def _stream(self, message: Mapping[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        pieces: list[dict[str, Any]] = [
            {"content": word} for word in _words(str(message.get("content") or ""))
        ]
        pieces += [
            {"tool_calls": [{"index": i, **call}]} for i, call in enumerate(message.get("tool_calls") or [])
        ]
        for piece in pieces[: self.server_fake.chunks]:
            self._event({"role": "assistant", **piece}, None)
        if self.server_fake.chunks is None:
            self._event({}, "stop")
            self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, delta: Mapping[str, Any], finish: str | None) -> None:
        event = {
            "id": "1",
            "object": "chat.completion.chunk",
            "created": 0,
            "model": self.server_fake.model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }
        self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        self.wfile.flush()

    def _json(self, status: int, body: Mapping[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _words(text: str) -> list[str]:
    words = text.split(" ")
    return [word + (" " if i < len(words) - 1 else "") for i, word in enumerate(words)] if text else []
