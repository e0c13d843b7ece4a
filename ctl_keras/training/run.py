"""A training run: a folder with settings, history, checkpoints and the model.

```
RUN/config.json          the settings
RUN/run.json             data, versions, seed, command, seconds
RUN/history.csv          one row an epoch
RUN/checkpoints/         the last epoch, with its optimizer, to resume from, and the best
RUN/logs/                for TensorBoard, if it is installed
RUN/model.keras          the best epoch's model, when the training ended well
RUN/calibration.json     the fitted map from distance to probability
```
"""

import contextlib
import importlib.util
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from ctl_keras.config import Config, from_dict, to_dict
from ctl_keras.data.pairs import Pairs
from ctl_keras.data.records import read_manifest, read_records
from ctl_keras.data.triplets import triplets
from ctl_keras.errors import InputError
from ctl_keras.files import new_file, read_json, write_json
from ctl_keras.losses.triplet_loss import TripletLoss
from ctl_keras.metrics.triplet_metrics import ActiveTriplets, NegativeDistance, PositiveDistance, TripletAccuracy
from ctl_keras.models.complete_the_look import CompleteTheLook
from ctl_keras.progress import console
from ctl_keras.training.calibration import fit_calibration
from ctl_keras.training.callbacks import Checkpoint, Patience, best_epoch, checkpoint_path, read_history

MONITOR = "val_loss"  # the accuracy of one negative a pair jumps by several points from epoch to epoch


def train(data: str | Path, out: str | Path, config: Config | None = None, resume: bool = False) -> dict[str, Any]:
    """Fits a model to prepared data.

    Args:
        data: folder made by `prepare`.
        out: the run folder to make, or to go on with.
        config: settings. Defaults to the defaults, or, with `resume`, to the run's own.
        resume: bool. Go on after the last complete epoch. Defaults to False.

    Returns:
        What `run.json` says: data and its hash, versions, epochs, the best epoch's figures, seconds.

    Raises:
        InputError: the data cannot be trained on, `out` exists (without `resume`) or does not (with it), or the data or the
            settings differ from those that the run began with.
    """
    out = Path(out)
    data_hash = read_manifest(data)["hash"]
    config = _begin(out, config, data_hash, resume)
    pairs, validation = read_records(data, "train"), read_records(data, "validation")
    for part in (pairs, validation):
        if not len(part):
            raise InputError(
                f"The {part.split_name} split of {data} is empty. Prepare with other fractions, such as 0.8,0.1,0.1."
            )
    settings = config.training
    keras.utils.set_random_seed(settings.seed)
    shared: dict[str, Any] = {"batch_size": settings.batch_size, "image_size": config.data.image_size, "seed": settings.seed}
    rows = read_history(out / "history.csv")
    steps = math.ceil(int(pairs.has_negative().sum()) / settings.batch_size)
    fitted = triplets(pairs, augment=config.data.augment, first_epoch=len(rows), **shared)
    watched = triplets(validation, **shared)

    if rows:
        model = keras.models.load_model(checkpoint_path(out, len(rows) - 1))
    else:
        model = CompleteTheLook(pairs.categories, config.data.image_size, config.model)
        compile_model(model, config)
    if not resume:  # nothing is made before data, settings and weights have turned out to be right
        write_json(out / "run.json", {"data": str(data), "data_hash": data_hash, "seed": settings.seed})
        write_json(out / "config.json", to_dict(config))

    patience = Patience(MONITOR, settings.patience, rows)
    if not patience.used_up:
        with contextlib.redirect_stdout(sys.stderr):  # Keras prints its progress; stdout is for data
            model.fit(
                fitted,
                validation_data=watched,
                steps_per_epoch=steps,
                initial_epoch=len(rows),
                epochs=settings.epochs,
                shuffle=False,
                verbose=1 if sys.stderr.isatty() else 2,
                callbacks=[Checkpoint(out, MONITOR, rows), patience, keras.callbacks.TerminateOnNaN(), *_tensorboard(out)],
            )
    return _finish(out, config, validation)


