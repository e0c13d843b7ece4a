"""Tables as they come from a warehouse, CSV or Parquet, to columns."""

import codecs
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from ctl_keras.errors import InputError

ROW = "__row__"
_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?0*\d{1,3})?\s*$"

# (number of the row in the file, its text, what is wrong with it)
OnBadRow = Callable[[int, str, str], None]


def read_table_file(
    path: str | Path, what: str, text: tuple[str, ...], on_bad_row: OnBadRow
) -> pa.Table:
    """Reads a table.

    Args:
        path: Parquet if it ends so, else CSV in UTF-8; `""` is null.
        what: str. What it is, for messages ("The table of products").
        text: names of columns that stay text in CSV, so that an id such as 007 stays one.
        on_bad_row: is told of CSV rows with another number of columns, which are left out.

    Returns:
        The file's columns and `ROW`, int64: the number of each row in the file, from 1, a CSV
        header included.

    Raises:
        InputError: the file is missing, is no such table, or has a column twice.
    """
    path, bad = Path(path), []

    def leave_out(row: Any) -> str:
        bad.append(row.number)
        on_bad_row(
            row.number,
            (row.text or "")[:80],
            f"the row has {row.actual_columns} columns, not {row.expected_columns}",
        )
        return "skip"

    if path.is_dir():
        raise InputError(f"{what} {path} is a folder; a CSV or Parquet file is needed.")
    try:
        if path.suffix.lower() == ".parquet":
            table = pa.parquet.read_table(path)
            rows = np.arange(1, table.num_rows + 1)
        else:
            _require_utf8(path)
            table = pa.csv.read_csv(
                path,
                # in one thread the rows have numbers
                pa.csv.ReadOptions(use_threads=False),
                pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=leave_out),
                pa.csv.ConvertOptions(
                    column_types=dict.fromkeys(text, pa.string()),
                    strings_can_be_null=True,
                    null_values=[""],
                ),
            )
            rows = np.setdiff1d(np.arange(2, 2 + table.num_rows + len(bad)), bad)[: table.num_rows]
        names_there = table.column_names
    except FileNotFoundError:
        raise InputError(f"{what} {path} does not exist.") from None
    except (
        pa.ArrowInvalid,
        pa.ArrowNotImplementedError,
        pa.ArrowKeyError,
        OSError,
        UnicodeDecodeError,
    ) as error:
        raise InputError(f"{what} {path} is neither CSV in UTF-8 nor Parquet: {error}") from None
    twice = sorted({name for name in names_there if names_there.count(name) > 1})
    if twice:
        raise InputError(f"{what} {path} has the column {twice[0]} twice.")
    return table.append_column(ROW, pa.array(rows, pa.int64()))


def _require_utf8(path: Path) -> None:
    """Arrow would lose a row of which it cannot tell what is wrong."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            decoder.decode(block)
    decoder.decode(b"", final=True)


def as_text(table: pa.Table, names: tuple[str, ...], what: str) -> pa.Table:
    """The table with these columns as text, null where there is none but spaces.

    Raises:
        InputError: a column is missing or no text or number.
    """
    for name in names:
        if name not in table.column_names:
            raise InputError(f"{what} lacks the column {name}. Needed: {', '.join(names)}")
        try:
            values = table[name].cast(pa.string())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise InputError(
                f"The column {name} of {what} must be text. It holds {table[name].type}."
            ) from None
        blank = pc.equal(pc.utf8_trim_whitespace(values), "")
        table = table.set_column(
            table.column_names.index(name), name, pc.if_else(blank, None, values)
        )
    return table


def numbers(values: Any) -> tuple[Any, np.ndarray]:
    """A column of numbers or of text.

    Returns:
        float64 column, null where there is no number; and which values are there but are none, bool
        `[rows]`.
    """
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        is_number = pc.match_substring_regex(values, _NUMBER)
        parsed = pc.utf8_trim_whitespace(pc.if_else(is_number, values, None)).cast(pa.float64())
    else:
        try:
            parsed = values.cast(pa.float64())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            parsed = pa.chunked_array([pa.nulls(len(values), pa.float64())])
    parsed = pc.if_else(pc.is_nan(parsed), None, parsed)
    return parsed, np.asarray(pc.and_(pc.is_valid(values), pc.is_null(parsed)))
