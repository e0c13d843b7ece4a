"""Candidate lists: what the pairs of a category are ranked among, fixed and written, so that all
runs rank the same."""

from pathlib import Path

import numpy as np

from ctl_keras.data.pairs import Pairs
from ctl_keras.errors import InputError
from ctl_keras.files import json_hash, read_json


def candidate_lists(pairs: Pairs) -> dict[str, list[str]]:
    """The candidates by name.

    Returns:
        Category path -> sorted product ids; categories without a product are left out. A pair is
        ranked among those of its category, less the other positives of its scene.
    """
    ids = pairs.images.ids
    named = zip(pairs.categories, pairs.category_products, strict=True)
    return {name: sorted(ids[products].tolist()) for name, products in named if len(products)}


def candidates_hash(pairs: Pairs) -> str:
    """SHA-256, in hex, of the candidate lists: equal lists give equal hashes, wherever they came
    from."""
    return json_hash(candidate_lists(pairs))


def read_candidates(path: str | Path, pairs: Pairs) -> tuple[np.ndarray, ...]:
    """The written candidates of a split.

    Args:
        path: `candidates.json` of prepared data: split -> category path -> product ids.
        pairs: the split's table, whose `split_name` is looked up.

    Returns:
        For each of `pairs.categories` the sorted image rows of its candidates.

    Raises:
        InputError: no such file or split, a category or id that the records do not hold, or a pair
            whose own product is not among its candidates.
    """
    lists = read_json(path, "The candidate file")
    chosen = lists.get(pairs.split_name) if isinstance(lists, dict) else None
    if not isinstance(chosen, dict):
        raise InputError(
            f"The candidate file {path} has no lists for the split {pairs.split_name}. Run "
            "`prepare` again."
        )
    if unknown := sorted(set(chosen) - set(pairs.categories)):
        raise InputError(
            f"{path}, {pairs.split_name}: the records have no category {unknown[0]!r}. Run "
            "`prepare` again."
        )
    row_of = {str(id_): row for row, id_ in enumerate(pairs.images.ids)}
    candidates = []
    for index, name in enumerate(pairs.categories):
        ids = chosen.get(name, [])
        for id_ in ids:
            if id_ not in row_of:
                raise InputError(
                    f"{path}, {pairs.split_name}, {name}: the candidate {id_!r} is not in the "
                    "records. Run `prepare` again."
                )
        rows = np.unique([row_of[id_] for id_ in ids]).astype(int)
        lost = np.setdiff1d(pairs.product[pairs.category == index], rows)
        if len(lost):
            raise InputError(
                f"{path}, {pairs.split_name}, {name}: {pairs.images.ids[lost[0]]!r} is the product "
                "of a pair, but not among its candidates. Run `prepare` again."
            )
        candidates.append(rows)
    return tuple(candidates)
