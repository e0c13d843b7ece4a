"""An export that is killed at any point never leaves a version that a server would load."""

import signal
import time

import numpy as np
import pytest
import tensorflow as tf

import ctl_keras as ctl
from ctl_keras.files import versions
from tests.counts import KILLS
from tests.warm import WarmProcess


def export_again(run, base):
    model, _ = ctl.load_run(run)
    while True:
        ctl.export(model, base)


def unfinished(base):
    return set(base.glob(".tmp-*"))


@pytest.mark.slow
def test_what_a_killed_export_leaves(run, tmp_path):
    random = np.random.default_rng(0)
    base = tmp_path / "looks"
    for _ in range(KILLS):
        left = unfinished(base)
        process = WarmProcess(export_again, run, base)
        deadline = time.monotonic() + 120
        while unfinished(base) == left:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(random.uniform(0, 5))
        process.kill()
        assert process.wait() == -signal.SIGKILL
    for version in versions(base):
        folder = base / str(version)
        assert {path.name for path in folder.iterdir()} >= {
            "saved_model.pb",
            "variables",
            "assets.extra",
            "manifest.json",
        }
        assert len(tf.saved_model.load(str(folder)).signatures) == 4
    # every other name is one that TensorFlow Serving ignores
    others = [path.name for path in base.iterdir() if path.name not in map(str, versions(base))]
    assert all(name.startswith(".tmp-") for name in others)
    assert unfinished(base), "no export was killed half-way"
