"""The scene that somebody brings: opened with care, a product hidden as in training, and shown."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from ctl_keras.data.cropping import MIN_STRIP, WHOLE, box_problems, scene_windows
from ctl_keras.data.images import MIN_SIDE
from ctl_keras.data.picture_files import MAX_PIXELS, foreign_format
from ctl_keras.errors import InputError

SIDE = 1024  # pixels of the longer side; networks see 224 or so
_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP")
_STRIPS = ("above", "below", "left of", "right of")
_KEPT, _BOX = "#1a7f37", "#6b6b6b"


class View(NamedTuple):
    """What of a scene the model sees.

    Attributes:
        window: float32 `[4]`, left, top, right, bottom as shares of the picture.
        area: float, its share of the picture.
        box: float array `[4]` of the product that is hidden, or None.
    """

    window: np.ndarray
    area: float
    box: np.ndarray | None

    @property
    def words(self) -> str:
        """For people."""
        if self.box is None:
            return "The model sees the whole scene."
        left, top, right, bottom = self.window
        strip = _STRIPS[int(np.argmax([bottom < 1, top > 0, right < 1, left > 0]))]
        said = f"The model sees the strip {strip} the box: {self.area:.0%} of the scene."
        few = (
            f" That is little: scenes with less than {MIN_STRIP:.0%} were left out of the "
            "training. A smaller box helps."
        )
        return said + (few if self.area < MIN_STRIP else "")


def open_picture(path: str | Path, side: int = SIDE) -> Image.Image:
    """A picture file as people see it, made smaller before it takes much memory.

    A JPEG is decoded at a fraction of its size. Turned as its camera says; transparency is laid on
    white; of an animation the first frame.

    Args:
        path: JPEG, PNG, WebP, AVIF, TIFF, GIF or BMP.
        side: int. Pixels that the longer side has at most. Defaults to `SIDE`.

    Returns:
        RGB picture.

    Raises:
        InputError: no such picture, damaged, too many pixels, or a side of too few.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise InputError(_too_large(f"{width} x {height} pixels"))
            if min(width, height) < MIN_SIDE:
                raise InputError(
                    f"The picture has {width} x {height} pixels; each side needs {MIN_SIDE}. Take "
                    "a larger one."
                )
            return _reduced(image, side)
    except Image.DecompressionBombError:
        raise InputError(_too_large("far more")) from None
    except Image.UnidentifiedImageError:
        with open(path, "rb") as file:
            named = foreign_format(file.read(12))
        if named:
            raise InputError(f"{named} cannot be read here. Save the picture as JPEG.") from None
        raise InputError(
            "The file is not a JPEG, PNG, WebP, AVIF, TIFF, GIF or BMP picture. Choose another."
        ) from None
    except (OSError, EOFError, ValueError, SyntaxError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("The picture is cut off or damaged. Choose another.") from None


def _reduced(image: Image.Image, side: int) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of grey, of which Pillow would keep the lower ones
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("P", "1"):  # whose pixels are no colours to be averaged
        image = image.convert("RGBA")
    image.thumbnail((side, side))
    image = ImageOps.exif_transpose(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _too_large(received: str) -> str:
    return (
        f"The picture has {received}; at most {MAX_PIXELS // 10**6} million are read. Make it "
        "smaller."
    )


def look_around(box: Sequence[float] | None) -> View:
    """The part of a scene that training would keep: the largest strip that does not touch the
    product's box.

    Args:
        box: left, top, right, bottom in percent, or None: nothing is hidden.

    Raises:
        InputError: the box is empty, or leaves nothing.
    """
    if box is None:
        return View(WHOLE, 1.0, None)
    shares = np.array([box], float) / 100
    if box_problems(shares)[0] is not None:
        raise InputError(
            "The box is empty: left must be less than right, and top less than bottom."
        )
    windows, areas = scene_windows(shares)
    if not areas[0] > 0:
        raise InputError("The box hides the whole scene. Leave a strip beside it.")
    return View(windows[0], float(areas[0]), shares[0])


def cut(picture: Image.Image, view: View) -> Image.Image:
    """What the model sees; no pixel that is partly outside, as in preparation.

    Raises:
        InputError: the strip is too thin.
    """
    left, top, right, bottom = view.window * np.array(picture.size * 2)
    edges = (
        *np.ceil([left - 1e-3, top - 1e-3]).astype(int),
        *np.floor([right + 1e-3, bottom + 1e-3]).astype(int),
    )
    if min(edges[2] - edges[0], edges[3] - edges[1]) < MIN_SIDE:
        raise InputError("The strip beside the box is too thin to be seen. Take a smaller box.")
    return picture.crop(edges)


def preview(picture: Image.Image, view: View, side: int = 512) -> Image.Image:
    """The scene with the box in grey and the kept strip outlined; what the model does not see is
    pale."""
    picture = ImageOps.contain(picture, (side, side))
    if view.box is None:
        return picture
    scale = np.array(picture.size * 2)
    window = tuple(np.round(view.window * scale).astype(int))
    shown = Image.blend(picture, Image.new("RGB", picture.size, "white"), 0.65)
    shown.paste(picture.crop(window), window[:2])
    draw = ImageDraw.Draw(shown)
    draw.rectangle(_inside(view.box * scale), fill=_BOX)
    draw.rectangle(_inside(view.window * scale), outline=_KEPT, width=max(2, side // 170))
    return shown


def _inside(edges: np.ndarray) -> tuple[int, int, int, int]:
    left, top, right, bottom = np.round(edges).astype(int)
    return left, top, max(left, right - 1), max(top, bottom - 1)
