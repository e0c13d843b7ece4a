"""Picture files as bytes that the model takes. Nothing here needs TensorFlow: clients of a server use it, too."""

import io
from pathlib import Path

from PIL import Image

from ctl_keras.errors import InputError

MAX_PIXELS = 64_000_000  # a 100 KB PNG can hold 900 megapixels; decoding it would take a server down
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def read_image_bytes(path: str | Path) -> bytes:
    """A picture file as bytes that `decode_image` takes; WebP is converted to PNG, pixel by pixel.

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
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _as_png(data)
    return data


def _as_png(data: bytes) -> bytes:
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MAX_PIXELS:
                return data  # `decode_image` says why it refuses
            buffer = io.BytesIO()
            image.convert("RGBA").save(buffer, "PNG", compress_level=1)
            return buffer.getvalue()
    except (OSError, EOFError, ValueError, SyntaxError, Image.DecompressionBombError):
        return data
