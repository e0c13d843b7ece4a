"""Samples of prepared data: what was cut away, what is kept, and the product."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ctl_keras.data.images import decode_image
from ctl_keras.data.pairs import Pairs
from ctl_keras.data.preparing.records import read_pair_columns, read_records
from ctl_keras.data.splits import SPLITS
from ctl_keras.errors import InputError
from ctl_keras.files import new_file
from ctl_keras.pictures.boards import (
    INK,
    NEGATIVE,
    POSITIVE,
    draw_image,
    new_figure,
    save,
    short_name,
)

SAMPLES = 8  # a split


def write_sample_board(data: str | Path, to: str | Path, seed: int = 0) -> Path:
    """Draws some pairs of each split, spread over the categories: the scene with the kept part and
    the box, and the product.

    Args:
        data: folder that `prepare` made.
        to: PNG file to write.
        seed: int. Draws the samples. Defaults to 0.

    Raises:
        InputError: as `read_records`, or `to` is no .png.
        ImportError: matplotlib is not installed.
    """
    to = Path(to)
    if to.suffix.lower() != ".png":
        raise InputError(f"The board is a PNG file: name it so. Received: {to}")
    parts = {split: pairs for split in SPLITS if len(pairs := read_records(data, split))}
    figure, axes = new_figure(2 * len(parts), SAMPLES, (1.6, 1.7))
    random = np.random.default_rng(seed)
    for number, (split, pairs) in enumerate(parts.items()):
        boxes = read_pair_columns(data, split)["box"]
        for column, row in enumerate(_spread(pairs, random)):
            _draw_scene(axes[2 * number, column], pairs, row, boxes[row], split)
            product = _pixels(pairs, pairs.product[row])
            draw_image(
                axes[2 * number + 1, column],
                product,
                short_name(pairs.categories[pairs.category[row]]),
            )
    with new_file(to) as temporary:
        return save(figure, temporary) and to


def _spread(pairs: Pairs, random: np.random.Generator) -> list[int]:
    """Random pairs, one of each category before a second of any."""
    order = random.permutation(len(pairs))
    turn = np.empty(len(pairs), int)
    for category in np.unique(pairs.category):
        mine = np.flatnonzero(pairs.category[order] == category)
        turn[mine] = np.arange(len(mine))
    return order[np.argsort(turn, kind="stable")][:SAMPLES].tolist()


def _draw_scene(axis: Any, pairs: Pairs, row: int, box: np.ndarray, split: str) -> None:
    from matplotlib.patches import Rectangle

    scene = _pixels(pairs, pairs.scene[row])
    size = np.array([scene.shape[1], scene.shape[0]] * 2)
    left, top, right, bottom = pairs.window[row] * size
    shown = (scene * 0.35 + 160).astype(np.uint8)  # what the model does not see is pale
    kept = np.s_[round(top) : round(bottom), round(left) : round(right)]
    shown[kept] = scene[kept]
    draw_image(axis, shown, split, INK)
    for (x, y, right, bottom), colour in (
        (pairs.window[row] * size, POSITIVE),
        (box * size, NEGATIVE),
    ):
        if not np.isnan(x):
            axis.add_patch(
                Rectangle((x, y), right - x, bottom - y, fill=False, color=colour, linewidth=1.5)
            )


def _pixels(pairs: Pairs, image: int) -> np.ndarray:
    return decode_image(tf.constant(pairs.images.load(int(image)))).numpy()
