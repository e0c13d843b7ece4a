import csv
import dataclasses
import json
import os
import resource
import shutil
import signal
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

import ctl_keras as ctl
from ctl_keras.data import cached_pictures
from ctl_keras.data.cached_pictures import CachedPictures
from ctl_keras.evaluation.evaluate import evaluate_run
from ctl_keras.locks import locked
from ctl_keras.settings import from_dict, to_dict
from ctl_keras.training.callbacks import Checkpoint, Patience, read_history
from ctl_keras.training.run import describe
from tests.warm import WarmProcess, command_line


def history(run):
    return read_history(run / "history.csv")


def replace(config, **training):
    return dataclasses.replace(config, training=dataclasses.replace(config.training, **training))


def test_run_folder(run, records, config):
    assert json.loads((run / "config.json").read_text()) == to_dict(config)
    with open(run / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0.0", "1.0"] or [row["epoch"] for row in rows] == [
        "0",
        "1",
    ]
    metrics = {
        "loss",
        "triplet_accuracy",
        "active_triplets",
        "positive_distance",
        "negative_distance",
        "distance_spread",
    }
    assert set(rows[0]) == {
        "epoch",
        "stage",
        "seconds",
        *metrics,
        *(f"val_{name}" for name in metrics),
    }
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
    model.compile(loss=ctl.TripletLoss(config.training.margin), jit_compile=False)
    figures = {"loss": model.evaluate(dataset, verbose=0)}
    assert figures["loss"] == pytest.approx(record["best"]["val_loss"], abs=1e-4)


@pytest.mark.slow
def test_a_killed_process_leaves_a_run_that_resumes(records, config, tmp_path):
    out = tmp_path / "run"
    settings = [
        f"model.{name}={json.dumps(value)}"
        for name, value in to_dict(config.model).items()
        if value is not None
    ]
    settings += [
        "data.image_size=32",
        "training.epochs=60",
        "training.batch_size=16",
        "training.patience=0",
    ]
    arguments = [
        "train",
        "--data",
        records,
        "--out",
        out,
        *[part for value in settings for part in ("--set", value)],
    ]
    process = WarmProcess(command_line, *arguments)
    deadline = time.time() + 120
    while len(history(out)) < 1 and time.time() < deadline:
        time.sleep(0.05)
    process.kill()
    assert process.wait() == -signal.SIGKILL
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
    with pytest.raises(
        ctl.InputError, match="already exists. Go on with --resume, or name another place"
    ):
        ctl.train(records, run, config)
    with pytest.raises(ctl.InputError, match=r"The settings of the run .* does not exist"):
        ctl.train(records, tmp_path / "none", resume=True)
    with pytest.raises(ctl.InputError, match="The settings differ from those that .* began with"):
        ctl.train(records, run, replace(config, epochs=9), resume=True)
    with pytest.raises(ctl.InputError, match="holds no trained model. Make one with `train`"):
        ctl.load_run(tmp_path)
    only_test = tmp_path / "only_test"
    ctl.prepare(
        drawn / "fashion.json",
        drawn / "fashion-cat.json",
        drawn / "images",
        only_test,
        fractions=(0, 0, 1),
    )
    with pytest.raises(ctl.InputError, match=r"The train split of .* is empty"):
        ctl.train(only_test, tmp_path / "x", config)
    with pytest.raises(ctl.InputError, match="The data differ from those that"):
        ctl.train(only_test, run, resume=True)
    no_weights = ctl.Config(
        ctl.ModelConfig(weights=str(tmp_path / "none.h5")), config.data, config.training
    )
    with pytest.raises(ctl.InputError, match=r"The weight file .*none.h5 does not exist"):
        ctl.train(records, tmp_path / "x", no_weights)
    assert not (tmp_path / "x").exists()


def test_neither_a_full_disk_nor_a_kill_at_the_beginning_is_a_dead_end(records, config, tmp_path):
    """Before the first step the run is there whole, with settings, or not at all."""
    small, out = to_dict(replace(config, epochs=1)), tmp_path / "run"
    assert WarmProcess(train_on_a_full_disk, records, out, small, log=tmp_path / "log").wait() == 1
    assert "File too large" in (tmp_path / "log").read_text()
    assert not out.exists()
    process = WarmProcess(train_and_die_at_a_file, records, out, small, "config.json")
    assert process.wait() == -signal.SIGKILL
    assert not out.exists()
    assert ctl.train(records, out, replace(config, epochs=1))["epochs"] == 1


def train_on_a_full_disk(records, out, settings):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    ctl.train(records, out, from_dict(ctl.Config, settings))


