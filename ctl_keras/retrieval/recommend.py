"""The products of a catalogue that complete a scene: brute force over a table of product pictures."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from ctl_keras.errors import InputError
from ctl_keras.export.servable import category_names
from ctl_keras.progress import console
from ctl_keras.serving.local import LocalModel

COLUMNS = ("id", "image", "category")


def recommend(model: str | Path, catalog: str | Path, scene: str | Path, category: str, k: int = 10) -> list[dict[str, Any]]:
    """Ranks a catalogue's products of one category for a scene.

    Args:
        model: an export, see `LocalModel`.
        catalog: CSV with columns `id, image, category` (others are ignored); `image` is a path, relative to the CSV's
            folder. Products whose picture cannot be read are left out and counted on stderr.
        scene: picture file.
        category: whole path or last part.
        k: int. Number of products. Defaults to 10; fewer come back when the category has fewer.

    Returns:
        Dicts of `id`, `image` and `hybrid_distance`, nearest first.

    Raises:
        InputError: wrong catalogue, category, scene or k.
    """
    if k < 1:
        raise InputError(f"`k` must be positive. Received: {k}")
    loaded = LocalModel(model)
    index_of = category_names(tuple(loaded.manifest["categories"]))
    rows = [row for row in read_catalog(catalog) if index_of.get(row["category"], -1) == index_of.get(category)]
    distances, valid = loaded.rank(scene, [row["image"] for row in rows], category)
    if not rows:
        raise InputError(f"The catalogue {catalog} has no product of the category {category!r}.")
    if not valid.all():
        console.print(f"{(~valid).sum()} of {len(rows)} products are left out: their pictures cannot be read.", style="yellow")
    order = [row for row in np.argsort(distances, kind="stable") if valid[row]][:k]
    return [
        {"id": rows[row]["id"], "image": str(rows[row]["image"]), "hybrid_distance": float(distances[row])} for row in order
    ]


def read_catalog(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a catalogue CSV, with `image` as a path.

    Raises:
        InputError: the file is missing, is no CSV in UTF-8, or lacks a column.
    """
    path = Path(path)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or [])]
            if missing:
                raise InputError(f"The catalogue {path} lacks the column {missing[0]}. Needed: {', '.join(COLUMNS)}")
            return [{**row, "image": path.parent / (row["image"] or "")} for row in reader]
    except FileNotFoundError:
        raise InputError(f"The catalogue {path} does not exist.") from None
    except (UnicodeDecodeError, csv.Error, IsADirectoryError) as error:
        raise InputError(f"The catalogue {path} is no CSV file in UTF-8: {error}") from None
