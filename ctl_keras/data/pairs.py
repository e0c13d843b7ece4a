"""The one table of scene-product pairs that everything reads, and the stores that its pictures come from."""

import dataclasses
import functools
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from ctl_keras.config import require_seed
from ctl_keras.data.picture_files import read_image_bytes
from ctl_keras.errors import InputError

SPLITS = ("train", "validation", "test")


class Images:
    """Pictures by row number.

    Attributes:
        ids: array of str `[images]`.
    """

    ids: np.ndarray

    def load(self, row: int) -> bytes:
        """The file content of one picture, for `decode_image`."""
        raise NotImplementedError

    def path(self, row: int) -> Path:
        """The file of one picture, where it has one of its own."""
        raise NotImplementedError

    def read(self, row: tf.Tensor) -> tf.Tensor:
        """`load` inside a tf.data pipeline: scalar integer tensor -> scalar string tensor."""
        data = tf.numpy_function(lambda value: np.array(self.load(int(value)), object), [row], tf.string, stateful=False)
        return tf.ensure_shape(data, [])


class ImageFolder(Images):
    """Pictures that are files.

    Args:
        ids: sequence of str.
        paths: their files, in the same order.
    """

    def __init__(self, ids: Sequence[str], paths: Sequence[Path]):
        self.ids = np.array(ids, object)
        self._paths = list(paths)

    def path(self, row: int) -> Path:
        return self._paths[row]

    def load(self, row: int) -> bytes:
        return read_image_bytes(self._paths[row])


class ImageRecords(Images):
    """Pictures that are `tf.train.Example`s in TFRecord shards, read at random.

    The offsets are found by walking the shards' length fields, so there is no index file that could disagree.

    Args:
        ids: sequence of str, in the order of the records.
        shards: the TFRecord files, in order.

    Raises:
        InputError: the shards do not hold one record for each id.
    """

    def __init__(self, ids: Sequence[str], shards: Sequence[Path]):
        self.ids = np.array(ids, object)
        self._places = [(shard, offset, length) for shard in shards for offset, length in _record_places(shard)]
        if len(self._places) != len(self.ids):
            raise InputError(
                f"The image records hold {len(self._places)} pictures where {len(self.ids)} are listed. Run `prepare` again."
            )

    def load(self, row: int) -> bytes:
        shard, offset, length = self._places[row]
        with open(shard, "rb") as file:
            file.seek(offset)
            example = tf.train.Example.FromString(file.read(length))
        return example.features.feature["image"].bytes_list.value[0]


def _record_places(shard: Path) -> list[tuple[int, int]]:
    places, size = [], shard.stat().st_size
    with open(shard, "rb") as file:
        position = 0
        while position < size:
            # TFRecord: length (uint64), its CRC (4 bytes), the data, its CRC (4 bytes)
            file.seek(position)
            (length,) = struct.unpack("<Q", file.read(8))
            places.append((position + 12, length))
            position += 12 + length + 4
    return places


