"""The command `consilium up`: vLLM for the generalist, the server and the window over it, kept running together.

It writes commands and starts them; vLLM itself is never imported and may stand in an environment of its own.
"""

from __future__ import annotations

import importlib
import logging
import os
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from assistant.errors import BadQuestion
from assistant.generalist.adapters import named
from assistant.generalist.open import NANO
from assistant.generalist.vllm_command import VllmServer, family_of, vllm_command
from assistant.settings import loopback
from specialists.__main__ import parse


@dataclass(frozen=True)
class Start:
    """Start vLLM with a generalist, the server and the window over it, and keep them running."""

    model: str = str(NANO)
    """The generalist: a folder, or a name on the hub (OWNER/NAME)."""
    adapter: tuple[str, ...] = ()
    """Adapter that requests choose by model name: NAME=FOLDER; repeat the flag."""
    host: str = "127.0.0.1"
    """Address of server and window (vLLM stays on this machine); others are let in with CONSILIUM_API_KEY alone."""
    port: int = 8000
    """Port of the server (OpenAI's protocol)."""
    chat_port: int = 7860
    """Port of the window; 0 starts none."""
    vllm_port: int = 8001
    """Port of vLLM."""
    tensor_parallel: int = 1
    """GPUs that one copy of the model is spread over."""
    pipeline_parallel: int = 1
    """Machines, or groups of GPUs, that the model's layers are spread over."""
    data_parallel: int = 1
    """Copies of the model."""
    images: int = 16
    """Images that one prompt may hold."""
    nodes: int = 1
    """Machines that share the model; start the others with --node 1, 2, ..."""
    node: int = 0
    """Number of this machine; those above 0 start vLLM alone."""
    first_node: str = ""
    """Address of machine 0, where there are several."""
    program: str = "vllm serve"
    """What takes vLLM's flags, e.g. ENVIRONMENT/bin/vllm serve."""
    flag: tuple[str, ...] = ()
    """Further flags of vLLM as one text, e.g. --flag="--gpu-memory-utilization 0.8"; repeat the flag."""
    texts: Path | None = None
    """Folder of reports and answered questions to look among for open questions."""
    fitted: Path | None = None
    """What `consilium calibrate` wrote; left out, consilium.json of CONSILIUM_HOME, where there is one."""
    keys: Path | None = None
    """File with clients' keys of the server; `consilium serve --new-key` makes them."""
    wait_s: float = 1800.0
    """How long vLLM may take to load the model."""
    print: bool = False
    """Show the commands, and start nothing."""


def main(argv: Sequence[str]) -> int:
    """Run until interrupted; exit status 2 when a server does not start."""
    flags = parse(Start, list(argv), "consilium up")
    _check(flags)
    commands = rendered(flags)
    if flags.print:
        sys.stdout.write("".join(f"{shlex.join(words)}\n" for words in commands.values()))
        return 0
    _check_reach(flags)
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("consilium.up").setLevel(logging.INFO)
    engine = importlib.import_module("assistant.up")
    parts = [engine.Part(name, words, _health(flags, name), flags.wait_s if name == "vllm" else 300.0,
                         _variables(name)) for name, words in commands.items()]
    up = engine.Up(parts)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: up.stop())
    up.run()
    return 0


def rendered(flags: Start) -> dict[str, list[str]]:
    """Return the command of each server by its name, in the order of starting; raises AdapterRefused."""
    adapters = {name: Path(folder) for name, folder in named(flags.adapter).items()}
    model = str(Path(flags.model).resolve()) if Path(flags.model).is_dir() else flags.model
    name = Path(model).name
    how = VllmServer(port=flags.vllm_port, name=name, images=flags.images, tensor_parallel=flags.tensor_parallel,
                     more=_more(flags), program=tuple(shlex.split(flags.program)))
    commands = {"vllm": vllm_command(model, adapters, how)}
    if flags.node:
        return commands
    ours = [sys.executable, "-m", "assistant"]
    over = ["--model", f"http://127.0.0.1:{flags.vllm_port}/v1#{name}", "--host", flags.host]
    over += ["--texts", str(flags.texts.resolve())] if flags.texts else []
    over += ["--fitted", str(flags.fitted.resolve())] if flags.fitted else []
    skills = [word for skill in adapters for word in ("--adapter", f"{skill}={skill}")]
    commands["serve"] = [*ours, "serve", *over, "--port", str(flags.port), *skills,
                         *(["--keys", str(flags.keys.resolve())] if flags.keys else [])]
    if flags.chat_port:
        commands["chat"] = [*ours, "chat", *over, "--port", str(flags.chat_port)]
    return commands


def _more(flags: Start) -> tuple[str, ...]:
    more = [word for text in flags.flag for word in shlex.split(text)]
    if flags.pipeline_parallel > 1:
        more += ["--pipeline-parallel-size", str(flags.pipeline_parallel)]
    if flags.data_parallel > 1:
        more += ["--data-parallel-size", str(flags.data_parallel)]
    if flags.nodes > 1:
        more += ["--nnodes", str(flags.nodes), "--node-rank", str(flags.node), "--master-addr", flags.first_node]
        more += ["--headless"] if flags.node else []
    return tuple(more)


def _check(flags: Start) -> None:
    """Refuse what gives commands that cannot run, also where they are only shown."""
    least = {"--tensor-parallel": flags.tensor_parallel, "--pipeline-parallel": flags.pipeline_parallel,
             "--data-parallel": flags.data_parallel, "--images": flags.images, "--nodes": flags.nodes}
    for name, value in least.items():
        if value < 1:
            raise BadQuestion(f"Got {name} {value}; wanted at least 1.")
    ports = {"--port": flags.port, "--vllm-port": flags.vllm_port, "--chat-port": flags.chat_port or 1}
    for name, value in ports.items():
        if not 1 <= value <= 65535:
            raise BadQuestion(f"Got {name} {value}; wanted 1 to 65535.")
    if not 0 <= flags.node < flags.nodes or (flags.nodes > 1 and not flags.first_node):
        raise BadQuestion(f"Got --nodes {flags.nodes} --node {flags.node} --first-node {flags.first_node!r}; wanted a "
                          "node from 0 up to the number of nodes, and the address of node 0.")


def _check_reach(flags: Start) -> None:
    keyed = os.environ.get("CONSILIUM_API_KEY") or (flags.keys and not flags.chat_port)
    if not loopback(flags.host) and not keyed:
        raise BadQuestion(f"Host {flags.host!r} is reached from other machines and CONSILIUM_API_KEY is not set. Set a "
                          "key, or listen on 127.0.0.1.")
    if family_of(flags.model).tools is None:
        sys.stderr.write("No tool parser is known for this model: it is asked with collaboration full or none.\n")


def _health(flags: Start, name: str) -> str | None:
    if flags.node:      # --headless: it has no HTTP server
        return None
    host = "127.0.0.1" if flags.host in ("0.0.0.0", "::") else flags.host
    return {"vllm": f"http://127.0.0.1:{flags.vllm_port}/health", "serve": f"http://{host}:{flags.port}/health",
            "chat": f"http://{host}:{flags.chat_port}/"}[name]


def _variables(name: str) -> Mapping[str, str | None]:
    """Keep our clients' key from vLLM, which listens on this machine alone and asks for none."""
    return {"CONSILIUM_API_KEY": None, "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"} if name == "vllm" else {}
