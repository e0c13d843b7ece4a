"""A training that is killed again and again ends, bit by bit, where an undisturbed one ends."""

import signal
from pathlib import Path

import keras
import numpy as np
import pytest

import ctl_keras as ctl
from ctl_keras.settings import from_dict, to_dict
from ctl_keras.training.callbacks import read_history
from tests.counts import KILLS
from tests.training.killed import train
from tests.warm import WarmProcess


def settings(config: ctl.Config, cache: Path) -> dict:
    """All that has state: dropout, averages, a schedule, a memory, views of cached features, and a
    second stage that trains a part of the network from pictures."""
    values = to_dict(config)
    values["data"] |= {"feature_cache": str(cache), "views": 3}
    values["training"] |= {
        "epochs": 4,
        "stages": [{"epochs": 3, "learning_rate": 0.001, "unfreeze": "conv2_block1_1"}],
        "steps_per_epoch": 3,
        "in_batch": True,
        "memory": 24,
        "miner": "semi_hard",
        "ema": 0.8,
        "schedule": "cosine",
        "warmup_steps": 3,
        "weight_decay": 0.01,
        "deterministic": True,
    }
    return values


def fit(records: Path, out: Path, step: int, values: dict) -> int:
    return WarmProcess(train, records, out, step, values).wait()


@pytest.mark.slow
def test_killed_at_random_steps_it_ends_with_the_same_weights(records, config, tmp_path):
    values = settings(config, tmp_path / "features")
    assert from_dict(ctl.Config, values).training.memory == 24
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    assert fit(records, straight, -1, values) == 0
    random = np.random.default_rng(0)
    # each kill comes within an epoch and a bit: most lose steps, some come right after a checkpoint
    for _ in range(KILLS):
        code = fit(records, killed, int(random.integers(5)), values)
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert fit(records, killed, -1, values) == 0

    rows = [
        [
            {k: v for k, v in row.items() if k != "seconds"}
            for row in read_history(x / "history.csv")
        ]
        for x in (straight, killed)
    ]
    assert [row["stage"] for row in rows[0]] == [0] * 4 + [1] * 3
    assert rows[0] == rows[1]
    with (
        np.load(straight / "checkpoints" / "epoch-0007.npz") as one,
        np.load(killed / "checkpoints" / "epoch-0007.npz") as other,
    ):
        assert len(one.files) == len(other.files) > 20
        for name in one.files:
            np.testing.assert_array_equal(one[name], other[name])
    models = [keras.models.load_model(x / "model.keras") for x in (straight, killed)]
    for one, other in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
