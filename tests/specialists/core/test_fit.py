"""A training that is stopped goes on to the very weights it would have had."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from specialists.classification import hybrid, small_cnn
from specialists.core.fit import Watch, fit
from specialists.core.method import class_weights, weighted_cross_entropy

ROOT = Path(__file__).parents[3]


def drawn(size):
    targets = np.arange(24) % 2
    pixels = np.random.default_rng(0).integers(0, 200, (24, size, size, 3)) + 50 * targets[:, None, None, None]
    return pixels.astype(np.uint8), targets.astype(np.int64)


def trained(module, watch=Watch(), **changes):  # noqa: B008 - frozen
    config = replace(module.tiny(), **{"epochs": 3, **changes})
    torch.manual_seed(config.seed)
    net = module.build(config)
    pixels, targets = drawn(config.size)
    loss = weighted_cross_entropy(class_weights(targets, 2), 0.05)
    return fit(net, pixels, targets, loss, config, watch).state_dict()


def equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


class Stopped(Exception):
    """Stands for whatever stops a training."""


@pytest.mark.parametrize("module", [small_cnn, hybrid], ids=["small_cnn", "hybrid"])
def test_a_stopped_training_ends_as_one_that_was_not(module, tmp_path):
    path = tmp_path / "run" / "whole.checkpoint"

    def stop(epoch, loss):
        if epoch == 1:
            raise Stopped

    with pytest.raises(Stopped):
        trained(module, Watch(stop, path))
    heard = []
    torch.manual_seed(99)  # another process has another state
    resumed = trained(module, Watch(lambda epoch, loss: heard.append(epoch), path))
    assert heard == [2]
    assert equal(resumed, trained(module))
    again = []
    assert equal(trained(module, Watch(lambda epoch, loss: again.append(epoch), path)), resumed)
    assert again == []  # a finished fit is read back
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_checkpoint_of_another_training_is_not_taken_up(tmp_path, caplog):
    path = tmp_path / "whole.checkpoint"
    trained(small_cnn, Watch(checkpoint=path))
    with caplog.at_level(logging.WARNING):
        found = trained(small_cnn, Watch(checkpoint=path), learning_rate=1e-3)
    assert "of another training" in caplog.text
    assert equal(found, trained(small_cnn, learning_rate=1e-3))
    path.write_bytes(b"cut off")
    with caplog.at_level(logging.WARNING):
        assert equal(trained(small_cnn, Watch(checkpoint=path)), trained(small_cnn))
    assert "cannot be read" in caplog.text


def test_a_killed_process_goes_on_to_the_same_weights(tmp_path):
    path = tmp_path / "whole.checkpoint"
    code = (f"import os, signal, sys; sys.path.insert(0, {str(ROOT)!r})\n"
            "from pathlib import Path\n"
            "from specialists.core.fit import Watch\n"
            "from specialists.classification import small_cnn\n"
            "from tests.specialists.core.test_fit import trained\n"
            "def kill(epoch, loss):\n"
            "    if epoch == 1: os.kill(os.getpid(), signal.SIGKILL)\n"
            f"trained(small_cnn, Watch(kill, Path({str(path)!r})))\n")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    heard = []
    resumed = trained(small_cnn, Watch(lambda epoch, loss: heard.append(epoch), path))
    assert heard == [2]
    assert equal(resumed, trained(small_cnn))
