"""Real vLLM under `consilium up`: whole consultations through it choose what they choose through transformers here.

`make test-vllm` runs this; it writes the figures to build/vllm-consultation.json.
"""

from __future__ import annotations

import base64
import json
import math
import os
import re
import shlex
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain_core.messages import AIMessage

from assistant.assistant import Assistant
from assistant.errors import ServerUnreachable
from assistant.generalist.open import NANO, open_generalist
from assistant.generalist.served import ServedGeneralist
from assistant.steps import Answer, Observation, Step, ToolCall
from assistant.template import letters
from assistant.tools import schemas
from assistant.up import Part, Patience, Up
from assistant.up_command import Start, rendered
from tests.adapters import random_adapter
from ui.phantoms import brain_slice, ultrasound

pytestmark = pytest.mark.vllm
FIGURES = Path(__file__).parents[3] / "build" / "vllm-consultation.json"
TOLERANCE = 0.05
"""Nats between a probability here and there: the two compute the same in other orders."""
QUIET = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_CPU_KVCACHE_SPACE": "1",
         "OMP_NUM_THREADS": "1"}
TUMOURS = ["glioma", "meningioma", "no tumour", "pituitary tumour"]
ASKED = "Which tumour does this image show?"


@pytest.fixture(scope="module")
def python(request: pytest.FixtureRequest) -> str:
    return str(Path(request.config.getoption("--vllm")).absolute())


@pytest.fixture(scope="module")
def figures(python: str) -> Iterator[dict[str, Any]]:
    told: dict[str, Any] = {"command": "make test-vllm", "model": "consilium-nano"}
    yield told
    listed = "import torch, transformers, vllm; print(torch.__version__, transformers.__version__, vllm.__version__)"
    done = subprocess.run([python, "-c", listed], capture_output=True, text=True, env={**os.environ, **QUIET})
    told["there"] = dict(zip(("torch", "transformers", "vllm"), done.stdout.split()[-3:], strict=True))
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text(json.dumps(told, indent=1) + "\n")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_adapter(NANO, tmp_path_factory.mktemp("adapters") / "skill", rank=8, size=0.3)


@pytest.fixture(scope="module")
def up(python: str, adapter: Path) -> Iterator[Up]:
    """Keep vLLM running, as `consilium up` does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = Start(adapter=(f"skill={adapter}",), vllm_port=port, images=4,
                  program=f"{shlex.quote(python)} -m vllm.entrypoints.openai.api_server --model",
                  flag=("--enforce-eager --dtype float32 --max-model-len 4096",))
    words = rendered(flags)["vllm"]
    vllm = Part("vllm", words, f"http://127.0.0.1:{port}/health", 550.0, QUIET)
    found = Up([vllm], Patience(starts=2, deaf=100))
    thread = threading.Thread(target=found.run)
    began = time.monotonic()
    thread.start()
    while not _healthy(vllm):
        assert thread.is_alive(), "vLLM did not start"
        assert time.monotonic() - began < 560
        time.sleep(1)
    yield found
    found.stop()
    thread.join(60)
    assert not thread.is_alive()


def _healthy(part: Part) -> bool:
    try:
        return httpx.get(part.health or "", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def url(up: Up) -> str:
    """The address as `up` gives it to the server and the window."""
    return (up.parts[0].health or "").replace("/health", "/v1") + "#nano"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, adapter: Path) -> Assistant:
    return Assistant(home=tmp_path_factory.mktemp("here"), adapters={"skill": adapter})


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory, url: str) -> Assistant:
    return Assistant(url, home=tmp_path_factory.mktemp("there"), adapters={"skill": "skill"})


def png(image: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(image).decode()


def tool(name: str, description: str, **arguments: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {known: {"type": kind} for known, kind in arguments.items()},
                  "required": list(arguments)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


UNSEEN = [tool("gentamicin_dose", "Dose of gentamicin by the patient's weight.", weight_kg="number"),
          tool("translate", "Translate a sentence into German.", text="string"),
          tool("inches_to_centimetres", "Convert a length from inches to centimetres.", inches="number")]


def nats(one: Answer, other: Answer) -> float:
    """Return the largest difference of log-probabilities of the options."""
    assert one.options.keys() == other.options.keys()
    return max(abs(math.log(share) - math.log(other.options[name])) for name, share in one.options.items())


def tools_of(steps: list[Step]) -> list[tuple[str, str]]:
    called = {step.id: step.name for step in steps if isinstance(step, ToolCall)}
    return [(called[step.call_id], step.text) for step in steps if isinstance(step, Observation)]


def test_it_is_shown_images_as_it_was_taught(here: Assistant, there: Assistant) -> None:
    assert isinstance(there.generalist, ServedGeneralist)
    assert there.generalist.taught_kinds == here.generalist.taught_kinds != set()
    assert there.generalist.look_record == here.generalist.look_record
    assert there.generalist._habits().square == 160


def test_a_whole_consultation_chooses_the_same(here: Assistant, there: Assistant, figures: dict[str, Any]) -> None:
    worst = 0.0
    for collaboration in ("none", "full"):
        for style in ("calibrated", "published"):
            how: dict[str, Any] = {"options": TUMOURS, "collaboration": collaboration, "style": style}
            mine, theirs = (one.ask(brain_slice(), ASKED, **how) for one in (here, there))
            assert mine.label == theirs.label
            assert (collaboration == "none") or (len(theirs.evidence.moed) == 3 and theirs.evidence.rad)
            worst = max(worst, nats(mine, theirs))
    figures["largest difference in nats over the options, four consultations"] = round(worst, 6)
    assert worst < TOLERANCE


def test_options_of_several_words(here: Assistant, there: Assistant, figures: dict[str, Any]) -> None:
    """As the generalist's own look is scored; some are the beginning of another."""
    image = {"type": "image_url", "image_url": {"url": png(ultrasound())}}
    asked = [{"role": "user", "content": [image, {"type": "text", "text": "What is it?"}]}]
    options = ["a mass", "a mass on the left", "no tumour", "normal"]
    mine, theirs = (one.generalist.score(asked, options) for one in (here, there))
    worst = max(abs(mine[option] - theirs[option]) for option in options)
    figures["options of several words, nats"] = round(worst, 6)
    assert worst < TOLERANCE


