"""Run as a process: `train` that kills itself (SIGKILL) at a step. Arguments: data, run, step or -1, settings (JSON)."""

import json
import os
import signal
import sys

import keras

import ctl_keras as ctl
from ctl_keras.config import Config, from_dict
from ctl_keras.training import run


class Kill(keras.callbacks.Callback):
    def __init__(self, step: int):
        super().__init__()
        self._left = step

    def on_train_batch_end(self, batch, logs=None):
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1


if __name__ == "__main__":
    data, out, step, settings = sys.argv[1:]
    run._tensorboard = lambda out: [Kill(int(step))]
    resume = os.path.exists(os.path.join(out, "config.json"))
    ctl.train(data, out, None if resume else from_dict(Config, json.loads(settings)), resume)
