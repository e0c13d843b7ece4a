import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ctl_keras as ctl
from ctl_keras.data.sampling import TripletSampler


def table(rows, categories=3):
    """Pairs from (scene, product) numbers; a product's category is its number modulo
    `categories`."""
    scene, product = (np.array(column) for column in zip(*rows, strict=True))
    images = type("Images", (), {"ids": np.array([str(n) for n in range(100)], object)})()
    window = np.tile(np.float32([0, 0, 1, 1]), (len(rows), 1))
    names = tuple(f"c{n}" for n in range(categories))
    return ctl.Pairs(
        scene, product + 50, product % categories, window, np.zeros(len(rows), int), names, images
    )


pair_lists = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 20)), min_size=1, max_size=60, unique=True
)


@given(pair_lists, st.integers(0, 3))
def test_a_negative_has_the_category_and_is_no_positive_of_the_scene(rows, seed):
    pairs = table(rows)
    if not pairs.has_negative().any():
        with pytest.raises(ctl.InputError, match="No triplet can be made of these"):
            TripletSampler(pairs, seed)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler = TripletSampler(pairs, seed)
    drawn, _ = sampler.epoch(0)
    known = set(zip(pairs.scene.tolist(), pairs.product.tolist(), strict=True))
    for scene, positive, negative, category, row in drawn.tolist():
        assert (scene, positive) == (pairs.scene[row], pairs.product[row])
        assert (scene, negative) not in known
        assert (negative - 50) % 3 == category == (positive - 50) % 3
        assert negative in pairs.product
    assert sorted(drawn[:, 4].tolist()) == np.flatnonzero(pairs.has_negative()).tolist()


def test_every_negative_is_drawn_about_equally_often():
    pairs = table([(scene, product) for scene, product in enumerate(range(0, 30, 3))])
    counts = np.zeros(100)
    sampler = TripletSampler(pairs)
    for epoch in range(300):
        np.add.at(counts, sampler.epoch(epoch)[0][:, 2], 1)
    counts = counts[pairs.product]
    assert counts.sum() == 3000
    assert np.abs(counts - 300).max() < 80


def test_epochs_differ_and_repeat_by_seed(drawn_pairs):
    one, other = TripletSampler(drawn_pairs, seed=4), TripletSampler(drawn_pairs, seed=4)
    np.testing.assert_array_equal(one.epoch(3)[0], other.epoch(3)[0])
    assert (one.epoch(3)[0][:, 2] != one.epoch(4)[0][:, 2]).any()
    assert (one.epoch(3)[0] != TripletSampler(drawn_pairs, seed=5).epoch(3)[0]).any()


def first(dataset):
    return [x["positive"].numpy() for x, _ in dataset]


def test_batches(drawn_pairs):
    dataset = ctl.triplets(drawn_pairs, batch_size=64, image_size=24, training=False)
    batches = list(dataset)
    assert len(dataset) == len(batches) == 3
    features, labels = batches[-1]
    assert {name: tuple(value.shape) for name, value in features.items()} == {
        "scene": (22, 24, 24, 3),
        "positive": (22, 24, 24, 3),
        "negative": (22, 24, 24, 3),
        "category": (22,),
    }
    assert labels.numpy().tolist() == [[1, 0]] * 22
    assert features["scene"].numpy().max() > 2  # 0..255, not 0..1


def test_training_shuffles_augments_and_draws_new_negatives(drawn_pairs):
    train, validation, _ = drawn_pairs.split((0.5, 0.25, 0.25))
    dataset = ctl.triplets(train, image_size=24)
    assert any((a != b).any() for a, b in zip(first(dataset), first(dataset), strict=True))
    fixed = ctl.triplets(validation, image_size=24)
    for a, b in zip(first(fixed), first(fixed), strict=True):
        np.testing.assert_array_equal(a, b)


def test_validation_is_not_augmented(drawn_pairs):
    from ctl_keras.data.batches import image_batches

    _, validation, _ = drawn_pairs.split((0.5, 0.25, 0.25))
    features, _ = next(iter(ctl.triplets(validation, batch_size=8, image_size=24)))
    plain = next(
        iter(image_batches(validation.images, validation.scene[:8], validation.window[:8], 8, 24))
    )
    np.testing.assert_array_equal(features["scene"], plain)


def test_a_batch_is_the_same_wherever_the_dataset_began(drawn_pairs):
    def batches(first_step, skipped):
        dataset = ctl.triplets(drawn_pairs, 64, image_size=16, training=True, first_step=first_step)
        return [x["scene"].numpy() for x, _ in dataset.skip(skipped).take(4)]

    for a, b in zip(batches(0, 7), batches(7, 0), strict=True):  # 3 batches an epoch
        np.testing.assert_array_equal(a, b)


def test_pairs_without_negative_are_left_out_with_a_warning():
    pairs = table([(0, 0), (1, 3), (2, 1)])
    with pytest.warns(
        UserWarning, match=r"1 of 3 pairs are left out: no product of their category .*\(c1\)"
    ):
        assert len(TripletSampler(pairs)) == 2


def test_errors(drawn_pairs):
    with pytest.raises(ctl.InputError, match="No triplet can be made of these 0 "):
        ctl.triplets(drawn_pairs.take(np.zeros(0, int)))
    with pytest.raises(ctl.InputError, match="`batch_size` must be positive. Received: 0"):
        ctl.triplets(drawn_pairs, batch_size=0)
