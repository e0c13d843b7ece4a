import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ctl_keras as ctl
from ctl_keras.evaluation.reliability import reliability
from tests.data.test_triplets import pair_lists, table


def random_ranker(pairs, seed):
    distance = np.random.default_rng(seed).uniform(0, 4, (100, 100))
    return (
        distance,
        lambda rows, candidates: distance[pairs.scene[rows][:, None], candidates[None]],
    )


@given(pair_lists, st.integers(0, 9))
def test_equals_plain_loops(rows, seed):
    pairs = table(rows)
    if not pairs.has_negative().any():
        return
    distance, ranker = random_ranker(pairs, seed)
    calibration = ctl.Calibration(slope=2.0, intercept=3.5, pairs=1)
    known = set(zip(pairs.scene.tolist(), pairs.product.tolist(), strict=True))
    judged = []  # probability, whether it is a positive, weight
    for scene, product, category in zip(pairs.scene, pairs.product, pairs.category, strict=True):
        negatives = [
            p
            for p in np.unique(pairs.product[pairs.category == category])
            if (scene, p) not in known
        ]
        if negatives:
            judged.append((calibration.probability(distance[scene, product]), 1, 1.0))
            judged += [
                (calibration.probability(distance[scene, p]), 0, 1 / len(negatives))
                for p in negatives
            ]
    result = reliability(pairs, ranker, calibration)
    total, error = sum(weight for _, _, weight in judged), 0.0
    for index, part in enumerate(result["bins"]):
        inside = [
            row
            for row in judged
            if index <= row[0] * 10 < index + 1 or (index == 9 and row[0] == 1)
        ]
        count = sum(weight for _, _, weight in inside)
        assert part["count"] == pytest.approx(count)
        assert (part["low"], part["high"]) == (index / 10, (index + 1) / 10)
        if not inside:
            assert part["probability"] is None
            assert part["positives"] is None
            continue
        probability = sum(p * weight for p, _, weight in inside) / count
        positives = sum(positive * weight for _, positive, weight in inside) / count
        assert part["probability"] == pytest.approx(probability)
        assert part["positives"] == pytest.approx(positives)
        error += count / total * abs(probability - positives)
    assert result["expected_calibration_error"] == pytest.approx(error)
    assert total == pytest.approx(2 * pairs.has_negative().sum())


def test_half_of_the_weight_is_positive():
    pairs = table([(scene, 3 * product) for scene, product in enumerate(range(8))])
    result = reliability(
        pairs, random_ranker(pairs, 0)[1], ctl.Calibration(slope=0.0, intercept=0.0, pairs=1)
    )
    assert result["expected_calibration_error"] == pytest.approx(0)
    assert [part["count"] for part in result["bins"]] == [0] * 5 + [pytest.approx(16)] + [0] * 4


def test_a_wrong_map_is_seen():
    """Distances that say nothing, and a map that is sure of every pair."""
    pairs = table([(scene, 3 * product) for scene, product in enumerate(range(8))])
    result = reliability(
        pairs, random_ranker(pairs, 0)[1], ctl.Calibration(slope=0.0, intercept=30.0, pairs=1)
    )
    assert result["expected_calibration_error"] == pytest.approx(0.5)
    assert result["bins"][9]["positives"] == pytest.approx(0.5)
