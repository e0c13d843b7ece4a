"""A product that is annotated with a scene is never its negative, whatever split the pair is in."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ctl_keras as ctl
from ctl_keras.data.cropping import WHOLE
from ctl_keras.data.picture_stores import Images
from ctl_keras.data.sampling import TripletSampler
from ctl_keras.data.splits import SPLITS
from ctl_keras.data.triplets import positives_by_pair

ROWS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(6, 15), st.integers(-1, 2)), min_size=4, max_size=40
)


def table(rows):
    rows = list({row[:2]: row for row in rows}.values())
    scene, product, split = np.array(rows).T
    return ctl.Pairs(
        scene=scene,
        product=product,
        category=product % 2,
        window=np.tile(WHOLE, (len(rows), 1)),
        popularity=np.zeros(len(rows), int),
        categories=("a", "b"),
        images=Images([f"{number:02}" for number in range(16)]),
        assigned=split,
    )


@pytest.mark.filterwarnings("ignore:.*pairs are left out")
@settings(deadline=None)
@given(ROWS, st.sampled_from(["scene", "scene-product", "column"]), st.integers(0, 3))
def test_no_part_of_a_split_has_a_known_positive_as_negative(rows, by, seed):
    pairs = table(rows)
    annotated = set(zip(pairs.scene.tolist(), pairs.product.tolist(), strict=True))
    for part in pairs.split((0.4, 0.3, 0.3), seed, by):
        if not len(part):
            continue
        for scene, known in zip(part.scene.tolist(), positives_by_pair(part).tolist(), strict=True):
            products = {product for product in known if product >= 0}
            assert products == {product for of, product in annotated if of == scene}
        usable = np.flatnonzero(part.has_negative())
        for row in usable.tolist():
            candidates = part.category_products[part.category[row]]
            rivals = candidates[~part.is_positive(part.scene[row], candidates)].tolist()
            assert rivals
            assert not {(int(part.scene[row]), rival) for rival in rivals} & annotated
        if len(usable):
            drawn, _ = TripletSampler(part, seed).epoch(0)
            assert not set(map(tuple, drawn[:, [0, 2]].tolist())) & annotated


@pytest.fixture
def one_scene_in_two_splits(tmp_path, photo):
    """A scene with a pair in train and one in test, another scene for negatives, and a pair whose
    split is unknown."""
    (tmp_path / "images").mkdir()
    for name in ("s1", "s2", "p1", "p2", "p3", "p4"):
        photo.save(tmp_path / "images" / f"{name}.jpg")

    def prepare(name, rows):
        box = ",0.1,0.6,0.9,0.9\n"
        text = "scene,product,category,fold,left,top,right,bottom\n" + box.join([*rows, ""])
        (tmp_path / f"{name}.csv").write_text(text)
        return ctl.prepare(
            tmp_path / f"{name}.csv", None, tmp_path / "images", tmp_path / name, split_by="fold"
        )

    return tmp_path, prepare


def test_prepared_data_know_the_positives_of_other_splits(one_scene_in_two_splits):
    folder, prepare = one_scene_in_two_splits
    rows = ["s1,p1,Shoes,train", "s1,p2,Shoes,test", "s2,p3,Shoes,train", "s2,p4,Shoes,test"]
    prepare("data", [*rows, "s1,p4,Shoes,elsewhere"])
    for split in SPLITS:
        pairs = ctl.read_records(folder / "data", split)
        row_of = {name: row for row, name in enumerate(pairs.images.ids)}
        named = {("s1", "p1"), ("s1", "p2"), ("s1", "p4"), ("s2", "p3"), ("s2", "p4")}
        for scene in ("s1", "s2"):
            for product in ("p1", "p2", "p3", "p4"):
                known = bool(pairs.is_positive(row_of[scene], row_of[product]))
                assert known == ((scene, product) in named), (split, scene, product)


def test_data_that_rank_otherwise_have_another_hash(one_scene_in_two_splits):
    """The two folders hold the same pairs; in the second a product less is a negative of s1."""
    _, prepare = one_scene_in_two_splits
    rows = ["s1,p1,Shoes,train", "s1,p2,Shoes,test", "s2,p3,Shoes,train", "s2,p4,Shoes,test"]
    first, again = prepare("first", rows), prepare("again", rows)
    other = prepare("other", [*rows, "s1,p4,Shoes,elsewhere"])
    assert first["files"] == again["files"] == other["files"]
    assert first["hash"] == again["hash"] != other["hash"]


def test_left_out_pairs_stay_positives(drawn, tmp_path):
    """`scene-product` leaves out pairs that stand in the way; they are right all the same."""
    files = drawn / "fashion.json", drawn / "fashion-cat.json", drawn / "images"
    manifest = ctl.prepare(*files, tmp_path / "data", (0.4, 0.3, 0.3), split_by="scene-product")
    assert manifest["lost_in_split"] > 0
    annotated = [json.loads(line) for line in files[0].read_text().splitlines()]
    for split in SPLITS:
        pairs = ctl.read_records(tmp_path / "data", split)
        row_of = {name: row for row, name in enumerate(pairs.images.ids)}
        scene, product = (
            np.array([row_of[row[name]] for row in annotated]) for name in ("scene", "product")
        )
        assert pairs.is_positive(scene, product).all()
