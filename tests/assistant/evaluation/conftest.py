"""The small world that every test here measures in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.assistant.evaluation.world import World, build


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return build(tmp_path, monkeypatch)
