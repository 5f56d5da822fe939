"""The command line as its users see it: words in; text, JSON and exit status out; no model is loaded."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

import assistant.__main__ as cli
import specialists.__main__ as specialists_cli
from assistant.errors import ServerUnreachable, TraceNotFound
from assistant.server import ending
from assistant.steps import Answer, Case, Declined, Evidence, Opinion, Pool
from specialists.core import registry
from specialists.core.card import Card, Label, write_card
from specialists.core.findings import Box, Classification
from specialists.core.study import read_study

ANSWER = Answer(
    "Most likely glioma (80 %).\x1b[2J", "glioma", 0.8, True, "The evidence disagrees.", "brain MRI",
    options={"glioma": 0.7, "no tumour": 0.3}, boxes=(Box("lesion", (1, 2, 30, 40)),),
    evidence=Evidence(moed=(Opinion("brain_mri_residual", "glioma", {"glioma": 0.9}, {"glioma": 0.93}),),
                      rad=(Case("case-7", "glioma", 0.88, "brain_tumor_mri"),),
                      arbiter=Pool("glioma", {"glioma": 0.85, "no tumour": 0.15}),
                      refusals=(Declined("breast_lesion_unet", "not an ultrasound"),), conflict=True),
    trace_id="t-1", seconds=0.4)


class Fake:
    """An assistant that reads the images, prints where it should not, and answers alike."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, str, dict[str, Any]]] = []
        self.fault: Exception | None = None

    def ask(self, images: Any, question: str, **how: Any) -> Answer:
        sys.stdout.write("noise of Python\n")
        os.write(1, b"noise of a library\n")
        for image in images:
            read_study(image)
        if self.fault:
            raise self.fault
        self.asked.append((images, question, how))
        return ANSWER

    def replay(self, trace: str) -> Answer:
        if trace != "t-1":
            raise TraceNotFound(f"No trace {trace!r}.")
        return ANSWER


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake = Fake()
    monkeypatch.setattr(cli, "open_assistant", lambda *given, **more: fake)
    monkeypatch.setenv("COLUMNS", "100")
    return fake


@pytest.fixture
def png(tmp_path: Path) -> str:
    path = tmp_path / "scan.png"
    Image.fromarray(np.zeros((24, 32), np.uint8)).save(path)
    return str(path)


