"""Annotations and a folder of pictures to `Pairs`, in this process; `prepare` does the same for
many."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ctl_keras.data.cropping import MIN_STRIP
from ctl_keras.data.pairs import Pairs
from ctl_keras.data.picture_stores import ImageFolder
from ctl_keras.data.reading.annotations import read_annotations
from ctl_keras.data.reading.assembling import drop_without_pictures, picture_ids, to_pairs
from ctl_keras.data.reading.cleaning import clean
from ctl_keras.data.reading.pair_table import PairTable, reject_rows
from ctl_keras.data.source_pictures import find_picture, require_image_folder, try_picture
from ctl_keras.progress import track


def read_shop_the_look(
    annotations: str | Path,
    categories: str | Path,
    images: str | Path,
    min_strip: float = MIN_STRIP,
) -> Pairs:
    """Reads scene-product pairs in Pinterest's Shop The Look layout (fashion or home).

    Every picture is decoded once, so that none fails later. A row that can't be used is left out
    and listed in the result's `rejected`, with its line and the reason.

    Args:
        annotations: JSON lines `{"product": id, "scene": id, "bbox": [left, top, right, bottom]}`,
            the box normalised to 0..1. A pair without `bbox` keeps its whole scene.
        categories: a JSON object, product id -> category path (`"Apparel & Accessories|Shoes"`).
        images: folder with `<id>.jpg` (or .jpeg, .png, .webp), flat or in two-two-two signature
            folders.
        min_strip: float. A pair is left out when the largest strip of the scene beside the box has
            less than this share of its area. Defaults to 0.2.

    Returns:
        `Pairs`, in the order of the file.

    Raises:
        InputError: a file is missing or unreadable, or no usable pair is left (the message counts
            why).
    """
    return _opened(read_annotations(annotations, categories), images, min_strip, annotations)


def read_pairs(
    table: str | Path,
    images: str | Path,
    min_strip: float = MIN_STRIP,
    split_column: str | None = None,
) -> Pairs:
    """Reads scene-product pairs from a table of one's own.

    Args:
        table: CSV in UTF-8, or Parquet, with columns `scene`, `product` and `category` and, if
            boxes are known, `left`, `top`, `right` and `bottom`; a row without them keeps its whole
            scene.
        images: folder of pictures, see `read_shop_the_look`. An id may be a relative path with its
            suffix, too.
        min_strip: float. See `read_shop_the_look`. Defaults to 0.2.
        split_column: str. Name of a column of `train`, `validation` or `test`, for
            `Pairs.split(by="column")`. Defaults to None: there is none.

    Returns:
        `Pairs`, in the order of the table.

    Raises:
        InputError: as `read_shop_the_look`, or a column is missing.
    """
    return _opened(read_annotations(table, None, split_column), images, min_strip, table)


def _opened(table: PairTable, images: str | Path, min_strip: float, source: str | Path) -> Pairs:
    clean(table, min_strip)
    store, problems = _open_pictures(table, require_image_folder(images))
    drop_without_pictures(table, problems)
    pairs = to_pairs(table, store, source)
    return dataclasses.replace(pairs, rejected=tuple(reject_rows(table.rejected)))


def _open_pictures(table: PairTable, folder: Path) -> tuple[ImageFolder, dict[str, str]]:
    """The usable pictures, sorted by id, and the problem of each other id."""
    ids = picture_ids(table.rows).to_pylist()

    def check(id_: str) -> tuple[Path | None, str | None]:
        path = find_picture(folder, id_)
        return path, try_picture(path)[1]

    with ThreadPoolExecutor() as pool:
        places = list(track(pool.map(check, ids), "Checking pictures", total=len(ids)))
    good = {
        id_: path
        for id_, (path, problem) in zip(ids, places, strict=True)
        if path is not None and problem is None
    }
    return ImageFolder(list(good), list(good.values())), {
        id_: problem for id_, (_, problem) in zip(ids, places, strict=True) if problem is not None
    }
