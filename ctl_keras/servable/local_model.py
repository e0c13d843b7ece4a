"""An export in this process, called as a server would be: pictures in, distances out."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ctl_keras.client.answers import empty, readable
from ctl_keras.client.call import Answer, Call
from ctl_keras.client.methods import Methods
from ctl_keras.client.serving_error import MISSING
from ctl_keras.data.images import picture_problem
from ctl_keras.data.picture_files import Picture, picture_bytes
from ctl_keras.errors import InputError
from ctl_keras.files import read_json, versions
from ctl_keras.servable.signatures import category_names

_BATCH = 32


def newest_version(folder: str | Path) -> Path | None:
    """The folder of an export's newest version, or `folder` itself if it is one; else None."""
    newest = Path(folder) / str(max(versions(Path(folder)), default=""))
    return newest if (newest / "saved_model.pb").is_file() else None


class LocalModel(Methods[Answer]):
    """An export that is loaded into this process, with the methods of `Client`: the same arguments
    and results, without a server.

    Args:
        folder: `saved_models/NAME`, of which the newest version is taken, or a version's own
            folder.

    Attributes:
        folder: `Path` of the version.
        loaded: what `tf.saved_model.load` gave.
        manifest: dict, the export's `manifest.json`.

    Raises:
        InputError: there is no export. From a method: as from `Client`'s, or the export has no such
            signature.
    """

    def __init__(self, folder: str | Path):
        newest = newest_version(folder)
        if newest is None:
            raise InputError(
                f"{folder} holds no export. Make one with `export --run RUN --to {folder}`."
            )
        self.folder = newest
        self.manifest: dict[str, Any] = read_json(
            newest / "manifest.json", "The manifest of the export"
        )
        self.loaded = tf.saved_model.load(str(newest))

    def describe_scene(self, scene: Picture, categories: Sequence[str]) -> dict[str, np.ndarray]:
        """All that the model knows of one scene for each of some categories: what `embed_scene`
        gives, and its regions.

        Args:
            scene: picture.
            categories: whole paths or last parts.

        Returns:
            A dict with the outputs of `embed_scene`, `region_embeddings`, float32 `[categories,
            regions, dim]`, and, unless the attention is uniform, `attention_embeddings` of the same
            shape.

        Raises:
            InputError: unknown category, or a picture that is missing.
        """
        for category in categories:
            self.category_path(category)
        files = tf.constant([picture_bytes(scene)] * len(categories))
        described = self.loaded.describe_scene(files, tf.constant(list(categories)))
        return {name: value.numpy() for name, value in described.items()}

    def distances(self, scene: Picture, category: str, embeddings: np.ndarray) -> np.ndarray:
        """The model's own distances from one scene to embedded products.

        Args:
            scene: picture.
            category: whole path or last part.
            embeddings: float32 `[products, dim]`.

        Returns:
            float32 `[products]`.

        Raises:
            InputError: unknown category, or a picture that is missing.
        """
        self.category_path(category)
        described = self.loaded.describe_scene(
            tf.constant([picture_bytes(scene)]), tf.constant([category])
        )
        distances: np.ndarray = self.loaded.distances(
            described, tf.constant(embeddings[None])
        ).numpy()[0]
        return distances

    def scene_bytes(self, scene: Picture) -> bytes:
        """A scene as the file that the model decodes.

        Args:
            scene: picture.

        Returns:
            bytes.

        Raises:
            InputError: it is missing, or the model would flag it as not valid.
        """
        data = picture_bytes(scene)
        if problem := picture_problem(data):
            name = f" {scene}" if isinstance(scene, str | Path) else ""
            raise InputError(f"The scene{name} cannot be used: {problem}.")
        return data

    def category_path(self, category: str) -> str:
        """The whole path of a category.

        Args:
            category: whole path or last part.

        Returns:
            str.

        Raises:
            InputError: the model does not know it.
        """
        categories: list[str] = self.manifest["categories"]
        names = category_names(tuple(categories))
        index = names.get(category)
        if index is None:
            near = difflib.get_close_matches(category, names, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"It knows: {', '.join(categories)}"
            raise InputError(f"The model does not know the category {category!r}. {hint}")
        return categories[index]

    def _run(self, call: Call) -> Answer:
        function = self.loaded.signatures.get(call.signature)
        if function is None:
            hint = MISSING[call.signature]
            raise InputError(f"{self.folder} has no signature `{call.signature}`. {hint}")
        parts = []
        for start in range(0, call.rows, _BATCH):
            stop = min(start + _BATCH, call.rows)
            inputs = {name: column.rows(start, stop) for name, column in call.columns.items()}
            outputs = function(**{name: tf.constant(rows) for name, rows in inputs.items()})
            parts.append({name: readable(value.numpy()) for name, value in outputs.items()})
        if not parts:
            return call.finish(empty(call.signature))
        return call.finish({n: np.concatenate([part[n] for part in parts]) for n in parts[0]})


def nearest_first(
    model: LocalModel, scene: Picture, products: Sequence[str | Path], category: str
) -> list[dict[str, Any]]:
    """What `LocalModel.score` says of products' files, in rows.

    Args:
        model: the export, loaded.
        scene: picture.
        products: picture files.
        category: whole path or last part.

    Returns:
        A dict for each product, nearest first: `product`, `hybrid_distance`, `global_distance`,
        `local_distance`, `compatibility` and `valid`; those that can't be decoded come last.

    Raises:
        InputError: unknown category, a missing picture, or a scene that can't be decoded.
    """
    model.category_path(category)
    answer = sorted(model.score(model.scene_bytes(scene), products, category).items())
    rows = [
        {"product": str(product), **{name: values[row].item() for name, values in answer}}
        for row, product in enumerate(products)
    ]
    return sorted(rows, key=lambda row: row["hybrid_distance"])


def format_scores(rows: list[dict[str, Any]]) -> str:
    """The rows of `nearest_first` for people, one a line."""
    lines = ["distance  compatibility  product"]
    for row in rows:
        note = "" if row["valid"] else "  (not a picture that can be decoded)"
        lines.append(
            f"{row['hybrid_distance']:8.4f}  {row['compatibility']:13.3f}  {row['product']}{note}"
        )
    return "\n".join(lines)
