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
    outfits: dict[str, dict[tuple[float, ...], str]] = {}
    rejected: list[dict[str, Any]] = []
    for line, row in _rows(Path(table)):
        signature = row[0] or None

        def reject(reason: str, photo: str | None = signature, line: int = line) -> None:
            rejected.append({"photo": photo, "item": f"line {line}", "reason": reason})

        if len(row) != 6:
            reject(f"the row has {len(row)} columns, not 6")
            continue
        try:
            x, y, width, height = box = tuple(map(float, row[1:5]))
            if not all(map(math.isfinite, box)):
                raise ValueError
        except ValueError:
            reject("box not four numbers")
            continue
        if not row[0] or not row[5]:
            reject("no signature or no label")
        elif not (width > 0 and height > 0):
            reject("box inverted or empty")
        elif not (min(x, y) >= -_EDGE and max(x + width, y + height) <= 1 + _EDGE):
            reject("box outside 0..1")
        elif outfits.setdefault(row[0], {}).setdefault(box, row[5]) != row[5]:
            reject("the same box again")
    return import_photos(_photos(outfits, folder), out, rejected, workers=workers)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                # separated by spaces in the release
                if line.strip() and not (number == 1 and line.startswith("image_signature")):
                    yield number, [value.strip() for value in line.rstrip("\r\n").split("\t")]
    except FileNotFoundError:
        raise InputError(f"The table of outfits {path} does not exist.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The table of outfits {path} is no text in UTF-8: {error}") from None


def _photos(outfits: dict[str, dict[tuple[float, ...], str]], folder: Path) -> Iterator[Photo]:
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
