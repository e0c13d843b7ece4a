"""Run as a process: `train` that kills itself (SIGKILL) at a step."""

import os
import signal
from pathlib import Path
from typing import Any

import keras

import ctl_keras as ctl
from ctl_keras.config import Config
from ctl_keras.settings import from_dict
from ctl_keras.training import run


class Kill(keras.callbacks.Callback):
    def __init__(self, step: int):
        super().__init__()
        self._left = step

    def on_train_batch_end(self, batch, logs=None):
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1


def train(data: Path, out: Path, step: int, settings: dict[str, Any]) -> None:
    """Begins a run, or goes on with it; is killed after `step` steps, or not at all if that is
    -1."""
    run._tensorboard = lambda out: [Kill(step)]
    resume = (out / "config.json").exists()
    ctl.train(data, out, None if resume else from_dict(Config, settings), resume)
