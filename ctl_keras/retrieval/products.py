"""The table of a shop's products, as it comes from a warehouse: CSV or Parquet."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ctl_keras.catalog.catalog import COLUMNS, FINGERPRINT, PICTURE_HASH
from ctl_keras.data.reading.pair_table import first_of_each, mask
from ctl_keras.data.reading.table_files import ROW, as_text, read_table_file
from ctl_keras.errors import InputError
from ctl_keras.servable.signatures import category_names

# columns of the catalog, and of what is recommended
_RESERVED = (FINGERPRINT, PICTURE_HASH, "hybrid_distance", "same_picture")


class Rejected:
    """Products that are left out, and why.

    Attributes:
        rows: list of dicts of `id`, `image`, `category` and `reason`.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def drop(self, table: pa.Table, bad: np.ndarray, reason: str) -> pa.Table:
        """The rows that are not `bad` (bool `[rows]`); the others are kept here, `{column}` in
        `reason` filled in."""
        for row in table.filter(pa.array(bad)).select(COLUMNS).to_pylist():
            self.rows.append({**row, "reason": reason.format(**row)})
        return table.filter(pa.array(~bad))

    def examples(self) -> dict[str, str]:
        """Reason -> id and picture of the first such product."""
        return {row["reason"]: f"{row['id']}: {row['image']}" for row in reversed(self.rows)}

    def counts(self) -> dict[str, int]:
        """Reason -> number of products, the most frequent first."""
        return dict(Counter(row["reason"] for row in self.rows).most_common())


def read_products(path: str | Path, categories: tuple[str, ...], rejected: Rejected) -> pa.Table:
    """Reads a table of products, column by column.

    Args:
        path: CSV in UTF-8, or Parquet, with columns `id`, `image` and `category`; further columns
            are kept. `image` is a path of a file, relative to the table's folder.
        categories: the model's category paths; the table may name one by its last part.
        rejected: gets products without id, picture or known category, and all but the first of
            those that share an id.

    Returns:
        Table of `id`, `image` (absolute path), `category` (dictionary of whole paths) and the
        further columns.

    Raises:
        InputError: the file is missing, is no such table, or lacks a column.
    """
    path, what = Path(os.path.abspath(path)), "The table of products"

    def on_bad_row(_: int, text: str, reason: str) -> None:
        rejected.rows.append({"id": text, "image": None, "category": None, "reason": reason})

    table = read_table_file(path, what, COLUMNS, on_bad_row).drop_columns(ROW)
    for name in _RESERVED:
        if name in table.column_names:
            raise InputError(f"{what} {path} has a column of the reserved name {name}. Rename it.")
    table = as_text(table, COLUMNS, f"{what} {path}")
    for name, what in zip(COLUMNS, ("id", "picture", "category"), strict=True):
        table = rejected.drop(table, mask(pc.is_null(table[name])), f"no {what}")
    table = rejected.drop(table, ~first_of_each(table["id"]), "an earlier product has the same id")
    is_address = pc.match_substring_regex(table["image"], r"^\s*[A-Za-z][\w+.-]+://")
    table = rejected.drop(table, mask(is_address), "the picture is an address; download it first")
    names = category_names(categories)
    index = pc.index_in(table["category"], value_set=pa.array(list(names), pa.string()))
    table = rejected.drop(
        table, mask(pc.is_null(index)), "the model does not know the category {category}"
    )
    # the index into the names, as one into the categories
    codes = np.asarray(list(names.values()), np.int32)[np.asarray(pc.drop_null(index))]
    paths = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(categories))
    images = [str(path.parent / image) for image in table["image"].to_pylist()]
    for name, values in (("image", pa.array(images, pa.string())), ("category", paths)):
        table = table.set_column(table.column_names.index(name), name, values)
    return table.select([*COLUMNS, *(name for name in table.column_names if name not in COLUMNS)])
