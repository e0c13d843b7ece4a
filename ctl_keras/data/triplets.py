"""The datasets that a model is fitted to: explicit triplets, or pairs whose batch holds the
negatives."""

import numpy as np
import tensorflow as tf

from ctl_keras.data.cached_pictures import CachedPictures
from ctl_keras.data.pairs import Pairs
from ctl_keras.data.sampling import GroupSampler, TripletSampler
from ctl_keras.data.stream import PictureSource, Source, stream
from ctl_keras.errors import InputError


def triplets(
    pairs: Pairs,
    batch_size: int = 32,
    image_size: int = 224,
    training: bool | None = None,
    augment: bool | None = None,
    seed: int = 0,
    first_step: int | None = None,
    drop_remainder: bool = False,
    source: Source | None = None,
) -> tf.data.Dataset:
    """A dataset of triplets for `fit` and `evaluate`: the paper's way.

    Each pair is the anchor of one triplet: its scene without the product, its product, and a random
    product of the same category that is no positive of the scene. Pairs whose category has no such
    product are left out with a warning.

    Args:
        pairs: the table.
        batch_size: int. Defaults to 32; the last batch may be smaller.
        image_size: int, pixels. Defaults to 224.
        training: bool. True shuffles, and draws new negatives in every pass; False keeps the order
            and the negatives. Defaults to whether `pairs` is the training split (`pairs.split_name
            == "train"`).
        augment: bool. Random crop and mirror. Defaults to `training`.
        seed: int. Of order, negatives and augmentation. Defaults to 0.
        first_step: int. With it the dataset runs on for ever, beginning with that batch of the
            whole training, and batch n is the same wherever it began: what a resumed training
            needs. By default it is one pass over the pairs.
        drop_remainder: bool. Leaves out the smaller last batch, which several devices could not
            share. Defaults to False.
        source: where the inputs come from, such as `CachedFeatures`. Defaults to the decoded
            pictures, which are kept in memory if they are augmented and fit into a quarter of it
            (`CachedPictures`).

    Returns:
        Batches of `({"scene", "positive", "negative", "category"}, labels)`: pictures float32
        `[batch, image_size, image_size, 3]`, RGB 0..255; category int32 `[batch]`; labels float32
        `[batch, 2]`, 1 for the positive and 0 for the negative.

    Raises:
        InputError: no pair has a negative, or `batch_size` or `image_size` is not positive.
    """
    training, source = _defaults(pairs, image_size, training, augment, source)
    dataset = stream(
        TripletSampler(pairs, seed, training),
        source,
        batch_size,
        training,
        first_step,
        drop_remainder,
    )

    def labelled(inputs: dict[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        return _without_rows(inputs), tf.tile([[1.0, 0.0]], [tf.shape(inputs["category"])[0], 1])

    return dataset.map(labelled).prefetch(tf.data.AUTOTUNE)


def pair_batches(
    pairs: Pairs,
    batch_size: int = 32,
    image_size: int = 224,
    training: bool | None = None,
    augment: bool | None = None,
    seed: int = 0,
    first_step: int | None = None,
    drop_remainder: bool = False,
    source: Source | None = None,
    group: int = 8,
) -> tf.data.Dataset:
    """A dataset of pairs for in-batch training (`CompleteTheLook.in_batch_trainer`): each other
    product of the batch that is of the same category and no positive of the scene is a negative.

    Args:
        pairs: the table.
        batch_size: int, pairs: `batch_size / group` groups of one category each. Defaults to 32.
        image_size: int, pixels. Defaults to 224.
        training: bool. See `triplets`, as are all up to `source`.
        augment: bool. Random crop and mirror. Defaults to `training`.
        seed: int. Of order and augmentation. Defaults to 0.
        first_step: int. The batch to begin with; the dataset then never ends. Defaults to None: one
            pass over the pairs.
        drop_remainder: bool. Leaves out the smaller last batch. Defaults to False.
        source: where the inputs come from. Defaults to the decoded pictures.
        group: int. Pairs of one category that stay together, so that negatives exist. Defaults to
            8.

    Returns:
        Batches of `({"scene", "product", "category", "product_id", "positives"}, labels)`: pictures
        float32 `[batch, image_size, image_size, 3]`, RGB 0..255; category int32 `[batch]`;
        product_id int64 `[batch]`; positives int64 `[batch, most]`, the ids of the scene's
        positives, filled with -1; labels float32 `[batch, 1]` of ones, which no loss looks at.

    Raises:
        InputError: no pair has a negative, `group` does not divide `batch_size` or is below 2, or
            as `triplets`.
    """
    if group < 2 or batch_size % group:
        raise InputError(
            f"`group` must be at least 2 and divide `batch_size`. Received: group={group}, "
            f"batch_size={batch_size}"
        )
    training, source = _defaults(pairs, image_size, training, augment, source)
    dataset = stream(
        GroupSampler(pairs, seed, training, group),
        source,
        batch_size,
        training,
        first_step,
        drop_remainder,
    )
    with tf.device("cpu"):
        product, positives = (
            tf.constant(pairs.product, tf.int64),
            tf.constant(positives_by_pair(pairs)),
        )

    def labelled(inputs: dict[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        rows = inputs["pair"]
        known = {"product_id": tf.gather(product, rows), "positives": tf.gather(positives, rows)}
        return {**_without_rows(inputs), **known}, tf.ones([tf.shape(rows)[0], 1])

    return dataset.map(labelled).prefetch(tf.data.AUTOTUNE)


def positives_by_pair(pairs: Pairs) -> np.ndarray:
    """For each pair the image rows of all positives of its scene, int64 `[pairs, most]`, filled
    with -1."""
    scene, product = np.divmod(pairs.positives, len(pairs.images.ids))
    scenes, starts, counts = np.unique(scene, return_index=True, return_counts=True)
    table = np.full((len(scenes), counts.max()), -1, np.int64)
    table[
        np.repeat(np.arange(len(scenes)), counts), np.arange(len(scene)) - np.repeat(starts, counts)
    ] = product
    return table[np.searchsorted(scenes, pairs.scene)]


def _defaults(
    pairs: Pairs,
    image_size: int,
    training: bool | None,
    augment: bool | None,
    source: Source | None,
) -> tuple[bool, Source]:
    if training is None:
        training = pairs.split_name == "train"
    if source is None:
        augment = training if augment is None else augment
        fit = augment and image_size > 0 and CachedPictures.fit(pairs, image_size)
        source = (
            CachedPictures(pairs, image_size) if fit else PictureSource(pairs, image_size, augment)
        )
    return training, source


def _without_rows(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {name: value for name, value in inputs.items() if name != "pair"}
