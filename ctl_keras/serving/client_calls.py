"""What a client's methods send and give back, without a word about how it travels: shared by
`Client` and `AsyncClient`.

Each function checks its arguments and returns a `Call`. Pictures are read when their batch's turn
comes, so that a list of 100,000 paths costs the memory of one batch.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ctl_keras.data.picture_files import Picture, picture_bytes
from ctl_keras.errors import InputError
from ctl_keras.serving.client_answers import Answer, joined

Inputs = dict[str, Any]


@dataclass(frozen=True)
class Predict:
    """One request: a signature and its inputs, lists of bytes or str, or float32 arrays, by name;
    all have the same length."""

    signature: str
    inputs: Inputs


@dataclass(frozen=True)
class Call:
    """The requests of one method, and what becomes of their answers."""

    requests: Iterator[Predict]
    finish: Callable[[list[Answer]], Answer]


def score_pairs(
    scenes: Sequence[Picture],
    products: Sequence[Picture],
    categories: str | Sequence[str],
    batch_size: int,
) -> Call:
    """See `Client.score_pairs`; `batch_size` is the most rows a request. Raises `InputError`."""
    scenes, products = _list("scenes", scenes), _list("products", products)
    columns = {
        "scene_bytes": _pictures("scenes", scenes),
        "product_bytes": _pictures("products", products),
        "category": _texts("categories", categories, len(scenes)),
    }
    return _call("serving_default", columns, batch_size, scenes=len(scenes), products=len(products))


def score(scene: Picture, products: Sequence[Picture], category: str, batch_size: int) -> Call:
    """See `Client.score`; `batch_size` is the most rows a request. Raises `InputError`."""
    if not isinstance(category, str):
        raise InputError(
            f"`category` must be one string, the products' category. Received: {category!r}"
        )
    products = _list("products", products)
    data = _picture("scene", scene)
    columns = {
        "scene_bytes": lambda start, stop: [data] * (stop - start),
        "product_bytes": _pictures("products", products),
        "category": _texts("category", category, len(products)),
    }
    return _call("serving_default", columns, batch_size, products=len(products))


def embed_scene(
    scenes: Sequence[Picture], categories: str | Sequence[str], batch_size: int
) -> Call:
    """See `Client.embed_scene`; `batch_size` is the most rows a request. Raises `InputError`."""
    scenes = _list("scenes", scenes)
    return _call("embed_scene", _scene_columns(scenes, categories), batch_size, scenes=len(scenes))


def embed_product(products: Sequence[Picture], batch_size: int) -> Call:
    """See `Client.embed_product`; `batch_size` is the most rows a request. Raises `InputError`."""
    products = _list("products", products)
    return _call(
        "embed_product",
        {"product_bytes": _pictures("products", products)},
        batch_size,
        products=len(products),
    )


def score_embeddings(query: Any, embedding: Any, batch_size: int) -> Call:
    """See `Client.score_embeddings`; `batch_size` is the most rows a request. Raises
    `InputError`."""
    query, embedding = _vectors("query", query), _vectors("embedding", embedding)
    if query.ndim == 1:
        query = np.broadcast_to(query, (len(embedding), len(query)))
    if query.shape != embedding.shape or query.ndim != 2:
        raise InputError(
            "`query` and `embedding` must both be [rows, d], or `query` [d], one for all rows. "
            f"Received: {list(query.shape)} and {list(embedding.shape)}"
        )
    columns = {
        "query": lambda start, stop: query[start:stop],
        "embedding": lambda start, stop: embedding[start:stop],
    }
    return _call("score_embeddings", columns, batch_size, query=len(query))


def recommend(
    scenes: Sequence[Picture], categories: str | Sequence[str], k: int | None, batch_size: int
) -> Call:
    """See `Client.recommend`; `batch_size` is the most rows a request. Raises `InputError`."""
    if k is not None and k < 1:
        raise InputError(f"`k` must be positive. Received: {k}")
    scenes = _list("scenes", scenes)
    call = _call("recommend", _scene_columns(scenes, categories), batch_size, scenes=len(scenes))

    def finish(answers: list[Answer]) -> Answer:
        answer = call.finish(answers)
        most = answer["product_id"].shape[1]
        if k is not None and k > most and len(scenes):
            raise InputError(f"`k` is {k}, but the export recommends {most} products. Lower `k`.")
        return {name: value[:, :k] if value.ndim == 2 else value for name, value in answer.items()}

    return Call(call.requests, finish)


def rerank(
    scenes: Sequence[Picture],
    categories: str | Sequence[str],
    product_ids: Sequence[Sequence[str]],
    batch_size: int,
) -> Call:
    """See `Client.rerank`; `batch_size` is the most rows a request. Raises `InputError`."""
    scenes, product_ids = _list("scenes", scenes), _list("product_ids", product_ids)
    rows = [_list("product_ids", row) for row in product_ids]
    if len({len(row) for row in rows}) > 1 or (rows and not rows[0]):
        raise InputError(
            "Each scene needs equally many `product_ids`, at least 1. Received: "
            f"{sorted({len(row) for row in rows})}"
        )
    for row in rows:
        for product in row:
            if not isinstance(product, str):
                raise InputError(f"`product_ids` must be strings. Received: {product!r}")
    columns = {
        **_scene_columns(scenes, categories),
        "product_id": lambda start, stop: rows[start:stop],
    }
    call = _call("rerank", columns, batch_size, scenes=len(scenes), product_ids=len(rows))
    asked = len(rows[0]) if rows else 0

    def cut(answers: list[Answer]) -> Answer:
        # a server that joins requests pads them to the longest, and cuts the rows only
        # (docs/serving.md)
        return call.finish(
            [{name: value[:, :asked] for name, value in answer.items()} for answer in answers]
        )

    return Call(call.requests, cut)


_Column = Callable[[int, int], Any]


def _call(signature: str, columns: dict[str, _Column], batch_size: int, **lengths: int) -> Call:
    if len(set(lengths.values())) > 1:
        received = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InputError(f"All arguments need the same length. Received: {received}")
    length = next(iter(lengths.values()))
    requests = (
        Predict(
            signature,
            {
                name: column(start, min(start + batch_size, length))
                for name, column in columns.items()
            },
        )
        for start in range(0, length, batch_size)
    )
    return Call(requests, lambda answers: joined(signature, answers))


def _scene_columns(scenes: list[Picture], categories: str | Sequence[str]) -> dict[str, _Column]:
    return {
        "scene_bytes": _pictures("scenes", scenes),
        "category": _texts("categories", categories, len(scenes)),
    }


def _list(name: str, values: Any) -> list[Any]:
    """The rows of an argument; one picture or one string in place of a list is the likeliest
    mistake."""
    single = isinstance(values, str | bytes | bytearray) or (
        isinstance(values, np.ndarray) and values.dtype != object and values.ndim == 3
    )
    try:
        if not single:
            return list(values)
    except TypeError:
        pass
    raise InputError(f"`{name}` must be a list, one entry a row. Received: {type(values).__name__}")


def _pictures(name: str, pictures: list[Picture]) -> _Column:
    def read(start: int, stop: int) -> list[bytes]:
        return [_picture(f"{name}[{row}]", pictures[row]) for row in range(start, stop)]

    return read


def _picture(where: str, picture: Picture) -> bytes:
    try:
        return picture_bytes(picture)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _texts(name: str, values: str | Sequence[str], length: int) -> _Column:
    rows = [values] * length if isinstance(values, str) else _list(name, values)
    for value in rows:
        if not isinstance(value, str):
            raise InputError(f"`{name}` must be strings. Received: {value!r}")
    if len(rows) != length:
        raise InputError(
            f"All arguments need the same length. Received: {length} pictures, {len(rows)} {name}"
        )
    return lambda start, stop: rows[start:stop]


def _vectors(name: str, values: Any) -> np.ndarray:
    try:
        vectors = np.asarray(values, np.float32)
    except (TypeError, ValueError):
        raise InputError(
            f"`{name}` must be an array of numbers [rows, d]. Received: {type(values).__name__}"
        ) from None
    if not np.isfinite(vectors).all():
        raise InputError(
            f"`{name}` must be finite numbers: JSON has no others. Received: "
            f"{vectors[~np.isfinite(vectors)][0]}"
        )
    return vectors
