import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

import ctl_keras as ctl
from ctl_keras.config import to_dict
from ctl_keras.training.callbacks import Checkpoint, Patience, read_history


def history(run):
    return read_history(run / "history.csv")


def replace(config, **training):
    import dataclasses

    return dataclasses.replace(config, training=dataclasses.replace(config.training, **training))


def test_run_folder(run, records, config):
    assert json.loads((run / "config.json").read_text()) == to_dict(config)
    with open(run / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0.0", "1.0"] or [row["epoch"] for row in rows] == ["0", "1"]
    metrics = {"loss", "triplet_accuracy", "active_triplets", "positive_distance", "negative_distance"}
    assert set(rows[0]) == {"epoch", "seconds", *metrics, *(f"val_{name}" for name in metrics)}
    record = json.loads((run / "run.json").read_text())
    assert record["data_hash"] == json.loads((records / "manifest.json").read_text())["hash"]
    assert record["versions"]["keras"] == keras.__version__
    best = min(history(run), key=lambda row: row["val_loss"])
    assert record["best"]["val_loss"] == best["val_loss"]
    model, _ = ctl.load_run(run)
    assert model.categories == ctl.read_records(records, "train").categories
    assert not list(run.rglob(".tmp-*"))


def test_the_model_of_the_run_is_its_best_epoch(run, records, config):
    model, record = ctl.load_run(run)
    dataset = ctl.triplets(ctl.read_records(records, "validation"), 16, image_size=32)
    figures = model.evaluate(dataset, return_dict=True, verbose=0)
    assert figures["loss"] == pytest.approx(record["best"]["val_loss"], abs=1e-4)


@pytest.mark.slow
def test_a_resumed_run_continues_an_interrupted_one(records, config, tmp_path):
    """Epochs see the triplets that they would have seen, and the optimizer goes on where it was."""
    straight, interrupted = tmp_path / "straight", tmp_path / "interrupted"
    four = replace(config, epochs=4)
    # no dropout: its random state is not part of what Keras 2 saves
    four = ctl.Config(ctl.ModelConfig(**{**to_dict(four.model), "dropout": 0.0}), four.data, four.training)
    ctl.train(records, straight, four)

    class Kill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    from ctl_keras.training import run as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_tensorboard", lambda out: [Kill()])
        with pytest.raises(KeyboardInterrupt):
            ctl.train(records, interrupted, four)
    assert len(history(interrupted)) == 2
    with pytest.raises(ctl.InputError, match=r"holds no trained model. It has not ended: go on with `train --resume`"):
        ctl.load_run(interrupted)
    ctl.train(records, interrupted, resume=True)
    for one, other in zip(history(straight), history(interrupted), strict=True):
        assert one.keys() == other.keys()
        for name in ("loss", "val_loss", "positive_distance"):
            assert one[name] == pytest.approx(other[name], abs=2e-3)
    weights = [ctl.load_run(path)[0].product_tower.get_weights() for path in (straight, interrupted)]
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, atol=5e-3)


@pytest.mark.slow
def test_a_killed_process_leaves_a_run_that_resumes(records, config, tmp_path):
    out = tmp_path / "run"
    settings = [f"model.{name}={json.dumps(value)}" for name, value in to_dict(config.model).items() if value is not None]
    settings += ["data.image_size=32", "training.epochs=60", "training.batch_size=16", "training.patience=0"]
    command = [sys.executable, "-m", "ctl_keras.cli", "train", "--data", str(records), "--out", str(out)]
    process = subprocess.Popen([*command, *[part for value in settings for part in ("--set", value)]])
    deadline = time.time() + 120
    while len(history(out)) < 1 and time.time() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = len(history(out))
    assert 1 <= done < 60
    stored = json.loads((out / "config.json").read_text())
    stored["training"]["epochs"] = done + 1
    (out / "config.json").write_text(json.dumps(stored))
    record = ctl.train(records, out, resume=True)
    assert record["epochs"] == done + 1
    assert [row["epoch"] for row in history(out)] == list(range(done + 1))