@dataclass(frozen=True)
class Pairs:
    """Scene-product pairs, one row each, in columns.

    Attributes:
        scene: int array `[pairs]`, row of the scene's picture in `images`.
        product: int array `[pairs]`, row of the product's picture in `images`.
        category: int array `[pairs]`, index into `categories`.
        window: float32 array `[pairs, 4]`, the part of the scene that doesn't show the product: left, top, right, bottom as
            shares of the image.
        popularity: int array `[pairs]`, how many training pairs have the row's product; 0 before a split.
        categories: category paths such as `"Apparel & Accessories|Shoes"`, sorted.
        images: where the pictures are read from.
        split_name: `"train"`, `"validation"`, `"test"`, or None before a split.
        rejected: what the reader left out: dicts with `line`, `scene`, `product` and `reason`.
        other_positives: int array `[others, 2]`, image rows of scenes and products that are annotated as pairs but are not
            in the table; they are no negatives either.
        candidates: for each category the sorted image rows of what its pairs are ranked among, each pair's own product
            included. None, the default, takes the table's products of the category. `take` and `split` drop it: a part of a
            table has its own candidates.
    """

    scene: np.ndarray
    product: np.ndarray
    category: np.ndarray
    window: np.ndarray
    popularity: np.ndarray
    categories: tuple[str, ...]
    images: Images
    split_name: str | None = None
    rejected: tuple[dict, ...] = ()
    other_positives: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 2), int))
    candidates: tuple[np.ndarray, ...] | None = None

    def __len__(self) -> int:
        return len(self.scene)

    def take(self, rows: np.ndarray) -> "Pairs":
        """The table of these rows (int or bool array)."""
        columns = ("scene", "product", "category", "window", "popularity")
        return dataclasses.replace(self, rejected=(), candidates=None, **{name: getattr(self, name)[rows] for name in columns})

    def split(self, fractions: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 0) -> tuple["Pairs", "Pairs", "Pairs"]:
        """Splits by scene: no scene is in two parts, so no test scene was seen in training.

        Args:
            fractions: shares of the scenes for train, validation and test; they add up to 1. Defaults to (0.8, 0.1, 0.1).
            seed: int. The same seed gives the same split, whatever the order of the rows. Defaults to 0.

        Returns:
            The pairs of train, validation and test, each with `popularity` counted in train.

        Raises:
            InputError: the fractions are not three shares that add up to 1.
        """
        parts = split_scenes(self.images.ids[self.scene], fractions, seed)
        counts = np.bincount(self.product[parts[0]], minlength=len(self.images.ids))
        counted = dataclasses.replace(self, popularity=counts[self.product])
        train, validation, test = (
            dataclasses.replace(counted.take(rows), split_name=name) for rows, name in zip(parts, SPLITS, strict=True)
        )
        return train, validation, test

    @functools.cached_property
    def positives(self) -> np.ndarray:
        """Sorted unique codes, int64, of all known (scene, product) pairs; see `is_positive`."""
        others = self._codes(self.other_positives[:, 0], self.other_positives[:, 1])
        return np.unique(np.concatenate([self._codes(self.scene, self.product), others]))

    def is_positive(self, scene: np.ndarray, product: np.ndarray) -> np.ndarray:
        """Whether each product (image row) is a positive of each scene (image row); bool, broadcast shape."""
        return np.isin(self._codes(scene, product), self.positives)

    def _codes(self, scene: np.ndarray, product: np.ndarray) -> np.ndarray:
        return np.asarray(scene, np.int64) * len(self.images.ids) + product

    @functools.cached_property
    def category_products(self) -> tuple[np.ndarray, ...]:
        """For each category the image rows of its products, sorted: the candidates of a ranking and the negatives."""
        if self.candidates is not None:
            return self.candidates
        return tuple(np.unique(self.product[self.category == index]) for index in range(len(self.categories)))

    def has_negative(self) -> np.ndarray:
        """Bool `[pairs]`: whether the row's category has a product that is no positive of the row's scene."""
        available = np.array([len(products) for products in self.category_products])
        category_of = np.full(len(self.images.ids), -1)
        for category, products in enumerate(self.category_products):
            category_of[products] = category
        scene, product = np.divmod(self.positives, len(self.images.ids))
        is_candidate = category_of[product] >= 0
        width = np.int64(len(self.categories))
        groups, counts = np.unique((scene * width + category_of[product])[is_candidate], return_counts=True)
        return counts[np.searchsorted(groups, self.scene * width + self.category)] < available[self.category]


def split_scenes(scenes: np.ndarray, fractions: Sequence[float], seed: int) -> list[np.ndarray]:
    """Row numbers of train, validation and test such that equal scenes stay together.

    Args:
        scenes: array of scene ids `[pairs]`.
        fractions: three shares of the scenes that add up to 1.
        seed: int.

    Returns:
        Three int arrays.

    Raises:
        InputError: as said of `fractions`.
    """
    require_seed(seed)
    shares = np.asarray(fractions, float)
    if shares.shape != (3,) or not np.all(shares >= 0) or abs(shares.sum() - 1) > 1e-6:
        raise InputError(
            f"`fractions` must be three shares (train, validation, test) that add up to 1. Received: {tuple(fractions)}"
        )
    unique, of_row = np.unique(np.asarray(scenes).astype(str), return_inverse=True)
    position = np.empty(len(unique), int)
    position[np.random.default_rng(seed).permutation(len(unique))] = np.arange(len(unique))
    bounds = np.round(np.cumsum(shares) * len(unique)).astype(int)
    part = np.searchsorted(bounds, position[of_row], side="right")
    return [np.flatnonzero(part == index) for index in range(3)]
