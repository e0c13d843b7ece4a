"""Where an item is in its photo, as a mask of the upright picture."""

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from ctl_keras.data.importers.photos import Item

_ORIENTATION = 0x0112  # EXIF's tag
_SHAPES = 0.02  # two sizes with sides in proportions that differ by less are of one picture


def item_mask(
    item: "Item", frame: tuple[int, int] | None, size: tuple[int, int], turned: int = 1
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
    """
    width, height = frame or size
    mask = _box_mask(item.box, width, height)
    if turned == 1 and mask.shape[::-1] == size:
        return mask
    picture = Image.fromarray(mask)
    picture.getexif()[_ORIENTATION] = turned
    picture = ImageOps.exif_transpose(picture)
    if abs(picture.width * size[1] / (picture.height * size[0]) - 1) > _SHAPES:
        raise ValueError("measured in a picture of another shape")
    return np.asarray(picture.resize(size, Image.Resampling.NEAREST))


def _box_mask(box: Any, width: int, height: int) -> np.ndarray:
    if box is None:
        raise ValueError("no box and no mask")
    left, top, right, bottom = (
        round(min(max(edge, 0), side))
        for edge, side in zip(
            (box[0], box[1], box[0] + box[2], box[1] + box[3]), (width, height) * 2, strict=True
        )
    )
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = True
    return mask