@pytest.mark.parametrize("words", [["--help"], ["specialists", "list"], ["doctor", "--help"]])
def test_a_light_verb_loads_nothing_heavy(words: list[str]) -> None:
    code = ("import sys; from assistant.__main__ import main; status = main(sys.argv[1:]);"
            "heavy = {'torch', 'transformers', 'langchain', 'gradio', 'faiss', 'scipy'} & set(sys.modules);"
            "sys.exit(status or (f'loaded {heavy}' if heavy else 0))")
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_module_runs_as_a_command() -> None:
    for module in ("assistant", "specialists"):
        command = [sys.executable, "-m", module, "nothing"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (2, "")
        assert "No verb 'nothing'. Known: " in done.stderr
        assert "Traceback" not in done.stderr


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == cli.main([]) == 0
    said = capsys.readouterr().out
    assert all(f"\n  {verb} " in said for verb in cli.VERBS)
    assert "not a medical device" in said
    assert cli.main(["--version"]) == 0


@pytest.mark.parametrize("verb", ["ask", "serve", "replay", "doctor"])
def test_an_unknown_flag_says_what_exists(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([verb, "--nothing"]) == 2
    assert f"Known flags of consilium {verb}: --" in capsys.readouterr().err


@pytest.mark.parametrize(("verb", "module"), [
    ("chat", "ui.__main__"), ("data", "instruct_data.__main__"), ("finetune", "finetune.__main__"),
    ("evaluate", "assistant.evaluation.__main__"), ("specialists", "specialists.__main__")])
def test_other_verbs_go_to_their_packages(verb: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in, seen = ModuleType(module), []
    stand_in.main = lambda argv: seen.append(argv)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module, stand_in)
    assert cli.main([verb, "build", "--size", "3"]) == 0
    assert seen == [["build", "--size", "3"]]


@pytest.mark.parametrize(("words", "how"), [
    ([], {"options": None, "collaboration": "auto", "style": "calibrated", "without": ()}),
    (["--options", "glioma, no tumour", "--option", "a, b"], {"options": ("glioma", "no tumour", "a, b")}),
    (["--option", "a", "--option", "b"], {"options": ("a", "b")}),
    (["--without", "x,y", "--without", "z"], {"without": ("x", "y", "z")}),
    (["--collaboration", "full", "--style", "published"], {"collaboration": "full", "style": "published"}),
    ([], {"patient": None}), (["--patient", "p7", "--kind", "brain MRI"], {"patient": "p7", "kind": "brain MRI"}),
])
def test_ask_hands_its_words_on(words: list[str], how: dict[str, Any], fake: Fake, png: str) -> None:
    for order in ([png, png, "Which?", *words], [*words, png, png, "Which?"], [png, png, *words, "Which?"]):
        assert cli.main(["ask", *order]) == 0
        images, question, given = fake.asked.pop()
        assert (images, question) == ([png, png], "Which?")
        assert given.items() >= how.items()


def test_ask_opens_the_assistant_with_texts(png: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    given: list[Path | None] = []
    monkeypatch.setattr(cli, "open_assistant", lambda model, key, texts, *_: given.append(texts) or Fake())
    assert cli.main(["ask", png, "Which?", "--texts", str(tmp_path)]) == cli.main(["ask", png, "Which?"]) == 0
    assert given == [tmp_path, None]
    monkeypatch.undo()
    capsys.readouterr()
    assert cli.main(["ask", png, "Which?", "--texts", str(tmp_path)]) == 2
    assert "holds no index of texts" in capsys.readouterr().err


def test_ask_shows_answer_and_evidence(fake: Fake, png: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ask", png, "Which?"]) == 0
    said = capfd.readouterr().out
    for part in ("Most likely glioma (80 %).", "moderate (0.80)", "Refer to a human: The evidence disagrees.",
                 "brain MRI", "brain_mri_residual", "0.93",
                 "case-7", "0.88", "brain_tumor_mri", "0.85",
                 "Box lesion: 1, 2, 30, 40", "breast_lesion_unet: not an ultrasound", "Conflict", "t-1",
                 "Research use only"):
        assert part in said
    assert "\x1b[2J" not in said, "a text steered the terminal"


def test_json_is_one_object_and_nothing_else(fake: Fake, png: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ask", png, "Which?", "--json"]) == 0
    said = capfd.readouterr()
    assert json.loads(said.out) == ANSWER.json()
    assert "noise of Python" in said.err
    assert "noise of a library" in said.err
    assert cli.main(["replay", "t-1", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["trace_id"] == "t-1"


def bad_files(folder: Path) -> dict[str, Callable[[], Path]]:
    """Return what users give by mistake, by name."""
    def written(name: str, content: bytes) -> Callable[[], Path]:
        return lambda: (folder / name).write_bytes(content) and folder / name or folder / name
    sides = (40_000).to_bytes(4, "big") * 2
    huge = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + sides + b"\x08\x00\x00\x00\x00" + bytes(4)
    return {"missing": lambda: folder / "nowhere.png", "empty": written("empty.png", b""),
            "text": written("text.png", b"just words"), "huge": written("huge.png", huge),
            "dicom": written("cut.dcm", bytes(128) + b"DICM" + b"\x02\x00"), "folder": lambda: folder}


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "huge", "dicom", "folder"])
def test_a_bad_image_is_a_short_message(kind: str, fake: Fake, tmp_path: Path,
                                        capfd: pytest.CaptureFixture[str]) -> None:
    path = str(bad_files(tmp_path)[kind]())
    assert cli.main(["ask", path, "Which?"]) == 2
    assert "Traceback" not in capfd.readouterr().err
    assert cli.main(["ask", path, "Which?", "--json"]) == 2
    error = json.loads(capfd.readouterr().out)["error"]
    assert error["message"]
    assert error["type"][0].isupper()


@pytest.mark.parametrize(("words", "says"), [
    ([], "No image and no question"), (["Which disease?"], "No image, only the question"),
    (["PNG"], "No question"),
    (["PNG", "PNG"], "No question")])
def test_ask_says_what_is_lacking(words: list[str], says: str, fake: Fake, png: str,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    words = [png if word == "PNG" else word for word in words]
    assert cli.main(["ask", *words]) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert cli.main(["ask", *words, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "BadQuestion"


def test_other_failures_have_their_status(fake: Fake, png: str, capfd: pytest.CaptureFixture[str]) -> None:
    fake.fault = ServerUnreachable("No answer\nfrom http://127.0.0.1:1.")
    assert cli.main(["ask", png, "Which?"]) == 2
    assert "ServerUnreachable: No answer from http" in capfd.readouterr().err
    assert cli.main(["replay", "t-2"]) == 2
    fake.fault = RuntimeError("ours")
    assert cli.main(["ask", png, "Which?", "--json"]) == 1
    assert json.loads(capfd.readouterr().out)["error"]["type"] == "RuntimeError"
    with pytest.raises(RuntimeError, match="ours"):
        cli.main(["ask", png, "Which?"])
    capfd.readouterr()
    assert cli.main(["ask", png, "Which?", "--style", "loud", "--json"]) == 2
    assert json.loads(capfd.readouterr().out)["error"]["type"] == "BadUsage"


def test_serve_refuses_the_world_without_a_key(fake: Fake, monkeypatch: pytest.MonkeyPatch,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    ran: list[Any] = []
    monkeypatch.setattr(ending, "run", lambda app, **how: ran.append((app, how)))
    assert cli.main(["serve", "--host", "0.0.0.0"]) == 2
    assert "CONSILIUM_API_KEY" in capsys.readouterr().err
    assert not ran
    monkeypatch.setenv("CONSILIUM_API_KEY", "secret")
    assert cli.main(["serve", "--host", "0.0.0.0", "--port", "8123"]) == 0
    assert (ran[0][1]["host"], ran[0][1]["port"]) == ("0.0.0.0", 8123)
    assert "secret" not in capsys.readouterr().err


def test_without_a_key_serve_knows_local_names_only(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Any] = []
    monkeypatch.setattr(ending, "run", lambda app, **how: ran.append(app))
    assert cli.main(["serve"]) == 0

    async def status(host: str) -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(ran[0])) as client:
            return (await client.get(f"http://{host}:8000/health")).status_code
    found = [asyncio.run(status(host)) for host in ("127.0.0.1", "localhost", "[::1]", "rebound.example.org")]
    assert found == [200, 200, 200, 400]


CARD = Card(name="knee_small", method="small_cnn", task="classification", domain="knee", title="Knee",
            kinds=("knee X-ray",), modality="CR", body_part="knee", license="CC BY 4.0",
            labels=(Label("normal"), Label("arthrosis")),
            figures={"val": {"n": 9, "macro_f1": 0.81, "per_class": {"normal": 0.8}}},
            data=({"set": "knees", "train": 5, "val": 2, "license": "CC BY 4.0", "tier": "A"},))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONSILIUM_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "160")
    write_card(CARD, tmp_path / "specialists" / "knee_small.json")
    return tmp_path


def test_specialists_are_listed_from_their_cards(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["specialists", "list", "--domain", "knee"]) == 0
    said = capsys.readouterr().out
    assert all(part in said for part in ("knee_small", "normal, arthrosis", "CC BY 4.0"))
    assert cli.main(["specialists", "list", "--domain", "knee", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "knee_small"
    assert cli.main(["specialists", "list", "--domain", "elbow"]) == 2
    assert "Known: " in capsys.readouterr().err


def test_predict_asks_every_image_and_tells_the_bad(home: Path, png: str, monkeypatch: pytest.MonkeyPatch,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    class Loaded:
        card = CARD

        def predict(self, study: Any) -> Classification:
            return Classification("knee_small", {"normal": 0.9, "arthrosis": 0.1})
    monkeypatch.setattr(registry, "load", lambda name: Loaded())
    monkeypatch.setattr(specialists_cli, "_refused", lambda card, study: None)
    (home / "empty.png").write_bytes(b"")
    assert cli.main(["specialists", "predict", "knee_small", str(home / "empty.png"), png]) == 2
    said = capsys.readouterr()
    assert "knee_small: normal" in said.out
    assert "EmptyInput" in said.err
    assert cli.main(["specialists", "predict", "knee_small", png, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["label"] == "normal"


def test_predict_says_what_is_lacking(home: Path, png: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["specialists", "predict", "nobody", png]) == 2
    assert "knee_small" in capsys.readouterr().err
    assert cli.main(["specialists", "predict", "nobody", png, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "UnknownSpecialist"
    assert cli.main(["specialists", "predict", "knee_small"]) == 2
    assert "No image" in capsys.readouterr().err
    assert cli.main(["specialists", "predict", "knee_small", png, "--nothing"]) == 2
    assert "Known flags" in capsys.readouterr().err
