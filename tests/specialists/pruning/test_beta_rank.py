"""Beta-Rank: what the score says of a filter, and that what is removed is really gone."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from specialists.catalog import method_module
from specialists.core.errors import BadData
from specialists.datasets.layout import Sample
from specialists.datasets.table import Table
from specialists.pruning import beta_rank
from specialists.pruning.beta_rank import Config
from specialists.training import runs

NETS = ("small_cnn", "residual")


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(12, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def lively(name: str) -> nn.Module:
    """Return a tiny net whose norms have seen images, in evaluation mode."""
    torch.manual_seed(0)
    module = method_module(name)
    net = module.build(module.tiny())
    net.train()(torch.rand(8, 3, 32, 32))
    return net.eval()


def table() -> Table:
    """Return dark and bright squares, six of one and two of the other in each split."""
    rng = np.random.default_rng(0)
    splits = [split for split in ("train", "val") for _ in range(8)]
    targets = np.array([0, 0, 0, 0, 0, 0, 1, 1] * 2)
    pixels = (rng.integers(0, 60, (16, 32, 32, 3)) + 150 * targets[:, None, None, None]).astype(np.uint8)
    samples = tuple(Sample(str(i), Path(), "drawn", split, "ab"[targets[i]], None, str(i), "", "", "A")
                    for i, split in enumerate(splits))
    return Table(samples, pixels, targets, ("a", "b"))


@pytest.mark.parametrize("in_over_out", [True, False])
def test_a_filter_without_weights_or_without_a_change_comes_last(in_over_out: bool) -> None:
    convolution = nn.Conv2d(3, 4, 3, padding=1, bias=False)
    read = torch.rand(10, 3, 8, 8)
    with torch.no_grad():
        convolution.weight[1] = 0
        convolution.weight[2, 1:] = 0
        convolution.weight[2, 0] = 5
        read[:, 0] = 0.5  # the same in all images: large weights on it say nothing
        score = beta_rank.beta(convolution, read, convolution(read), in_over_out)
    assert score[1] == 0
    assert score[2] == 0
    assert (score[[0, 3]] > 0).all()


def test_the_score_is_the_standardized_sum_of_the_paper() -> None:
    torch.manual_seed(0)
    convolution, read = nn.Conv2d(2, 3, 3, stride=2, padding=1, bias=False), torch.rand(6, 2, 8, 8)
    with torch.no_grad():
        said = convolution(read)
        score = beta_rank.beta(convolution, read, said, True)
        patches = nn.functional.unfold(read, 3, padding=1, stride=2)  # (N, C * 9, places)
        spread_in, spread_out = patches.std(dim=0), said.flatten(2).std(dim=0)
        plain = [np.mean([float((convolution.weight[k].flatten().abs() * spread_in[:, p] / spread_out[k, p]).sum())
                          for p in range(patches.shape[2])]) for k in range(3)]
    np.testing.assert_allclose(score.numpy(), plain, rtol=1e-4)


def test_scale_and_order_of_the_batch_change_no_rank(images: torch.Tensor) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 6, 3, padding=1, bias=False)
    with torch.no_grad():
        first, scaled, turned = (beta_rank.beta(convolution, x, convolution(x), True)
                                 for x in (images, 7 * images, images.flip(0)))
    assert first.argsort().tolist() == scaled.argsort().tolist()
    torch.testing.assert_close(first, turned)


@pytest.mark.parametrize("ranker", beta_rank.RANKERS)
def test_every_ranker_scores_every_link_from_0_to_1(ranker: str, images: torch.Tensor) -> None:
    module = method_module("small_cnn")
    scores = beta_rank.ranks(lively("small_cnn"), module.links(module.tiny()), images, Config(ranker=ranker))
    assert [len(s) for s in scores] == [8, 16, 16, 24, 24]
    assert all(s.min() >= 0 and s.max() <= 1 for s in scores)
    assert ranker == "hrank" or all(s.max() == 1 for s in scores)  # small maps may all have the same rank


@pytest.mark.parametrize("name", NETS)
def test_the_thinner_net_answers_as_the_masked_one(name: str, images: torch.Tensor) -> None:
    module, net = method_module(name), lively(name)
    config = module.tiny()
    links = module.links(config)
    stay = beta_rank.kept(beta_rank.ranks(net, links, images, Config()), 0.5)
    smaller, copy = beta_rank.thinned(module, config, net, stay)
    assert sum(p.numel() for p in copy.parameters()) < 0.75 * sum(p.numel() for p in net.parameters())
    with torch.no_grad():
        for link, rows in zip(links, stay, strict=True):
            norm = net.get_submodule(link.norm)
            gone = np.setdiff1d(np.arange(len(norm.weight)), rows)
            norm.weight[gone] = 0
            norm.bias[gone] = 0
        torch.testing.assert_close(copy(images), net(images), rtol=1e-4, atol=1e-5)
    again = module.build(module.Config(**dataclasses.asdict(smaller)))
    again.load_state_dict(copy.state_dict())


def test_configurations_of_before_build_the_same_net() -> None:
    for name in NETS:
        module = method_module(name)
        plain = module.tiny()
        said = dataclasses.replace(plain, inner=plain.widths[1:] if name == "small_cnn" else plain.widths)
        shapes = [{k: v.shape for k, v in module.build(c).state_dict().items()} for c in (plain, said)]
        assert shapes[0] == shapes[1]


def test_a_run_is_compressed_to_a_run(tmp_path: Path) -> None:
    module, drawn = method_module("small_cnn"), table()
    config = dataclasses.replace(module.tiny(), epochs=1)
    runs.train("small_cnn", config, drawn, tmp_path / "run")
    made = beta_rank.compress_run(tmp_path / "run", drawn, beta_rank.tiny(), tmp_path / "thin")
    facts = json.loads((tmp_path / "thin" / "config.json").read_text())
    assert facts["parameters"] == made.after["parameters"] < made.before["parameters"]
    assert facts["config"]["widths"] == [6, 11, 17]
    assert facts["compressed"]["before"]["minority"] == "b"
    with np.load(tmp_path / "run" / "raw.npz") as before, np.load(tmp_path / "thin" / "raw.npz") as after:
        assert set(before) == set(after)
        np.testing.assert_array_equal(before["oof_logits"], after["oof_logits"])
        assert after["features"].shape == (16, 17)
    other = dataclasses.replace(drawn, labels=("b", "a"))
    with pytest.raises(BadData, match="rows or labels"):
        beta_rank.compress_run(tmp_path / "run", other, beta_rank.tiny(), tmp_path / "none")


def test_a_copy_that_loses_the_rarest_class_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    recalls = iter((0.9, 0.5))
    monkeypatch.setattr(beta_rank, "figures", lambda net, table: {
        "minority": "b", "minority_n": 10, "minority_recall": next(recalls)})
    module = method_module("small_cnn")
    made = beta_rank.compress(module, module.tiny(), lively("small_cnn"), table(), beta_rank.tiny())
    assert made.refused == "recall of b fell from 0.9 to 0.5"


def test_one_image_more_missed_refuses_nothing() -> None:
    before, after = ({"minority": "b", "minority_n": 14, "minority_recall": recall} for recall in (1.0, 0.9286))
    assert beta_rank.refusal(before, after, 0.05) == ""
    assert beta_rank.refusal({**before, "minority_n": 140}, after, 0.05)


def test_what_cannot_be_pruned_says_so() -> None:
    with pytest.raises(ValueError, match="hrank"):
        Config(ranker="l2")
    module = method_module("hybrid")
    with pytest.raises(BadData, match="links and thinner"):
        beta_rank.compress(module, module.tiny(), lively("hybrid"), table(), beta_rank.tiny())
