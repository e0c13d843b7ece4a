"""Checkpoints and patience that survive a kill."""

import csv
import math
import os
from pathlib import Path

import keras


def read_history(path: Path) -> list[dict[str, float]]:
    """The rows of a run's `history.csv`, one an epoch; none when there is no file."""
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def write_history(path: Path, rows: list[dict[str, float]]) -> None:
    temporary = path.with_name(f".tmp-{path.name}")
    with open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    os.replace(temporary, path)


class Checkpoint(keras.callbacks.Callback):
    """Saves, after each epoch, the best and the last model, then the history, each atomically.

    The history comes last: what it lists has its checkpoint. Keras's `ModelCheckpoint` and `CSVLogger` write in place, so a
    kill can leave half a file.

    Args:
        run: the run folder.
        monitor: str. The best epoch has the smallest value of this.
        rows: the history so far.
    """

    def __init__(self, run: Path, monitor: str, rows: list[dict[str, float]]):
        super().__init__()
        self._run, self._monitor, self._rows = run, monitor, list(rows)

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch, **{name: float(value) for name, value in sorted((logs or {}).items())}}
        folder = self._run / "checkpoints"
        folder.mkdir(exist_ok=True)
        if row[self._monitor] < min((past[self._monitor] for past in self._rows), default=math.inf):
            self._save(folder / "best.keras")
        self._save(folder / "last.keras")
        self._rows.append(row)
        write_history(self._run / "history.csv", self._rows)

    def _save(self, path: Path) -> None:
        temporary = path.with_name(f".tmp-{path.name}")
        self.model.save(temporary)
        os.replace(temporary, path)


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
