import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import ctl_keras as ctl
from ctl_keras.data import cached_pictures
from ctl_keras.data.cached_pictures import CachedPictures
from ctl_keras.data.images import side_before_crop
from ctl_keras.data.stream import PictureSource

SIZE = 32


@pytest.fixture
def train(records):
    return ctl.read_records(records, "train")


def epoch(dataset):
    """All batches of an epoch, one after another: with pictures by role."""
    batches = [inputs for inputs, _ in dataset]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


@pytest.mark.parametrize("make", [ctl.triplets, ctl.pair_batches])
def test_the_same_pictures_as_decoded_anew(train, make):
    cached, anew = CachedPictures(train, SIZE), PictureSource(train, SIZE, augment=True)
    datasets = [make(train, 16, SIZE, seed=3, source=source) for source in (cached, anew)]
    for _ in range(3):  # the first fills the cache, further ones read it
        ours, theirs = (epoch(dataset) for dataset in datasets)
        assert set(ours) == set(theirs)
        for name, values in theirs.items():
            np.testing.assert_array_equal(ours[name], values)


def test_negatives_that_no_pair_has(train):
    """Candidates may be more than the products of the pairs."""
    rows = np.arange(len(train.images.ids))
    wide = dataclasses.replace(train, candidates=(rows,) * len(train.categories))
    assert len(rows) > len(np.unique(train.product))
    sources = CachedPictures(wide, SIZE), PictureSource(wide, SIZE, augment=True)
    ours, theirs = (
        epoch(ctl.triplets(wide, 16, SIZE, source=source))["negative"] for source in sources
    )
    np.testing.assert_array_equal(ours, theirs)


def test_a_picture_counts_as_there_only_when_it_is_written(train):
    source, seen = CachedPictures(train, SIZE), []

    class Watched(np.ndarray):
        def __setitem__(self, slots, values):
            seen.append(source._there[slots].any())
            super().__setitem__(slots, values)

    source._pictures = source._pictures.view(Watched)
    slots = np.array([1, 4])
    source._keep(slots[None], slots, np.zeros((2, *source._pictures.shape[1:]), np.uint8))
    assert seen == [False]
    assert np.flatnonzero(source._there).tolist() == [1, 4]


def test_each_picture_is_decoded_once(train, monkeypatch):
    read = []
    load = train.images._record
    monkeypatch.setattr(train.images, "_record", lambda row: read.append(int(row)) or load(row))
    dataset = ctl.triplets(train, 8, SIZE, source=CachedPictures(train, SIZE))
    first = epoch(dataset)
    once = len(read)
    second = epoch(dataset)
    assert len(read) - once < once / 4  # negatives that were not drawn before
    for _ in range(8):
        epoch(dataset)
    settled = len(read)
    epoch(dataset)
    assert len(read) == settled
    # a batch of another thread may decode the same picture at the same time, no more
    wanted = len(train) + len(np.unique(train.product))
    assert settled <= wanted * 1.5
    assert not np.array_equal(first["scene"][0], second["scene"][0])


def test_only_where_there_is_room(train, monkeypatch):
    assert CachedPictures.fit(train, SIZE)
    taken = []
    monkeypatch.setattr(CachedPictures, "_wanted", lambda *_: taken.append(1) and None)
    monkeypatch.setattr(cached_pictures, "SHARE_OF_MEMORY", 0)
    assert not CachedPictures.fit(train, SIZE)
    epoch(ctl.triplets(train, 16, SIZE))
    assert not taken


def test_a_container_has_less_memory(train, tmp_path, monkeypatch):
    needed = (len(train) + len(np.unique(train.product))) * side_before_crop(SIZE) ** 2 * 3
    for text, fits in ((f"{4 * needed}\n", True), (f"{4 * needed - 4}\n", False), ("max\n", True)):
        (tmp_path / "memory.max").write_text(text)
        monkeypatch.setattr(cached_pictures, "LIMITS", (tmp_path / "gone", tmp_path / "memory.max"))
        assert CachedPictures.fit(train, SIZE) == fits


def test_pictures_that_are_not_augmented_are_decoded_anew(train, monkeypatch):
    monkeypatch.setattr(cached_pictures.CachedPictures, "__init__", None)
    epoch(ctl.triplets(train, 16, SIZE, augment=False))
    with pytest.raises(TypeError):
        ctl.triplets(train, 16, SIZE)


def test_a_damaged_picture_is_an_error(train, monkeypatch):
    monkeypatch.setattr(
        type(train.images), "read", lambda self, rows: tf.fill([tf.size(rows)], b"damaged")
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="Invalid JPEG data"):
        epoch(ctl.triplets(train, 16, SIZE))
