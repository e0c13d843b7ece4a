"""Callbacks that survive a kill."""

import csv
import math
import time
from pathlib import Path
from typing import Any

import keras

from ctl_keras.files import new_file
from ctl_keras.progress import console
from ctl_keras.training.fitting import Fitting

COLLAPSED = 1e-4  # spread of the distances; that of random embeddings is about 0.1


def read_history(path: Path) -> list[dict[str, float]]:
    """The rows of a run's `history.csv`, one an epoch; none when there is no file."""
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def write_history(path: Path, rows: list[dict[str, float]]) -> None:
    """Writes one row an epoch as CSV, in place of the file that was there; a kill leaves the old or
    the new one."""
    with new_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def checkpoint_path(run: Path, epoch: int) -> Path:
    """The checkpoint of an epoch, counted from 0."""
    return run / "checkpoints" / f"epoch-{epoch + 1:04d}.npz"


def best_epoch(rows: list[dict[str, float]], monitor: str) -> int:
    """The epoch, counted from 0, with the smallest value."""
    return min(range(len(rows)), key=lambda epoch: rows[epoch][monitor])


class Checkpoint(keras.callbacks.Callback):
    """Saves the state and then the history after each epoch, each atomically, and keeps the best
    and the last checkpoint.

    The history decides: the epochs that it lists have been, whatever else a kill has left. An epoch
    whose figures are no numbers is not saved. Keras's `ModelCheckpoint` and `CSVLogger` write in
    place, so a kill can leave half a file.

    Args:
        run: the run folder.
        fitting: what is saved.
        monitor: str. The best epoch has the smallest value of this.
        rows: the history so far; it grows.
        stage: int. Number of the stage.

    Attributes:
        good: bool. Whether all epochs' figures were numbers.
    """

    def __init__(
        self, run: Path, fitting: Fitting, monitor: str, rows: list[dict[str, float]], stage: int
    ):
        super().__init__()
        self._run, self._fitting, self._monitor, self._rows, self._stage = (
            run,
            fitting,
            monitor,
            rows,
            stage,
        )
        self.good = True
        self._began = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        figures = {name: float(value) for name, value in sorted((logs or {}).items())}
        if not all(math.isfinite(figures[name]) for name in ("loss", self._monitor)):
            self.model.stop_training, self.good = True, False
            return
        path = checkpoint_path(self._run, epoch)
        seconds = round(time.monotonic() - self._began, 1)
        self._began = time.monotonic()
        self._rows.append({"epoch": epoch, "stage": self._stage, **figures, "seconds": seconds})
        self._fitting.save(path)
        write_history(self._run / "history.csv", self._rows)
        kept = {path, checkpoint_path(self._run, best_epoch(self._rows, self._monitor))}
        for old in path.parent.glob("epoch-*.npz"):
            if old not in kept:
                old.unlink()


class Patience(keras.callbacks.Callback):
    """Stops after `patience` epochs without a better value; unlike Keras's `EarlyStopping` it knows
    the epochs before a resume.

    Args:
        monitor: str. Smaller is better.
        patience: int. 0 never stops.
        rows: the stage's history so far.
    """

    def __init__(self, monitor: str, patience: int, rows: list[dict[str, float]]):
        super().__init__()
        self._monitor, self._patience = monitor, patience
        self._values = [row[monitor] for row in rows]

    @property
    def used_up(self) -> bool:
        """Whether the stage has had its patience of epochs without a lower value."""
        if not self._patience or not self._values:
            return False
        return len(self._values) - 1 - self._values.index(min(self._values)) >= self._patience

    def on_epoch_end(self, epoch, logs=None):
        self._values.append(float((logs or {})[self._monitor]))
        if self.used_up:
            self.model.stop_training = True


class AverageWeights(keras.callbacks.Callback):
    """Validates with the moving average of the weights and trains on with the weights themselves.

    Keras's `SwapEMAWeights` does it too, but not in Keras 2.
    """

    def on_test_begin(self, logs=None):
        variables = self.model.trainable_variables
        self._weights = [variable.numpy() for variable in variables]
        self.model.optimizer.finalize_variable_values(variables)

    def on_test_end(self, logs=None):
        for variable, value in zip(self.model.trainable_variables, self._weights, strict=True):
            variable.assign(value)


class CollapseWarning(keras.callbacks.Callback):
    """Names a collapse in the log, once: all distances are equal, the loss stays at the margin, and
    nothing is learned."""

    def __init__(self) -> None:
        super().__init__()
        self._warned = False

    def on_epoch_end(self, epoch, logs=None):
        if not self._warned and logs and collapsed(logs):
            self._warned = True
            console.print(
                f"[yellow]Collapse in epoch {epoch + 1}:[/] all distances are equal (their spread "
                f"is {logs['val_distance_spread']:.1e}), so nothing is learned. Lower "
                "training.learning_rate, take training.miner=semi_hard in place of hard, begin "
                "with pretrained weights (model.weights), and look whether the pictures differ."
            )


def collapsed(figures: dict[str, Any]) -> bool:
    """Whether an epoch's figures are those of a model all of whose distances are equal."""
    return figures["val_distance_spread"] < COLLAPSED  # in training dropout and noise spread them
