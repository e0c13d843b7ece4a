"""An export in this process, called as a server would be: picture files in, distances out."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ctl_keras.data.images import picture_problem
from ctl_keras.data.picture_files import read_image_bytes
from ctl_keras.errors import InputError
from ctl_keras.files import read_json, versions
from ctl_keras.servable.signatures import category_names

_BATCH = 32


def newest_version(folder: str | Path) -> Path | None:
    """The folder of an export's newest version, or `folder` itself if it is one; else None."""
    newest = Path(folder) / str(max(versions(Path(folder)), default=""))
    return newest if (newest / "saved_model.pb").is_file() else None


class LocalModel:
    """A loaded export.

    Args:
        folder: `saved_models/NAME`, of which the newest version is taken, or a version's own
            folder.

    Attributes:
        folder: `Path` of the version.
        loaded: what `tf.saved_model.load` gave.
        manifest: dict, the export's `manifest.json`.

    Raises:
        InputError: there is no export.
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

    def score(
        self, scene: str | Path, products: Sequence[str | Path], category: str
    ) -> list[dict[str, Any]]:
        """Distances from one scene to products of one category, nearest first.

        Args:
            scene: picture file.
            products: picture files.
            category: whole path or last part.

        Returns:
            A dict for each product: `product`, `hybrid_distance`, `global_distance`,
            `local_distance`, `compatibility` and `valid`; products that can't be decoded come last.

        Raises:
            InputError: unknown category, a missing picture, or a scene that can't be decoded.
        """
        self.category_path(category)
        scene_bytes = _scene_bytes(scene)
        data = [read_image_bytes(product) for product in products]
        outputs = self._batched(
            "serving_default",
            scene_bytes=[scene_bytes] * len(data),
            product_bytes=data,
            category=[category] * len(data),
        )
        rows = [
            {
                "product": str(product),
                **{name: values[row].item() for name, values in sorted(outputs.items())},
            }
            for row, product in enumerate(products)
        ]
        return sorted(rows, key=lambda row: row["hybrid_distance"])

    def embed_scene(self, scene: str | Path, categories: Sequence[str]) -> dict[str, np.ndarray]:
        """One scene's embeddings for each of some categories, from one pass of the network.

        Args:
            scene: picture file.
            categories: whole paths or last parts.

        Returns:
            A dict of `query` and `global_embedding`, float32 `[categories, dim]`, `attention`,
            float32 `[categories, rows, columns]`, and `valid`, bool `[categories]`, all true.

        Raises:
            InputError: unknown category, a missing picture, or a scene that can't be decoded.
        """
        for category in categories:
            self.category_path(category)
        return self._batched(
            "embed_scene", scene_bytes=[_scene_bytes(scene)] * len(categories), category=categories
        )

    def describe_scene(self, scene: str | Path, categories: Sequence[str]) -> dict[str, np.ndarray]:
        """All that the model knows of one scene for each of some categories: what `embed_scene`
        gives, and its regions.

        Args:
            scene: picture file.
            categories: whole paths or last parts.

        Returns:
            A dict with the outputs of `embed_scene`, `region_embeddings`, float32 `[categories,
            regions, dim]`, and, unless the attention is uniform, `attention_embeddings` of the same
            shape.

        Raises:
            InputError: as `embed_scene`.
        """
        for category in categories:
            self.category_path(category)
        files = tf.constant([_scene_bytes(scene)] * len(categories))
        described = self.loaded.describe_scene(files, tf.constant(list(categories)))
        return {name: value.numpy() for name, value in described.items()}

    def embed_product(self, products: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Embeddings of products.

        Args:
            products: files' bytes, at least one.

        Returns:
            A dict of `embedding`, float32 `[products, dim]`, and `valid`, bool `[products]`.
        """
        return self._batched("embed_product", product_bytes=products)

    def distances(self, scene: str | Path, category: str, embeddings: np.ndarray) -> np.ndarray:
        """The model's own distances from one scene to embedded products.

        Args:
            scene: picture file.
            category: whole path or last part.
            embeddings: float32 `[products, dim]`.

        Returns:
            float32 `[products]`.

        Raises:
            InputError: as `embed_scene`.
        """
        self.category_path(category)
        described = self.loaded.describe_scene(
            tf.constant([_scene_bytes(scene)]), tf.constant([category])
        )
        distances: np.ndarray = self.loaded.distances(
            described, tf.constant(embeddings[None])
        ).numpy()[0]
        return distances

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

    def _batched(self, signature: str, **inputs: Sequence[Any]) -> dict[str, np.ndarray]:
        function = self.loaded.signatures[signature]
        length = len(next(iter(inputs.values())))
        parts = [
            function(
                **{
                    name: tf.constant(values[start : start + _BATCH])
                    for name, values in inputs.items()
                }
            )
            for start in range(0, length, _BATCH)
        ]
        return {name: np.concatenate([part[name].numpy() for part in parts]) for name in parts[0]}


def format_scores(rows: list[dict[str, Any]]) -> str:
    """The rows of `score` for people, one a line."""
    lines = ["distance  compatibility  product"]
    for row in rows:
        note = "" if row["valid"] else "  (not a picture that can be decoded)"
        lines.append(
            f"{row['hybrid_distance']:8.4f}  {row['compatibility']:13.3f}  {row['product']}{note}"
        )
    return "\n".join(lines)


def _scene_bytes(scene: str | Path) -> bytes:
    data = read_image_bytes(scene)
    if problem := picture_problem(data):
        raise InputError(f"The scene {scene} cannot be used: {problem}.")
    return data
