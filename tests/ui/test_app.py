"""The window is built, guarded and started late; what it looks like is for the browser tests."""

from __future__ import annotations

import threading

import pytest

from tests.ui import double
from ui import app
from ui.__main__ import Late

pytestmark = pytest.mark.usefixtures("closing_loops")


def test_the_window_is_built_offline():
    blocks = app.create_app(double.Assistant(), status=lambda: "")
    config = blocks.get_config_file()
    assert {"viewer", "chat", "question", "options", "ask", "stop", "panel", "files"} <= {
        part["props"].get("elem_id") for part in config["components"]
    }
    assert "http" not in app.HEAD


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org"])
def test_a_host_that_others_reach_needs_a_key(host):
    blocks = app.create_app(double.Assistant())
    with pytest.raises(ValueError, match="CONSILIUM_API_KEY"):
        app.launch(blocks, host)


@pytest.mark.parametrize(
    ("user", "password", "right"),
    [
        ("consilium", "schlüssel", True),
        ("consilium", "wrong", False),
        ("other", "schlüssel", False),
        ("", "", False),
    ],
)
def test_the_key_is_the_password(user, password, right):
    assert app._login("schlüssel")(user, password) is right


def test_the_assistant_is_loaded_in_the_background():
    go, begun = threading.Event(), threading.Event()

    def load():
        begun.set()
        go.wait(5)
        return double.Assistant()

    late = Late(load)
    late.start()
    assert begun.wait(5)
    assert late.status().startswith("Loading the models")
    go.set()
    assert late.chat().id == "conversation-1"
    assert late.status() == ""


def test_an_error_of_loading_is_raised_to_who_asks_and_loading_is_tried_again():
    tries = iter([ValueError("no server"), None])

    def load():
        if error := next(tries):
            raise error
        return double.Assistant()

    late = Late(load)
    with pytest.raises(ValueError, match="no server"):
        late.chat()
    assert late.status() == ""
    assert late.chat().id == "conversation-1"
