"""Which filters of a trained net may go: those that matter least for how its data spread.

Hesabi et al., 2023, https://arxiv.org/abs/2304.07461
Idea: a filter's weights are standardized by the spread of what it reads over the spread of what it says, as the beta of
a regression is; their sum ranks the filters of a layer. The lowest are removed for good, and the thinner net is
trained on for a few epochs. Meant for small sets of unequal classes; both directions of the ratio are here, because
the paper and its code differ.
Differs from the paper: AdamW and a one-cycle schedule for a few epochs in place of 150 epochs of SGD; a copy that loses
recall of the rarest class is refused.
Numbers: results/beta-rank.json        Reproduce: python -m benchmarks.methods.beta_rank
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from specialists.catalog import method_module
from specialists.core.errors import BadData
from specialists.core.fit import FitConfig, fit
from specialists.core.method import Link, Method, class_weights, weighted_cross_entropy
from specialists.datasets.table import Table
from specialists.evaluation.measure import confusion, f1
from specialists.training.runs import outputs

METHOD = Method(task="pruning", title="filters ranked by standardized weights", paper="https://arxiv.org/abs/2304.07461")
RANKERS = ("in_over_out", "out_over_in", "l1", "hrank", "random")
STILL = 1e-6
"""A filter whose output spreads less than this part of its layer's largest spread says nothing there."""


@dataclass(frozen=True)
class Config:
    """How much is removed, by which rank, and how the rest is trained on."""

    ranker: str = "out_over_in"
    """"in_over_out" is the paper's, "out_over_in" its code's, which measured better; the others are to compare."""
    share: float = 0.3
    """Part of each layer's filters that is removed."""
    images: int = 64
    """Training images that the rank is taken from."""
    epochs: int = 10
    learning_rate: float = 1e-3
    margin: float = 0.05
    """The copy is refused where recall of the rarest class falls by more than this, and by more than one image."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be removed."""
        if self.ranker not in RANKERS or not 0 <= self.share < 1 or self.images < 2:
            raise ValueError(f"Got ranker {self.ranker!r}, share {self.share}, {self.images} images; wanted one of "
                             f"{', '.join(RANKERS)}, a share of 0..1 and 2 images or more.")


def tiny() -> Config:
    """Return a configuration that compresses in seconds."""
    return Config(images=8, epochs=1)


@dataclass(frozen=True, eq=False)
class Compressed:
    """A thinner net with what it cost."""

    net: nn.Module
    config: FitConfig
    before: dict[str, Any]
    """What `figures` gives, on validation."""
    after: dict[str, Any]
    refused: str = ""
    """Why the copy should not ship; empty where it may."""


def ranks(net: nn.Module, links: Sequence[Link], images: Tensor, config: Config) -> list[np.ndarray]:
    """Return a score (filters,) for each link, 0..1 within its layer, from one batch of images (N, 3, H, W)."""
    seen = _passed(net, links, images)
    generator = np.random.default_rng(config.seed)
    scores = []
    for link in links:
        convolution, norm = net.get_submodule(link.convolution), net.get_submodule(link.norm)
        assert isinstance(convolution, nn.Conv2d)
        read, said = seen[link.convolution]
        if config.ranker == "l1":
            score = convolution.weight.abs().sum(dim=(1, 2, 3))
        elif config.ranker == "hrank":
            score = torch.linalg.matrix_rank(F.relu(norm(said))).float().mean(dim=0)
        elif config.ranker == "random":
            score = torch.from_numpy(generator.random(convolution.out_channels))
        else:
            score = beta(convolution, read, said, config.ranker == "in_over_out")
        scores.append(_scaled(score))
    return scores


def beta(convolution: nn.Conv2d, read: Tensor, said: Tensor, in_over_out: bool) -> Tensor:
    """Return the sum of a filter's standardized weights, averaged over places: (filters,).

    `read` (N, C, H, W) is what the layer reads and `said` (N, K, h, w) what it says. The spread is over the N images,
    of each value that a filter's patch reads and of its output at that place. A filter that says the same of all
    images gets 0.
    """
    padding: Any = convolution.padding
    patches = F.unfold(read.std(dim=0)[None], convolution.kernel_size, convolution.dilation, padding,
                       convolution.stride)[0]  # (C * kh * kw, places)
    spread = said.std(dim=0).flatten(1)  # (K, places)
    weights = convolution.weight.abs().flatten(1)  # (K, C * kh * kw)
    speaks = spread > STILL * spread.max()
    if in_over_out:
        ratio = (weights @ patches) / spread.clamp_min(1e-8)
    else:
        inverse = torch.where(patches > STILL * patches.max(), 1 / patches.clamp_min(1e-8), torch.zeros_like(patches))
        ratio = (weights @ inverse) * spread
    return torch.where(speaks, ratio, torch.zeros_like(ratio)).mean(dim=1)


def kept(scores: Sequence[np.ndarray], share: float) -> list[np.ndarray]:
    """Return the numbers of the filters that stay in each layer, in their order: the highest, at least two."""
    counts = [max(2, round(len(score) * (1 - share))) for score in scores]
    return [np.sort(np.argsort(-score, kind="stable")[:count]) for score, count in zip(scores, counts, strict=True)]


