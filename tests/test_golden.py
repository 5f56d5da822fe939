"""What ships gives what it gave: one drawn picture through every trained weight, and one rendered prompt.

Renew with `make golden` only when weights or prompts change on purpose; say why in the commit.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from assistant import template
from assistant.generalist.open import open_generalist
from assistant.steps import Case, Evidence, Opinion
from specialists.core import registry
from specialists.core.specialist import Specialist
from specialists.core.study import Study, read_study

Golden = Callable[..., None]


def phantom() -> Study:
    """Return a drawn picture: a bright disc with a dark core on a gradient."""
    y, x = np.mgrid[0:160, 0:200]
    radius = np.hypot(x - 110, y - 70)
    gray = 0.2 + 0.3 * x / 200 + 0.4 * (radius < 45) - 0.5 * (radius < 15)
    return read_study(np.stack([gray, 0.8 * gray, 0.6 * gray], -1).clip(0, 1).astype(np.float32))


def evidence() -> Evidence:
    """Return two opinions and two cases."""
    opinions = (Opinion("first", "benign", {"benign": 0.7, "malignant": 0.2, "normal": 0.1}, {"benign": 0.81}),
                Opinion("second", "malignant", {"benign": 0.3, "malignant": 0.6, "normal": 0.1}, {"malignant": 0.66}))
    return Evidence(moed=opinions, rad=(Case("a", "benign", 0.93, "s"), Case("b", "malignant", 0.9, "s")))


@pytest.mark.parametrize("name", sorted(registry.cards()))
def test_a_specialist_gives_what_it_gave(name: str, golden: Golden) -> None:
    logits, features = Specialist(registry.cards()[name], registry.SHIPPED).raw([phantom()])
    golden(f"specialist_{name}", {"logits": np.round(logits.reshape(-1)[::max(1, logits.size // 32)], 3).tolist(),
                                  "features": np.round(features[0][:16], 3).tolist()}, 5e-3)


@pytest.mark.parametrize("style", ["published", "calibrated"])
def test_the_generalist_gives_what_it_gave(style: str, golden: Golden) -> None:
    options = ["malignant", "normal", "benign"]
    messages = template.decision("What is the diagnosis?", [template.png_url(phantom())], options,
                                 evidence=evidence(), style=style, kind="breast ultrasound")  # type: ignore[arg-type]
    scores = open_generalist(None).score(messages, template.letters(3))
    golden(f"generalist_{style}", {k: round(v, 3) for k, v in scores.items()}, 2e-2)


@pytest.mark.parametrize("style", ["published", "calibrated"])
def test_prompts_are_as_they_were(style: str, golden: Golden) -> None:
    decision = template.decision("What is the diagnosis?", [], ["malignant", "normal", "benign"],
                                 evidence=evidence(), style=style, kind="breast ultrasound")  # type: ignore[arg-type]
    opened = template.opening("What do you see?", [], evidence=evidence(), style=style)  # type: ignore[arg-type]
    golden(f"prompt_{style}", {"decision": decision, "opening": opened})
