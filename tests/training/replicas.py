"""Run as a process: losses of some steps with one replica and with two."""

import json
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import ctl_keras as ctl
from ctl_keras.config import Config
from ctl_keras.settings import from_dict
from ctl_keras.training.fitting import Fitting
from ctl_keras.training.strategies import make_strategy

STEPS = 8


def losses(name: str, records: Path, config: Config) -> list[float]:
    keras.utils.set_random_seed(0)
    pairs, validation = ctl.read_records(records, "train"), ctl.read_records(records, "validation")
    strategy = make_strategy(name)
    assert strategy.num_replicas_in_sync == (2 if name == "mirrored" else 1)
    values = []

    class Collect(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.model.reset_metrics()

        def on_train_batch_end(self, batch, logs=None):
            values.append(float(logs["loss"]))

    with strategy.scope():
        model = ctl.CompleteTheLook(pairs.categories, config.data.image_size, config.model)
        fitting = Fitting(model, config, pairs, validation, "records")
        # one replica leaves the smaller last batch out too: the same global batches
        fitting._replicas = 2
        fitting.begin_stage(0)
        fitted, _ = fitting.datasets(0)
        fitting.trainer.fit(fitted, steps_per_epoch=STEPS, verbose=0, callbacks=[Collect()])
    return values


def compare(records: Path, settings: dict[str, Any], out: Path) -> None:
    """Writes the losses of both, as JSON."""
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
    config = from_dict(Config, settings)
    out.write_text(
        json.dumps({name: losses(name, records, config) for name in ("none", "mirrored")})
    )
