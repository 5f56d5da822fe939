"""The log of a run: log.jsonl, a row each time the trainer tells its loss, and loss.png, its curves."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from transformers import TrainerCallback

KEPT = {"loss": "loss", "eval_loss": "held_out_loss", "learning_rate": "learning_rate", "grad_norm": "grad_norm"}
"""What the trainer tells -> what it is called in the log."""
CURVES = {"loss": "-", "held_out_loss": "o--"}
"""What is drawn, and how."""
LOG = logging.getLogger(__name__)


class Diary(TrainerCallback):
    """Keeps the log of a run in its folder; a run that goes on keeps the rows of before."""

    def __init__(self, out: Path) -> None:
        """`out` is the folder of the run."""
        self.out = out

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write all rows."""
        rows = [{"step": row["step"], **{KEPT[name]: round(float(row[name]), 7) for name in KEPT if name in row}}
                for row in state.log_history if "loss" in row or "eval_loss" in row]
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        if rows and state.log_history[-1].keys() & {"loss", "eval_loss"}:
            told = ", ".join(f"{name.replace('_', ' ')} {rows[-1][name]:.3f}" for name in CURVES if name in rows[-1])
            step = rows[-1]["step"]
            LOG.info("step %d of %d: %s", step, max(step, state.max_steps), told)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Draw the curves."""
        draw(self.out)


def draw(out: Path) -> None:
    """Draw OUT/loss.png from OUT/log.jsonl."""
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="step", ylabel="cross-entropy of answer tokens")
    for name, style in CURVES.items():
        points = [(row["step"], row[name]) for row in rows if name in row]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=name.replace("_", " "))
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(out / "loss.png", dpi=120)
