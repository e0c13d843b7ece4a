"""Colour histograms: what can be said of two pictures without any network."""

import numpy as np

from ctl_keras.data.batches import image_batches
from ctl_keras.data.picture_stores import Images

SIZE = 64  # pixels: colours need no detail
BINS = (8, 12, 12)  # of lightness, a and b
NEAR_WHITE = 240  # a pixel whose channels are all at least this bright is background

# sRGB, D65
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_RANGES = np.array([[0, 100], [-100, 100], [-100, 100]])


def rgb_to_lab(rgb: np.ndarray) -> np.ndarray:
    """CIE LAB (D65) of sRGB colours.

    Args:
        rgb: array `[..., 3]`, 0..255.

    Returns:
        float64 `[..., 3]`: lightness 0..100, a and b.
    """
    value = np.asarray(rgb, np.float64) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _TO_XYZ.T / _TO_XYZ.sum(axis=1)  # white is (1, 1, 1)
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def colour_histograms(
    images: Images, rows: np.ndarray, windows: np.ndarray | None = None
) -> np.ndarray:
    """LAB histograms of pictures, without their near-white pixels.

    Args:
        images: where they are read from.
        rows: int array `[n]`, their rows in `images`.
        windows: float32 array `[n, 4]`, the part of each to look at; the whole picture by default.

    Returns:
        float64 `[n, bins]`, each adding up to 1; zeros for a picture that is near-white all over.
    """
    batches = image_batches(images, rows, windows, 64, SIZE).as_numpy_iterator()
    return np.concatenate([np.zeros((0, np.prod(BINS))), *(histograms(batch) for batch in batches)])


def histograms(pictures: np.ndarray) -> np.ndarray:
    """`colour_histograms` of pictures `[n, height, width, 3]`, RGB 0..255."""
    pixels = np.asarray(pictures).reshape(len(pictures), -1, 3)
    position = (rgb_to_lab(pixels) - _RANGES[:, 0]) / (_RANGES[:, 1] - _RANGES[:, 0]) * BINS
    part = np.clip(np.floor(position), 0, np.array(BINS) - 1).astype(int)
    code = np.ravel_multi_index(tuple(np.moveaxis(part, -1, 0)), BINS)
    coloured = pixels.min(axis=-1) < NEAR_WHITE
    total = np.prod(BINS)
    counts = np.stack(
        [np.bincount(code[n][coloured[n]], minlength=total) for n in range(len(pixels))]
    )
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def hellinger(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Hellinger distances between histograms `[n, bins]` and `[m, bins]`: `[n, m]`, 0..1."""
    return np.sqrt(np.maximum(1 - np.sqrt(first) @ np.sqrt(second).T, 0))
