"""What happens on the page, without the page: a scene's products, why they are near, and a look of
one of each category."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ctl_keras.errors import InputError
from ctl_keras.pictures.boards import short_name
from ctl_keras.pictures.regions import RegionShares, region_shares
from ctl_keras.retrieval.recommender import Recommender
from ctl_keras.web.scenes import open_picture

THUMBNAIL = 320
_DISTANCE = "hybrid_distance"


@dataclass(frozen=True)
class Found:
    """An answer: it stays with the person who asked.

    Attributes:
        seen: what the model saw of the scene.
        products: category path -> rows of `Recommender.recommend`, nearest first; perhaps none.
        scene: category path -> that category's part of `LocalModel.describe_scene`.
    """

    seen: Image.Image
    products: Mapping[str, list[dict[str, Any]]]
    scene: Mapping[str, dict[str, np.ndarray]]


class Looks:
    """A model and a catalog, as the page asks them.

    Args:
        model: an export, see `LocalModel`.
        catalog: a catalog that this model embedded.

    Attributes:
        settings: dict, the model's.
        categories: dict, what a category is called on the page -> its path; those that the catalog
            has products of.
        columns: names that a filter may use.

    Raises:
        InputError: as `Recommender`.
    """

    def __init__(self, model: str | Path, catalog: str | Path):
        self.recommender = Recommender(model, catalog)
        self.local = self.recommender.model
        self.settings: dict[str, Any] = self.local.manifest["settings"]
        offered = self.recommender.catalog.manifest["categories"]
        paths = [path for path in self.local.manifest["categories"] if offered.get(path)]
        counts = Counter(map(short_name, paths))
        self.categories = {
            path if counts[short_name(path)] > 1 else short_name(path): path for path in paths
        }
        self.columns = ["id", "category", *self.recommender.catalog.manifest["columns"]]

    def find(self, seen: Image.Image, categories: Sequence[str], k: int, where: str = "") -> Found:
        """The k nearest products of each category.

        Args:
            seen: what the model is to see of the scene.
            categories: paths.
            k: int.
            where: filter, perhaps empty.

        Raises:
            InputError: as `Recommender.recommend`.
        """
        if not categories:
            raise InputError("Choose at least one category.")
        products = self.recommender.recommend(seen, categories, k, where.strip() or None)
        described = self.local.describe_scene(seen, categories)
        scene = {
            path: {name: value[row] for name, value in described.items()}
            for row, path in enumerate(categories)
        }
        return Found(seen, products, scene)

    def regions(self, found: Found, category: str, rank: int) -> RegionShares:
        """Which regions of the scene bring a product close.

        Args:
            found: from `find`.
            category: path.
            rank: int. The product's place in its category, from 0.
        """
        catalog = self.recommender.catalog
        (row,) = np.flatnonzero(catalog.mask([found.products[category][rank]["id"]]))
        return region_shares(found.scene[category], catalog.embeddings[row], self.settings)


def first_look(found: Found) -> dict[str, int]:
    """Category path -> place of the product that is in the look: the nearest of each category that
    has one."""
    return {category: 0 for category, rows in found.products.items() if rows}


def swapped(look: Mapping[str, int], category: str, rank: int) -> dict[str, int]:
    """A look with another product of one category; the one before is unchanged."""
    return {**look, category: rank}


def look_rows(found: Found, look: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Category path -> row of the product that is in the look."""
    return {category: found.products[category][rank] for category, rank in look.items()}


def look_distances(found: Found, look: Mapping[str, int]) -> tuple[float, float]:
    """Sum and mean of the distances of a look's products; zeros for none."""
    distances = [row[_DISTANCE] for row in look_rows(found, look).values()]
    return float(np.sum(distances)), float(np.mean(distances)) if distances else 0.0


def facts(row: Mapping[str, Any]) -> dict[str, str]:
    """A product's columns for people: without the place of its picture, the distance, and what is
    missing."""
    hidden = ("image", "category", _DISTANCE, "same_picture")
    shown = {**row, "also with this picture": ", ".join(row["same_picture"]) or None}
    kept = {name: value for name, value in shown.items() if name not in hidden}
    return {name: str(value) for name, value in kept.items() if value is not None}


def thumbnail(row: Mapping[str, Any]) -> Image.Image:
    """A product's picture, small; where it is gone or damaged, one that says so."""
    try:
        return open_picture(row["image"], THUMBNAIL)
    except InputError:
        empty = Image.new("RGB", (THUMBNAIL, THUMBNAIL), "#e5e5e5")
        ImageDraw.Draw(empty).text(
            (THUMBNAIL / 2, THUMBNAIL / 2), "no picture", fill="#444444", anchor="mm", font_size=36
        )
        return empty
