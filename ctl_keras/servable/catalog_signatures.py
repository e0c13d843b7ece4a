"""A catalog inside a SavedModel: a server that knows nothing of this package answers "scene in,
product ids out"."""

from typing import Any

import numpy as np
import tensorflow as tf

from ctl_keras.errors import InputError
from ctl_keras.servable.signatures import traced

VECTORS = ("float32", "bfloat16", "int8")
MOST = 100  # products that `recommend` returns
CANDIDATES = 4  # times as many, where they are ranked anew
# Rows that are looked at in one piece: what has to be cast stays in the cache, and there is no
# float32 copy of the catalog.
_BLOCK = {"float32": 65536, "bfloat16": 16384, "int8": 16384}
_BUCKETS = 2**62
_SAMPLE, _QUERIES, _NEIGHBORS = 100_000, 200, 10
_NOTHING = -1e9


class CatalogSignatures(tf.Module):
    """The signatures `recommend` and `rerank`, on top of those of an export without.

    Products are sorted by category, so that a request reads those of its category only, and those
    with the same picture have one row in what is searched. Embeddings, ids and the table from ids
    to rows are variables: constants would end at 2 GB.

    Args:
        model: `Signatures`, or the module of an export that was loaded.
        manifest: dict, the export's.
        embeddings: float32 `[products, dim]`.
        ids: str `[products]`, all different.
        category: int32 `[products]`, indices into the model's categories.
        pictures: int64 `[products]`, see `Catalog.pictures`; `recommend` returns the first product
            of each.
        vectors: `"float32"`, `"bfloat16"`, or `"int8"` with one scale for each vector.

    Attributes:
        k: int. Products that `recommend` returns: `MOST`, or all pictures of the largest category.

    Raises:
        InputError: two ids have the same hash of 62 bits.
    """

    def __init__(
        self,
        model: Any,
        manifest: dict[str, Any],
        embeddings: np.ndarray,
        ids: np.ndarray,
        category: np.ndarray,
        pictures: np.ndarray,
        vectors: str = "float32",
    ):
        super().__init__(name="complete_the_look_catalog")
        self.model, self._exact = model, manifest["query_is_exact"]
        # where an export without catalog has them
        self.describe_scene, self.distances = model.describe_scene, model.distances
        self._largest = 4.0 if manifest["settings"]["squared"] else 2.0

        def stored(name: str, values: Any) -> tf.Variable:
            return tf.Variable(values, trainable=False, name=name)

        order = np.argsort(category, kind="stable")
        first = np.flatnonzero(np.diff(pictures[order], prepend=-1)).astype(np.int32)
        counts = np.bincount(category[order[first]], minlength=len(manifest["categories"]))
        self.k, self._block = int(min(MOST, counts.max())), _BLOCK[vectors]
        self._candidates = self.k if self._exact else CANDIDATES * self.k
        self.starts = stored("starts", np.cumsum([0, *counts]).astype(np.int32))
        self.ids = stored("ids", tf.constant(ids[order]))
        # of each picture: its products follow each other in `ids`
        self.first_product = stored("first_product", first)
        values, scale = quantized(embeddings[order[first]], vectors)
        self.vectors = stored("vectors", values)
        self.scale = None if scale is None else stored("scale", scale)
        hashes = tf.strings.to_hash_bucket_fast(self.ids, _BUCKETS).numpy()
        by_hash = np.argsort(hashes, kind="stable")
        hashes = hashes[by_hash]
        if len(same := np.flatnonzero(hashes[1:] == hashes[:-1])):
            pair = [ids[order][by_hash[same[0] + more]] for more in (0, 1)]
            raise InputError(
                f"The ids {pair[0]!r} and {pair[1]!r} have the same hash: give one of the products "
                "another id."
            )
        self.hashes = stored("hashes", hashes)
        self.row_of_hash = stored("row_of_hash", by_hash.astype(np.int32))

        def rows(name: str, *shape: Any, dtype: tf.DType = tf.string) -> tf.TensorSpec:
            return tf.TensorSpec([None, *shape], dtype, name=name)

        scene = [rows("scene_bytes"), rows("category")]
        query = rows("query", manifest["settings"]["dim"], dtype=tf.float32)
        # not a signature: what a search costs without the network can be measured
        self.search = traced(
            lambda query, category_index: self._search(query, category_index, self._candidates),
            [query, rows("category_index", dtype=tf.int32)],
        )
        self.functions = {
            "recommend": traced(self.recommend, scene),
            "recommend_excluding": traced(
                self.recommend_excluding, [*scene, rows("exclude", None)]
            ),
            "rerank": traced(self.rerank, [*scene, rows("product_id", None)]),
        }

    def signatures(self) -> dict[str, Any]:
        """Name -> concrete function: those of the export, and the two more."""
        # not the signatures that were loaded: a layer would be wrapped around them with each
        # catalog
        return {**self.model.functions, **self.functions}

    def recommend(self, scene_bytes: tf.Tensor, category: tf.Tensor) -> dict[str, tf.Tensor]:
        """The nearest products first: `product_id`, string, and `hybrid_distance`, float32, both
        `[batch, k]`, and `valid`.

        Where there are fewer than k, the id is empty and the distance the largest possible.
        """
        return self.recommend_excluding(scene_bytes, category, None)

    def recommend_excluding(
        self, scene_bytes: tf.Tensor, category: tf.Tensor, exclude: tf.Tensor | None
    ) -> dict[str, tf.Tensor]:
        """As `recommend`, without the products whose ids are in `exclude`, string `[batch, ids]`;
        an id that the catalog does not have, such as `""`, leaves out nothing.

        Another product with the same picture takes the place of one that is left out.
        """
        scene = self._scene(scene_bytes, category)
        category_index = tf.where(scene["valid"], scene["category_index"], -1)
        more = 0 if exclude is None else tf.shape(exclude)[1]
        rows, values = self._search(scene["query"], category_index, self._candidates + more)
        distances, there = 2 - values, rows >= 0
        rows = tf.maximum(rows, 0)
        if not self._exact:
            distances = self.distances(scene, self._embeddings(rows))
        products = tf.gather(self.first_product, rows)
        if exclude is not None:
            products, allowed = self._first_allowed(rows, products, exclude)
            there &= allowed
        distances = tf.where(there, distances, self._largest)
        # the nearest come first already where the search is by the model's distance
        order = tf.math.top_k(-distances, self.k).indices
        distances, products, there = (
            tf.gather(values, order, batch_dims=1) for values in (distances, products, there)
        )
        ids = tf.where(there, tf.gather(self.ids, products), "")
        return {"product_id": ids, "hybrid_distance": distances, "valid": scene["valid"]}

    def _first_allowed(
        self, pictures: tf.Tensor, products: tf.Tensor, exclude: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The first product of each picture that is not excluded, and whether there is one, both
        `[batch, candidates]`."""
        rows, known = self._rows_of(exclude)
        rows = tf.where(known, rows, -1)
        ends = tf.concat([self.first_product[1:], tf.shape(self.ids)], axis=0)
        ends = tf.gather(ends, pictures)

        def excluded(products: tf.Tensor) -> tf.Tensor:
            named = tf.reduce_any(products[:, :, None] == rows[:, None, :], axis=2)
            return named & (products < ends)

        (products,) = tf.while_loop(
            lambda products: tf.reduce_any(excluded(products)),
            lambda products: (products + tf.cast(excluded(products), tf.int32),),
            (products,),
        )
        return tf.minimum(products, tf.shape(self.ids)[0] - 1), products < ends

    def rerank(
        self, scene_bytes: tf.Tensor, category: tf.Tensor, product_id: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """`hybrid_distance`, float32, and `known`, bool, both `[batch, products]`, of products that
        are named by their ids."""
        scene = self._scene(scene_bytes, category)
        rows, known = self._rows_of(product_id)
        flat = tf.reshape(rows, [-1])
        pictures = tf.searchsorted(self.first_product, flat, side="right") - 1
        embeddings = self._embeddings(tf.reshape(pictures, tf.shape(product_id)))
        if self._exact:
            distances = 2 - tf.einsum("bd,bpd->bp", scene["query"], embeddings)
        else:
            distances = self.distances(scene, embeddings)
        return {
            "hybrid_distance": tf.where(known & scene["valid"][:, None], distances, self._largest),
            "known": known,
        }

    def _rows_of(self, product_id: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The row of each id, and whether the catalog has it, in the ids' own shape."""
        hashes = tf.strings.to_hash_bucket_fast(tf.reshape(product_id, [-1]), _BUCKETS)
        place = tf.minimum(tf.searchsorted(self.hashes, hashes), tf.shape(self.hashes)[0] - 1)
        rows = tf.reshape(tf.gather(self.row_of_hash, place), tf.shape(product_id))
        return rows, tf.gather(self.ids, rows) == product_id

    def _scene(self, scene_bytes: tf.Tensor, category: tf.Tensor) -> dict[str, tf.Tensor]:
        count, scene = tf.shape(scene_bytes)[0], self.describe_scene(scene_bytes, category)
        return {name: value[:count] for name, value in scene.items()}

    def _search(
        self, query: tf.Tensor, category_index: tf.Tensor, count: int | tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Rows, int32, -1 where there are fewer, and inner products, float32, `[batch, count]`, the
        largest first.

        Nothing is found where the index is negative. Queries of one category read its products
        together, so that a batch that the server pads, or merges, costs less than its rows alone:
        32 in one category took 4 to 9 times as long, not 32.
        """
        asked, _ = tf.unique(tf.boolean_mask(category_index, category_index >= 0))

        def one_category(
            at: tf.Tensor, rows: tf.Tensor, products: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            places = tf.where(category_index == asked[at])
            found, values = self._nearest(tf.gather_nd(query, places), asked[at], count)
            rows = tf.tensor_scatter_nd_update(rows, places, found)
            return at + 1, rows, tf.tensor_scatter_nd_update(products, places, values)

        nothing = _nothing(tf.shape(query)[0], count)
        _, rows, products = tf.while_loop(
            lambda at, *_: at < tf.shape(asked)[0],
            one_category,
            (0, *nothing),
            parallel_iterations=1,
        )
        return rows, products

    def _nearest(
        self, query: tf.Tensor, category: tf.Tensor, count: int | tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """As `_search`, for queries of one category, which is looked at block by block."""
        start, stop = self.starts[category], self.starts[category + 1]

        def look(
            at: tf.Tensor, rows: tf.Tensor, products: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            to = tf.minimum(at + self._block, stop)
            vectors = tf.cast(self.vectors[at:to], tf.float32)
            values = tf.linalg.matmul(query, vectors, transpose_b=True)
            values = values if self.scale is None else values * self.scale[at:to]
            values, places = tf.math.top_k(values, tf.minimum(count, to - at))
            products, order = tf.math.top_k(tf.concat([products, values], 1), count)
            return to, tf.gather(tf.concat([rows, at + places], 1), order, batch_dims=1), products

        nothing = _nothing(tf.shape(query)[0], count)
        _, rows, products = tf.while_loop(
            lambda at, *_: at < stop, look, (start, *nothing), parallel_iterations=1
        )
        return rows, products

    def _embeddings(self, rows: tf.Tensor) -> tf.Tensor:
        embeddings = tf.cast(tf.gather(self.vectors, rows), tf.float32)
        scale = 1.0 if self.scale is None else tf.gather(self.scale, rows)[..., None]
        return embeddings * scale


def _nothing(queries: tf.Tensor, count: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.fill([queries, count], -1), tf.fill([queries, count], _NOTHING)


def quantized(embeddings: np.ndarray, vectors: str) -> tuple[Any, np.ndarray | None]:
    """Embeddings as they are stored, and for int8 the factor of each, float32 `[products]`."""
    if vectors != "int8":
        return tf.cast(embeddings, vectors), None
    largest = np.maximum(embeddings.max(axis=1), -embeddings.min(axis=1))
    scale = np.maximum(largest, 1e-12).astype(np.float32) / 127
    values = embeddings / scale[:, None]
    return np.rint(values, out=values).astype(np.int8), scale


def storage_loss(embeddings: np.ndarray, vectors: str) -> dict[str, Any]:
    """What storing embeddings in fewer bits costs.

    200 queries, drawn with a fixed seed, search at most 100,000 of the products. Queries imitate
    scenes: the sum of two product embeddings, plus Gaussian noise of half their norm.

    Args:
        embeddings: float32 `[products, dim]`.
        vectors: how they are stored.

    Returns:
        A dict of `recall_at_10` and `largest_error`, float.
    """
    random = np.random.default_rng(0)
    sample = np.asarray(embeddings[np.sort(random.permutation(len(embeddings))[:_SAMPLE])])
    queries = sample[random.integers(len(sample), size=(2, _QUERIES))].sum(axis=0)
    queries += random.normal(0, 0.5 * queries.shape[1] ** -0.5, queries.shape).astype(np.float32)
    values, scale = quantized(sample, vectors)
    stored = tf.cast(values, tf.float32).numpy() * (1 if scale is None else scale[:, None])
    k = min(_NEIGHBORS, len(sample))
    found, exact = (
        np.argpartition(-queries @ rows.T, k - 1, axis=1)[:, :k] for rows in (stored, sample)
    )
    kept = [len(set(a) & set(b)) / k for a, b in zip(found.tolist(), exact.tolist(), strict=True)]
    errors = np.einsum("qd,qkd->qk", queries, stored[exact] - sample[exact])
    return {"recall_at_10": float(np.mean(kept)), "largest_error": float(np.abs(errors).max())}
