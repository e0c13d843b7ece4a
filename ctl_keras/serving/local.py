"""An export in this process, called as a server would be: picture files in, distances out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ctl_keras.data.images import picture_problem
from ctl_keras.data.picture_files import read_image_bytes
from ctl_keras.errors import InputError
from ctl_keras.export.export import versions
from ctl_keras.export.servable import category_names
from ctl_keras.files import read_json

_BATCH = 32


class LocalModel:
    """A loaded export.

    Args:
        folder: `saved_models/NAME`, of which the newest version is taken, or a version's own folder.

    Attributes:
        manifest: dict, the export's `manifest.json`.

    Raises:
        InputError: there is no export.
    """

    def __init__(self, folder: str | Path):
        folder = Path(folder)
        newest = folder / str(max(versions(folder), default=""))
        if not (newest / "saved_model.pb").is_file():
            raise InputError(f"{folder} holds no export. Make one with `export --run RUN --to {folder}`.")
        self.manifest: dict[str, Any] = read_json(newest / "manifest.json", "The manifest of the export")
        self._loaded = tf.saved_model.load(str(newest))

    def score(self, scene: str | Path, products: Sequence[str | Path], category: str) -> list[dict[str, Any]]:
        """Distances from one scene to products of one category, nearest first.

        Args:
            scene: picture file.
            products: picture files.
            category: whole path or last part.

        Returns:
            A dict for each product: `product`, `hybrid_distance`, `global_distance`, `local_distance`, `compatibility` and
            `valid`; products that can't be decoded come last.

        Raises:
            InputError: unknown category, a missing picture, or a scene that can't be decoded.
        """
        self._check_category(category)
        scene_bytes = _scene_bytes(scene)
        data = [read_image_bytes(product) for product in products]
        outputs = self._batched(
            "serving_default", scene_bytes=[scene_bytes] * len(data), product_bytes=data, category=[category] * len(data)
        )
        rows = [
            {"product": str(product), **{name: values[row].item() for name, values in sorted(outputs.items())}}
            for row, product in enumerate(products)
        ]
        return sorted(rows, key=lambda row: row["hybrid_distance"])

    def rank(self, scene: str | Path, products: Sequence[str | Path], category: str) -> tuple[np.ndarray, np.ndarray]:
        """Distances from one scene to many products: each picture is embedded once where the distance allows it.

        Args: as `score`.

        Returns:
            float32 `[products]` distances and bool `[products]`, whether the picture could be read, in the order given.

        Raises:
            InputError: as `score`; a product's picture that is missing is only not valid.
        """
        self._check_category(category)
        scene_bytes = _scene_bytes(scene)
        data = [_bytes_or_empty(product) for product in products]
        if not data:
            return np.zeros(0, np.float32), np.zeros(0, bool)
        if "score_embeddings" not in self._loaded.signatures:
            outputs = self._batched(
                "serving_default", scene_bytes=[scene_bytes] * len(data), product_bytes=data, category=[category] * len(data)
            )
            return outputs["hybrid_distance"], outputs["valid"]
        query = self._batched("embed_scene", scene_bytes=[scene_bytes], category=[category])["query"]
        embedded = self._batched("embed_product", product_bytes=data)
        return 2 - embedded["embedding"] @ query[0], embedded["valid"]

    def _check_category(self, category: str) -> None:
        if category not in category_names(tuple(self.manifest["categories"])):
            raise InputError(
                f"The model does not know the category {category!r}. It knows: {', '.join(self.manifest['categories'])}"
            )

    def _batched(self, signature: str, **inputs: Sequence[Any]) -> dict[str, np.ndarray]:
        function = self._loaded.signatures[signature]
        length = len(next(iter(inputs.values())))
        parts = [
            function(**{name: tf.constant(values[start : start + _BATCH]) for name, values in inputs.items()})
            for start in range(0, length, _BATCH)
        ]
        return {name: np.concatenate([part[name].numpy() for part in parts]) for name in parts[0]}


def format_scores(rows: list[dict[str, Any]]) -> str:
    """The rows of `score` for people, one a line."""
    lines = ["distance  compatibility  product"]
    for row in rows:
        note = "" if row["valid"] else "  (not a picture that can be decoded)"
        lines.append(f"{row['hybrid_distance']:8.4f}  {row['compatibility']:13.3f}  {row['product']}{note}")
    return "\n".join(lines)


def _scene_bytes(scene: str | Path) -> bytes:
    data = read_image_bytes(scene)
    if problem := picture_problem(data):
        raise InputError(f"The scene {scene} cannot be used: {problem}.")
    return data


def _bytes_or_empty(path: str | Path) -> bytes:
    try:
        return read_image_bytes(path)
    except InputError:
        return b""  # the model flags the row
