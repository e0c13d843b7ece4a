"""A method's arguments as rows, without a word about how they travel.

An argument is a list with an entry a row, or one value for all rows. Pictures are read when their
portion's turn comes, so that a list of 100,000 paths costs the memory of one portion.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ctl_keras.data.picture_files import picture_bytes
from ctl_keras.errors import InputError

Answer = dict[str, np.ndarray]


@dataclass(frozen=True)
class Column:
    """An argument: `values` is a list or an array with an entry a row, or one value for all rows;
    `read` makes of a value what is sent."""

    name: str
    values: Any
    is_one: bool
    read: Callable[[str, Any], Any] = lambda where, value: value

    def rows(self, start: int, stop: int) -> list[Any]:
        """What is sent of some rows."""
        if self.is_one:
            return [self.read(self.name, self.values)] * (stop - start)
        rows = range(start, stop)
        return [self.read(f"{self.name}[{row}]", self.values[row]) for row in rows]


@dataclass(frozen=True)
class Call:
    """The rows of one method, by the signature's input names, and what becomes of the answer."""

    signature: str
    columns: dict[str, Column]
    finish: Callable[[Answer], Answer] = lambda answer: answer

    @property
    def rows(self) -> int:
        """The number of rows.

        Raises:
            InputError: the columns have different numbers.
        """
        columns = self.columns.values()
        lengths = {column.name: len(column.values) for column in columns if not column.is_one}
        if len(set(lengths.values())) > 1:
            received = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise InputError(f"All lists need the same length. Received: {received}")
        return next(iter(lengths.values()), 1)


def pictures(name: str, values: Any) -> Column:
    """One picture or a list of them. Raises `InputError`."""
    is_array = isinstance(values, np.ndarray) and values.dtype != object
    files = str | Path | bytes | bytearray | memoryview | Image.Image
    if isinstance(values, files) or (is_array and values.ndim < 4):
        return Column(name, values, True, _picture)
    return Column(name, _list(name, "picture", values), False, _picture)


def texts(name: str, values: Any) -> Column:
    """One string or a list of them. Raises `InputError`."""
    if isinstance(values, str):
        return Column(name, values, True)
    rows = _list(name, "string", values)
    for text in rows:
        if not isinstance(text, str):
            raise InputError(f"`{name}` must be strings. Received: {text!r}")
    return Column(name, rows, False)


def lists(name: str, values: Any) -> Column:
    """Equally long lists of strings. Raises `InputError`."""
    rows = [texts(name, row) for row in _list(name, "list of strings", values)]
    if isinstance(values, str) or any(row.is_one for row in rows):
        raise InputError(f"`{name}` must be a list of lists. Received: {values!r}")
    lengths = sorted({len(row.values) for row in rows})
    if len(lengths) > 1 or lengths == [0]:
        raise InputError(f"Each scene needs equally many `{name}`, 1 or more. Received: {lengths}")
    return Column(name, [row.values for row in rows], False)


def vectors(name: str, values: Any) -> Column:
    """One vector or a table of them, float32. Raises `InputError`."""
    try:
        array: Any = np.asarray(values, np.float32)
    except (TypeError, ValueError):
        array = np.float32(0)
    if array.ndim not in (1, 2):
        kind = type(values).__name__
        raise InputError(f"`{name}` must be numbers, [rows, d] or [d]. Received: {kind}")
    if not np.isfinite(array).all():  # JSON has no others
        wrong = array[~np.isfinite(array)][0]
        raise InputError(f"`{name}` must be finite numbers. Received: {wrong}")
    return Column(name, array, array.ndim == 1, lambda where, vector: vector.tolist())


def _picture(where: str, picture: Any) -> bytes:
    try:
        return picture_bytes(picture)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _list(name: str, kind: str, values: Any) -> list[Any]:
    try:
        return list(values)
    except TypeError:
        received = type(values).__name__
        raise InputError(f"`{name}` must be a {kind} or a list. Received: {received}") from None
