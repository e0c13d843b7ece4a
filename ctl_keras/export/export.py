"""A trained model to a version directory for TensorFlow Serving.

```
saved_models/NAME/<version>/
    saved_model.pb  variables/  fingerprint.pb                        stock ops only
    assets.extra/tf_serving_warmup_requests                           replayed before they were written
    manifest.json                                                     settings, categories, signatures, metrics, hashes
    MODEL_CARD.md
```
"""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from ctl_keras.config import EXPORT_PRECISIONS, from_dict, require_choice, to_dict
from ctl_keras.errors import InputError
from ctl_keras.export.golden import TOLERANCE, golden_pairs, largest_difference
from ctl_keras.export.model_card import model_card
from ctl_keras.export.servable import Servable
from ctl_keras.export.warmup import replay, warmup_requests, write_warmup
from ctl_keras.files import new_folder, read_json, require_new, sha256, write_json
from ctl_keras.models.complete_the_look import CompleteTheLook
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

    The version appears under its number only when it is complete, has answered its own warm-up requests, and has given the
    trained model's distances of a few golden pairs, which the manifest keeps.

    Args:
        model: the trained model.
        to: `saved_models/NAME`, the folder that TensorFlow Serving is given as base path.
        version: int. Defaults to the next free one.
        calibration: from `fit_calibration`. Without it `compatibility` is `sigmoid(2 - hybrid_distance)`, and the manifest
            says so.
        metrics: dict, copied into the manifest.
        optimize: bool. Folds BatchNorms into the convolutions, see `FoldedTrunk`. Defaults to False.
        precision: `"float32"`, or `"bfloat16"` for the layers of the network and of the projections; inputs, norms, softmax,
            distances and outputs stay float32. Faster where the processor has bfloat16, slower where it has not. Defaults to
            `"float32"`.

    Returns:
        The version's folder.

    Raises:
        InputError: the version exists or is not positive, there is no such precision, or the network cannot be folded.
        RuntimeError: the export fails its own warm-up, or the golden answers do not come back from it.
        OSError, tf.errors.OpError: the disk is full, or the folder cannot be written; nothing stays behind.
    """
    to = Path(to)
    if to.exists() and not to.is_dir():
        raise InputError(f"{to} is a file; name a folder such as saved_models/looks.")
    if version is None:
        version = max(versions(to), default=0) + 1
    if version < 1:
        raise InputError(f"`version` must be positive. Received: {version}")
    require_choice("precision", precision, EXPORT_PRECISIONS)
    require_new(to / str(version))
    golden = golden_pairs(model)
    served = model if precision == "float32" else model.copy("mixed_bfloat16")
    servable = Servable(served, calibration or UNCALIBRATED, optimize)
    with new_folder(to / str(version)) as folder:
        tf.saved_model.save(servable, str(folder), signatures=servable.signatures())
        requests = warmup_requests(model.categories, model.config.dim, list(servable.signatures()))
        loaded = tf.saved_model.load(str(folder))
        replay(loaded.signatures, requests)
        difference = largest_difference(loaded.signatures["serving_default"], golden)
        if not difference <= TOLERANCE[precision]:
            raise RuntimeError(
                f"The export answers otherwise than the trained model: the distances of the golden pairs differ by up to "
                f"{difference:.2g}; at most {TOLERANCE[precision]:g} is allowed. Nothing is published."
            )
        write_warmup(folder, requests)
        manifest = {
            **_manifest(model, servable.signatures(), calibration, metrics),
            "optimized": optimize,
            "precision": precision,
            "difference_from_plain": difference,
            "golden": [pair.to_json() for pair in golden],
            "files": {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()},
        }
        (folder / "MODEL_CARD.md").write_text(model_card(manifest, to.name, version), encoding="utf-8")
        write_json(folder / "manifest.json", manifest)
    return to / str(version)


def export_run(
    run: str | Path, to: str | Path, version: int | None = None, optimize: bool = False, precision: str = "float32"
) -> Path:
    """Exports the model of a finished run with its calibration and its validation figures; see `export`.

    Raises:
        InputError: the run has not ended, or as `export`.
    """
    model, record = load_run(run)
    values = read_json(Path(run) / "calibration.json", "The run's calibration")
    return export(model, to, version, from_dict(Calibration, values), {"validation": record["best"]}, optimize, precision)


def versions(base: Path) -> list[int]:
    """The version numbers below a base path, sorted; TensorFlow Serving ignores other names."""
    if not base.is_dir():
        return []
    names = [path.name for path in base.iterdir() if path.is_dir() and path.name.isascii() and path.name.isdigit()]
    return sorted(int(name) for name in names if str(int(name)) == name)  # a zero-padded one has another path than its number


def _manifest(
    model: CompleteTheLook,
    signatures: dict[str, Any],
    calibration: Calibration | None,
    metrics: dict[str, Any] | None,
) -> dict[str, Any]:
    def described(specs: dict[str, Any]) -> dict[str, Any]:
        return {name: {"shape": list(spec.shape), "dtype": spec.dtype.name} for name, spec in sorted(specs.items())}

    exact = model.config.has_inner_product
    return {
        "model": "complete_the_look",
        "settings": to_dict(model.config),
        "image_size": model.image_size,
        "categories": list(model.categories),
        "signatures": {
            name: {
                "inputs": described(function.structured_input_signature[1] or _named(function)),
                "outputs": described(function.structured_outputs),
            }
            for name, function in signatures.items()
        },
        "query_is_exact": exact,
        "score_embeddings": "present"
        if exact
        else "left out: plain norms and product attention have no inner-product form; `query` ranks approximately",
        "calibration": to_dict(calibration) if calibration else None,
        "metrics": metrics or {},
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
    }


def _named(function: Any) -> dict[str, tf.TensorSpec]:
    return {spec.name: spec for spec in function.structured_input_signature[0]}
