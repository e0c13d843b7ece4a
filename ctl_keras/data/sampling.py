"""Which pairs and products make up an epoch: drawn from (seed, epoch) alone, so that a resumed
training sees the same."""

import warnings

import numpy as np

from ctl_keras.data.pairs import Pairs
from ctl_keras.errors import InputError

_ATTEMPTS = 16


def usable_rows(pairs: Pairs) -> np.ndarray:
    """The rows of the pairs that have a negative, int array.

    Raises:
        InputError: none has.
    """
    rows = np.flatnonzero(pairs.has_negative()) if len(pairs) else np.zeros(0, int)
    if not len(rows):
        raise InputError(
            f"No triplet can be made of these {len(pairs)} {pairs.split_name or ''} pairs: a "
            "negative is another product of the same category, and no category has one. Add "
            "pairs, or merge categories."
        )
    return rows


class Sampler:
    """Draws the examples of an epoch.

    Args:
        pairs: the table. Pairs whose category has no negative for their scene are left out with a
            warning.
        seed: int. Defaults to 0.
        shuffle: bool. Whether an epoch's order is random. Defaults to True.

    Attributes:
        roles: tuple of str, the names of the products of an example.

    Raises:
        InputError: no pair has a negative.
    """

    roles: tuple[str, ...]

    def __init__(self, pairs: Pairs, seed: int = 0, shuffle: bool = True):
        self.pairs, self._seed, self._shuffle = pairs, seed, shuffle
        self._rows = usable_rows(pairs)
        if len(self._rows) < len(pairs):
            left_out = np.delete(pairs.category, self._rows)
            names = sorted({pairs.categories[index] for index in left_out})
            warnings.warn(
                f"{len(left_out)} of {len(pairs)} pairs are left out: no product of their "
                f"category could be a negative ({', '.join(names)}).",
                stacklevel=3,
            )

    def __len__(self) -> int:
        return len(self._rows)

    def epoch(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The examples of one epoch, each usable pair once.

        Returns:
            int64 `[examples, 3 + products]`: image row of the scene, image rows of the products in
            the order of `roles`, the category, the pair's row; and int64 `[examples, 2]`: seeds for
            the augmentation.
        """
        random = np.random.default_rng([self._seed, number])
        rows, products = self._draw(random)
        columns = [self.pairs.scene[rows], *products, self.pairs.category[rows], rows]
        return np.stack(columns, axis=1).astype(np.int64), random.integers(
            2**31, size=(len(rows), 2)
        )

    def _draw(self, random: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray]]:
        """Rows of the pairs, and the image rows of each role's products."""
        raise NotImplementedError


class TripletSampler(Sampler):
    """Each pair with a random negative: a product of the same category that is no positive of the
    scene."""

    roles = ("positive", "negative")

    def _draw(self, random):
        rows = random.permutation(self._rows) if self._shuffle else self._rows
        scene, category = self.pairs.scene[rows], self.pairs.category[rows]
        return rows, [self.pairs.product[rows], self._negatives(scene, category, random)]

    def _negatives(
        self, scene: np.ndarray, category: np.ndarray, random: np.random.Generator
    ) -> np.ndarray:
        products = self.pairs.category_products
        pool = np.concatenate(products)
        sizes = np.array([len(part) for part in products])
        starts = np.cumsum(sizes) - sizes
        negative = np.empty(len(scene), np.int64)
        wanting = np.arange(len(scene))
        for _ in range(_ATTEMPTS):
            draw = random.integers(sizes[category[wanting]])
            negative[wanting] = pool[starts[category[wanting]] + draw]
            wanting = wanting[self.pairs.is_positive(scene[wanting], negative[wanting])]
            if not len(wanting):
                return negative
        for row in wanting:  # nearly all products of the category are positives of this scene
            candidates = products[category[row]]
            negative[row] = random.choice(
                candidates[~self.pairs.is_positive(scene[row], candidates)]
            )
        return negative


class GroupSampler(Sampler):
    """Pairs in groups of one category, so that batches of whole groups hold negatives.

    Each category's pairs are cut into groups of `group`; what is left over of all categories fills
    mixed groups, ordered by category. Only the last group of an epoch may be smaller.

    Args:
        pairs, seed, shuffle: see `Sampler`.
        group: int. Pairs a group. Defaults to 8.
    """

    roles = ("product",)

    def __init__(self, pairs: Pairs, seed: int = 0, shuffle: bool = True, group: int = 8):
        super().__init__(pairs, seed, shuffle)
        self._group = group

    def _draw(self, random):
        rows = random.permutation(self._rows) if self._shuffle else self._rows
        rows = rows[np.argsort(self.pairs.category[rows], kind="stable")]
        category = self.pairs.category[rows]
        starts = np.searchsorted(category, category)
        place = np.arange(len(rows)) - starts
        counts = np.bincount(category, minlength=len(self.pairs.categories))[category]
        whole = place < counts // self._group * self._group
        mixed = rows[~whole]
        cut = len(mixed) // self._group * self._group
        groups = np.concatenate([rows[whole], mixed[:cut]]).reshape(-1, self._group)
        groups = random.permutation(groups) if self._shuffle else groups
        drawn = np.concatenate([groups.ravel(), mixed[cut:]])
        return drawn, [self.pairs.product[drawn]]
