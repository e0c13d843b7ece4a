"""tf.data triplets: scene, positive, negative of the same category."""

import itertools
import warnings

import numpy as np
import tensorflow as tf

from ctl_keras.data.images import cut_window, decode_image, resize_image
from ctl_keras.data.pairs import Pairs
from ctl_keras.errors import InputError

CROP_FROM = 256 / 224  # the usual ImageNet augmentation: resize to 256, crop 224 (method notes)
_ATTEMPTS = 16


def triplets(
    pairs: Pairs,
    batch_size: int = 32,
    image_size: int = 224,
    training: bool | None = None,
    augment: bool | None = None,
    seed: int = 0,
    first_epoch: int | None = None,
) -> tf.data.Dataset:
    """A dataset of triplets for `fit` and `evaluate`.

    Each pair is the anchor of one triplet: its scene without the product, its product, and a random product of the same
    category that is no positive of the scene. Pairs whose category has no such product are left out with a warning.

    Args:
        pairs: the table.
        batch_size: int. Defaults to 32; the last batch may be smaller.
        image_size: int, pixels. Defaults to 224.
        training: bool. True shuffles, and draws new negatives in every pass; False keeps the order and the negatives.
            Defaults to whether `pairs` is the training split (`pairs.split_name == "train"`).
        augment: bool. Random crop and mirror. Defaults to `training`.
        seed: int. Of order, negatives and augmentation. Defaults to 0.
        first_epoch: int. With it the dataset runs on for ever, beginning with that epoch, and epoch n is the same wherever
            it began: what a resumed training needs. By default it is one pass over the pairs.

    Returns:
        Batches of `({"scene", "positive", "negative", "category"}, labels)`: pictures float32 `[batch, image_size,
        image_size, 3]`, RGB 0..255; category int32 `[batch]`; labels float32 `[batch, 2]`, 1 for the positive and 0 for the
        negative.

    Raises:
        InputError: no pair has a negative, or `batch_size` or `image_size` is not positive.
    """
    for name, value in (("batch_size", batch_size), ("image_size", image_size)):
        if value < 1:
            raise InputError(f"`{name}` must be positive. Received: {value!r}")
    if training is None:
        training = pairs.split_name == "train"
    if augment is None:
        augment = training
    sampler = TripletSampler(pairs, seed, shuffle=training)

    def load(row: tf.Tensor, seeds: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        scene = cut_window(decode_image(pairs.images.read(row[0])), tf.gather(windows, row[4]))
        positive, negative = (decode_image(pairs.images.read(row[column])) for column in (1, 2))
        features = {
            name: _augmented(image, image_size, seeds + number) if augment else resize_image(image, image_size)
            for number, (name, image) in enumerate([("scene", scene), ("positive", positive), ("negative", negative)])
        }
        return {**features, "category": tf.cast(row[3], tf.int32)}, tf.constant([1.0, 0.0])

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        rows, seeds = tf.numpy_function(lambda value: sampler.epoch(int(value)), [number], (tf.int64, tf.int64))
        rows, seeds = tf.ensure_shape(rows, [len(sampler), 5]), tf.ensure_shape(seeds, [len(sampler), 2])
        dataset = tf.data.Dataset.from_tensor_slices((rows, seeds))
        return dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size)

    with tf.device("cpu"):
        windows = tf.constant(pairs.window)
    if first_epoch is not None:
        return tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max).flat_map(epoch).prefetch(tf.data.AUTOTUNE)
    counter = itertools.count()

    def next_epoch(_: tf.Tensor) -> tf.Tensor:
        number = tf.numpy_function(lambda: np.int64(next(counter) if training else 0), [], tf.int64)
        return tf.ensure_shape(number, [])

    dataset = tf.data.Dataset.range(1).map(next_epoch).flat_map(epoch)
    batches = -(-len(sampler) // batch_size)
    return dataset.apply(tf.data.experimental.assert_cardinality(batches)).prefetch(tf.data.AUTOTUNE)


def _augmented(image: tf.Tensor, size: int, seeds: tf.Tensor) -> tf.Tensor:
    image = resize_image(image, round(size * CROP_FROM))
    image = tf.image.stateless_random_crop(image, [size, size, 3], seeds)
    return tf.image.stateless_random_flip_left_right(image, seeds[::-1])


class TripletSampler:
    """Draws the rows of triplets, epoch by epoch, from (seed, epoch) alone.

    Args:
        pairs: the table.
        seed: int.
        shuffle: bool. Whether an epoch's order is random.

    Raises:
        InputError: no pair has a negative.
    """

    def __init__(self, pairs: Pairs, seed: int = 0, shuffle: bool = True):
        self._pairs, self._seed, self._shuffle = pairs, seed, shuffle
        usable = pairs.has_negative() if len(pairs) else np.zeros(0, bool)
        if not usable.any():
            raise InputError(
                f"No triplet can be made of these {len(pairs)} {pairs.split_name or ''} pairs: a negative is another product "
                "of the same category, and no category has one. Add pairs, or merge categories."
            )
        if not usable.all():
            names = sorted({pairs.categories[index] for index in pairs.category[~usable]})
            warnings.warn(
                f"{(~usable).sum()} of {len(pairs)} pairs are left out: no product of their category could be a negative "
                f"({', '.join(names)}).",
                stacklevel=3,
            )
        self._rows = np.flatnonzero(usable)

    def __len__(self) -> int:
        return len(self._rows)

    def epoch(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The triplets of one epoch.

        Returns:
            int64 `[triplets, 5]`: image rows of scene, positive and negative, the category, the pair's row; and int64
            `[triplets, 2]`: seeds for the augmentation.
        """
        random = np.random.default_rng([self._seed, number])
        rows = random.permutation(self._rows) if self._shuffle else self._rows
        pairs = self._pairs
        scene, category = pairs.scene[rows], pairs.category[rows]
        negative = self._negatives(scene, category, random)
        columns = [scene, pairs.product[rows], negative, category, rows]
        return np.stack(columns, axis=1).astype(np.int64), random.integers(2**31, size=(len(rows), 2))

    def _negatives(self, scene: np.ndarray, category: np.ndarray, random: np.random.Generator) -> np.ndarray:
        products = self._pairs.category_products
        pool = np.concatenate(products)
        sizes = np.array([len(part) for part in products])
        starts = np.cumsum(sizes) - sizes
        negative = np.empty(len(scene), np.int64)
        wanting = np.arange(len(scene))
        for _ in range(_ATTEMPTS):
            draw = random.integers(sizes[category[wanting]])
            negative[wanting] = pool[starts[category[wanting]] + draw]
            wanting = wanting[self._pairs.is_positive(scene[wanting], negative[wanting])]
            if not len(wanting):
                return negative
        for row in wanting:  # nearly all products of the category are positives of this scene
            candidates = products[category[row]]
            negative[row] = random.choice(candidates[~self._pairs.is_positive(scene[row], candidates)])
        return negative
