"""A training run: a folder with settings, history, checkpoints and the model.

```
RUN/config.json          the settings
RUN/run.json             how to repeat it: data, versions, seed, command; and what came of it
RUN/history.csv          one row an epoch
RUN/checkpoints/         initial.keras, and the state after the last and after the best epoch
RUN/logs/                for TensorBoard, if it is installed
RUN/calibration.json     the fitted map from distance to probability
RUN/model.keras          the best epoch's model, when the training ended well
```
"""

import contextlib
import importlib.util
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from ctl_keras.config import Config
from ctl_keras.data.cropping import box_warning
from ctl_keras.data.preparing.records import hash_of_pictures, read_manifest, read_records
from ctl_keras.errors import InputError
from ctl_keras.files import new_file, new_folder, read_json, remove_unfinished, write_json
from ctl_keras.locks import locked
from ctl_keras.models.complete_the_look import CompleteTheLook
from ctl_keras.progress import console
from ctl_keras.settings import from_dict, to_dict
from ctl_keras.training.calibration import fit_calibration
from ctl_keras.training.callbacks import (
    AverageWeights,
    Checkpoint,
    CollapseWarning,
    Patience,
    best_epoch,
    checkpoint_path,
    collapsed,
    read_history,
)
from ctl_keras.training.fitting import Fitting
from ctl_keras.training.strategies import is_chief, make_strategy

INITIAL = "checkpoints/initial.keras"  # of a run: the model that it began with
# the accuracy of one negative a pair jumps by several points from epoch to epoch
MONITOR = "val_loss"


def train(
    data: str | Path,
    out: str | Path,
    config: Config | None = None,
    resume: bool = False,
    strategy: str = "none",
) -> dict[str, Any]:
    """Fits a model to prepared data.

    Args:
        data: folder made by `prepare`.
        out: the run folder to make, or to go on with. Several workers share it: the first one
            writes.
        config: settings. Defaults to the defaults, or, with `resume`, to the run's own.
        resume: bool. Go on after the last complete epoch. Defaults to False.
        strategy: `"none"`, `"mirrored"` or `"multi-worker"`, see `make_strategy`. Defaults to
            `"none"`.

    Returns:
        What `run.json` says: data and its hash, versions, epochs, the best epoch's figures,
        seconds.

    Raises:
        InputError: the data cannot be trained on, `out` exists (without `resume`) or does not (with
            it), the data or the settings differ from those that the run began with, or
            another process is writing `out`.
    """
    out = Path(out)
    scope = make_strategy(strategy)
    chief = is_chief(scope)
    data_hash = read_manifest(data)["hash"]
    config = _begin(out, config, data_hash, resume, chief)
    if resume and (out / "model.keras").is_file():
        return read_json(out / "run.json", "The run's record")  # it has ended
    pairs, validation = read_records(data, "train"), read_records(data, "validation")
    for part in (pairs, validation):
        if not len(part):
            raise InputError(
                f"The {part.split_name} split of {data} is empty. Prepare with other fractions, "
                "such as 0.8,0.1,0.1."
            )
    without_box = sum(int((~part.has_box).sum()) for part in (pairs, validation))
    if chief and (warning := box_warning(without_box, len(pairs) + len(validation))):
        console.print(f"[yellow]{warning}[/]", highlight=False)
    with (
        contextlib.ExitStack() as lock,
        _policies(config),
        _folder(out, chief, resume) as folder,
        scope.scope(),
    ):
        if chief and resume:
            lock.enter_context(locked(out))
            remove_unfinished(out)
        rows = read_history(folder / "history.csv")
        if resume:
            model = keras.models.load_model(folder / INITIAL)
        else:
            model = CompleteTheLook(pairs.categories, config.data.image_size, config.model)
        fitting = Fitting(model, config, pairs, validation, hash_of_pictures(data))
        fitting.check()
        # nothing is made before data, settings and weights have turned out to be right, and a run
        # that is there can be resumed
        if not resume:
            origin = {"data": str(data), "data_hash": data_hash, "strategy": strategy}
            with new_folder(out) if chief else contextlib.nullcontext(folder) as beginning:
                _write_beginning(beginning, model, config, origin)
            if chief:
                lock.enter_context(locked(out))
        diverged = not _fit(fitting, folder, config, rows, chief)
        if not rows:
            raise RuntimeError(
                "The training ended without one good epoch: the loss is not a number. Lower "
                f"training.learning_rate ({config.training.learning_rate:g}) and begin a new run."
            )
        epoch = best_epoch(rows, MONITOR)
        fitting.begin_stage(int(rows[epoch]["stage"]))
        fitting.load(checkpoint_path(folder, epoch))
        fitting.take_average()
        fitting.freeze()
        features = fitting.features(validation)
        record = _ending(folder, rows, epoch, diverged) | {
            "planned_epochs": sum(stage.epochs for stage in fitting.stages)
        }
    trained = model.copy()  # by all workers, see `_folder`; what is published is not compiled
    if chief:
        calibration = fit_calibration(trained, validation, config.training.batch_size, features)
        write_json(out / "calibration.json", to_dict(calibration))
        write_json(out / "run.json", record)
        # last of all: a run with a model is a run that has ended
        with new_file(out / "model.keras") as temporary:
            trained.save(temporary)
    return record


def load_run(run: str | Path) -> tuple[CompleteTheLook, dict[str, Any]]:
    """The model of a finished run, and its record.

    Args:
        run: folder that `train` made.

    Returns:
        `CompleteTheLook`, and what `run.json` says.

    Raises:
        InputError: no run, or one that has not ended.
    """
    run = Path(run)
    if not (run / "model.keras").is_file():
        going = (run / "history.csv").is_file()
        hint = (
            "It has not ended: go on with `train --resume`." if going else "Make one with `train`."
        )
        raise InputError(f"{run} holds no trained model. {hint}")
    return keras.models.load_model(run / "model.keras"), read_json(
        run / "run.json", "The run's record"
    )


