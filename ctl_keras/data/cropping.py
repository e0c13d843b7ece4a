"""Taking the product out of the scene, so that the model cannot just look for it (paper, section 3;
method notes)."""

import numpy as np

WHOLE = np.array([0, 0, 1, 1], np.float32)
MIN_STRIP = 0.2
NOT_NUMBERS = "not four numbers"
OUTSIDE = "outside 0..1 (normalised left, top, right, bottom are needed)"
INVERTED = "inverted or empty (left < right and top < bottom are needed)"


def scene_windows(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest strip of each scene that does not touch the product's box.

    Of the strips above, below, left and right of the box the one with the largest area is kept, the
    first of equals.

    Args:
        boxes: float array `[pairs, 4]`: left, top, right, bottom of the product, as shares of the
            image, origin top left. A row of NaN says that there is no box; its window is the whole
            scene.

    Returns:
        Windows, float32 `[pairs, 4]` in the same convention, and their areas, float32 `[pairs]`, as
        shares of the image.
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
    return windows.astype(np.float32), np.where(no_box, np.float32(1), areas[rows, best]).astype(
        np.float32
    )


def box_warning(without: int, pairs: int) -> str:
    """What to say of pairs without a box; nothing if there are none.

    Args:
        without: how many have none.
        pairs: how many there are in all.
    """
    if not without:
        return ""
    return (
        f"{without} of {pairs} pairs have no box: their scenes may show the product itself, which "
        "a model can look for, so that figures are too good. Give boxes (columns left, top, right, "
        "bottom, or x, y, width, height), or leave these pairs out."
    )


def is_four_numbers(box: object) -> bool:
    """Whether an annotated box is a list of four numbers; whether they make a box, `box_problems`
    says.

    Args:
        box: anything.
    """
    return (
        isinstance(box, list | tuple)
        and len(box) == 4
        and all(
            isinstance(value, int | float) and not isinstance(value, bool) and value == value
            for value in box
        )
    )


def box_problems(boxes: np.ndarray) -> np.ndarray:
    """What is wrong with boxes.

    Args:
        boxes: float array `[pairs, 4]`: left, top, right, bottom; a row of NaN has no box, one with
            some NaN a damaged one.

    Returns:
        Object array `[pairs]` of str or None: within 0..1, left < right and top < bottom are right.
    """
    missing = np.isnan(boxes)
    with np.errstate(invalid="ignore"):
        outside = (boxes.min(axis=1) < 0) | (boxes.max(axis=1) > 1)
        inverted = (boxes[:, 0] >= boxes[:, 2]) | (boxes[:, 1] >= boxes[:, 3])
    problems = np.full(len(boxes), None, object)
    problems[inverted] = INVERTED
    problems[outside] = OUTSIDE
    problems[missing.any(axis=1) & ~missing.all(axis=1)] = NOT_NUMBERS
    return problems
