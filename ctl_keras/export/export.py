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

from ctl_keras.config import from_dict, to_dict
from ctl_keras.errors import InputError
from ctl_keras.export.model_card import model_card
from ctl_keras.export.servable import Servable
from ctl_keras.export.warmup import replay, warmup_requests, write_warmup
from ctl_keras.files import new_folder, read_json, sha256, write_json
from ctl_keras.models.complete_the_look import CompleteTheLook
from ctl_keras.training.calibration import UNCALIBRATED, Calibration
from ctl_keras.training.run import load_run


def export(
    model: CompleteTheLook,
    to: str | Path,
    version: int | None = None,
    calibration: Calibration | None = None,
    metrics: dict[str, Any] | None = None,
) -> Path:
    """Writes a SavedModel that scores and embeds picture files.

    The version appears under its number only when it is complete and has answered its own warm-up requests.

    Args:
        model: the trained model.
        to: `saved_models/NAME`, the folder that TensorFlow Serving is given as base path.
        version: int. Defaults to the next free one.
        calibration: from `fit_calibration`. Without it `compatibility` is `sigmoid(2 - hybrid_distance)`, and the manifest
            says so.
        metrics: dict, copied into the manifest.

    Returns:
        The version's folder.

    Raises:
        InputError: the version exists or is not positive.
        RuntimeError: the export fails its own warm-up.
        OSError, tf.errors.OpError: the disk is full, or the folder cannot be written; nothing stays behind.
    """
    to = Path(to)
    if to.exists() and not to.is_dir():
        raise InputError(f"{to} is a file; name a folder such as saved_models/looks.")
    if version is None:
        version = max(versions(to), default=0) + 1
    if version < 1:
        raise InputError(f"`version` must be positive. Received: {version}")
    servable = Servable(model, calibration or UNCALIBRATED)
    signatures = servable.signatures()
    with new_folder(to / str(version)) as folder:
        tf.saved_model.save(servable, str(folder), signatures=signatures)
        requests = warmup_requests(model.categories, model.config.dim, list(signatures))
        replay(folder, requests)
        write_warmup(folder, requests)
        manifest = _manifest(model, signatures, calibration, metrics, folder)
        (folder / "MODEL_CARD.md").write_text(model_card(manifest, to.name, version), encoding="utf-8")
        write_json(folder / "manifest.json", manifest)
    return to / str(version)


def export_run(run: str | Path, to: str | Path, version: int | None = None) -> Path:
    """Exports the model of a finished run with its calibration and its validation figures; see `export`.

    Raises:
        InputError: the run has not ended, or as `export`.
    """
    model, record = load_run(run)
    values = read_json(Path(run) / "calibration.json", "The run's calibration")
    return export(model, to, version, from_dict(Calibration, values), {"validation": record["best"]})


def versions(base: Path) -> list[int]:
    """The version numbers below a base path, sorted; TensorFlow Serving ignores other names."""
    if not base.is_dir():
        return []
    return sorted(int(path.name) for path in base.iterdir() if path.is_dir() and path.name.isascii() and path.name.isdigit())


def _manifest(
    model: CompleteTheLook,
    signatures: dict[str, Any],
    calibration: Calibration | None,
    metrics: dict[str, Any] | None,
    folder: Path,
) -> dict[str, Any]:
    def described(specs: dict[str, Any]) -> dict[str, Any]:
        return {name: {"shape": list(spec.shape), "dtype": spec.dtype.name} for name, spec in sorted(specs.items())}

    concrete = {name: function.get_concrete_function() for name, function in signatures.items()}
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
            for name, function in concrete.items()
        },
        "query_is_exact": exact,
        "score_embeddings": "present"
        if exact
        else "left out: plain norms and product attention have no inner-product form; `query` ranks approximately",
        "calibration": to_dict(calibration) if calibration else None,
        "metrics": metrics or {},
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
        "files": {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()},
    }


def _named(function: Any) -> dict[str, tf.TensorSpec]:
    return {spec.name: spec for spec in function.structured_input_signature[0]}
