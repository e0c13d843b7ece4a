"""A trained model to a version directory for TensorFlow Serving.

```
saved_models/NAME/<version>/
    saved_model.pb  variables/  fingerprint.pb  stock ops only
    assets.extra/tf_serving_warmup_requests     replayed before they were written
    manifest.json                               settings, categories, signatures, hashes
    MODEL_CARD.md
```
"""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from ctl_keras.config import EXPORT_PRECISIONS, require_choice
from ctl_keras.errors import InputError
from ctl_keras.export.golden import TOLERANCE, GoldenPair, golden_pairs, largest_difference
from ctl_keras.export.model_card import model_card
from ctl_keras.export.provenance import run_data, run_metrics
from ctl_keras.export.servable import Servable
from ctl_keras.export.warmup import replay, warmup_requests, write_warmup
from ctl_keras.files import (
    json_hash,
    new_folder,
    read_json,
    require_new,
    sha256,
    versions,
    write_json,
)
from ctl_keras.models.backbone import layers_hash
from ctl_keras.models.complete_the_look import CompleteTheLook
from ctl_keras.settings import from_dict, to_dict
from ctl_keras.training.calibration import UNCALIBRATED, Calibration
from ctl_keras.training.run import load_run


def export(
    model: CompleteTheLook,
    to: str | Path,
    version: int | None = None,
    calibration: Calibration | None = None,
    metrics: dict[str, Any] | None = None,
    optimize: bool = False,
    precision: str = "float32",
) -> Path:
    """Writes a SavedModel that scores and embeds picture files.

    The version appears under its number only when it is complete, has answered its own warm-up
    requests, and has given the trained model's distances of a few golden pairs, which the manifest
    keeps.

    Args:
        model: the trained model.
        to: `saved_models/NAME`, the folder that TensorFlow Serving is given as base path.
        version: int. Defaults to the next free one.
        calibration: from `fit_calibration`. Without it `compatibility` is `sigmoid(2 -
            hybrid_distance)`, and the manifest says so.
        metrics: dict, copied into the manifest.
        optimize: bool. Folds BatchNorms into the convolutions, see `FoldedTrunk`. Defaults to
            False.
        precision: `"float32"`, or `"bfloat16"` for the layers of the network and of the
            projections; inputs, norms, softmax, distances and outputs stay float32. Faster where
            the processor has bfloat16, slower where it has not. Defaults to `"float32"`.

    Returns:
        The version's folder.

    Raises:
        InputError: the version exists or is not positive, there is no such precision, or the
            network cannot be folded.
        RuntimeError: the export fails its own warm-up, or the golden answers do not come back from
            it.
        OSError, tf.errors.OpError: the disk is full, or the folder cannot be written; nothing stays
            behind.
    """
    return _export(model, to, version, calibration, {"metrics": metrics or {}}, optimize, precision)


def _export(
    model: CompleteTheLook,
    to: str | Path,
    version: int | None,
    calibration: Calibration | None,
    known: dict[str, Any],
    optimize: bool,
    precision: str,
) -> Path:
    """`export`, with all that the manifest should say of the model's making: `known`."""
    require_choice("precision", precision, EXPORT_PRECISIONS)
    target = version_folder(to, version)
    plain = model.copy()  # in float32, whatever precision the model was made or trained in
    golden = golden_pairs(plain)
    served = plain if precision == "float32" else plain.copy("mixed_bfloat16")
    servable = Servable(served, calibration or UNCALIBRATED, optimize)
    manifest = {
        **_manifest(model, calibration),
        **known,
        "optimized": optimize,
        "precision": precision,
        "golden": [pair.to_json() for pair in golden],
    }
    return write_version(target, servable, servable.signatures(), manifest)


def version_folder(to: str | Path, version: int | None) -> Path:
    """Where a version will be: `to/<version>`, or the next free one.

    Raises:
        InputError: the version exists or is not positive, or `to` is a file.
    """
    to = Path(to)
    if to.exists() and not to.is_dir():
        raise InputError(f"{to} is a file; name a folder such as saved_models/looks.")
    if version is None:
        version = max(versions(to), default=0) + 1
    if version < 1:
        raise InputError(f"`version` must be positive. Received: {version}")
    require_new(to / str(version))
    return to / str(version)


