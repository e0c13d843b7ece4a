"""The table of a shop's products, as it comes from a warehouse: CSV or Parquet."""

import difflib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ctl_keras.catalog.catalog import COLUMNS, FINGERPRINT, PICTURE_HASH
from ctl_keras.data.picture_files import picture_path
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

    def drop(self, table: pa.Table, bad: np.ndarray, reason: str | Sequence[str]) -> pa.Table:
        """The rows that are not `bad` (bool `[rows]`); the others are kept here, with one reason
        for all or one for each."""
        rows = table.filter(pa.array(bad)).select(COLUMNS).to_pylist()
        reasons = [reason] * len(rows) if isinstance(reason, str) else reason
        self.rows += [{**row, "reason": why} for row, why in zip(rows, reasons, strict=True)]
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
            are kept. `image` is a path of a file, relative to the table's folder, see
            `picture_path`.
        categories: the model's category paths; the table may name one by its last part, and in
            other case.
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
        column = pc.utf8_trim_whitespace(table[name])
        table = table.set_column(table.column_names.index(name), name, column)
        table = rejected.drop(table, mask(pc.is_null(table[name])), f"no {what}")
    table = rejected.drop(table, ~first_of_each(table["id"]), "an earlier product has the same id")
    is_address = pc.match_substring_regex(table["image"], r"^[A-Za-z][\w+.-]+://")
    table = rejected.drop(table, mask(is_address), "the picture is an address; download it first")
    codes, problems = _category_codes(table["category"], categories)
    table = rejected.drop(table, codes < 0, problems[codes < 0].tolist())
    codes = pa.array(codes[codes >= 0], pa.int32())
    paths = pa.DictionaryArray.from_arrays(codes, pa.array(categories))
    images = [picture_path(path.parent, image) for image in table["image"].to_pylist()]
    for name, values in (("image", pa.array(images, pa.string())), ("category", paths)):
        table = table.set_column(table.column_names.index(name), name, values)
    return table.select([*COLUMNS, *(name for name in table.column_names if name not in COLUMNS)])


def _category_codes(column: Any, categories: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """For each product the number of its category, int `[products]`, or -1 and the reason, object
    `[products]`."""
    names = category_names(categories)
    folded: dict[str, int] = {}
    for name, code in names.items():  # -1 where two differ in nothing but their case
        key = name.casefold()
        folded[key] = code if folded.get(key, code) == code else -1
    coded = column.combine_chunks().dictionary_encode()
    texts, codes = coded.dictionary.to_pylist(), np.asarray(coded.indices)
    found = [names.get(text, folded.get(text.casefold(), -1)) for text in texts]
    problems = [
        _unknown(text, names) if code < 0 else "" for text, code in zip(texts, found, strict=True)
    ]
    return np.asarray(found, int)[codes], np.asarray(problems, object)[codes]


def _unknown(category: str, names: dict[str, int]) -> str:
    spelled = {name.casefold(): name for name in names}
    near = difflib.get_close_matches(category.casefold(), spelled, 1, cutoff=0.75)
    hint = f"; did you mean {spelled[near[0]]}?" if near else ""
    return f"the model does not know the category {category}{hint}"
