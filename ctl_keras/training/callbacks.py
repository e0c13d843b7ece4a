"""Checkpoints and patience that survive a kill."""

import csv
import math
import time
from pathlib import Path

import keras

from ctl_keras.files import new_file


def read_history(path: Path) -> list[dict[str, float]]:
    """The rows of a run's `history.csv`, one an epoch; none when there is no file."""
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def write_history(path: Path, rows: list[dict[str, float]]) -> None:
    with new_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def checkpoint_path(run: Path, epoch: int) -> Path:
    """The checkpoint of an epoch, counted from 0."""
    return run / "checkpoints" / f"epoch-{epoch + 1:04d}.keras"


def best_epoch(rows: list[dict[str, float]], monitor: str) -> int:
    """The epoch, counted from 0, with the smallest value."""
    return min(range(len(rows)), key=lambda epoch: rows[epoch][monitor])


class Checkpoint(keras.callbacks.Callback):
    """Saves the model and then the history after each epoch, each atomically, and keeps the best and the last checkpoint.

    The history decides: the epochs that it lists have been, whatever else a kill has left. An epoch whose figures are no
    numbers is not saved. Keras's `ModelCheckpoint` and `CSVLogger` write in place, so a kill can leave half a file.

    Args:
        run: the run folder.
        monitor: str. The best epoch has the smallest value of this.
        rows: the history so far.
    """

    def __init__(self, run: Path, monitor: str, rows: list[dict[str, float]]):
        super().__init__()
        self._run, self._monitor, self._rows = run, monitor, list(rows)
        self._began = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        figures = {name: float(value) for name, value in sorted((logs or {}).items())}
        if not all(math.isfinite(figures[name]) for name in ("loss", self._monitor)):
            self.model.stop_training = True
            return
        path = checkpoint_path(self._run, epoch)
        path.parent.mkdir(exist_ok=True)
        with new_file(path) as temporary:
            self.model.save(temporary)
        seconds = round(time.monotonic() - self._began, 1)
        self._began = time.monotonic()
        self._rows.append({"epoch": epoch, **figures, "seconds": seconds})
        write_history(self._run / "history.csv", self._rows)
        kept = {path, checkpoint_path(self._run, best_epoch(self._rows, self._monitor))}
        for old in path.parent.glob("epoch-*.keras"):
            if old not in kept:
                old.unlink()


class Patience(keras.callbacks.Callback):
    """Stops after `patience` epochs without a better value; unlike Keras's `EarlyStopping` it knows the epochs before a resume.

    Args:
        monitor: str. Smaller is better.
        patience: int. 0 never stops.
        rows: the history so far.
    """

    def __init__(self, monitor: str, patience: int, rows: list[dict[str, float]]):
        super().__init__()
        self._monitor, self._patience = monitor, patience
        self._values = [row[monitor] for row in rows]

    @property
    def used_up(self) -> bool:
        if not self._patience or not self._values:
            return False
        return len(self._values) - 1 - self._values.index(min(self._values)) >= self._patience

    def on_epoch_end(self, epoch, logs=None):
        self._values.append(float((logs or {})[self._monitor]))
        if self.used_up:
            self.model.stop_training = True
