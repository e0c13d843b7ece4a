"""Which pairs are for training, validation and test, and what one split knows of another."""

from collections.abc import Sequence

import numpy as np

from ctl_keras.config import require_seed
from ctl_keras.errors import InputError

SPLITS = ("train", "validation", "test")
SCENE, SCENE_PRODUCT = "scene", "scene-product"


def parse_fractions(text: str) -> tuple[float, ...]:
    """`"0.8,0.1,0.1"` as numbers.

    Raises:
        InputError: something else.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            f"`fractions` must be three numbers such as 0.8,0.1,0.1. Received: {text!r}"
        ) from None


def split_groups(groups: np.ndarray, fractions: Sequence[float], seed: int) -> np.ndarray:
    """Splits such that equal groups stay together.

    Args:
        groups: int array `[pairs]`, such as the scenes, numbered in the order of their ids: then
            the split does not depend on the order of the rows.
        fractions: shares of the groups for train, validation and test; they add up to 1.
        seed: int.

    Returns:
        int array `[pairs]`: 0, 1 or 2, index into `SPLITS`.

    Raises:
        InputError: the fractions are not three shares that add up to 1.
    """
    require_seed(seed)
    shares = np.asarray(fractions, float)
    if shares.shape != (3,) or not np.all(shares >= 0) or abs(shares.sum() - 1) > 1e-6:
        raise InputError(
            "`fractions` must be three shares (train, validation, test) that add up to 1. "
            f"Received: {tuple(fractions)}"
        )
    unique, of_row = np.unique(groups, return_inverse=True)
    position = np.empty(len(unique), int)
    position[np.random.default_rng(seed).permutation(len(unique))] = np.arange(len(unique))
    bounds = np.round(np.cumsum(shares) * len(unique)).astype(int)
    return np.searchsorted(bounds, position[of_row], side="right")


def keep_products_apart(split: np.ndarray, products: np.ndarray) -> np.ndarray:
    """Leaves out pairs so that no product is in two splits, as few as the split of the scenes
    allows.

    Each product goes to the split that holds most of its pairs, of equals to the smallest split.

    Args:
        split: int array `[pairs]`, as `split_groups` gives it.
        products: int array `[pairs]`.

    Returns:
        int array `[pairs]`: `split`, and -1 for a pair that is left out.
    """
    unique, of_row = np.unique(products, return_inverse=True)
    counts = np.zeros((len(unique), len(SPLITS)), int)
    np.add.at(counts, (of_row, split), 1)
    smallest_first = np.argsort(np.bincount(split, minlength=len(SPLITS)), kind="stable")
    home = smallest_first[np.argmax(counts[:, smallest_first], axis=1)]
    return np.where(home[of_row] == split, split, -1)


def leakage(split: np.ndarray, things: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """How much of validation and test is known from training.

    Args:
        split: int array `[pairs]`; -1 is in no split.
        things: name -> int array `[pairs]`, such as the scene or the product of each pair.

    Returns:
        `{"validation": {name: share}, "test": {…}}`: the share of the split's pairs whose scene
        (product, …) is in training, too. A split without pairs has 0.
    """
    return {
        SPLITS[number]: {
            name: float(np.isin(values[split == number], values[split == 0]).mean())
            if (split == number).any()
            else 0.0
            for name, values in things.items()
        }
        for number in (1, 2)
    }
