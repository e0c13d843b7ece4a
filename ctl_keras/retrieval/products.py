"""The table of a shop's products, as it comes from a warehouse: CSV or Parquet."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from ctl_keras.errors import InputError
from ctl_keras.export.servable import category_names
from ctl_keras.retrieval.catalog import COLUMNS, FINGERPRINT

_TEXT = dict.fromkeys(COLUMNS, pa.string())  # an id such as 007 stays one


class Rejected:
    """Products that are left out, and why.

    Attributes:
        rows: list of dicts of `id`, `image`, `category` and `reason`.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def drop(self, table: pa.Table, bad: np.ndarray, reason: str) -> pa.Table:
        """The rows that are not `bad` (bool `[rows]`); the others are kept here, `{column}` in `reason` filled in."""
        for row in table.filter(pa.array(bad)).select(COLUMNS).to_pylist():
            self.rows.append({**row, "reason": reason.format(**row)})
        return table.filter(pa.array(~bad))

    def counts(self) -> dict[str, int]:
        """Reason -> number of products, the most frequent first."""
        return dict(Counter(row["reason"] for row in self.rows).most_common())


def read_products(path: str | Path, categories: tuple[str, ...], rejected: Rejected) -> pa.Table:
    """Reads a table of products, column by column.

    Args:
        path: CSV in UTF-8, or Parquet, with columns `id`, `image` and `category`; further columns are kept. `image` is a path,
            relative to the table's folder.
        categories: the model's category paths; the table may name one by its last part.
        rejected: gets products without id, picture or known category, and all but the first of those that share an id.

    Returns:
        Table of `id`, `image` (whole path), `category` (dictionary of whole paths) and the further columns.

    Raises:
        InputError: the file is missing, is no such table, or lacks a column.
    """
    path = Path(path)
    table = _read(path, rejected)
    for name in (*COLUMNS, FINGERPRINT):
        if (name in table.column_names) == (name == FINGERPRINT):
            problem = "has a column of the reserved name" if name == FINGERPRINT else "lacks the column"
            raise InputError(f"The table of products {path} {problem} {name}. Needed: {', '.join(COLUMNS)}")
    for name in COLUMNS:
        try:
            table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.string()))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise InputError(f"The column {name} of {path} must be text. It holds {table[name].type}.") from None
    for name, what in zip(COLUMNS, ("id", "picture", "category"), strict=True):
        table = rejected.drop(table, _mask(pc.equal(pc.fill_null(pc.utf8_trim_whitespace(table[name]), ""), "")), f"no {what}")
    first = np.zeros(table.num_rows, bool)
    first[np.unique(table["id"].to_numpy(), return_index=True)[1] if table.num_rows else []] = True
    table = rejected.drop(table, ~first, "an earlier product has the same id")
    names = category_names(categories)
    index = pc.index_in(table["category"], value_set=pa.array(list(names), pa.string()))
    table = rejected.drop(table, _mask(pc.is_null(index)), "the model does not know the category {category}")
    # the index into the names, as one into the categories
    codes = np.asarray(list(names.values()), np.int32)[np.asarray(pc.drop_null(index))]
    paths = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(categories))
    images = [str(path.parent / image) for image in table["image"].to_pylist()]
    for name, values in (("image", pa.array(images, pa.string())), ("category", paths)):
        table = table.set_column(table.column_names.index(name), name, values)
    return table.select([*COLUMNS, *(name for name in table.column_names if name not in COLUMNS)])


def _read(path: Path, rejected: Rejected) -> pa.Table:
    def skip(row: Any) -> str:
        reason = f"the line has {row.actual_columns} columns, not {row.expected_columns}"
        rejected.rows.append({"id": (row.text or "")[:80], "image": None, "category": None, "reason": reason})
        return "skip"

    if path.is_dir():
        raise InputError(f"The table of products {path} is a folder; a CSV or Parquet file is needed.")
    try:
        if path.suffix.lower() == ".parquet":
            return pa.parquet.read_table(path)
        return pa.csv.read_csv(
            path,
            parse_options=pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
            convert_options=pa.csv.ConvertOptions(column_types=_TEXT, strings_can_be_null=True, null_values=[""]),
        )
    except FileNotFoundError:
        raise InputError(f"The table of products {path} does not exist.") from None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowKeyError, OSError) as error:
        raise InputError(f"The table of products {path} is neither CSV in UTF-8 nor Parquet: {error}") from None


def _mask(values: Any) -> np.ndarray:
    return np.asarray(values).astype(bool, copy=False)