def train_and_die_at_a_file(records, out, settings, name):
    """Dies when it opens a file of this name, or a temporary one for it."""

    def watch(event, arguments):
        if event == "open" and str(arguments[0]).endswith(name):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    ctl.train(records, out, from_dict(ctl.Config, settings))


def test_a_batch_that_the_validation_pairs_cannot_fill_is_found_before_the_run_is_made(
    records, config, tmp_path
):
    large, out = to_dict(replace(config, batch_size=48)), tmp_path / "run"
    assert len(ctl.read_records(records, "validation")) < 48
    process = WarmProcess(train_on_two_devices, records, out, large, log=tmp_path / "log")
    assert process.wait() == 1
    message = (tmp_path / "log").read_text().splitlines()[-1]
    assert "`training.batch_size` must be at most the" in message
    assert "validation pairs" in message
    assert not out.exists()


def train_on_two_devices(records, out, settings):
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
    ctl.train(records, out, from_dict(ctl.Config, settings), strategy="mirrored")


def test_the_memory_of_the_machine_does_not_decide_the_result(records, config, tmp_path):
    settings = to_dict(replace(config, epochs=2, deterministic=True))
    for name, limit in (("little", "1000000"), ("much", "max")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "memory.max").write_text(limit)
        process = WarmProcess(train_in_a_container, records, tmp_path / name, settings)
        assert process.wait() == 0
    little, much = (ctl.load_run(tmp_path / name / "run")[0] for name in ("little", "much"))
    for one, other in zip(little.get_weights(), much.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def train_in_a_container(records, folder, settings):
    """Where pictures are kept in memory, or not, for what the file of the limit says."""
    cached_pictures.LIMITS = (folder / "memory.max",)
    pairs = ctl.read_records(records, "train")
    assert CachedPictures.fit(pairs, 32) == (folder.name == "much")
    ctl.train(records, folder / "run", from_dict(ctl.Config, settings))


def test_pairs_without_a_box_are_named(drawn, records, config, tmp_path, capsys):
    lines = [json.loads(line) for line in (drawn / "fashion.json").read_text().splitlines()]
    for row in lines[::2]:
        del row["bbox"]
    (tmp_path / "pairs.json").write_text("".join(json.dumps(row) + "\n" for row in lines))
    files = tmp_path / "pairs.json", drawn / "fashion-cat.json", drawn / "images"
    ctl.prepare(*files, tmp_path / "data", (0.5, 0.25, 0.25))
    parts = [ctl.read_records(tmp_path / "data", split) for split in ("train", "validation")]
    without = sum(int((~part.has_box).sum()) for part in parts)
    ctl.train(tmp_path / "data", tmp_path / "run", replace(config, epochs=1))
    said = " ".join(capsys.readouterr().err.split())
    assert f"{without} of {sum(map(len, parts))} pairs have no box" in said
    result = evaluate_run(tmp_path / "run", tmp_path / "data")
    counts = {name: figures["mrr"]["n"] for name, figures in result["by_box"].items()}
    assert set(counts) == {"with", "without"}
    assert sum(counts.values()) == result["pairs"]
    both = [result["by_box"][name]["mrr"]["value"] * counts[name] for name in counts]
    assert sum(both) / result["pairs"] == pytest.approx(result["model"]["mrr"]["value"])


def test_a_run_without_one_good_epoch_says_so(records, config, tmp_path):
    with pytest.raises(
        RuntimeError,
        match="The training ended without one good epoch: .* Lower training.learning_rate",
    ):
        ctl.train(records, tmp_path / "run", replace(config, learning_rate=float("1e38"), epochs=1))


def test_an_epoch_that_diverges_is_not_saved(tmp_path):
    class State:
        def save(self, path):
            path.write_text("weights")

    callback = Checkpoint(tmp_path, State(), "val_loss", [], 0)
    callback.set_model(type("Model", (), {"stop_training": False})())
    (tmp_path / "checkpoints").mkdir()
    for epoch, loss in enumerate([0.3, 0.1, 0.2, float("nan")]):
        callback.on_epoch_end(epoch, {"loss": loss, "val_loss": loss})
    assert callback.model.stop_training
    assert not callback.good
    assert [row["val_loss"] for row in history(tmp_path)] == [0.3, 0.1, 0.2]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "epoch-0002.npz",
        "epoch-0003.npz",
    ]


