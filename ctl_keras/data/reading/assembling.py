"""From the readers' table and the pictures that can be used to `Pairs`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ctl_keras.data.cropping import scene_windows
from ctl_keras.data.pairs import Pairs
from ctl_keras.data.picture_stores import Images
from ctl_keras.data.reading.cleaning import boxes
from ctl_keras.data.reading.pair_table import (
    CATEGORY,
    PRODUCT,
    SCENE,
    SPLIT,
    PairTable,
    explain,
    mask,
)
from ctl_keras.data.splits import SPLITS
from ctl_keras.errors import InputError


def picture_ids(*tables: Any) -> pa.Array:
    """All ids of scenes and products, sorted, each once."""
    columns = [table[name].combine_chunks() for table in tables for name in (SCENE, PRODUCT)]
    ids = pc.unique(pa.chunked_array(columns, pa.string()))
    return ids.take(pc.array_sort_indices(ids))


def drop_without_pictures(table: PairTable, problems: Mapping[str, str]) -> None:
    """Leaves out the pairs with a picture that cannot be used.

    Args:
        table: is changed.
        problems: id -> why its picture cannot be used.
    """
    names, texts = (
        pa.array(list(problems), pa.string()),
        pa.array(list(problems.values()), pa.string()),
    )
    scene, product = (
        pc.binary_join_element_wise(
            f"{name}: ", texts.take(pc.index_in(table.rows[name].combine_chunks(), names)), ""
        )
        for name in (SCENE, PRODUCT)
    )
    reason = pc.coalesce(scene, product)
    table.drop(pc.is_valid(reason), reason)


def to_pairs(table: PairTable, images: Images, source: Any) -> Pairs:
    """The table as arrays of picture rows.

    Args:
        table: cleaned, with usable pictures only; it is changed.
        images: the pictures, sorted by id.
        source: what was read, for the message.

    Raises:
        InputError: no pair is left.
    """
    assigned = _assigned(table)
    if not len(table):
        raise InputError(
            f"No usable pair in {source}: {explain(table.rejected) or 'the file is empty'}."
        )
    ids = pa.array(images.ids, pa.string())
    scene, product = (_places(table.rows[name], ids) for name in (SCENE, PRODUCT))
    categories = pc.unique(table.rows[CATEGORY])
    categories = categories.take(pc.array_sort_indices(categories))
    # also a pair that is left out, for its box or its strip, is right: its product is no negative
    # of its scene
    known = np.stack([_places(table.annotated[name], ids) for name in (SCENE, PRODUCT)], axis=1)
    known = known[(known >= 0).all(axis=1)]
    codes = known[:, 0] * len(ids) + known[:, 1]
    # a hash table: a third of np.isin's time
    kept = pc.is_in(pa.array(codes), pa.array(scene * len(ids) + product))
    codes = np.unique(codes[~mask(kept)])
    return Pairs(
        scene=scene,
        product=product,
        category=_places(table.rows[CATEGORY], categories),
        window=scene_windows(boxes(table.rows))[0],
        popularity=np.zeros(len(table), int),
        categories=tuple(categories.to_pylist()),
        images=images,
        assigned=assigned,
        other_positives=np.stack(np.divmod(codes, len(ids)), axis=1),
    )


def _places(values: pa.ChunkedArray, among: pa.Array) -> np.ndarray:
    """int64 array: where each value is `among`, -1 where it is not."""
    return pc.fill_null(pc.index_in(values, among), -1).to_numpy().astype(np.int64)


def _assigned(table: PairTable) -> np.ndarray | None:
    if SPLIT not in table.rows.column_names:
        return None
    place = pc.index_in(table.rows[SPLIT], pa.array(SPLITS))
    detail = pc.coalesce(table.rows[SPLIT], "null")
    kept = table.drop(pc.is_null(place), f"the split is none of {', '.join(SPLITS)}", detail)
    return np.asarray(pc.fill_null(place, -1)).astype(int)[kept]
