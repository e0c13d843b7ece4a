"""The one table of scene-product pairs that everything reads."""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ctl_keras.data.cropping import WHOLE
from ctl_keras.data.picture_stores import Images
from ctl_keras.data.splits import SCENE, SCENE_PRODUCT, SPLITS, keep_products_apart, split_groups
from ctl_keras.errors import InputError


@dataclass(frozen=True)
class Pairs:
    """Scene-product pairs, one row each, in columns.

    Attributes:
        scene: int array `[pairs]`, row of the scene's picture in `images`.
        product: int array `[pairs]`, row of the product's picture in `images`.
        category: int array `[pairs]`, index into `categories`.
        window: float32 array `[pairs, 4]`, the part of the scene that doesn't show the product:
            left, top, right, bottom as shares of the image.
        popularity: int array `[pairs]`, how many training pairs have the row's product; 0 before a
            split.
        categories: category paths such as `"Apparel & Accessories|Shoes"`, sorted.
        images: where the pictures are read from.
        split_name: `"train"`, `"validation"`, `"test"`, or None before a split.
        assigned: int array `[pairs]`, the split that the data names, index into `SPLITS`. Defaults
            to None: none.
        rejected: what the reader left out: dicts with `line`, `scene`, `product` and `reason`.
        other_positives: int array `[others, 2]`, image rows of scenes and products that are
            annotated as pairs but are not in the table: rejected, left out, or in another split.
            A product that is annotated with a scene is never its negative.
        candidates: for each category the sorted image rows of what its pairs are ranked among, each
            pair's own product included. None, the default, takes the table's products of the
            category. `take` and `split` drop it: a part of a table has its own candidates.
    """

    scene: np.ndarray
    product: np.ndarray
    category: np.ndarray
    window: np.ndarray
    popularity: np.ndarray
    categories: tuple[str, ...]
    images: Images
    split_name: str | None = None
    assigned: np.ndarray | None = None
    rejected: tuple[dict, ...] = ()
    other_positives: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 2), int))
    candidates: tuple[np.ndarray, ...] | None = None

    def __len__(self) -> int:
        return len(self.scene)

    def take(self, rows: np.ndarray) -> "Pairs":
        """The table of some of its rows, with candidates of its own.

        Args:
            rows: int array `[rows]`, or bool array `[pairs]`.

        Returns:
            `Pairs`. The scenes' other pairs stay known as `other_positives`.
        """
        names = ["scene", "product", "category", "window", "popularity"]
        names += [] if self.assigned is None else ["assigned"]
        columns = {name: getattr(self, name)[rows] for name in names}
        scene, product = np.divmod(self.positives, len(self.images.ids))
        others = np.stack([scene, product], axis=1)[np.isin(scene, columns["scene"])]
        return dataclasses.replace(
            self, rejected=(), candidates=None, other_positives=others, **columns
        )

    @property
    def has_box(self) -> np.ndarray:
        """Whether the product was cut out of its scene, bool array `[pairs]`.

        The scene of a pair without a box shows the product, as a rule, so a model can look for it
        instead of judging what goes with it.
        """
        return (self.window != WHOLE).any(axis=1)

    def split(
        self, fractions: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 0, by: str = SCENE
    ) -> tuple["Pairs", "Pairs", "Pairs"]:
        """Splits by scene: no scene is in two parts, so no test scene was seen in training.

        Args:
            fractions: shares of the scenes for train, validation and test; they add up to 1.
                Defaults to (0.8, 0.1, 0.1).
            seed: int. The same seed gives the same split, whatever the order of the rows. Defaults
                to 0.
            by: `"scene"`; `"scene-product"`: no product is in two parts either, and pairs that
                stand in the way are left out (`keep_products_apart`); `"column"`: as the data says
                (`assigned`), whatever the fractions and the seed. Defaults to `"scene"`.

        Returns:
            The pairs of train, validation and test, each with `popularity` counted in train.

        Raises:
            InputError: the fractions are not three shares that add up to 1, or `by` is another.
        """
        split = self.split_numbers(fractions, seed, by)
        counts = np.bincount(self.product[split == 0], minlength=len(self.images.ids))
        counted = dataclasses.replace(self, popularity=counts[self.product])
        train, validation, test = (
            dataclasses.replace(counted.take(split == number), split_name=name)
            for number, name in enumerate(SPLITS)
        )
        return train, validation, test

    def split_numbers(self, fractions: Sequence[float], seed: int, by: str) -> np.ndarray:
        """What `split` does, as numbers.

        Args:
            fractions: see `split`.
            seed: see `split`.
            by: see `split`.

        Returns:
            Int array `[pairs]`: index into `SPLITS`, -1 for a pair that is left out.

        Raises:
            InputError: as `split`.
        """
        if by == "column" and self.assigned is not None:
            return self.assigned
        if by not in (SCENE, SCENE_PRODUCT):
            known = [SCENE, SCENE_PRODUCT, *([] if self.assigned is None else ["column"])]
            raise InputError(f"`by` must be one of {', '.join(known)}. Received: {by!r}")
        split = split_groups(self.scene, fractions, seed)
        return keep_products_apart(split, self.product) if by == SCENE_PRODUCT else split

    @functools.cached_property
    def positives(self) -> np.ndarray:
        """Sorted unique codes, int64, of all known (scene, product) pairs; see `is_positive`."""
        others = self._codes(self.other_positives[:, 0], self.other_positives[:, 1])
        return np.unique(np.concatenate([self._codes(self.scene, self.product), others]))

    def is_positive(self, scene: np.ndarray, product: np.ndarray) -> np.ndarray:
        """Whether products are annotated positives of scenes, rejected pairs included.

        Args:
            scene: int array `[...]`, image rows.
            product: int array `[...]`, image rows.

        Returns:
            Bool array of their broadcast shape.
        """
        return np.isin(self._codes(scene, product), self.positives)

    def _codes(self, scene: np.ndarray, product: np.ndarray) -> np.ndarray:
        return np.asarray(scene, np.int64) * len(self.images.ids) + product

    @functools.cached_property
    def category_products(self) -> tuple[np.ndarray, ...]:
        """For each category the image rows of its products, sorted: the candidates of a ranking and
        the negatives."""
        if self.candidates is not None:
            return self.candidates
        return tuple(
            np.unique(self.product[self.category == index]) for index in range(len(self.categories))
        )

    def has_negative(self) -> np.ndarray:
        """For which pairs there is a product of the category that is no positive of the scene.

        Returns:
            Bool array `[pairs]`.
        """
        available = np.array([len(products) for products in self.category_products])
        category_of = np.full(len(self.images.ids), -1)
        for category, products in enumerate(self.category_products):
            category_of[products] = category
        scene, product = np.divmod(self.positives, len(self.images.ids))
        is_candidate = category_of[product] >= 0
        width = np.int64(len(self.categories))
        groups, counts = np.unique(
            (scene * width + category_of[product])[is_candidate], return_counts=True
        )
        return (
            counts[np.searchsorted(groups, self.scene * width + self.category)]
            < available[self.category]
        )