def thinned(method: ModuleType, config: FitConfig, net: nn.Module,
            stay: Sequence[np.ndarray]) -> tuple[FitConfig, nn.Module]:
    """Return the configuration and the net with the kept filters alone, weights copied; it is really smaller.

    The method's file gives `links(config)` and `thinner(config, counts)`.
    """
    state = dict(net.state_dict())
    for link, rows in zip(method.links(config), stay, strict=True):
        chosen = torch.from_numpy(rows)
        for name in (f"{link.convolution}.weight", *(f"{link.norm}.{part}" for part in
                                                     ("weight", "bias", "running_mean", "running_var"))):
            state[name] = state[name].index_select(0, chosen)
        state[f"{link.reader}.weight"] = state[f"{link.reader}.weight"].index_select(1, chosen)
    smaller = method.thinner(config, [len(rows) for rows in stay])
    copy = method.build(smaller)
    copy.load_state_dict(state)
    return smaller, copy.eval()


def compress(method: ModuleType, config: FitConfig, net: nn.Module, table: Table, how: Config) -> Compressed:
    """Remove filters of a trained classifier, train the rest on, and say what it cost on validation."""
    if not hasattr(method, "links"):
        raise BadData(f"{method.METHOD.title} says of no convolution that it may be thinned; wanted a method with "
                      "links and thinner, e.g. small_cnn or residual.")
    train = table.rows("train")
    batch = np.random.default_rng(how.seed).choice(train, min(how.images, len(train)), replace=False)
    images = torch.from_numpy(table.pixels[batch]).movedim(-1, 1).float().div(255)
    scores = ranks(net.eval(), method.links(config), images, how)
    smaller, copy = thinned(method, config, net, kept(scores, how.share))
    weights = class_weights(table.targets[train], len(table.labels))
    torch.manual_seed(how.seed)
    teach = dataclasses.replace(smaller, epochs=how.epochs, learning_rate=how.learning_rate, seed=how.seed)
    copy = fit(copy, table.pixels[train], table.targets[train],
               weighted_cross_entropy(weights, config.label_smoothing), teach)
    before, after = figures(net, table), figures(copy, table)
    return Compressed(copy, smaller, before, after, refusal(before, after, how.margin))


def refusal(before: dict[str, Any], after: dict[str, Any], margin: float) -> str:
    """Return why a copy should not ship, empty where it may: one image more missed is within the noise."""
    lost = before["minority_recall"] - after["minority_recall"]
    if lost <= margin or round(lost * before["minority_n"]) <= 1:
        return ""
    return f"recall of {before['minority']} fell from {before['minority_recall']} to {after['minority_recall']}"


def figures(net: nn.Module, table: Table, split: str = "val") -> dict[str, Any]:
    """Return {parameters, n, macro_f1, accuracy, minority, minority_n, minority_recall}.

    The minority is the rarest class of train; minority_n counts it in the split.
    """
    rows = table.rows(split)
    guesses = outputs(net, table.pixels[rows])[0].argmax(axis=1)
    matrix = confusion(guesses, table.targets[rows], len(table.labels))
    rare = int(np.bincount(table.targets[table.rows("train")], minlength=len(table.labels)).argmin())
    return {"parameters": sum(p.numel() for p in net.parameters()), "n": len(rows),
            "macro_f1": round(float(f1(matrix).mean()), 4),
            "accuracy": round(float(np.diagonal(matrix).sum() / matrix.sum()), 4), "minority": table.labels[rare],
            "minority_n": int(matrix[rare].sum()),
            "minority_recall": round(float(matrix[rare, rare] / max(1, matrix[rare].sum())), 4)}


def compress_run(run: Path, table: Table, how: Config, out: Path) -> Compressed:
    """Compress the net of a trained run and write a run folder with the same files.

    raw.npz: logits and features of every row by the thinner net; what other nets said out of fold is kept as it
    is. Rows of `table` are those of the run; raises BadData where they are not.
    """
    started = time.perf_counter()
    facts = json.loads((run / "config.json").read_text(encoding="utf-8"))
    with np.load(run / "raw.npz") as stored:
        raw = dict(stored)
    if raw["ids"].tolist() != [s.id for s in table.samples] or facts["labels"] != list(table.labels):
        raise BadData(f"The rows or labels of {run.name} are not those of the table; wanted the same images.")
    method = method_module(facts["method"])
    config = method.Config(**{k: tuple(v) if isinstance(v, list) else v for k, v in facts["config"].items()})
    net = method.build(config)
    net.load_state_dict(load_file(run / "model.safetensors"))
    made = compress(method, config, net.eval(), table, how)
    raw["logits"], raw["features"] = outputs(made.net, table.pixels)
    out.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in made.net.state_dict().items()}, out / "model.safetensors")
    np.savez(out / "raw.npz", **raw)  # pyright: ignore[reportArgumentType]
    kept_config = {**dataclasses.asdict(made.config), "epochs": config.epochs, "learning_rate": config.learning_rate}
    facts = {**facts, "config": kept_config, "seconds": facts["seconds"] + round(time.perf_counter() - started),
             "parameters": made.after["parameters"],
             "compressed": {**dataclasses.asdict(how), "before": made.before, "after": made.after,
                            "refused": made.refused}}
    (out / "config.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return made


@torch.no_grad()
def _passed(net: nn.Module, links: Sequence[Link], images: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Return what each convolution reads and says of the images."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, given: tuple[Tensor, ...], said: Tensor) -> None:
            seen[name] = (given[0], said)
        return hook
    hooks = [net.get_submodule(link.convolution).register_forward_hook(keep(link.convolution)) for link in links]
    try:
        net(images)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _scaled(score: Tensor) -> np.ndarray:
    values = score.detach().double().numpy()
    span = values.max() - values.min()
    return (values - values.min()) / span if span > 0 else np.zeros_like(values)
