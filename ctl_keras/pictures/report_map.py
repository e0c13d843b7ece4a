"""A map of product embeddings: products that the model takes for similar lie near each other."""

from dataclasses import dataclass

import numpy as np

from ctl_keras.data.batches import image_batches
from ctl_keras.data.pairs import Pairs
from ctl_keras.models.complete_the_look import CompleteTheLook
from ctl_keras.pictures.boards import short_name
from ctl_keras.pictures.report_images import Picture, product_picture

LARGEST = 600  # products; with their thumbnails about 1 MB
THUMBNAIL = 56
_SPARE = 1.7  # cells for each product: what is left empty shows the shape
_ASPECT = 1.6


@dataclass(frozen=True)
class MappedProduct:
    """A thumbnail and its cell, both counted from 1; `category` is an index into the map's."""

    id: str
    picture: Picture
    column: int
    row: int
    category: int


@dataclass(frozen=True)
class ProductMap:
    """The map: its products, its size in cells, its categories and how many of each are shown, how
    many products there are, and the share of the variance that lies in the plane."""

    products: tuple[MappedProduct, ...]
    columns: int
    rows: int
    categories: tuple[tuple[str, int], ...]
    total: int
    share: float


def product_map(model: CompleteTheLook, pairs: Pairs, largest: int = LARGEST) -> ProductMap:
    """Maps the candidates of a table's pairs by the first two principal components of their
    embeddings.

    Args:
        model: the trained model.
        pairs: the table, whose category indexes the model's.
        largest: int. Of more products so many are drawn at random, always the same. Defaults to
            600.
    """
    asked = np.unique(pairs.category)
    category_of = {
        int(image): int(category)
        for category in asked
        for image in pairs.category_products[category]
    }
    every = np.array(sorted(category_of), int)
    images = every
    if len(every) > largest:
        images = np.sort(np.random.default_rng(0).choice(every, largest, replace=False))
    batches = image_batches(pairs.images, images, None, 32, model.image_size)
    plane, share = principal_plane(model.product_tower.predict(batches, verbose=0))
    columns = int(np.ceil(np.sqrt(_SPARE * _ASPECT * len(images))))
    rows = int(np.ceil(_SPARE * len(images) / columns))
    cells = snap_to_grid(plane, columns, rows)
    shown = [
        category
        for category in asked.tolist()
        if any(category_of[int(image)] == category for image in images)
    ]
    products = tuple(
        MappedProduct(
            id=pairs.images.ids[image],
            picture=product_picture(pairs.images, image, "", THUMBNAIL),
            column=1 + int(column),
            row=1 + int(row),
            category=shown.index(category_of[int(image)]),
        )
        for image, (column, row) in zip(images, cells, strict=True)
    )
    counts = np.bincount([product.category for product in products])
    categories = tuple(
        (short_name(pairs.categories[index]), int(count))
        for index, count in zip(shown, counts, strict=True)
    )
    return ProductMap(products, columns, rows, categories, len(every), share)


def principal_plane(embeddings: np.ndarray) -> tuple[np.ndarray, float]:
    """The first two principal components.

    Their signs are those that make the largest loading positive, so that the same embeddings give
    the same map.

    Args:
        embeddings: float `[products, dim]`.

    Returns:
        float64 `[products, 2]`, and the share of the variance that lies in them (0 if there is
        none).
    """
    centred = np.asarray(embeddings, np.float64) - np.mean(embeddings, axis=0, dtype=np.float64)
    _, scale, axes = np.linalg.svd(centred, full_matrices=False)
    axes = (
        axes[:2] * np.sign(axes[np.arange(len(axes[:2])), np.abs(axes[:2]).argmax(axis=1)])[:, None]
    )
    plane = np.zeros((len(centred), 2))
    plane[:, : len(axes)] = centred @ axes.T
    variance = np.square(scale)
    return plane, float(variance[:2].sum() / variance.sum()) if variance.sum() > 0 else 0.0


def snap_to_grid(plane: np.ndarray, columns: int, rows: int) -> np.ndarray:
    """A cell of its own for each point: the nearest that is free, points in the middle first.

    Args:
        plane: float `[points, 2]`.
        columns: int, of the grid.
        rows: int, of the grid, which has at least as many cells as there are points.

    Returns:
        int `[points, 2]`: column from the left, row from the top, both from 0; the second
        coordinate points up.
    """
    low, high = plane.min(axis=0), plane.max(axis=0)
    share = (plane - low) / np.where(high > low, high - low, 1)
    share[:, 1] = 1 - share[:, 1]
    wanted = share * [columns - 1, rows - 1]
    free = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
    cells = np.zeros((len(plane), 2), int)
    for point in np.argsort(np.square(share - share.mean(axis=0)).sum(axis=1), kind="stable"):
        nearest = np.square(free - wanted[point]).sum(axis=1).argmin()
        cells[point] = free[nearest]
        free = np.delete(free, nearest, axis=0)
    return cells
