"""Taking the product out of the scene, so that the model cannot just look for it (paper, section 3; method notes)."""

import numpy as np

WHOLE = np.array([0, 0, 1, 1], np.float32)
MIN_STRIP = 0.2


def scene_windows(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest strip of each scene that does not touch the product's box.

    Of the strips above, below, left and right of the box the one with the largest area is kept, the first of equals.

    Args:
        boxes: float array `[pairs, 4]`: left, top, right, bottom of the product, as shares of the image, origin top left. A
            row of NaN says that there is no box; its window is the whole scene.

    Returns:
        Windows, float32 `[pairs, 4]` in the same convention, and their areas, float32 `[pairs]`, as shares of the image.
    """
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    left, top, right, bottom = boxes.T
    zero, one = np.zeros_like(left), np.ones_like(left)
    strips = np.stack(
        [
            np.stack([zero, zero, one, top], axis=1),
            np.stack([zero, bottom, one, one], axis=1),
            np.stack([zero, zero, left, one], axis=1),
            np.stack([right, zero, one, one], axis=1),
        ],
        axis=1,
    )
    areas = np.stack([top, 1 - bottom, left, 1 - right], axis=1)
    no_box = np.asarray(np.isnan(boxes).any(axis=1))
    best = np.argmax(np.where(no_box[:, None], 0, areas), axis=1)
    rows = np.arange(len(boxes))
    windows = np.where(no_box[:, None], WHOLE, strips[rows, best])
    return windows.astype(np.float32), np.where(no_box, np.float32(1), areas[rows, best]).astype(np.float32)


def box_problem(box: object) -> str | None:
    """What is wrong with an annotated box, or None.

    Args:
        box: anything; right is a list of four numbers left < right, top < bottom within 0..1.
    """
    if not isinstance(box, list | tuple) or len(box) != 4:
        return "not four numbers"
    if not all(isinstance(value, int | float) and not isinstance(value, bool) and value == value for value in box):
        return "not four numbers"
    left, top, right, bottom = box
    if min(box) < 0 or max(box) > 1:
        return "outside 0..1 (normalised left, top, right, bottom are needed)"
    if left >= right or top >= bottom:
        return "inverted or empty (left < right and top < bottom are needed)"
    return None