def test_resuming_a_finished_run_changes_nothing(run, records):
    before = (run / "model.keras").read_bytes()
    record = ctl.train(records, run, resume=True)
    assert record["epochs"] == 2
    assert (run / "model.keras").read_bytes() == before


def test_patience_counts_across_a_resume():
    rows = [{"m": value} for value in (0.5, 0.3, 0.4)]
    patience = Patience("m", 2, rows)
    assert not patience.used_up
    patience.set_model(type("Model", (), {"stop_training": False})())
    patience.on_epoch_end(3, {"m": 0.35})
    assert patience.used_up
    assert patience.model.stop_training
    assert not Patience("m", 0, rows).used_up
    assert not Patience("m", 2, []).used_up


def test_errors(run, records, config, tmp_path, drawn):
    with pytest.raises(ctl.InputError, match="already exists. Go on with --resume, or name another place"):
        ctl.train(records, run, config)
    with pytest.raises(ctl.InputError, match=r"The settings of the run .* does not exist"):
        ctl.train(records, tmp_path / "none", resume=True)
    with pytest.raises(ctl.InputError, match="The settings differ from those that .* began with"):
        ctl.train(records, run, replace(config, epochs=9), resume=True)
    with pytest.raises(ctl.InputError, match="holds no trained model. Make one with `train`"):
        ctl.load_run(tmp_path)
    only_test = tmp_path / "only_test"
    ctl.prepare(drawn / "fashion.json", drawn / "fashion-cat.json", drawn / "images", only_test, fractions=(0, 0, 1))
    with pytest.raises(ctl.InputError, match=r"The train split of .* is empty"):
        ctl.train(only_test, tmp_path / "x", config)
    with pytest.raises(ctl.InputError, match="The data differ from those that"):
        ctl.train(only_test, run, resume=True)
    no_weights = ctl.Config(ctl.ModelConfig(weights=str(tmp_path / "none.h5")), config.data, config.training)
    with pytest.raises(ctl.InputError, match=r"The weight file .*none.h5 does not exist"):
        ctl.train(records, tmp_path / "x", no_weights)
    assert not (tmp_path / "x").exists()


def test_a_run_without_one_good_epoch_says_so(records, config, tmp_path):
    with pytest.raises(RuntimeError, match="The training ended without one good epoch: .* Lower training.learning_rate"):
        ctl.train(records, tmp_path / "run", replace(config, learning_rate=float("1e38"), epochs=1))


def test_an_epoch_that_diverges_is_not_saved(tmp_path):
    class Model:
        stop_training = False

        def save(self, path):
            path.write_text("weights")

    callback = Checkpoint(tmp_path, "val_loss", [])
    callback.set_model(Model())
    for epoch, loss in enumerate([0.3, 0.1, 0.2, float("nan")]):
        callback.on_epoch_end(epoch, {"loss": loss, "val_loss": loss})
    assert callback.model.stop_training
    assert [row["val_loss"] for row in history(tmp_path)] == [0.3, 0.1, 0.2]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["epoch-0002.keras", "epoch-0003.keras"]


def test_a_checkpoint_that_is_ahead_of_the_history_does_not_count(records, config, run, tmp_path):
    """A kill between the checkpoint and the history: the epoch is run again from the one before."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    lines = (copy / "history.csv").read_text().splitlines(keepends=True)
    (copy / "history.csv").write_text("".join(lines[:2]))
    first = copy / "checkpoints" / "epoch-0001.keras"
    if not first.exists():  # the second epoch was the better one
        shutil.copy(copy / "checkpoints" / "epoch-0002.keras", first)
    (copy / "checkpoints" / "epoch-0002.keras").write_text("half a file")
    assert ctl.train(records, copy, resume=True)["epochs"] == 2
    assert len(history(copy)) == 2
