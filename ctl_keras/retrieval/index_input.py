"""What an index is given, checked before anything is built."""

import difflib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ctl_keras.errors import InputError

_BLOCK = 65536  # rows
_EMPTY = pa.array([], pa.string()).dictionary_encode()


def checked(embeddings: np.ndarray, ids: Any, categories: Any) -> tuple[np.ndarray, Any, Any]:
    """Vectors, and ids and categories as pyarrow string and dictionary arrays."""
    if getattr(embeddings, "dtype", None) != np.float32:
        embeddings = np.asarray(embeddings, np.float32)
    texts, names = (
        _strings(name, values) for name, values in (("ids", ids), ("categories", categories))
    )
    if (
        embeddings.ndim != 2
        or not embeddings.shape[1]
        or not len(embeddings) == len(texts) == len(names)
    ):
        raise InputError(
            "`embeddings` [products, dim], `ids` and `categories` must be as many. "
            f"Received: {list(embeddings.shape)}, {len(texts)} and {len(names)}"
        )
    for start in range(0, len(embeddings), _BLOCK):
        bad = np.flatnonzero(~np.isfinite(embeddings[start : start + _BLOCK].sum(axis=1)))
        if len(bad):
            raise InputError(
                f"The vector of the product {texts[start + int(bad[0])].as_py()!r} is not finite."
            )
    if len(texts) > len(pc.unique(texts)):
        counts = pc.value_counts(texts)
        twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
        raise InputError(f"The id {twice[0].as_py()!r} occurs more than once ({len(twice)} such).")
    return embeddings, texts, names.dictionary_encode().combine_chunks() if len(names) else _EMPTY


def _strings(name: str, values: Any) -> Any:
    try:
        array = (
            values
            if isinstance(values, pa.Array | pa.ChunkedArray)
            else pa.array(values, pa.string())
        )
        array = array.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        raise InputError(f"`{name}` must be strings. Received: {values!r:.100}") from None
    if array.null_count:
        raise InputError(f"`{name}` must be strings. Received: none in {array.null_count} rows")
    return pa.chunked_array([array]) if isinstance(array, pa.Array) else array


def checked_queries(query: np.ndarray, dim: int | None) -> np.ndarray:
    """Queries, float32 `[queries, dim]`, from one or several. Raises `InputError`."""
    queries = np.atleast_2d(np.asarray(query, np.float32))
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise InputError(f"`query` must be [queries, {dim}]. Received: {list(np.shape(query))}")
    if not np.isfinite(queries).all():
        raise InputError(
            f"`query` must be finite. Row {np.flatnonzero(~np.isfinite(queries).all(1))[0]} is not."
        )
    return queries


def query_groups(
    category: str | Sequence[str] | None, count: int, known: list[str]
) -> list[tuple[int | None, np.ndarray]]:
    """Codes of `known` categories and the queries that ask for them. Raises `InputError`."""
    if category is None:
        return [(None, np.arange(count))]
    names = [category] * count if isinstance(category, str) else list(category)
    if len(names) != count:
        raise InputError(
            f"`category` must be one for all queries or one for each. Received: {len(names)} "
            f"for {count}"
        )
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            there = f"There are: {', '.join(known) or 'none'}"
            hint = f"Did you mean {near[0]!r}?" if near else there
            raise InputError(f"No product has the category {name!r}. {hint}")
    codes = np.asarray([known.index(name) for name in names], np.int64)
    return [(int(code), np.flatnonzero(codes == code)) for code in np.unique(codes)]
