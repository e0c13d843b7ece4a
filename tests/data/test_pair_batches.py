import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ctl_keras as ctl
from ctl_keras.data.sampling import GroupSampler
from ctl_keras.data.triplets import positives_by_pair
from tests.data.test_triplets import pair_lists, table


@given(pair_lists, st.integers(2, 5), st.integers(0, 3))
def test_each_usable_pair_once_and_whole_groups_of_one_category(rows, group, seed):
    pairs = table(rows)
    if not pairs.has_negative().any():
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler = GroupSampler(pairs, seed, group=group)
    drawn, _ = sampler.epoch(2)
    assert sorted(drawn[:, -1].tolist()) == np.flatnonzero(pairs.has_negative()).tolist()
    for scene, product, category, row in drawn.tolist():
        assert (scene, product, category) == (
            pairs.scene[row],
            pairs.product[row],
            pairs.category[row],
        )
    groups = [drawn[start : start + group, 2].tolist() for start in range(0, len(drawn), group)]
    counts = np.bincount(pairs.category[pairs.has_negative()], minlength=3)
    assert sum(len(part) == group and len(set(part)) == 1 for part in groups) >= sum(
        counts // group
    )
    assert (sampler.epoch(2)[0] == drawn).all()


@given(pair_lists)
def test_positives_by_pair(rows):
    pairs = table(rows)
    found = positives_by_pair(pairs)
    for row, scene in enumerate(pairs.scene.tolist()):
        expected = {product + 50 for other, product in rows if other == scene}
        assert set(found[row].tolist()) - {-1} == expected


def test_batches(drawn_pairs):
    dataset = ctl.pair_batches(drawn_pairs, batch_size=32, image_size=24, training=False, group=8)
    batches = list(dataset)
    assert len(dataset) == len(batches) == 5
    inputs, labels = batches[0]
    assert {name: tuple(value.shape) for name, value in inputs.items()} == {
        "scene": (32, 24, 24, 3),
        "product": (32, 24, 24, 3),
        "category": (32,),
        "product_id": (32,),
        "positives": (32, 5),
    }
    assert labels.shape == (32, 1)
    assert (inputs["product_id"].numpy()[:, None] == inputs["positives"].numpy()).any(axis=1).all()
    assert (
        len(list(ctl.pair_batches(drawn_pairs, 32, 24, training=False, drop_remainder=True))) == 4
    )


def test_errors(drawn_pairs):
    with pytest.raises(
        ctl.InputError,
        match="`group` must be at least 2 and divide `batch_size`. Received: group=5, batch",
    ):
        ctl.pair_batches(drawn_pairs, 32, group=5)
    with pytest.raises(
        ctl.InputError, match="`batch_size` must be at most the 150 pairs. Received: 160"
    ):
        ctl.pair_batches(drawn_pairs, 160, drop_remainder=True)
