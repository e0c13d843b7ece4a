"""Picture files as bytes that the model takes. Nothing here needs TensorFlow: clients of a server
use it, too."""

import io
import os
import unicodedata
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ctl_keras.errors import InputError

Picture = str | Path | bytes | np.ndarray | Image.Image

# a 100 KB PNG can hold 900 megapixels; decoding it would take a server down
MAX_PIXELS = 64_000_000
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
# what Pillow writes, and TensorFlow reads, without a loss
_PNG_MODES = {"L", "LA", "RGB", "RGBA", "I;16"}


def picture_path(folder: str | Path, name: str) -> str:
    """Where a picture is that a table names, perhaps as another computer writes names: with
    backslashes, with accents joined to their letters or apart (NFC, NFD), or with the suffix in
    another case.

    Args:
        folder: what `name` is relative to.
        name: str. Path of the picture.

    Returns:
        The file's path; `folder` and `name` as they are if there is no such file.
    """
    plain = os.path.join(folder, name)
    if os.path.exists(plain):
        return plain
    root, suffix = os.path.splitext(name.replace("\\", "/"))
    for form in ("NFC", "NFD"):
        for ending in (suffix, suffix.lower(), suffix.upper()):
            path = os.path.join(folder, unicodedata.normalize(form, root) + ending)
            if os.path.exists(path):
                return path
    return plain


def read_image_bytes(path: str | Path) -> bytes:
    """A picture file as bytes that `decode_image` takes, see `picture_bytes`.

    Raises:
        InputError: the file is missing or empty.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"The picture {path} does not exist.") from None
    except OSError as error:
        raise InputError(f"The picture {path} cannot be read: {error.strerror}.") from None
    if not data:
        raise InputError(f"The picture {path} is empty.")
    return _readable(data)


def picture_bytes(picture: Picture) -> bytes:
    """Any picture as bytes that `decode_image` takes.

    Files are best given as paths or bytes: the model then decodes them as it did in training.
    Pillow's JPEG decoder, behind arrays and Pillow pictures, may differ by a grey level.

    Args:
        picture: path of a file; a file's bytes; uint8 array `[height, width, 3]`, RGB, or `[height,
            width]`, grey; or a Pillow picture. Arrays and Pillow pictures are encoded as PNG,
            without a loss.

    Returns:
        The file's bytes, if they are a JPEG or PNG. Other formats that Pillow reads (WebP, AVIF,
        TIFF, GIF, BMP) become an upright PNG, pixel by pixel. Bytes that are no picture are
        returned as they are: the model flags them.

    Raises:
        InputError: another type, another array, or a file that is missing or empty.
    """
    if isinstance(picture, str | Path):
        return read_image_bytes(picture)
    if isinstance(picture, bytes | bytearray | memoryview):
        return _readable(bytes(picture))
    if isinstance(picture, np.ndarray):
        grey_or_rgb = picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 3)
        if picture.dtype != np.uint8 or not grey_or_rgb or not picture.size:
            raise InputError(
                "A picture's array must be uint8, 0..255, [height, width, 3] or [height, width]. "
                f"Received: {picture.dtype} {list(picture.shape)}"
            )
        return _encoded(Image.fromarray(np.ascontiguousarray(picture)))
    if isinstance(picture, Image.Image):
        if picture.mode in ("F", "I") or not picture.width * picture.height:
            raise InputError(
                "A Pillow picture must have 8-bit pixels; convert it to RGB. Received: "
                f"{picture.mode} {picture.size}"
            )
        try:
            return _encoded(picture)
        except (OSError, SyntaxError, ValueError) as error:  # opened, but not read until now
            raise InputError(
                f"The Pillow picture cannot be read: {error}. Received: {picture!r}"
            ) from None
    raise InputError(
        "A picture must be a path, a file's bytes, a uint8 array [height, width, 3] or a Pillow "
        f"picture. Received: {type(picture).__name__}"
    )


def foreign_format(data: bytes) -> str | None:
    """The name of a format that TensorFlow's decoders do not know, by a file's first bytes."""
    if data[4:8] == b"ftyp":
        return "AVIF" if data[8:12] in (b"avif", b"avis") else "HEIC"
    names = {b"RIFF": "WebP", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
    return names.get(data[:4])


def _encoded(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture = ImageOps.exif_transpose(picture)
    picture = picture if picture.mode in _PNG_MODES else picture.convert("RGBA")
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _readable(data: bytes) -> bytes:
    """A file as `decode_image` takes it: what it would refuse or not know becomes a PNG, if Pillow
    can read it."""
    if not (foreign_format(data) or data[:2] == b"BM" or data[:4] == b"GIF8"):
        return data
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                return data  # `decode_image` says why it refuses
            return _encoded(picture)
    except (OSError, EOFError, ValueError, SyntaxError, Image.DecompressionBombError):
        return data
