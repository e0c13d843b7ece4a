"""A version of an export on disk: it appears under its number only when it is whole and right.

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

import tensorflow as tf

from ctl_keras.errors import InputError
from ctl_keras.files import new_folder, require_new, sha256, versions, write_json
from ctl_keras.servable.golden import TOLERANCE, GoldenPair, largest_difference
from ctl_keras.servable.model_card import model_card
from ctl_keras.servable.warmup import replay, warmup_requests, write_warmup


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
        manifest: dict, with `golden`, `precision`, `warmup_batch_size`, `categories` and
            `settings`; the rest is filled in here.

    Returns:
        `target`.

    Raises:
        RuntimeError, OSError, tf.errors.OpError: as `ctl_keras.export`.
    """
    golden = [GoldenPair.from_json(pair) for pair in manifest["golden"]]
    with new_folder(target) as folder:
        tf.saved_model.save(module, str(folder), signatures=signatures)
        settings = tuple(manifest["categories"]), manifest["settings"]["dim"], list(signatures)
        requests = warmup_requests(*settings, manifest["warmup_batch_size"])
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
