"""The ranking protocol: for each pair, the rank of its product among the candidates of its
category."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ctl_keras.data.pairs import Pairs

METRICS = ("binary_accuracy", "hit@1", "hit@10", "mrr")

_ROWS = 1024  # ranked at a time

# (rows of the pairs, all of one category; image rows of the candidates) -> distances [rows,
# candidates]
Ranker = Callable[[np.ndarray, np.ndarray], np.ndarray]


def ranked_blocks(
    pairs: Pairs, ranker: Ranker
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """The distances of all pairs that have a negative, block by block of one category.

    Yields:
        Rows of the table `[rows]`, distances to the candidates float64 `[rows, candidates]`, to the
        own product `[rows, 1]`, and which candidates are negatives, bool `[rows, candidates]`.
    """
    usable = pairs.has_negative()
    for category, candidates in enumerate(pairs.category_products):
        all_rows = np.flatnonzero(usable & (pairs.category == category))
        for start in range(0, len(all_rows), _ROWS):
            rows = all_rows[start : start + _ROWS]
            distances = np.asarray(ranker(rows, candidates), np.float64)
            place = np.searchsorted(candidates, pairs.product[rows])[:, None]
            own = np.take_along_axis(distances, place, axis=1)
            positive = pairs.is_positive(pairs.scene[rows][:, None], candidates[None])
            yield rows, distances, own, ~positive


def rank_metrics(pairs: Pairs, ranker: Ranker) -> np.ndarray:
    """Ranks each pair's product among the candidates of its category that are no positives of its
    scene.

    Args:
        pairs: the table; its `category_products` are the candidates.
        ranker: gives distances, the smaller the better.

    Returns:
        float64 `[pairs, 4]`, in the order of `METRICS`; NaN for pairs without a negative
        (`Pairs.has_negative`). `binary_accuracy` is the share of negatives that are farther than
        the product, ties counting half: what random comparisons with one negative give on average
        (the per-query AUC).
    """
    values = np.full((len(pairs), len(METRICS)), np.nan)
    for rows, distances, own, negative in ranked_blocks(pairs, ranker):
        nearer = (
            np.sum((distances < own) & negative, axis=1)
            + np.sum((distances == own) & negative, axis=1) / 2
        )
        rank = 1 + nearer
        values[rows] = np.stack(
            [1 - nearer / negative.sum(axis=1), rank <= 1, rank <= 10, 1 / rank], axis=1
        )
    return values


class SceneBootstrap:
    """Means with 95 % bootstrap intervals over scenes.

    A scene's pairs are resampled together: they share a photo, so they are not independent. The
    same table, resamples and seed draw the same scenes, so the interval of a difference of two
    rankers is that of its values, pair by pair.

    Args:
        scenes: array or list `[pairs]`, the scene of each pair, by number or id.
        resamples: int. Defaults to 1000.
        seed: int. Defaults to 0.
    """

    def __init__(self, scenes: np.ndarray | Sequence[str], resamples: int = 1000, seed: int = 0):
        self._scenes = np.unique(scenes, return_inverse=True)[1]
        self._count = count = self._scenes.max() + 1
        self._weights = np.random.default_rng(seed).multinomial(
            count, np.full(count, 1 / count), size=resamples
        )

    def figures(self, values: np.ndarray, rows: np.ndarray | None = None) -> dict[str, dict]:
        """The mean of each metric.

        Args:
            values: `[pairs, 4]`, in the order of `METRICS`.
            rows: int array, the pairs that count. Defaults to all.

        Returns:
            `{"binary_accuracy": {"value", "low", "high", "n"}, "hit@1", "hit@10", "mrr"}`.
        """
        rows = np.arange(len(values)) if rows is None else rows
        return {name: self.mean(values[rows, column], rows) for column, name in enumerate(METRICS)}

    def mean(self, values: np.ndarray, rows: np.ndarray) -> dict[str, Any]:
        """The mean of one figure.

        Args:
            values: `[rows]`.
            rows: int array `[rows]`, the pairs that they are of.

        Returns:
            `{"value", "low", "high", "n"}`.
        """
        scenes = self._scenes[rows]
        drawn = self._weights @ np.bincount(scenes, minlength=self._count)
        sums = np.bincount(scenes, weights=values, minlength=self._count)
        means = (self._weights @ sums)[drawn > 0] / drawn[drawn > 0]
        low, high = np.percentile(means, [2.5, 97.5]) if len(means) else (np.nan, np.nan)
        return {
            "value": float(values.mean()),
            "low": float(low),
            "high": float(high),
            "n": len(rows),
        }


def summarise(pairs: Pairs, values: np.ndarray, bootstrap: SceneBootstrap) -> dict:
    """Means with 95 % bootstrap intervals over scenes, of all pairs and by category.

    Args:
        pairs: the table.
        values: `[pairs, 4]` from `rank_metrics`.
        bootstrap: of the scenes of these pairs.

    Returns:
        `{"binary_accuracy": {"value", "low", "high", "n"}, "hit@1", "hit@10", "mrr", "by_category":
        {name: the same, with "candidates", their number}}`.
    """
    by_category = {
        name: bootstrap.figures(values, rows) | {"candidates": len(pairs.category_products[index])}
        for index, name in enumerate(pairs.categories)
        if len(rows := np.flatnonzero(pairs.category == index))
    }
    return {**bootstrap.figures(values), "by_category": by_category}
