"""What every reader's table goes through: ids, boxes, doubles, categories, strips. Column by
column."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ctl_keras.data.cropping import box_problems, scene_windows
from ctl_keras.data.reading.pair_table import (
    BOX,
    CATEGORY,
    LINE,
    PRODUCT,
    SCENE,
    PairTable,
    box_text,
    mask,
)


def clean(table: PairTable, min_strip: float) -> PairTable:
    """Leaves out what cannot be used, see `read_shop_the_look`, and joins the boxes of a pair that
    is there twice.

    Args:
        table: with `category`; it is changed.
        min_strip: float. Least share of the scene that is left beside the product.
    """
    _check_boxes(table)
    _join_boxes(table)
    _one_category_each(table)
    areas = scene_windows(boxes(table.rows))[1]
    detail = (
        pa.array([f"{area:.3f}" for area in areas])
        if (areas < np.float32(min_strip)).any()
        else None
    )
    table.drop(
        areas < np.float32(min_strip),
        f"no strip of the scene without the product has {min_strip:g} of its area",
        detail,
    )
    return table


def boxes(rows: pa.Table) -> np.ndarray:
    """The boxes, float64 `[pairs, 4]`; NaN where there is none."""
    return (
        np.stack([rows[name].to_numpy() for name in BOX], axis=1)
        if rows.num_rows
        else np.zeros((0, 4))
    )


def _check_boxes(table: PairTable) -> None:
    problems = pa.array(box_problems(boxes(table.rows)), pa.string())
    if problems.null_count < len(problems):
        table.drop(
            pc.is_valid(problems),
            pc.binary_join_element_wise("box ", problems, ""),
            box_text(table.rows),
        )


def _join_boxes(table: PairTable) -> None:
    """One row for each (scene, product): a product that is annotated twice, as a pair of shoes,
    must be cut out twice."""
    left, top, right, bottom = BOX
    row = pa.array(np.arange(len(table)))
    joined = (
        table.rows.append_column("row", row)
        .group_by([SCENE, PRODUCT])
        .aggregate([(left, "min"), (top, "min"), (right, "max"), (bottom, "max"), ("row", "min")])
        .sort_by("row_min")
    )
    first = np.zeros(len(table), bool)
    first[joined["row_min"].to_numpy()] = True
    table.drop(~first, "the same pair again")
    for name, how in zip(BOX, ("min", "min", "max", "max"), strict=True):
        table.rows = table.rows.set_column(
            table.rows.column_names.index(name), name, joined[f"{name}_{how}"]
        )


def _one_category_each(table: PairTable) -> None:
    """A product is ranked among those of its category, so it has one: that of its first row."""
    products = table.rows[PRODUCT].combine_chunks().dictionary_encode()
    codes, names = products.indices.to_numpy(), len(products.dictionary)
    firsts = np.full(names, len(table))
    np.minimum.at(firsts, codes, np.arange(len(table)))
    first = pa.array(firsts[codes])
    category = table.rows[CATEGORY].take(first)
    other = mask(pc.not_equal(category, table.rows[CATEGORY]))
    if other.any():
        line = table.rows[LINE].take(first).cast(pa.string())
        table.drop(
            other,
            "the product has another category",
            pc.binary_join_element_wise(category, " in line ", line, ""),
        )
