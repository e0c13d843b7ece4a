"""Which pairs a report shows, and what was ranked for them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ctl_keras.pictures.boards import short_name
from ctl_keras.pictures.report_images import Picture, product_picture, scene_picture
from ctl_keras.pictures.report_run import EvaluatedRun

NEAREST = 6


@dataclass(frozen=True)
class Candidate:
    """A ranked product: its id, picture and distance, and what it is to the scene: `own`, `other`
    (another product of the scene, which is not counted) or `negative`."""

    id: str
    picture: Picture
    distance: float
    kind: str


@dataclass(frozen=True)
class Ranking:
    """How a run ranked one pair: the rank of its product among how many, its percentile and
    distance, and the nearest."""

    rank: float
    among: int
    percentile: float
    distance: float
    nearest: tuple[Candidate, ...]


@dataclass(frozen=True)
class Case:
    """A pair and how one run, or two runs, ranked it."""

    scene_id: str
    product_id: str
    category: str
    scene: Picture
    product: Picture
    rankings: tuple[Ranking, ...]


def best_pairs(
    percentiles: np.ndarray,
    gaps: np.ndarray,
    few: np.ndarray,
    scenes: Sequence[str],
    count: int,
    besides: Sequence[int] = (),
) -> list[int]:
    """The pairs with the highest percentile (all that are ranked first have 1), the largest gap
    first; of different scenes, and none that is worse than chance.

    Args:
        percentiles: float `[pairs]`, share of the negatives that are farther than the product.
        gaps: float `[pairs]`, how much farther the nearest negative is.
        few: bool `[pairs]`, of a category with few candidates, where a rank says little: such pairs
            come after all others.
        scenes: their scenes.
        count: int. The largest number of pairs.
        besides: rows that are not taken. Defaults to none.

    Returns:
        Row numbers.
    """
    order = np.lexsort((-gaps, -percentiles, few))
    kept = (percentiles[order] >= 0.5) & ~np.isin(order, besides)
    return of_different_scenes(order[kept], scenes, count)


def worst_pairs(
    percentiles: np.ndarray,
    gaps: np.ndarray,
    few: np.ndarray,
    scenes: Sequence[str],
    count: int,
    besides: Sequence[int] = (),
) -> list[int]:
    """As `best_pairs`, but the lowest percentile and the smallest gap first, and none that is
    better than chance."""
    return best_pairs(1 - percentiles, -gaps, few, scenes, count, besides)


def better_pairs(
    percentiles: np.ndarray, other: np.ndarray, few: np.ndarray, scenes: Sequence[str], count: int
) -> list[int]:
    """The pairs whose percentile is most above that of another run, the largest difference first;
    of different scenes, those of categories with few candidates last."""
    difference = percentiles - other
    order = np.lexsort((-difference, few))
    return of_different_scenes(order[difference[order] > 0], scenes, count)


def of_different_scenes(order: np.ndarray, scenes: Sequence[str], count: int) -> list[int]:
    """The first `count` of `order`, one of each scene."""
    chosen: dict[str, int] = {}
    for row in order.tolist():
        if len(chosen) < count:
            chosen.setdefault(scenes[row], row)
    return list(chosen.values())


def read_case(runs: Sequence[EvaluatedRun], number: int) -> Case:
    """A ranked pair with its pictures.

    Args:
        runs: one run, or several that ranked the same pairs.
        number: int, the pair's place among those that were ranked.
    """
    first = runs[0]
    row = first.rows[number]
    scene_id, product_id, category = first.stored.pairs[number]
    images, name = first.pairs.images, short_name(category)
    return Case(
        scene_id=scene_id,
        product_id=product_id,
        category=category,
        scene=scene_picture(
            images,
            first.pairs.scene[row],
            f"Scene {scene_id}; the part with its {name} is pale",
            first.pairs.window[row],
        ),
        product=product_picture(
            images, first.pairs.product[row], f"Its own product {product_id}, {name}"
        ),
        rankings=tuple(_ranking(run, number, name) for run in runs),
    )


def _ranking(run: EvaluatedRun, number: int, name: str) -> Ranking:
    pairs, row = run.pairs, run.rows[number]
    candidates = pairs.category_products[pairs.category[row]]
    distances = np.asarray(run.ranker(np.array([row]), candidates)[0], np.float64)
    positive = pairs.is_positive(pairs.scene[row], candidates)
    nearest = []
    for place in np.argsort(distances, kind="stable")[:NEAREST]:
        image = candidates[place]
        kind = "own" if image == pairs.product[row] else "other" if positive[place] else "negative"
        id_ = pairs.images.ids[image]
        picture = product_picture(pairs.images, image, f"Product {id_}, {name}")
        nearest.append(Candidate(id_, picture, float(distances[place]), kind))
    return Ranking(
        rank=float(run.ranks[number]),
        among=1 + int((~positive).sum()),
        percentile=float(run.percentiles[number]),
        distance=float(distances[np.searchsorted(candidates, pairs.product[row])]),
        nearest=tuple(nearest),
    )