def compile_model(model: CompleteTheLook, config: Config) -> None:
    """Compiles with Adam, the triplet loss and the metrics that every run records."""
    settings = config.training
    model.compile(
        keras.optimizers.Adam(settings.learning_rate),
        loss=TripletLoss(settings.margin),
        metrics=[TripletAccuracy(), ActiveTriplets(settings.margin), PositiveDistance(), NegativeDistance()],
    )


def load_run(run: str | Path) -> tuple[CompleteTheLook, dict[str, Any]]:
    """The model of a finished run, and what `run.json` says of it.

    Raises:
        InputError: no run, or one that has not ended.
    """
    run = Path(run)
    if not (run / "model.keras").is_file():
        going = (run / "history.csv").is_file()
        hint = "It has not ended: go on with `train --resume`." if going else "Make one with `train`."
        raise InputError(f"{run} holds no trained model. {hint}")
    return keras.models.load_model(run / "model.keras"), read_json(run / "run.json", "The run's record")


def describe(record: dict[str, Any], out: str | Path) -> str:
    """What came of a run, in a line for people."""
    best = record["best"]
    return (
        f"{out}: {record['epochs']} epochs in {record['seconds']:.0f} s; best epoch {best['epoch']}: validation accuracy "
        f"{best['val_triplet_accuracy']:.3f}, loss {best['val_loss']:.4f}"
    )


def _begin(out: Path, config: Config | None, data_hash: str, resume: bool) -> Config:
    if not resume:
        if out.exists():
            raise InputError(f"{out} already exists. Go on with --resume, or name another place.")
        return config or Config()
    stored = from_dict(Config, read_json(out / "config.json", "The settings of the run"))
    if config is not None and config != stored:
        raise InputError(f"The settings differ from those that {out} began with. Resume without settings, or begin a new run.")
    if read_json(out / "run.json", "The run's record")["data_hash"] != data_hash:
        raise InputError(f"The data differ from those that {out} began with. Name the same data, or begin a new run.")
    return stored


def _tensorboard(out: Path) -> list[keras.callbacks.Callback]:
    if importlib.util.find_spec("tensorboard") is None:  # TensorFlow 2.21 no longer brings it along
        return []
    return [keras.callbacks.TensorBoard(str(out / "logs"))]


def _finish(out: Path, config: Config, validation: Pairs) -> dict[str, Any]:
    rows = read_history(out / "history.csv")
    if not rows:
        raise RuntimeError(
            f"The training ended without one good epoch: the loss is not a number. Lower training.learning_rate "
            f"({config.training.learning_rate:g}) and begin a new run."
        )
    epoch = best_epoch(rows, MONITOR)
    best = rows[epoch]
    checkpoint = checkpoint_path(out, epoch)
    calibration = fit_calibration(keras.models.load_model(checkpoint), validation, config.training.batch_size)
    write_json(out / "calibration.json", to_dict(calibration))
    patience_is_used_up = Patience(MONITOR, config.training.patience, rows).used_up
    record = read_json(out / "run.json", "The run's record") | {
        "command": sys.argv,
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
        "epochs": len(rows),
        "diverged": len(rows) < config.training.epochs and not patience_is_used_up,
        "best": {"epoch": epoch + 1, **{name: best[name] for name in best if name not in ("epoch", "seconds")}},
        "seconds": round(sum(row["seconds"] for row in rows), 1),
    }
    write_json(out / "run.json", record)
    # last of all: a run with a model is a run that has ended
    with new_file(out / "model.keras") as temporary:
        shutil.copyfile(checkpoint, temporary)
    if record["diverged"]:
        console.print(f"[yellow]The loss was not a number after epoch {len(rows)}.[/] Lower training.learning_rate.")
    if abs(best["loss"] - config.training.margin) < 1e-3 and best["active_triplets"] > 0.99:
        console.print(
            "[yellow]The loss stayed at the margin:[/] all distances are nearly equal (a collapse), or nothing was learned "
            "yet. Train longer, change training.learning_rate, or begin with pretrained weights (model.weights)."
        )
    return record
