"""A trained model to a version for TensorFlow Serving, with a catalog or without."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow.compute as pc
import tensorflow as tf

from ctl_keras.catalog.catalog import Catalog
from ctl_keras.config import EXPORT_PRECISIONS, require_choice, require_positive
from ctl_keras.errors import InputError
from ctl_keras.files import json_hash, read_json
from ctl_keras.models.backbone import layers_hash
from ctl_keras.models.complete_the_look import CompleteTheLook
from ctl_keras.servable.catalog_signatures import VECTORS, CatalogSignatures, storage_loss
from ctl_keras.servable.golden import golden_pairs
from ctl_keras.servable.local_model import LocalModel, newest_version
from ctl_keras.servable.provenance import run_data, run_metrics
from ctl_keras.servable.signatures import Signatures
from ctl_keras.servable.version import version_folder, write_version
from ctl_keras.settings import from_dict, to_dict
from ctl_keras.training.calibration import UNCALIBRATED, Calibration
from ctl_keras.training.run import load_run


def export(
    model: CompleteTheLook | str | Path,
    to: str | Path,
    *,
    catalog: str | Path | None = None,
    version: int | None = None,
    vectors: str = "float32",
    optimize: bool = False,
    precision: str = "float32",
    warmup_batch_size: int | None = None,
    calibration: Calibration | None = None,
    metrics: dict[str, Any] | None = None,
) -> Path:
    """Writes a SavedModel that scores and embeds picture files, and recommends from a catalog.

    The version appears under its number only when it is complete, has answered its own warm-up
    requests, and has given the trained model's distances of a few golden pairs, which the manifest
    keeps.

    Args:
        model: the trained model; or the folder of a finished run, whose calibration, data and
            figures go along; or an export, whose catalog is replaced.
        to: `saved_models/NAME`, the folder that TensorFlow Serving is given as base path.
        catalog: folder of a `Catalog` that this model embedded, for the signatures `recommend` and
            `rerank`. Defaults to None: without them.
        version: int. Defaults to the next free one.
        vectors: how the catalog's embeddings are stored: `"float32"`, `"bfloat16"` in half of the
            memory, or `"int8"` in a quarter. The manifest says what it costs, see `storage_loss`.
            Defaults to `"float32"`.
        optimize: bool. Folds BatchNorms into the convolutions, see `FoldedTrunk`. Defaults to
            False.
        precision: `"float32"`, or `"bfloat16"` for the layers of the network and of the
            projections; inputs, norms, softmax, distances and outputs stay float32. Faster where
            the processor has bfloat16, slower where it has not. Defaults to `"float32"`.
        warmup_batch_size: int. Rows of the largest warm-up request. A server whose
            `max_batch_size` is smaller refuses to load the version. Defaults to 1, which loads
            anywhere, or to that of the export that is given.
        calibration: from `fit_calibration`. Without one, and without a run, `compatibility` is
            `sigmoid(2 - hybrid_distance)`, and the manifest says so.
        metrics: dict, copied into the manifest. Defaults to those of the run.

    Returns:
        The version's folder.

    Raises:
        InputError: the version exists or is not positive, there is no such precision, run, export
            or catalog, the catalog is empty or of another model, or the network cannot be folded.
        RuntimeError: the export fails its own warm-up, or the golden answers do not come back from
            it.
        OSError, tf.errors.OpError: the disk is full, or the folder cannot be written; nothing stays
            behind.
    """
    require_choice("precision", precision, EXPORT_PRECISIONS)
    require_choice("vectors", vectors, VECTORS)
    require_positive("warmup_batch_size", 1 if warmup_batch_size is None else warmup_batch_size)
    target = version_folder(to, version)
    made = optimize, precision, calibration, metrics
    if isinstance(model, CompleteTheLook):
        module, manifest = _of_model(model, *made)
    elif newest_version(model) is None:
        module, manifest = _of_run(Path(model), *made)
    elif catalog is None or made != (False, "float32", None, None):
        raise InputError(
            f"{model} is an export: all that can be changed of it is its catalog (`--catalog DIR`) "
            "and how it is stored. Export the run for anything else."
        )
    else:
        local = LocalModel(model)
        module, manifest = getattr(local.loaded, "model", local.loaded), local.manifest
    size = warmup_batch_size or manifest.get("warmup_batch_size", 1)
    manifest = {name: value for name, value in manifest.items() if name != "catalog"}
    manifest["warmup_batch_size"] = size
    if catalog is not None:
        module, manifest["catalog"] = _with_catalog(module, manifest, Catalog(catalog), vectors)
    return write_version(target, module, module.signatures(), manifest)


def weights_hash(model: CompleteTheLook) -> str:
    """The SHA-256, in hex, of what decides a model's embeddings: settings, picture size and
    weights. All exports of a trained model share it, whatever their precision."""
    return json_hash([to_dict(model.config), model.image_size, layers_hash(model.plain_layers)])


def _of_run(
    run: Path,
    optimize: bool,
    precision: str,
    calibration: Calibration | None,
    metrics: dict[str, Any] | None,
) -> tuple[Signatures, dict[str, Any]]:
    model, record = load_run(run)
    stored = read_json(run / "calibration.json", "The run's calibration")
    calibration = calibration or from_dict(Calibration, stored)
    metrics = metrics or run_metrics(run, record)
    module, manifest = _of_model(model, optimize, precision, calibration, metrics)
    return module, {**manifest, "data": run_data(record)}


def _of_model(
    model: CompleteTheLook,
    optimize: bool,
    precision: str,
    calibration: Calibration | None,
    metrics: dict[str, Any] | None,
) -> tuple[Signatures, dict[str, Any]]:
    # in float32, whatever precision the model was made or trained in
    plain = model if model.backbone.compute_dtype == "float32" else model.copy()
    golden = golden_pairs(plain)
    served = plain if precision == "float32" else plain.copy("mixed_bfloat16")
    exact = model.config.has_inner_product
    return Signatures(served, calibration or UNCALIBRATED, optimize), {
        "model": "complete_the_look",
        "settings": to_dict(model.config),
        "image_size": model.image_size,
        "categories": list(model.categories),
        "weights_hash": weights_hash(model),
        "query_is_exact": exact,
        "score_embeddings": "present"
        if exact
        else "left out: plain norms and product attention have no inner-product form; `query` "
        "ranks approximately",
        "calibration": to_dict(calibration) if calibration else None,
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
        "metrics": metrics or {},
        "optimized": optimize,
        "precision": precision,
        "golden": [pair.to_json() for pair in golden],
    }


def _with_catalog(
    module: Any, manifest: dict[str, Any], catalog: Catalog, vectors: str
) -> tuple[CatalogSignatures, dict[str, Any]]:
    """The signatures with a catalog's, and what the manifest says of it."""
    catalog.require_model(manifest, "the exported one")
    if not len(catalog):
        raise InputError(f"The catalog {catalog.folder} has no products.")
    names = catalog.categories.combine_chunks()
    known = {name: index for index, name in enumerate(manifest["categories"])}
    index_of = np.asarray([known[name] for name in names.dictionary.to_pylist()], np.int32)
    served = CatalogSignatures(
        module,
        manifest,
        catalog.embeddings,
        catalog.ids.to_numpy(),
        index_of[np.asarray(names.indices)],
        catalog.pictures,
        vectors,
    )
    counts = pc.value_counts(names).to_pylist()
    return served, {
        "hash": catalog.manifest["hash"],
        "count": len(catalog),
        "pictures": served.first_product.shape[0],
        "categories": {row["values"]: row["counts"] for row in counts},
        "k": served.k,
        "vectors": vectors,
        **storage_loss(catalog.embeddings, vectors),
    }