def describe(record: dict[str, Any], out: str | Path) -> str:
    """What came of a run, in a line for people."""
    best, planned = record["best"], record.get("planned_epochs", 0)  # runs of before do not say so
    stopped = record["epochs"] < planned and not record["diverged"]
    early = (
        f" of {planned} (then no lower validation loss for `training.patience` epochs)"
        if stopped
        else ""
    )
    return (
        f"{out}: {record['epochs']} epochs{early} in {record['seconds']:.0f} s of training; best "
        f"epoch {best['epoch']}: validation accuracy {best['val_triplet_accuracy']:.3f}, loss "
        f"{best['val_loss']:.4f}"
    )


def _begin(out: Path, config: Config | None, data_hash: str, resume: bool, chief: bool) -> Config:
    if not resume:
        if chief and out.exists():
            raise InputError(f"{out} already exists. Go on with --resume, or name another place.")
        return config or Config()
    stored = from_dict(Config, read_json(out / "config.json", "The settings of the run"))
    if config is not None and config != stored:
        raise InputError(
            f"The settings differ from those that {out} began with. Resume without settings, or "
            "begin a new run."
        )
    if read_json(out / "run.json", "The run's record")["data_hash"] != data_hash:
        raise InputError(
            f"The data differ from those that {out} began with. Name the same data, or begin a new "
            "run."
        )
    return stored


@contextlib.contextmanager
def _folder(out: Path, chief: bool, resume: bool) -> Iterator[Path]:
    """Where this process writes: the run folder, or, for all workers but the first, a copy of it
    that is thrown away.

    They have to save too, and at the same moments: reading a variable that is summed up over
    workers waits for all of them.
    """
    if chief:
        yield out
        return
    with tempfile.TemporaryDirectory() as temporary:
        if resume:
            shutil.copytree(out, temporary, dirs_exist_ok=True)
        yield Path(temporary)


@contextlib.contextmanager
def _policies(config: Config) -> Iterator[None]:
    """Random state and determinism, and for a while the precision that layers are made with."""
    if config.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(config.training.seed)
    keras.mixed_precision.set_global_policy(config.training.precision)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy("float32")


def _write_beginning(
    out: Path, model: CompleteTheLook, config: Config, origin: dict[str, Any]
) -> None:
    record = origin | {
        "seed": config.training.seed,
        "command": sys.argv,
        "versions": {
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
        },
    }
    (out / INITIAL).parent.mkdir()
    model.save(out / INITIAL)
    write_json(out / "run.json", record)
    write_json(out / "config.json", to_dict(config))


def _fit(
    fitting: Fitting, out: Path, config: Config, rows: list[dict[str, float]], chief: bool
) -> bool:
    """Runs what is left of each stage; `rows` is the history so far, and grows. False if the loss
    was not a number."""
    settings = config.training
    fitting.begin_stage(int(rows[-1]["stage"]) if rows else 0)
    if rows:
        fitting.load(checkpoint_path(out, len(rows) - 1))
    for number, stage in enumerate(fitting.stages):
        own = [row for row in rows if row["stage"] == number]
        if any(row["stage"] > number for row in rows):
            continue
        patience = Patience(MONITOR, settings.patience, own)
        left = stage.epochs - len(own)
        if left > 0 and not patience.used_up:
            if number and not own:
                fitting.begin_stage(number)
            fitted, watched = fitting.datasets(first_step=len(rows) * fitting.steps_per_epoch)
            callbacks = [patience, keras.callbacks.TerminateOnNaN(), CollapseWarning()]
            if settings.ema:
                callbacks.insert(0, AverageWeights())
            checkpoint = Checkpoint(out, fitting, MONITOR, rows, number)
            # Keras prints its progress; stdout is for data
            with contextlib.redirect_stdout(sys.stderr):
                fitting.trainer.fit(
                    fitted,
                    validation_data=watched,
                    steps_per_epoch=fitting.steps_per_epoch,
                    initial_epoch=len(rows),
                    epochs=len(rows) + left,
                    shuffle=False,
                    verbose=0 if not chief else 1 if sys.stderr.isatty() else 2,
                    callbacks=[checkpoint, *callbacks, *(_tensorboard(out) if chief else [])],
                )
            if not checkpoint.good:
                return False
        fitting.take_average()  # the next stage begins with it, as `fit` ends with it
    return True


def _tensorboard(out: Path) -> list[keras.callbacks.Callback]:
    if importlib.util.find_spec("tensorboard") is None:  # TensorFlow 2.21 no longer brings it along
        return []
    return [keras.callbacks.TensorBoard(str(out / "logs"))]


def _ending(out: Path, rows: list[dict[str, float]], epoch: int, diverged: bool) -> dict[str, Any]:
    """What came of the run, said in the log too where it went wrong."""
    best = rows[epoch]
    figures = {name: best[name] for name in best if name not in ("epoch", "stage", "seconds")}
    if diverged:
        console.print(
            f"[yellow]The loss was not a number after epoch {len(rows)}.[/] Lower "
            "training.learning_rate."
        )
    return read_json(out / "run.json", "The run's record") | {
        "epochs": len(rows),
        "diverged": diverged,
        "collapsed": collapsed(best),
        "best": {"epoch": epoch + 1, **figures},
        "seconds": round(sum(row["seconds"] for row in rows), 1),
    }