def test_a_checkpoint_that_is_ahead_of_the_history_does_not_count(records, config, run, tmp_path):
    """A kill between the checkpoint and the history: the epoch is run again from the one before."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "model.keras").unlink()
    lines = (copy / "history.csv").read_text().splitlines(keepends=True)
    (copy / "history.csv").write_text("".join(lines[:2]))
    first = copy / "checkpoints" / "epoch-0001.npz"
    if not first.exists():  # the second epoch was the better one
        shutil.copy(copy / "checkpoints" / "epoch-0002.npz", first)
    (copy / "checkpoints" / "epoch-0002.npz").write_text("half a file")
    assert ctl.train(records, copy, resume=True)["epochs"] == 2
    assert len(history(copy)) == 2


def test_a_damaged_checkpoint_is_named(run, records, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "model.keras").unlink()
    (copy / "checkpoints" / "epoch-0002.npz").write_text("half a file")
    with locked(copy), pytest.raises(ctl.InputError, match="Another process is writing .*run "):
        ctl.train(records, copy, resume=True)
    with pytest.raises(
        ctl.InputError,
        match=r"The checkpoint .*epoch-0002.npz is missing or damaged. Begin a new run",
    ):
        ctl.train(records, copy, resume=True)


def test_a_run_says_how_to_repeat_it_before_it_ends(run):
    record = json.loads((run / "run.json").read_text())
    assert {"data", "data_hash", "seed", "command", "versions", "strategy"} <= set(record)
    assert set(record["versions"]) == {"python", "tensorflow", "keras"}


def test_a_collapse_is_named(drawn_pairs, records, config, tmp_path, capsys, monkeypatch):
    """All pictures are the same, so all distances are."""
    from ctl_keras.data import cached_pictures, stream

    for module in (cached_pictures, stream):
        monkeypatch.setattr(
            module, "decode_image", lambda *_, **__: tf.zeros([40, 40, 3], tf.uint8)
        )
    record = ctl.train(records, tmp_path / "run", replace(config, epochs=2))
    assert record["collapsed"]
    message = " ".join(capsys.readouterr().err.split())
    assert message.count("all distances are equal") == 1
    assert "Lower training.learning_rate" in message


def test_patience_and_averages_in_stages(records, config, tmp_path):
    """Two epochs of the heads, one of the last block, with an average of the weights in validation
    and in the model."""
    stages = (ctl.StageConfig(epochs=1, learning_rate=1e-4, unfreeze="conv2_block2"),)
    two_blocks = dataclasses.replace(
        config.model, global_tap="conv2_block2_out", local_tap="conv2_block1_2_relu"
    )
    changed = replace(
        dataclasses.replace(config, model=two_blocks),
        stages=stages,
        ema=0.5,
        in_batch=True,
        weight_decay=0.01,
    )
    record = ctl.train(records, tmp_path / "run", changed)
    rows = history(tmp_path / "run")
    assert [row["stage"] for row in rows] == [0, 0, 1]
    model, _ = ctl.load_run(tmp_path / "run")
    dataset = ctl.pair_batches(ctl.read_records(records, "validation"), 16, 32, training=False)
    trainer = model.in_batch_trainer()
    trainer.compile(loss=ctl.TripletLoss(), jit_compile=False)
    assert trainer.evaluate(dataset, verbose=0) == pytest.approx(
        record["best"]["val_loss"], abs=1e-4
    )
    initial = keras.models.load_model(
        tmp_path / "run" / "checkpoints" / "initial.keras"
    ).backbone.trunk
    with np.load(sorted((tmp_path / "run" / "checkpoints").glob("*.npz"))[-1]) as arrays:
        stored = [arrays[name] for name in arrays.files]
    moved = {
        layer.name
        for layer in initial.layers
        for weight in layer.get_weights()
        if not any(weight.shape == value.shape and (weight == value).all() for value in stored)
    }
    assert moved
    assert all(name.startswith("conv2_block2") for name in moved)


def test_what_stopped_early_says_so(run):
    record = json.loads((run / "run.json").read_text())
    assert record["planned_epochs"] == record["epochs"] == 2
    assert describe(record, "run").startswith("run: 2 epochs in ")
    assert describe({**record, "planned_epochs": 9}, "run").startswith(
        "run: 2 epochs of 9 (then no lower validation loss"
    )
    assert describe({**record, "planned_epochs": 9, "diverged": True}, "run").startswith(
        "run: 2 epochs in "
    )


def test_a_layer_that_does_not_exist(records, config, tmp_path):
    stages = (ctl.StageConfig(epochs=1, learning_rate=1e-4, unfreeze="conv9"),)
    with pytest.raises(
        ctl.InputError, match=r"No layer of ResNet50 begins with `conv9`. There are: conv1, conv2, "
    ):
        ctl.train(records, tmp_path / "run", replace(config, stages=stages))
    assert not (tmp_path / "run").exists()
