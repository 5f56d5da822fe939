"""What a tower made of an image is used again, for that image and those weights alone, and changes no answer."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from assistant.generalist.local import LocalGeneralist
from assistant.generalist.open import NANO
from assistant.generalist.processors import Row, joined
from assistant.generalist.sight import Sight, remembering
from tests.adapters import random_adapter
from tests.assistant.server.test_app import data_url
from tests.families import FAMILIES, checkpoint

LETTERS = ["A", "B", "C"]
TEXTS = ["Which disease?", "Is anything there? Say more.", "What is shown on this image?"]
KNOWN = ("qwen2_5_vl", "qwen3_vl")


def asked(text: str, *shades: int) -> list[dict[str, Any]]:
    """Return a question about images of these shades of gray; 0 is a blank one."""
    images = [{"type": "image_url", "image_url": {"url": data_url(shade)}} for shade in shades]
    return [{"role": "user", "content": [*images, {"type": "text", "text": text}]}]


PROMPTS = [asked(TEXTS[0], 0), asked(TEXTS[1], 0), asked(TEXTS[0], 90), asked(TEXTS[2], 90, 200, 90),
           asked(TEXTS[2], 200), [{"role": "user", "content": "Hello"}], asked(TEXTS[0], 255, 0)]


@pytest.fixture(scope="module", params=[*KNOWN, "nano"])
def generalist(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LocalGeneralist:
    path = NANO if request.param == "nano" else checkpoint(request.param, tmp_path_factory.mktemp("seen") / "model")
    generalist = LocalGeneralist(path, max_new_tokens=8, device="cpu")
    generalist.ready()
    return generalist


def sight(generalist: LocalGeneralist) -> Sight:
    found = generalist._weights.sight
    assert found is not None
    return found


@contextmanager
def blind(generalist: LocalGeneralist) -> Iterator[None]:
    """Look at every image anew."""
    there = sight(generalist)
    there._tower.forward = there._forward
    try:
        yield
    finally:
        there._tower.forward = there


@pytest.fixture
def looked(generalist: LocalGeneralist, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many images each run of the tower had, from now on and with nothing remembered."""
    return counted(generalist, monkeypatch)


