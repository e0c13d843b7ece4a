"""What the regions of a scene say about a product: how near each is, how much it counts, and both
laid over the scene.

Needs Pillow only, so that the page can draw without matplotlib.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

# least to most: ever lighter, also without colours
ATTENTION = ("#10002b", "#6a1b7a", "#d1495b", "#ffb703", "#fff3b0")
CLOSER, FARTHER = "#0b7285", "#c2410c"
_STRENGTH = 0.55  # of an overlay
_EPSILON = 1e-12


class RegionShares(NamedTuple):
    """What each region says about one product, float64 `[rows, columns]` each.

    Attributes:
        attention: how much it counts; adds up to 1.
        distances: from the region to the product.
        contributions: attention times distance; adds up to the local distance.
        pulls: by how much the region brings the product closer than the scene's regions do on
            average; adds up to 0.
    """

    attention: np.ndarray
    distances: np.ndarray
    contributions: np.ndarray
    pulls: np.ndarray

    @property
    def local_distance(self) -> float:
        """The product's local distance."""
        return float(self.contributions.sum())


def region_shares(
    scene: Mapping[str, np.ndarray], product: np.ndarray, settings: Mapping[str, Any]
) -> RegionShares:
    """The local distance, region by region.

    ```
    distance_i     = ||region_i - product||^2             (or the plain norm)
    contribution_i = attention_i * distance_i
    pull_i         = attention_i * (sum over j of contribution_j - distance_i)
    ```

    Args:
        scene: one scene and category, as `LocalModel.describe_scene` gives it: `attention` `[rows,
            columns]`, `region_embeddings` `[regions, dim]` and, for attention by product,
            `attention_embeddings` `[regions, dim]`.
        product: `[dim]`, its embedding.
        settings: the model's, from the export's manifest: `squared`, `attention` and `temperature`
            are looked at.

    Reference:
        Kang et al., CVPR 2019 (arXiv 1812.01748), section 4.2; attention by product: see
        `CategoryAttention`.
    """
    grid = np.shape(scene["attention"])
    product = np.asarray(product, np.float64)
    squares = _squares(scene["region_embeddings"], product)
    distances = squares if settings["squared"] else np.sqrt(np.maximum(squares, _EPSILON))
    if settings["attention"] == "product":  # what the scene brings along weighs all regions alike
        logits = -_squares(scene["attention_embeddings"], product) / settings["temperature"]
        weights = np.exp(logits - logits.max())
        attention = weights / weights.sum()
    else:
        attention = np.asarray(scene["attention"], np.float64).reshape(-1)
    contributions = attention * distances
    pulls = attention * (contributions.sum() - distances)
    return RegionShares(
        *(values.reshape(grid) for values in (attention, distances, contributions, pulls))
    )


def _squares(regions: np.ndarray, product: np.ndarray) -> np.ndarray:
    squares: np.ndarray = np.square(np.asarray(regions, np.float64) - product).sum(-1)
    return squares


def place(cell: Sequence[int], grid: Sequence[int]) -> str:
    """Where a region lies, in words: "upper left", "centre", "lower middle" …

    Args:
        cell: row and column.
        grid: rows and columns.
    """
    row, column = (3 * (2 * at + 1) // (2 * count) for at, count in zip(cell, grid, strict=True))
    if (row, column) == (1, 1):
        return "centre"
    return f"{('upper', 'middle', 'lower')[row]} {('left', 'middle', 'right')[column]}"


def attention_overlay(picture: Image.Image, attention: np.ndarray) -> Image.Image:
    """Lays attention `[rows, columns]` over a grey copy of an RGB picture: dark where it is least,
    light where it is most."""
    low, high = attention.min(), attention.max()
    scaled = (
        (attention - low) / (high - low)
        if high > low
        else np.full_like(attention, 0.5, dtype=float)
    )
    smooth = _spread(scaled, picture) * (len(ATTENTION) - 1)
    anchors = np.array([_rgb(colour) for colour in ATTENTION])
    colours = np.stack(
        [np.interp(smooth, np.arange(len(anchors)), channel) for channel in anchors.T], axis=-1
    )
    return _blend(_grey(picture), colours, np.full(smooth.shape, _STRENGTH))


def pull_overlay(picture: Image.Image, pulls: np.ndarray) -> Image.Image:
    """Lays pulls `[rows, columns]` over a grey copy of an RGB picture: `CLOSER` and `FARTHER`, the
    stronger the denser."""
    most = np.abs(pulls).max()
    smooth = _spread(pulls / most if most else pulls, picture)
    colours = np.where(smooth[..., None] > 0, _rgb(CLOSER), _rgb(FARTHER))
    return _blend(_grey(picture), colours, np.abs(smooth) * 0.9)


def _grey(picture: Image.Image) -> Image.Image:
    """So that the overlay's colours are the only ones."""
    return picture.convert("L").convert("RGB")


def _spread(values: np.ndarray, picture: Image.Image) -> np.ndarray:
    """Values of the regions at each pixel, between the regions' centres linear."""
    return np.asarray(
        Image.fromarray(values.astype(np.float32)).resize(picture.size, Image.Resampling.BILINEAR)
    )


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)], float)


def _blend(picture: Image.Image, colours: np.ndarray, strength: np.ndarray) -> Image.Image:
    mixed = np.asarray(picture, float) * (1 - strength[..., None]) + colours * strength[..., None]
    return Image.fromarray(np.clip(mixed + 0.5, 0, 255).astype(np.uint8))
