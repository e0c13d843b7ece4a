"""Pictures that are decoded and resized once for a whole training, because there is memory for
them."""

import contextlib
import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from ctl_keras.data.images import (
    cropped,
    decode_image,
    draw_crops,
    resize_before_crop,
    side_before_crop,
)
from ctl_keras.data.pairs import Pairs

SHARE_OF_MEMORY = 0.25
# a container's
LIMITS = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")
_BATCHES, _PICTURES = 2, 16  # at once


class CachedPictures:
    """A `Source` of randomly cropped and mirrored pictures that keeps each resized picture, in the
    first epoch that needs it.

    It keeps what `resize_before_crop` gives for the scene of each pair and for each product: 0.2 MB
    each at 224 pixels. Its batches are those of `PictureSource`, bit by bit.

    Args:
        pairs: the table.
        image_size: int, pixels.
    """

    def __init__(self, pairs: Pairs, image_size: int):
        self._images, self._size, self._side = (
            pairs.images,
            image_size,
            side_before_crop(image_size),
        )
        products = _products(pairs)
        self._slot_of = np.full(len(pairs.images.ids), -1)
        self._slot_of[products] = len(pairs) + np.arange(len(products))
        whole = np.tile(np.array([0, 0, 1, 1], np.float32), (len(products), 1))
        with tf.device("cpu"):
            self._rows = tf.constant(np.concatenate([pairs.scene, products]), tf.int64)
            self._windows = tf.constant(np.concatenate([pairs.window, whole]), tf.float32)
        # the system gives the memory as it is written
        self._pictures = np.empty((len(pairs) + len(products), self._side, self._side, 3), np.uint8)
        self._there = np.zeros(len(self._pictures), bool)

    @staticmethod
    def fit(pairs: Pairs, image_size: int) -> bool:
        """Whether they take at most a quarter of the memory of the machine, or of the container."""
        count = len(pairs) + len(_products(pairs))
        return count * side_before_crop(image_size) ** 2 * 3 <= SHARE_OF_MEMORY * _memory()

    def batches(
        self, examples: tf.data.Dataset, roles: tuple[str, ...], batch_size: int
    ) -> tf.data.Dataset:
        """See `Source.batches`."""
        names, side = ("scene", *roles), self._side

        def pictures(rows: tf.Tensor, seeds: tf.Tensor) -> tuple[tf.Tensor, ...]:
            slots, wanted = tf.numpy_function(self._wanted, [rows], (tf.int64, tf.int64))
            wanted = tf.ensure_shape(wanted, [None])
            files = self._images.read(tf.gather(self._rows, wanted))
            decoded = tf.map_fn(
                self._resized,
                (files, tf.gather(self._windows, wanted)),
                fn_output_signature=tf.TensorSpec([side, side, 3], tf.uint8),
                parallel_iterations=_PICTURES,
            )
            kept = tf.numpy_function(self._keep, [slots, wanted, decoded], tf.uint8)
            return (
                tf.ensure_shape(kept, [None, len(names), side, side, 3]),
                rows,
                draw_crops(seeds, self._size, len(names)),
            )

        def crop(pictures: tf.Tensor, row: tf.Tensor, crops: tf.Tensor) -> dict[str, tf.Tensor]:
            inputs = {
                name: cropped(pictures[number], self._size, crops[number])
                for number, name in enumerate(names)
            }
            return {**inputs, "category": tf.cast(row[-2], tf.int32), "pair": row[-1]}

        # few batches at once, many pictures of each: batches that run far ahead decode what those
        # before them will have kept
        loaded = examples.batch(batch_size).map(pictures, num_parallel_calls=_BATCHES).unbatch()
        return loaded.map(crop, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size)

    def _resized(self, given: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        file, window = given
        image = decode_image(file, window, self._images.are_checked_jpegs)
        return resize_before_crop(image, self._size)

    def _wanted(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The slots of each example's pictures `[batch, pictures]`, and those that are still
        empty."""
        slots = np.concatenate([rows[:, -1:], self._slot_of[rows[:, 1:-2]]], axis=1)
        return slots, np.unique(slots[~self._there[slots]])

    def _keep(self, slots: np.ndarray, wanted: np.ndarray, decoded: np.ndarray) -> np.ndarray:
        self._pictures[wanted] = decoded
        self._there[wanted] = True  # after the picture: another thread may look
        return self._pictures[slots]


def _memory() -> int:
    """Bytes; 0 where the system does not say."""
    try:
        sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, OSError, ValueError):
        return 0
    for limit in LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            sizes.append(int(limit.read_text()))
    return min(sizes)


def _products(pairs: Pairs) -> np.ndarray:
    """Image rows of all products that an example may have."""
    return np.unique(np.concatenate([pairs.product, *pairs.category_products]))
