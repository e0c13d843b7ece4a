"""The ranking protocol: for each pair, the rank of its product among the candidates of its category."""

from collections.abc import Callable

import numpy as np

from ctl_keras.data.pairs import Pairs

METRICS = ("binary_accuracy", "hit@1", "hit@10", "mrr")

_ROWS = 1024  # ranked at a time

# (rows of the pairs, all of one category; image rows of the candidates) -> distances [rows, candidates]
Ranker = Callable[[np.ndarray, np.ndarray], np.ndarray]


def rank_metrics(pairs: Pairs, ranker: Ranker) -> np.ndarray:
    """Ranks each pair's product among the split's products of its category that are no positives of its scene.

    Args:
        pairs: the table; its products are the candidates.
        ranker: gives distances, the smaller the better.

    Returns:
        float64 `[pairs, 4]`, in the order of `METRICS`; NaN for pairs without a negative (`Pairs.has_negative`).
        `binary_accuracy` is the share of negatives that are farther than the product, ties counting half: what random
        comparisons with one negative give on average (the per-query AUC).
    """
    values = np.full((len(pairs), len(METRICS)), np.nan)
    usable = pairs.has_negative()
    blocks = [
        (rows[start : start + _ROWS], candidates)
        for category, candidates in enumerate(pairs.category_products)
        if len(rows := np.flatnonzero(usable & (pairs.category == category)))
        for start in range(0, len(rows), _ROWS)
    ]
    for rows, candidates in blocks:
        distances = np.asarray(ranker(rows, candidates), np.float64)
        own = distances[np.arange(len(rows)), np.searchsorted(candidates, pairs.product[rows])][:, None]
        negative = ~pairs.is_positive(pairs.scene[rows][:, None], candidates[None])
        nearer = np.sum((distances < own) & negative, axis=1) + np.sum((distances == own) & negative, axis=1) / 2
        rank = 1 + nearer
        values[rows] = np.stack([1 - nearer / negative.sum(axis=1), rank <= 1, rank <= 10, 1 / rank], axis=1)
    return values


def summarise(pairs: Pairs, values: np.ndarray, resamples: int = 1000, seed: int = 0) -> dict:
    """Means with 95 % bootstrap intervals over scenes, of all pairs and by category.

    A scene's pairs are resampled together: they share a photo, so they are not independent.

    Args:
        pairs: the table.
        values: `[pairs, 4]` from `rank_metrics`.
        resamples: int. Defaults to 1000.
        seed: int. Defaults to 0.

    Returns:
        `{"binary_accuracy": {"value", "low", "high", "n"}, "hit@1", "hit@10", "mrr", "by_category": {name: the same}}`.
    """
    scenes = np.unique(pairs.scene, return_inverse=True)[1]
    count = scenes.max() + 1
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)

    def figures(rows: np.ndarray) -> dict:
        sizes = np.bincount(scenes[rows], minlength=count)
        drawn = weights @ sizes
        result = {}
        for column, name in enumerate(METRICS):
            sums = np.bincount(scenes[rows], weights=values[rows, column], minlength=count)
            means = (weights @ sums)[drawn > 0] / drawn[drawn > 0]
            low, high = np.percentile(means, [2.5, 97.5]) if len(means) else (np.nan, np.nan)
            result[name] = {
                "value": float(values[rows, column].mean()),
                "low": float(low),
                "high": float(high),
                "n": len(rows),
            }
        return result

    by_category = {
        name: figures(rows)
        for index, name in enumerate(pairs.categories)
        if len(rows := np.flatnonzero(pairs.category == index))
    }
    return {**figures(np.arange(len(pairs))), "by_category": by_category}