def write_version(
    target: Path, module: tf.Module, signatures: dict[str, Any], manifest: dict[str, Any]
) -> Path:
    """Writes a version that has answered its own warm-up requests, and given the golden answers of
    its manifest.

    Args:
        target: `saved_models/NAME/<version>`.
        module: holds what the signatures need.
        signatures: name -> concrete function.
        manifest: dict, with `golden`, `precision`, `categories` and `settings`; the rest is filled
            in here.

    Returns:
        `target`.

    Raises:
        RuntimeError, OSError, tf.errors.OpError: as `export`.
    """
    golden = [GoldenPair.from_json(pair) for pair in manifest["golden"]]
    with new_folder(target) as folder:
        tf.saved_model.save(module, str(folder), signatures=signatures)
        requests = warmup_requests(
            tuple(manifest["categories"]), manifest["settings"]["dim"], list(signatures)
        )
        loaded = tf.saved_model.load(str(folder))
        replay(loaded.signatures, requests)
        difference = largest_difference(loaded.signatures["serving_default"], golden)
        if not difference <= TOLERANCE[manifest["precision"]]:
            raise RuntimeError(
                "The export answers otherwise than the trained model: the distances of the golden "
                f"pairs differ by up to {difference:.2g}; at most "
                f"{TOLERANCE[manifest['precision']]:g} is allowed. Nothing is published."
            )
        write_warmup(folder, requests)
        manifest = {
            **manifest,
            "signatures": {name: _described(function) for name, function in signatures.items()},
            "difference_from_plain": difference,
            "files": {
                str(path.relative_to(folder)): sha256(path)
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            },
        }
        (folder / "MODEL_CARD.md").write_text(
            model_card(manifest, target.parent.name, int(target.name)), encoding="utf-8"
        )
        write_json(folder / "manifest.json", manifest)
    return target


def export_run(
    run: str | Path,
    to: str | Path,
    version: int | None = None,
    optimize: bool = False,
    precision: str = "float32",
) -> Path:
    """Exports the model of a finished run with its calibration, its data and its figures; see
    `export`.

    Raises:
        InputError: the run has not ended, or as `export`.
    """
    model, record = load_run(run)
    values = read_json(Path(run) / "calibration.json", "The run's calibration")
    known = {"metrics": run_metrics(run, record), "data": run_data(record)}
    return _export(model, to, version, from_dict(Calibration, values), known, optimize, precision)


def model_hash(model: CompleteTheLook) -> str:
    """The SHA-256, in hex, of what decides a model's embeddings: settings, picture size and
    weights. All exports of a trained model share it, whatever their precision."""
    return json_hash([to_dict(model.config), model.image_size, layers_hash(model.plain_layers)])


def _manifest(model: CompleteTheLook, calibration: Calibration | None) -> dict[str, Any]:
    exact = model.config.has_inner_product
    return {
        "model": "complete_the_look",
        "settings": to_dict(model.config),
        "image_size": model.image_size,
        "categories": list(model.categories),
        "model_hash": model_hash(model),
        "query_is_exact": exact,
        "score_embeddings": (
            "present"
            if exact
            else (
                "left out: plain norms and product attention have no inner-product form; `query` "
                "ranks approximately"
            )
        ),
        "calibration": to_dict(calibration) if calibration else None,
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
    }


def _described(signature: Any) -> dict[str, Any]:
    def named(specs: dict[str, Any]) -> dict[str, Any]:
        return {
            name: {"shape": list(spec.shape), "dtype": spec.dtype.name}
            for name, spec in sorted(specs.items())
        }

    positional, inputs = signature.structured_input_signature
    return {
        "inputs": named(inputs or {spec.name: spec for spec in positional}),
        "outputs": named(signature.structured_outputs),
    }
