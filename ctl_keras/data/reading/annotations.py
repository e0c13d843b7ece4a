"""Annotations to one table of pairs: Shop-The-Look JSON lines, or a table of one's own."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ctl_keras.data.reading.json_lines import read_json_lines, text
from ctl_keras.data.reading.pair_table import (
    BOX,
    CATEGORY,
    LINE,
    PRODUCT,
    SCENE,
    SPLIT,
    PairTable,
    box_text,
    mask,
)
from ctl_keras.data.reading.table_files import ROW, as_text, numbers, read_table_file
from ctl_keras.errors import InputError
from ctl_keras.files import read_json

TABLES = (".csv", ".parquet")
SIZED_BOX = ("x", "y", "width", "height")  # the other way in which tables give boxes


def read_annotations(
    path: str | Path, categories: str | Path | None = None, split_column: str | None = None
) -> PairTable:
    """Reads the pairs of an annotation file; its suffix says what it is.

    Args:
        path: `.csv` or `.parquet`: a table of one's own, see `read_pairs`. Anything else:
            Shop-The-Look JSON lines, see `read_shop_the_look`.
        categories: the category file of Shop-The-Look. Tables have a column instead. Without it,
            JSON lines are read without categories: enough to fetch pictures.
        split_column: str or None. A column (of JSON lines, a key) that says in which split a pair
            is.

    Returns:
        The table; rows without ids or categories are left out already.

    Raises:
        InputError: a file is missing, unreadable or lacks a column, or `categories` is given where
            it says nothing.
    """
    path = Path(path)
    if path.suffix.lower() in TABLES:
        if categories is not None:
            raise InputError(
                f"{path} has its categories in a column: leave out the category file. Received: "
                f"{categories}"
            )
        return _read_table(path, split_column)
    table = read_json_lines(path, split_column)
    if categories is not None:
        _add_categories(table, Path(categories))
    return table


def picture_names(files: Iterable[str | Path]) -> list[str]:
    """The names of all pictures that annotations speak of, sorted, each once; see
    `read_annotations`.

    Raises:
        InputError: as `read_annotations`.
    """
    names: set[str] = set()
    for file in files:
        table = read_annotations(file)
        names.update(*(pc.unique(table.annotated[name]).to_pylist() for name in (SCENE, PRODUCT)))
    return sorted(names)


def _add_categories(table: PairTable, path: Path) -> None:
    category_of = read_json(path, "The category file")
    if not isinstance(category_of, dict):
        raise InputError(
            f"The category file {path} must hold one JSON object, product id -> category path."
        )
    known = {
        product: text(category)
        for product, category in category_of.items()
        if text(product) is not None
    }
    place = pc.index_in(table.rows[PRODUCT], pa.array(list(known), pa.string()))
    category = pa.array(known.values(), pa.string()).take(place.combine_chunks())
    category = pc.utf8_trim_whitespace(category)
    table.rows = table.rows.append_column(CATEGORY, category)
    nulls = [product for product, category in category_of.items() if category is None]
    missing = pc.or_(pc.is_null(place), pc.is_in(table.rows[PRODUCT], pa.array(nulls, pa.string())))
    table.drop(missing, "product not in the category file")
    table.drop(pc.equal(pc.fill_null(table.rows[CATEGORY], ""), ""), "category is no text")


def _read_table(path: Path, split_column: str | None) -> PairTable:
    what = "The table of pairs"
    rejected: list[dict[str, Any]] = []
    ids = (SCENE, PRODUCT, CATEGORY, *([split_column] if split_column else []))

    def on_bad_row(line: int, _: str, reason: str) -> None:
        rejected.append({LINE: line, "reason": reason})

    # the box's columns as text, too: one bad number must not turn away the file
    read = read_table_file(path, what, (*ids, *BOX, *SIZED_BOX), on_bad_row)
    rows = as_text(read, ids, f"{what} {path}")
    columns = {LINE: rows[ROW], SCENE: rows[SCENE], PRODUCT: rows[PRODUCT]}
    box, damaged, detail = _boxes(rows, f"{what} {path}")
    columns |= {**box, CATEGORY: pc.utf8_trim_whitespace(rows[CATEGORY])}
    columns |= {SPLIT: rows[split_column]} if split_column else {}
    table = PairTable(pa.table(columns), rows.num_rows + len(rejected))
    table.reject(rejected)
    no_ids = mask(pc.or_(pc.is_null(table.rows[SCENE]), pc.is_null(table.rows[PRODUCT])))
    kept = table.drop(no_ids, "no scene or no product id")
    table.drop(damaged[kept], "box not four numbers", detail.filter(pa.array(kept)))
    table.annotated = table.annotated.filter(pa.array(kept))
    table.drop(pc.is_null(table.rows[CATEGORY]), "no category")
    return table


def _boxes(rows: pa.Table, what: str) -> tuple[dict[str, Any], np.ndarray, Any]:
    """The columns of `BOX`, which rows have a damaged one, and the boxes as they were given."""
    given = [names for names in (BOX, SIZED_BOX) if set(names) & set(rows.column_names)]
    if not given:
        nulls = pa.nulls(rows.num_rows, pa.float64())
        return dict.fromkeys(BOX, nulls), np.zeros(rows.num_rows, bool), pa.nulls(rows.num_rows)
    names = given[0]
    if len(given) > 1 or not set(names) <= set(rows.column_names):
        found = [name for names in given for name in names if name in rows.column_names]
        raise InputError(
            f"{what} must have all of the columns {', '.join(BOX)}, or all of "
            f"{', '.join(SIZED_BOX)}, or none of them. It has {', '.join(found)}."
        )
    values, bad = zip(*(numbers(rows[name]) for name in names), strict=True)
    if names == SIZED_BOX:
        x, y, width, height = values
        values = (x, y, pc.add(x, width), pc.add(y, height))
    return dict(zip(BOX, values, strict=True)), np.logical_or.reduce(bad), box_text(rows, names)
