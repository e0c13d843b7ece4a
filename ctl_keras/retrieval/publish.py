"""Versions for TensorFlow Serving, with a catalog or without, from a run or from an export."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import tensorflow as tf

from ctl_keras.config import require_choice
from ctl_keras.errors import InputError
from ctl_keras.export.export import export_run, version_folder, write_version
from ctl_keras.retrieval.catalog import Catalog
from ctl_keras.retrieval.exact_index import ExactIndex
from ctl_keras.retrieval.served_catalog import VECTORS, ServedCatalog, quantized
from ctl_keras.serving.local import LocalModel

_SAMPLE, _QUERIES, _NEIGHBORS = 100_000, 200, 10


def publish(
    to: str | Path,
    run: str | Path | None = None,
    model: str | Path | None = None,
    version: int | None = None,
    catalog: str | Path | None = None,
    vectors: str = "float32",
    optimize: bool = False,
    precision: str = "float32",
) -> Path:
    """Exports a run, with a catalog or without, or renews the catalog of an export: what `ctl-keras
    export` does.

    Args:
        to: `saved_models/NAME`.
        run: a finished run. Either this or `model`.
        model: an export, see `add_catalog`.
        version: int. Defaults to the next free one.
        catalog: folder made by `build_catalog`, see `add_catalog`.
        vectors: how the catalog's embeddings are stored, see `add_catalog`. Defaults to
            `"float32"`.
        optimize: bool. See `export`. Defaults to False.
        precision: see `export`. Defaults to `"float32"`.

    Returns:
        The version's folder.

    Raises:
        InputError: neither or both of `run` and `model`, a model without a catalog, or as `export`
            and `add_catalog`.
    """
    if (run is None) == (model is None):
        raise InputError(
            "Name either a run to export, or an export whose catalog is renewed: `--run RUN` or "
            "`--model DIR`."
        )
    if catalog is None:
        if run is None:
            raise InputError(
                "An export is written anew with a catalog only: name one with `--catalog DIR`."
            )
        return export_run(run, to, version, optimize, precision)
    if run is None:
        if optimize or precision != "float32":
            raise InputError(
                "`--optimize` and `--precision` are those of the export that is named. Leave them "
                "out."
            )
        return add_catalog(str(model), catalog, to, version, vectors)
    version_folder(to, version)
    Path(to).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=to) as plain:
        export_run(run, plain, 1, optimize, precision)
        return add_catalog(plain, catalog, to, version, vectors)


def add_catalog(
    model: str | Path,
    catalog: str | Path,
    to: str | Path,
    version: int | None = None,
    vectors: str = "float32",
) -> Path:
    """Writes a version of an export that also recommends from a catalog; the model in it is the
    same.

    Args:
        model: an export; a catalog that it has is replaced.
        catalog: folder of a `Catalog` that this model embedded.
        to: `saved_models/NAME`.
        version: int. Defaults to the next free one.
        vectors: how embeddings are stored: `"float32"`, `"bfloat16"` in half of the memory, or
            `"int8"` in a quarter. The manifest says what it costs: `recall_at_10`, the share of the
            10 nearest products that stay among them, and `largest_error` of their distances.
            Defaults to `"float32"`.

    Returns:
        The version's folder.

    Raises:
        InputError: no export, no catalog, one of another model or without products, or as `export`.
        RuntimeError, OSError, tf.errors.OpError: as `export`.
    """
    require_choice("vectors", vectors, VECTORS)
    target, local, products = version_folder(to, version), LocalModel(model), Catalog(catalog)
    products.require_model(local.manifest, model)
    if not len(products):
        raise InputError(f"The catalog {catalog} has no products.")
    known = local.manifest["categories"]
    names = products.categories.combine_chunks()
    index_of = np.asarray([known.index(name) for name in names.dictionary.to_pylist()], np.int32)
    counts = pc.value_counts(names).to_pylist()
    served = ServedCatalog(
        getattr(local.loaded, "model", local.loaded),
        local.manifest,
        products.embeddings,
        products.ids.to_numpy(),
        index_of[np.asarray(names.indices)],
        products.pictures,
        vectors,
    )
    manifest = {
        **local.manifest,
        "catalog": {
            "hash": products.manifest["hash"],
            "count": len(products),
            "pictures": served.first_product.shape[0],
            "categories": {row["values"]: row["counts"] for row in counts},
            "k": served.k,
            "vectors": vectors,
            **loss(products.embeddings, vectors),
        },
    }
    return write_version(target, served, served.signatures(), manifest)


def loss(embeddings: np.ndarray, vectors: str) -> dict[str, Any]:
    """What storing embeddings in fewer bits costs.

    Queries are sums of two products, as a scene's query is a sum of embeddings, and of noise of
    half a product's length, because a scene is no product; 200 of them among at most 100,000
    products, drawn with a fixed seed.

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
    ids = np.arange(len(sample)).astype(str)
    k = min(_NEIGHBORS, len(sample))
    found, exact = (
        ExactIndex().build(rows, ids, np.full(len(ids), "any")).search(queries, k).rows
        for rows in (stored, sample)
    )
    kept = [len(set(a) & set(b)) / k for a, b in zip(found.tolist(), exact.tolist(), strict=True)]
    errors = np.einsum("qd,qkd->qk", queries, stored[exact] - sample[exact])
    return {"recall_at_10": float(np.mean(kept)), "largest_error": float(np.abs(errors).max())}
