"""Pictures inside of a page: data URIs, so that the page needs no other file."""

import base64
import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from ctl_keras.data.images import decode_image
from ctl_keras.data.picture_stores import Images
from ctl_keras.pictures.boards import INK, NEGATIVE, POSITIVE

SIDE = 176  # pixels; shown smaller, for screens with several pixels a point
_QUALITY = 78
_ON_DARK = {INK: "#e6e6e6", POSITIVE: "#4cc26b", NEGATIVE: "#f0913a"}


@dataclass(frozen=True)
class Picture:
    """A picture in a page: its data URI, size in pixels and alternative text."""

    uri: str
    width: int
    height: int
    alt: str


@dataclass(frozen=True)
class Drawing:
    """A drawing in a page: data URIs for light and dark pages, and the alternative text."""

    light: str
    dark: str
    alt: str


def product_picture(images: Images, row: int, alt: str, side: int = SIDE) -> Picture:
    """A picture of the table, scaled down to fit into a square of `side` pixels."""
    return to_picture(pixels_of(images, row), alt, side)


def scene_picture(
    images: Images,
    row: int,
    alt: str,
    window: np.ndarray,
    attention: np.ndarray | None = None,
    side: int = SIDE,
) -> Picture:
    """A scene, pale where the model does not see it.

    Args:
        images: where it is read from.
        row: int, its row in `images`.
        alt: str.
        window: float `[4]`, what the model sees: left, top, right, bottom as shares.
        attention: float `[rows, columns]`, laid over the window: bright where it is high. Defaults
            to None: none.
        side: int, pixels.
    """
    scene = pixels_of(images, row)
    height, width = scene.shape[:2]
    left, top, right, bottom = (
        (np.asarray(window) * [width, height, width, height]).round().astype(int)
    )
    shown = (scene // 4 + 191).astype(np.uint8)
    kept = np.s_[top:bottom, left:right]
    shown[kept] = scene[kept] if attention is None else _overlay(scene[kept], attention)
    return to_picture(shown, alt, side)


def to_picture(pixels: np.ndarray, alt: str, side: int = SIDE) -> Picture:
    """A JPEG of uint8 `[height, width, 3]`, scaled down to fit into a square of `side` pixels."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return Picture(_data_uri("image/jpeg", file.getvalue()), *image.size, alt)


@contextlib.contextmanager
def page_style() -> Iterator[None]:
    """Figures that are made in it have one colour for all that is written; `to_drawing` turns it
    for dark pages."""
    from matplotlib import rc_context

    text = dict.fromkeys(
        (
            "text.color",
            "axes.labelcolor",
            "axes.titlecolor",
            "axes.edgecolor",
            "xtick.color",
            "ytick.color",
        ),
        INK,
    )
    with rc_context({**text, "svg.hashsalt": "ctl_keras"}):
        yield


def to_drawing(figure: Any, alt: str) -> Drawing:
    """A matplotlib figure as SVG, twice: as it is, and with light ink for dark pages."""
    file = io.StringIO()
    with page_style():
        figure.savefig(
            file, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    light = dark = file.getvalue()
    for colour, other in _ON_DARK.items():
        dark = dark.replace(colour, other)
    return Drawing(
        _data_uri("image/svg+xml", light.encode()), _data_uri("image/svg+xml", dark.encode()), alt
    )


def pixels_of(images: Images, row: int) -> np.ndarray:
    """A picture as the model's data decodes it, uint8 `[height, width, 3]`."""
    return decode_image(tf.constant(images.load(int(row)))).numpy()


def _overlay(pixels: np.ndarray, attention: np.ndarray) -> np.ndarray:
    from matplotlib import colormaps

    height, width = pixels.shape[:2]
    low, high = attention.min(), attention.max()
    scaled = (attention - low) / (high - low) if high > low else np.full_like(attention, 0.5)
    smooth = Image.fromarray(scaled.astype(np.float32)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    colours = colormaps["inferno"](np.clip(np.asarray(smooth), 0, 1))[..., :3] * 255
    return ((pixels + colours) / 2).astype(np.uint8)


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
