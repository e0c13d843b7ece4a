import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ctl_keras as ctl
from ctl_keras.data.splits import split_groups

fractions = st.tuples(st.integers(0, 10), st.integers(0, 10), st.integers(0, 10)).filter(any)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=80), fractions, st.integers(0, 5))
def test_split_is_a_partition_that_keeps_scenes_together(scenes, weights, seed):
    shares = np.array(weights) / sum(weights)
    split = split_groups(np.array(scenes), shares, seed)
    parts = [np.flatnonzero(split == number) for number in range(3)]
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(scenes)))
    sets = [{scenes[row] for row in part} for part in parts]
    assert not (sets[0] & sets[1])
    assert not (sets[0] & sets[2])
    assert not (sets[1] & sets[2])
    for part, share in zip(sets, shares, strict=True):
        assert abs(len(part) - share * len(set(scenes))) <= 1


@given(st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=40), st.randoms())
def test_split_does_not_depend_on_the_order_of_rows(scenes, random):
    order = list(range(len(scenes)))
    random.shuffle(order)
    first = split_groups(np.array(scenes), (0.5, 0.25, 0.25), 3)
    second = split_groups(np.array([scenes[index] for index in order]), (0.5, 0.25, 0.25), 3)
    assert second.tolist() == first[order].tolist()


@pytest.mark.parametrize(
    "wrong", [(0.8, 0.2), (0.5, 0.5, 0.5), (-0.5, 0.5, 1.0), (float("nan"), 0, 1)]
)
def test_wrong_fractions(drawn_pairs, wrong):
    with pytest.raises(
        ctl.InputError, match=r"`fractions` must be three shares .* that add up to 1"
    ):
        drawn_pairs.split(wrong)


def test_split_pieces(drawn_pairs):
    train, validation, test = drawn_pairs.split((0.6, 0.2, 0.2), seed=1)
    assert [part.split_name for part in (train, validation, test)] == [
        "train",
        "validation",
        "test",
    ]
    assert len(train) + len(validation) + len(test) == len(drawn_pairs)
    counts = {product: int((train.product == product).sum()) for product in test.product}
    assert test.popularity.tolist() == [counts[product] for product in test.product]
    assert train.popularity.min() >= 1
    assert all(part.categories == drawn_pairs.categories for part in (train, validation, test))
    everything = drawn_pairs.split((0, 0, 1))
    assert [len(part) for part in everything] == [0, 0, len(drawn_pairs)]


def test_positives_and_negatives(drawn_pairs):
    pairs = drawn_pairs
    known = {
        (int(scene), int(product))
        for scene, product in zip(pairs.scene, pairs.product, strict=True)
    }
    for scene in np.unique(pairs.scene)[:5]:
        for category, products in enumerate(pairs.category_products):
            expected = [(int(scene), int(product)) in known for product in products]
            assert pairs.is_positive(scene, products).tolist() == expected
            assert set(pairs.category[np.isin(pairs.product, products)]) == {category}


def test_has_negative_with_several_right_products_a_scene():
    # scene 0 has both products of category 0 as positives; scene 1 has one of them; category 1 has
    # one product only
    scene, product, category = (
        np.array([0, 0, 1, 1]),
        np.array([2, 3, 2, 4]),
        np.array([0, 0, 0, 1]),
    )
    images = type("Five", (), {"ids": np.array(list("abcde"), object)})()
    pairs = ctl.Pairs(
        scene, product, category, np.zeros((4, 4)), np.zeros(4, int), ("x", "y"), images
    )
    assert pairs.has_negative().tolist() == [False, False, True, False]