def counted(generalist: LocalGeneralist, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    there, runs = sight(generalist), []
    there.seen.clear()
    forward = there._forward

    def count(pixels: torch.Tensor, grid_thw: torch.Tensor, **kwargs: Any) -> Any:
        runs.append(len(grid_thw))
        return forward(pixels, grid_thw=grid_thw, **kwargs)
    monkeypatch.setattr(there, "_forward", count)
    return runs


def batch(generalist: LocalGeneralist, *shades: int) -> Row:
    return joined([generalist._row(asked("What?", shade)) for shade in shades], {}, left=True)


def test_an_image_is_looked_at_once(generalist: LocalGeneralist, looked: list[int]) -> None:
    for text in TEXTS:
        generalist.score(asked(text, 90), LETTERS)
    assert looked == [1]
    generalist.score_many([asked(text, shade, 90) for text in TEXTS for shade in (10, 20)], [LETTERS] * 6)
    assert looked == [1, 2], "two new ones, each asked about three times in one batch"
    generalist.reply_many([asked(text, 20) for text in TEXTS])
    list(generalist.stream(asked(TEXTS[0], 10)))
    generalist.score(asked(TEXTS[0], 90), ["no tumour", "glioma", "A"])
    assert looked == [1, 2]


def test_answers_are_those_of_looking_anew(generalist: LocalGeneralist, looked: list[int]) -> None:
    def answers() -> list[list[dict[str, float]]]:
        options = [LETTERS, ["no tumour", "glioma", "A B"]]
        return [[generalist.score(prompt, some) for prompt in PROMPTS] for some in options] + [
            generalist.score_many(PROMPTS, [some] * len(PROMPTS)) for some in options]

    def texts() -> list[str]:
        return [*(reply.text for reply in generalist.reply_many(PROMPTS)),
                *(generalist.invoke(prompt).text for prompt in PROMPTS),
                *("".join(str(chunk.content) for chunk in generalist.stream(prompt)) for prompt in PROMPTS)]
    with blind(generalist):
        scores, said = answers(), texts()
    assert looked, "it counts what is looked at anew, too"
    assert scores[0][0] != scores[0][2], "the blank image scores as the other one"
    for _ in range(2):
        for ones, others in zip(answers(), scores, strict=True):
            for one, other in zip(ones, others, strict=True):
                assert one == pytest.approx(other, abs=1e-5)
        assert texts() == said


def test_threads_get_their_own_images(generalist: LocalGeneralist) -> None:
    prompts = [asked(text, shade) for shade in range(0, 256, 32) for text in TEXTS]
    with blind(generalist):
        alone = [generalist.score(prompt, LETTERS) for prompt in prompts]
    sight(generalist).seen.clear()
    with ThreadPoolExecutor(12) as pool:
        for one, other in zip(pool.map(lambda prompt: generalist.score(prompt, LETTERS), prompts), alone, strict=True):
            assert one == pytest.approx(other, abs=1e-5)


@pytest.mark.parametrize("family", KNOWN)
def test_what_is_remembered_is_what_the_tower_makes(family: str, tmp_path: Path) -> None:
    generalist = LocalGeneralist(checkpoint(family, tmp_path / "model"), device="cpu")
    generalist.ready()
    first, second = batch(generalist, 60), batch(generalist, 200, 60, 0, 200)
    there = sight(generalist)
    with torch.inference_mode():
        there(first["pixel_values"], first["image_grid_thw"])
        seen = there(second["pixel_values"], grid_thw=second["image_grid_thw"])
        made = there._forward(second["pixel_values"], grid_thw=second["image_grid_thw"])
    torch.testing.assert_close(seen.pooler_output, made.pooler_output, atol=1e-5, rtol=1e-5)
    assert len(seen.deepstack_features) == {"qwen3_vl": 1, "qwen2_5_vl": 0}[family]
    for ours, theirs in zip(seen.deepstack_features, getattr(made, "deepstack_features", ()), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", KNOWN)
def test_patches_are_embedded_as_by_the_convolution(family: str, tmp_path: Path) -> None:
    generalist = LocalGeneralist(checkpoint(family, tmp_path / "model"), device="cpu")
    generalist.ready()
    embed = sight(generalist)._tower.patch_embed
    with torch.no_grad():
        for part in embed.proj.parameters():
            part.normal_()
        pixels = batch(generalist, 60, 200)["pixel_values"]
        torch.testing.assert_close(embed(pixels), type(embed).forward(embed, pixels), atol=1e-3, rtol=1e-5)


def test_the_shape_of_an_image_counts(tmp_path: Path) -> None:
    generalist = LocalGeneralist(checkpoint("qwen3_vl", tmp_path / "model"), device="cpu")
    pixels = torch.zeros(8, generalist._row(asked("What?", 0))["pixel_values"].shape[1])
    there, grids = sight(generalist), [torch.tensor([[1, 2, 4]]), torch.tensor([[1, 4, 2]])]
    with torch.inference_mode():
        for grid in grids:
            made = there._forward(pixels, grid_thw=grid).pooler_output
            torch.testing.assert_close(there(pixels, grid).pooler_output, made, atol=1e-5, rtol=1e-5)
    assert len(there.seen._things) == 2


@pytest.mark.parametrize("parts", [("language",), ("vision",), ("connector",)])
def test_adapters_share_only_what_they_leave_alone(parts: tuple[str, ...], tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    model = checkpoint("qwen3_vl", tmp_path / "model")
    folders = [random_adapter(model, tmp_path / f"adapter-{seed}", parts, seed=seed, size=0.5) for seed in (1, 2)]
    base = LocalGeneralist(model, device="cpu")
    sides = [base, *(base.with_adapter(str(folder)) for folder in folders)]
    alone = [LocalGeneralist(model, adapter=folder, device="cpu").score(PROMPTS[3], LETTERS)
             for folder in (None, *folders)]
    for side in sides:
        side.load()
    runs = counted(base, monkeypatch)
    for _ in range(2):
        for side, scores in zip((*sides, *sides[::-1]), (*alone, *alone[::-1]), strict=True):
            assert side.score(PROMPTS[3], LETTERS) == pytest.approx(scores, abs=1e-5)
    assert len({scores["A"] for scores in alone}) == 3
    assert runs == ([2] if parts == ("language",) else [2, 2, 2])


def test_what_is_remembered_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generalist = LocalGeneralist(checkpoint("qwen3_vl", tmp_path / "model"), device="cpu")
    generalist.ready()
    there, runs = sight(generalist), counted(generalist, monkeypatch)

    def look(*shades: int) -> int:
        """Look at images and return how many were new."""
        given, before = batch(generalist, *shades), sum(runs)
        with torch.inference_mode():
            assert len(there(given["pixel_values"], given["image_grid_thw"]).pooler_output)
        return sum(runs) - before
    there.seen.most = 2
    assert [look(10), look(20), look(10), look(30)] == [1, 1, 0, 1]
    assert [look(10), look(20)] == [0, 1], "10 was wanted after 20"
    assert look(1, 2, 3, 4, 1) == 4
    assert there.seen._held == sum(part.nbytes for seen, _ in there.seen._things.values() for part in seen)


def test_gradients_go_past_it(tmp_path: Path) -> None:
    generalist = LocalGeneralist(checkpoint("qwen3_vl", tmp_path / "model"), device="cpu")
    generalist.ready()
    given, there = batch(generalist, 90), sight(generalist)
    with torch.inference_mode():
        there(given["pixel_values"], given["image_grid_thw"])
    there(given["pixel_values"], given["image_grid_thw"]).pooler_output.sum().backward()
    assert there._tower.patch_embed.proj.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - set(KNOWN)))
def test_other_families_stay_as_they_are(family: str, tmp_path: Path) -> None:
    generalist = LocalGeneralist(checkpoint(family, tmp_path / "model"), device="cpu")
    assert remembering(generalist.load()[0]) is None
    assert generalist._weights.sight is None
    assert generalist.score(asked("What?", 90), LETTERS)
