"""Pinterest's outfits of 2020 (Complete The Look, KDD 2020): pictures of whole outfits, with a box
for each item.

A picture becomes a scene and each of its items a product: what is left of the scene beside the
item's box shows what it has to go with.
"""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from ctl_keras.data.importers.cutting import UNREADABLE, Photo
from ctl_keras.data.importers.masks import Item
from ctl_keras.data.importers.photos import import_photos
from ctl_keras.data.source_pictures import find_picture, require_image_folder
from ctl_keras.errors import InputError

_EDGE = 1e-5  # boxes of the release end up to a rounding error outside of their picture


def import_outfits(
    table: str | Path, images: str | Path, out: str | Path, workers: int = 1
) -> dict[str, Any]:
    """Makes a Shop-The-Look folder of outfits.

    Args:
        table: rows of signature, x, y, width and height as shares, label, separated by tabs; the
            first row may be a header.
        images: folder of pictures, named by signature.
        out: folder to make.
        workers: int. Processes that cut out items. Defaults to 1: this one.

    Returns:
        Counts, see `import_photos`.

    Raises:
        InputError: the table is missing or is none, or as `import_photos`.
    """
    folder = require_image_folder(images)
    outfits: dict[str, dict[Any, str]] = {}
    rejected: list[dict[str, Any]] = []
    for number, line in enumerate(_lines(Path(table)), 1):
        # the header is separated by spaces in the release
        if not line.strip() or (number == 1 and line.startswith("image_signature")):
            continue
        row = [value.strip() for value in line.split("\t")]
        box, reason = _box(row)
        if reason is None and outfits.setdefault(row[0], {}).setdefault(box, row[5]) != row[5]:
            reason = "the same box again"
        if reason is not None:
            rejected.append({"photo": row[0] or None, "item": f"line {number}", "reason": reason})
    return import_photos(_photos(outfits, folder), out, rejected, workers=workers)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise InputError(f"The table of outfits {path} does not exist.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The table of outfits {path} is no text in UTF-8: {error}") from None


def _box(row: list[str]) -> tuple[tuple[float, ...], str | None]:
    """The box, in shares, and why the row cannot be used."""
    if len(row) != 6:
        return (), f"the row has {len(row)} columns, not 6"
    try:
        x, y, width, height = box = tuple(map(float, row[1:5]))
    except ValueError:
        return (), "box not four numbers"
    if not all(map(math.isfinite, box)):
        return (), "box not four numbers"
    if not row[0] or not row[5]:
        return (), "no signature or no label"
    if width <= 0 or height <= 0:
        return (), "box inverted or empty"
    if min(x, y) < -_EDGE or max(x + width, y + height) > 1 + _EDGE:
        return (), "box outside 0..1"
    return box, None


def _photos(outfits: dict[str, dict[Any, str]], folder: Path) -> Iterator[Photo]:
    for signature, boxes in outfits.items():
        path = find_picture(folder, signature)
        width, height = _size(path)
        items = tuple(
            Item(label, label, (box[0] * width, box[1] * height, box[2] * width, box[3] * height))
            for box, label in boxes.items()
        )
        yield Photo(signature, path, items, (width, height))


def _size(path: Path | None) -> tuple[int, int]:
    """Of the picture as it is stored; Pinterest's have no orientation."""
    if path is not None:
        with contextlib.suppress(*UNREADABLE), Image.open(path) as picture:
            return picture.size
    return 1, 1  # cutting it out says what is wrong
