"""Where an item is in its photo, as a mask of the upright picture."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ctl_keras.data.picture_files import MAX_PIXELS
from ctl_keras.errors import InputError

ORIENTATION = 0x0112  # EXIF's tag
_SHAPES = 0.02  # two sizes with sides in proportions that differ by less are of one picture


@dataclass(frozen=True)
class Item:
    """Something that a photo shows.

    Attributes:
        category: str.
        name: str, what its source calls it, for rejects.
        box: left, top, width and height in pixels, or None.
        segmentation: COCO's polygons or run lengths, or None: only the box is known.
        group: str. The items of a photo with the same group are one product, such as two shoes.
    """

    category: str
    name: str
    box: tuple[float, float, float, float] | None
    segmentation: Any = None
    group: str = ""


def coco_masks() -> Any:
    """The module `pycocotools.mask`.

    Raises:
        InputError: it is not installed.
    """
    try:
        from pycocotools import mask  # type: ignore[import-untyped]
    except ImportError:
        raise InputError(
            "pycocotools is not installed. Install it with: pip install ctl-keras[import]"
        ) from None
    return mask


def item_mask(
    item: Item, frame: tuple[int, int] | None, size: tuple[int, int], turned: int = 1
) -> np.ndarray:
    """The pixels of an item.

    Args:
        item: with a segmentation or a box.
        frame: width and height that the item is measured in, or None: `size`.
        size: width and height of the upright picture.
        turned: int. EXIF's orientation, where the item is measured in the picture as it is stored.
            Defaults to 1: upright.

    Returns:
        Bool array `[height, width]`.

    Raises:
        ValueError: there is no such item; the message is the reason.
        InputError: there is a segmentation, and pycocotools is not installed.
    """
    width, height = frame or size
    if item.segmentation is None:
        mask = _box_mask(item.box, width, height)
    elif isinstance(item.segmentation, dict):
        mask = _run_length_mask(item.segmentation)
    else:
        mask = _polygon_mask(item.segmentation, width, height)
    if turned == 1 and mask.shape[::-1] == size:
        return mask
    picture = Image.fromarray(mask)
    picture.getexif()[ORIENTATION] = turned
    picture = ImageOps.exif_transpose(picture)
    if abs(picture.width * size[1] / (picture.height * size[0]) - 1) > _SHAPES:
        raise ValueError("measured in a picture of another shape")
    return np.asarray(picture.resize(size, Image.Resampling.NEAREST))


def _box_mask(box: Any, width: int, height: int) -> np.ndarray:
    if box is None or not all(map(math.isfinite, box)):
        raise ValueError("no mask, and no box of four numbers")
    left, top, right, bottom = (
        round(min(max(edge, 0), side))
        for edge, side in zip(
            (box[0], box[1], box[0] + box[2], box[1] + box[3]), (width, height) * 2, strict=True
        )
    )
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = True
    return mask


def _polygon_mask(polygons: Any, width: int, height: int) -> np.ndarray:
    coco = coco_masks()
    try:
        points = [np.array(polygon, float).reshape(-1, 2) for polygon in polygons]
    except (TypeError, ValueError):
        raise ValueError("polygon not pairs of numbers") from None
    points = [polygon for polygon in points if len(polygon) > 2]
    if not points or not all(np.isfinite(polygon).all() for polygon in points):
        raise ValueError("polygon not pairs of numbers, at least three")
    # pycocotools walks along each edge, however far outside it leads
    inside = [np.clip(polygon, 0, (width, height)).ravel().tolist() for polygon in points]
    return coco.decode(coco.merge(coco.frPyObjects(inside, height, width))).astype(bool)


def _run_length_mask(lengths: dict[str, Any]) -> np.ndarray:
    coco = coco_masks()
    try:
        height, width = map(int, lengths["size"])
        counts = lengths["counts"]
        if not 0 < height * width <= MAX_PIXELS or height < 0:
            raise ValueError
        if isinstance(counts, list):
            if sum(counts) != height * width:
                raise ValueError
            lengths = coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)
        return coco.decode({**lengths, "size": [height, width]}).astype(bool)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        raise ValueError("run lengths are damaged") from None
