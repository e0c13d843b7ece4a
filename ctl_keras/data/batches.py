"""Batches of pictures for inference, in order and without augmentation."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ctl_keras.data.images import at_size, decode_image, draw_crops
from ctl_keras.data.picture_stores import Images


def image_batches(
    images: Images,
    rows: np.ndarray,
    windows: np.ndarray | None = None,
    batch_size: int = 32,
    image_size: int = 224,
    crop_seed: Sequence[int] | None = None,
) -> tf.data.Dataset:
    """Pictures as the model takes them.

    Args:
        images: where they are read from.
        rows: int array `[n]`, their rows in `images`.
        windows: float32 array `[n, 4]`, the part of each to keep; the whole picture by default.
        batch_size: int. Defaults to 32.
        image_size: int, pixels. Defaults to 224.
        crop_seed: ints. Crop and mirror each picture at random, as `cropped` does. Defaults to
            None: don't.

    Returns:
        Batches float32 `[batch, image_size, image_size, 3]`, RGB 0..255, in the order of `rows`.
    """

    def read(
        rows: tf.Tensor, windows: tf.Tensor, seeds: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return images.read(rows), windows, draw_crops(seeds, image_size, 1)[:, 0]

    def load(file: tf.Tensor, window: tf.Tensor, crop: tf.Tensor) -> tf.Tensor:
        image = decode_image(file, None if windows is None else window, images.are_checked_jpegs)
        return at_size(image, image_size, None if crop_seed is None else crop)

    kept = np.zeros((len(rows), 4), np.float32) if windows is None else windows
    seeds = np.random.default_rng(crop_seed).integers(2**31, size=(len(rows), 2))
    dataset = tf.data.Dataset.from_tensor_slices((np.asarray(rows, np.int64), kept, seeds))
    parallel = tf.data.AUTOTUNE
    loaded = (
        dataset.batch(batch_size)
        .map(read, parallel)
        .unbatch()
        .map(load, parallel)
        .batch(batch_size)
    )
    # `unbatch` forgets it, and `predict` would warn of data that run out
    counted = loaded.apply(tf.data.experimental.assert_cardinality(-(-len(rows) // batch_size)))
    return counted.prefetch(parallel)