def test_a_chat_turn_with_a_tool_call(here: Assistant, there: Assistant, figures: dict[str, Any]) -> None:
    said = {}
    for name, assistant in (("here", here), ("there", there)):
        chat = assistant.chat()
        steps = list(chat.stream("What does the specialist say about this image?", brain_slice()))
        said[name] = (tools_of(steps), steps[-1].text)
        second = chat.ask("How sure is that?")
        assert second.text
        assert len(chat.history) == 4
    figures["tools called in a chat turn"] = {name: [tool for tool, _ in told] for name, (told, _) in said.items()}
    figures["the same words here and there"] = said["here"][1] == said["there"][1]
    assert said["there"][0], "no tool was called"
    assert said["there"][0] == said["here"][0]


def test_a_tool_that_must_be_called(there: Assistant) -> None:
    names = ["brain_mri_hybrid", "brain_mri_residual"]
    bound = there.generalist.bind_tools(schemas(names, similar=True), tool_choice=names[1], max_tokens=48)
    (call,) = bound.invoke("Ask a specialist.").tool_calls
    assert (call["name"], call["args"]) == (names[1], {})


def test_tools_that_it_never_saw_are_called_as_here(here: Assistant, there: Assistant, figures: dict[str, Any]) -> None:
    """The tool whose words the question has, with the numbers and texts that were said."""
    called = {}
    for question in ("What dose of gentamicin for a patient of 59 kg?", 'Please translate "no acute findings".',
                     "Convert 7.5 inches to centimetres."):
        mine, theirs = (one.generalist.bind_tools(UNSEEN, max_tokens=96).invoke(question) for one in (here, there))
        assert isinstance(mine, AIMessage)
        assert isinstance(theirs, AIMessage)
        assert [(c["name"], c["args"]) for c in theirs.tool_calls] == [(c["name"], c["args"]) for c in mine.tool_calls]
        called[question] = [(c["name"], c["args"]) for c in theirs.tool_calls]
    assert any(called.values()), "no tool was called"
    figures["tools never seen"] = called


def test_several_images_and_an_adapter_by_name(here: Assistant, there: Assistant, figures: dict[str, Any]) -> None:
    parts = [{"type": "image_url", "image_url": {"url": png(image)}} for image in (brain_slice(), ultrasound())]
    asked = [{"role": "user", "content": [*parts, {"type": "text", "text": "Are these the same? A: yes. B: no."}]}]
    worst = {}
    for name, mine, theirs in (("base", here, there), ("adapter", here.skilled("skill"), there.skilled("skill"))):
        theirs.generalist.ready()
        a, b = (one.generalist.score(asked, letters(2)) for one in (mine, theirs))
        worst[name] = round(max(abs(a[letter] - b[letter]) for letter in a), 6)
    assert max(worst.values()) < TOLERANCE
    moved = abs(here.generalist.score(asked, letters(2))["A"] - here.skilled("skill").generalist.score(
        asked, letters(2))["A"])
    figures["two images, nats"] = {**worst, "moved by the adapter": round(moved, 4)}
    assert moved > 2 * TOLERANCE, "the adapter must tell in the answers"


def test_the_evidence_prompt_is_read_once(up: Up, there: Assistant, figures: dict[str, Any]) -> None:
    def hits() -> float:
        text = httpx.get((up.parts[0].health or "").replace("/health", "/metrics"), timeout=10).text
        return sum(float(line.split()[-1]) for line in text.splitlines()
                   if re.match(r"vllm:prefix_cache_hits_total\b", line))

    question = "Which tumour is it, on this image?"
    there.ask(brain_slice(), question, options=TUMOURS, collaboration="full")
    before = hits()
    there.ask(brain_slice(), question, options=TUMOURS, collaboration="full")
    figures["tokens of the second asking taken from the prefix cache"] = hits() - before
    assert hits() - before > 100


def test_vllm_is_killed_and_comes_back(up: Up, there: Assistant, figures: dict[str, Any]) -> None:
    """Last: clients are told at once, the conversation stays whole, and nobody has to start anything."""
    how: dict[str, Any] = {"options": TUMOURS, "collaboration": "full"}
    chat = there.chat()
    first = chat.ask(ASKED, brain_slice(), **how)
    before = up.running["vllm"].pid
    os.killpg(before, signal.SIGKILL)
    with pytest.raises(ServerUnreachable):
        chat.ask(ASKED, **how)
    assert len(chat.history) == 2
    began = time.monotonic()
    while not _healthy(up.parts[0]):
        assert time.monotonic() - began < 560
        time.sleep(1)
    figures["seconds from the end of vLLM to its answer"] = round(time.monotonic() - began)
    assert up.running["vllm"].pid != before
    again = there.chat(chat.id).ask(ASKED, **how)
    assert again.label == first.label
    assert len(chat.history) == 4


def test_the_habits_of_a_server_elsewhere(url: str, there: Assistant) -> None:
    base, name = url.split("#")
    assert open_generalist(f"{base}?habits={NANO}#{name}").look_record == there.generalist.look_record
