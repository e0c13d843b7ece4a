"""From drawn examples to an endless or a one-pass tf.data stream of batches."""

import itertools
from typing import Protocol

import numpy as np
import tensorflow as tf

from ctl_keras.data.images import at_size, decode_image, draw_crops
from ctl_keras.data.pairs import Pairs
from ctl_keras.data.sampling import Sampler
from ctl_keras.errors import InputError


class Source(Protocol):
    """What turns an epoch's examples into batches of model inputs: decoded pictures, or cached
    features."""

    def batches(
        self, examples: tf.data.Dataset, roles: tuple[str, ...], batch_size: int
    ) -> tf.data.Dataset:
        """Batches of a dict of inputs, with `category` int32 `[batch]` and the pair's row, `pair`
        int64 `[batch]`.

        Args:
            examples: dataset of (row, seeds) as `Sampler.epoch` gives them.
            roles: the names of the row's products.
            batch_size: int.
        """


class PictureSource:
    """Decodes each picture anew.

    Args:
        pairs: the table.
        image_size: int, pixels.
        augment: bool. Random crop and mirror.
    """

    def __init__(self, pairs: Pairs, image_size: int, augment: bool):
        if image_size < 1:
            raise InputError(f"`image_size` must be positive. Received: {image_size!r}")
        self._images, self._size, self._augment = pairs.images, image_size, augment
        with tf.device("cpu"):
            self._windows = tf.constant(pairs.window)

    def batches(
        self, examples: tf.data.Dataset, roles: tuple[str, ...], batch_size: int
    ) -> tf.data.Dataset:
        """See `Source.batches`."""

        def read(rows: tf.Tensor, seeds: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            files = self._images.read(tf.reshape(rows[:, :-2], [-1]))
            return (
                tf.reshape(files, [-1, 1 + len(roles)]),
                rows,
                draw_crops(seeds, self._size, 1 + len(roles)),
            )

        def load(files: tf.Tensor, row: tf.Tensor, crops: tf.Tensor) -> dict[str, tf.Tensor]:
            checked = self._images.are_checked_jpegs
            scene = decode_image(
                files[0], tf.gather(self._windows, row[-1]), is_checked_jpeg=checked
            )
            products = [
                decode_image(files[1 + number], is_checked_jpeg=checked)
                for number in range(len(roles))
            ]
            inputs = {
                name: at_size(image, self._size, crops[number] if self._augment else None)
                for number, (name, image) in enumerate(
                    zip(("scene", *roles), [scene, *products], strict=True)
                )
            }
            return {**inputs, "category": tf.cast(row[-2], tf.int32), "pair": row[-1]}

        parallel = tf.data.AUTOTUNE
        return (
            examples.batch(batch_size)
            .map(read, parallel)
            .unbatch()
            .map(load, parallel)
            .batch(batch_size)
        )


def stream(
    sampler: Sampler,
    source: Source,
    batch_size: int,
    new_epochs: bool,
    first_step: int | None = None,
    drop_remainder: bool = False,
) -> tf.data.Dataset:
    """Batches of a sampler's examples.

    Args:
        sampler: draws the examples.
        source: loads them.
        batch_size: int. The last batch of an epoch may be smaller.
        new_epochs: bool. Whether each pass is the sampler's next epoch, or always its first.
        first_step: int. With it the dataset runs on for ever, beginning with that batch of the
            whole training, and batch n is the same wherever it began. By default it is one pass.
        drop_remainder: bool. Leaves out the smaller last batch. Defaults to False.

    Returns:
        Dataset of dicts of inputs.

    Raises:
        InputError: `batch_size` is not positive.
    """
    if batch_size < 1:
        raise InputError(f"`batch_size` must be positive. Received: {batch_size!r}")
    count = len(sampler) // batch_size * batch_size if drop_remainder else len(sampler)
    steps = -(-count // batch_size)
    if not steps:
        raise InputError(
            f"`batch_size` must be at most the {len(sampler)} pairs. Received: {batch_size}"
        )

    def epoch(number: tf.Tensor, start: tf.Tensor) -> tf.data.Dataset:
        rows, seeds = tf.numpy_function(
            lambda value: sampler.epoch(int(value)), [number], (tf.int64, tf.int64)
        )
        rows = tf.ensure_shape(rows, [len(sampler), 3 + len(sampler.roles)])[start:count]
        seeds = tf.ensure_shape(seeds, [len(sampler), 2])[start:count]
        return source.batches(
            tf.data.Dataset.from_tensor_slices((rows, seeds)), sampler.roles, batch_size
        )

    if first_step is not None:
        first_epoch, skipped = divmod(first_step, steps)
        epochs = tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max)
        return epochs.flat_map(
            lambda number: epoch(
                number, tf.where(number == first_epoch, np.int64(skipped * batch_size), np.int64(0))
            )
        )
    counter = itertools.count()

    def next_epoch(_: tf.Tensor) -> tf.Tensor:
        number = tf.numpy_function(
            lambda: np.int64(next(counter) if new_epochs else 0), [], tf.int64
        )
        return tf.ensure_shape(number, [])

    dataset = (
        tf.data.Dataset.range(1)
        .map(next_epoch)
        .flat_map(lambda number: epoch(number, tf.constant(0, tf.int64)))
    )
    return dataset.apply(tf.data.experimental.assert_cardinality(steps))
