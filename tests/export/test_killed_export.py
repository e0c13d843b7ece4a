"""An export that is killed at any point never leaves a version that a server would load."""

import multiprocessing
import os
import time

import numpy as np
import pytest
import tensorflow as tf

import ctl_keras as ctl
from ctl_keras.files import versions

KILLS = int(os.environ.get("CTL_KILLS", "4"))


def export_again(run, base, started):
    model, _ = ctl.load_run(run)
    started.set()
    while True:
        ctl.export(model, base)


@pytest.mark.slow
def test_what_a_killed_export_leaves(run, tmp_path):
    context = multiprocessing.get_context("spawn")
    random = np.random.default_rng(0)
    base = tmp_path / "looks"
    unfinished = 0
    for _ in range(KILLS):
        started = context.Event()
        process = context.Process(target=export_again, args=(str(run), str(base), started))
        process.start()
        assert started.wait(120)
        time.sleep(random.uniform(0.1, 12))
        process.kill()
        process.join()
        unfinished += sum(path.name.startswith(".tmp-") for path in base.iterdir()) if base.exists() else 0
    for version in versions(base):
        folder = base / str(version)
        assert {path.name for path in folder.iterdir()} >= {"saved_model.pb", "variables", "assets.extra", "manifest.json"}
        assert len(tf.saved_model.load(str(folder)).signatures) == 4
    # every other name is one that TensorFlow Serving ignores
    others = [path.name for path in base.iterdir() if path.name not in map(str, versions(base))]
    assert all(name.startswith(".tmp-") for name in others)
    assert unfinished > 0, "no export was killed half-way"
