import json

import numpy as np
import pytest
from PIL import Image

import ctl_keras as ctl


def test_draws_a_shop_the_look_folder(drawn):
    lines = [json.loads(line) for line in (drawn / "fashion.json").read_text().splitlines()]
    categories = json.loads((drawn / "fashion-cat.json").read_text())
    assert len(lines) == 30 * 5
    assert len(set(categories.values())) == 5
    assert len(categories) == 4 * 5 * 10
    for line in lines:
        with Image.open(drawn / "images" / f"{line['scene']}.jpg") as scene:
            assert scene.format == "JPEG"
            left, top, right, bottom = (
                round(share * side)
                for share, side in zip(line["bbox"], scene.size * 2, strict=True)
            )
            assert 0 <= left < right <= scene.width
            assert 0 <= top < bottom <= scene.height


def test_the_box_holds_the_product(drawn_pairs, drawn):
    """The product's colour is found inside its box more than in the rest of the scene."""
    lines = [json.loads(line) for line in (drawn / "fashion.json").read_text().splitlines()]
    nearer = []
    for line in lines:
        product = np.asarray(
            Image.open(drawn / "images" / f"{line['product']}.jpg"), float
        ).reshape(-1, 3)
        colour = product[np.ptp(product, axis=1) > 60].mean(axis=0)
        scene = np.asarray(Image.open(drawn / "images" / f"{line['scene']}.jpg"), float)
        height, width = scene.shape[:2]
        left, top, right, bottom = np.round(
            np.array(line["bbox"]) * [width, height, width, height]
        ).astype(int)
        distance = np.linalg.norm(scene - colour, axis=-1)
        inside = np.median(distance[top:bottom, left:right])
        nearer.append(inside < np.median(distance))
    assert np.mean(nearer) > 0.9


def test_every_box_leaves_a_strip(drawn_pairs):
    assert drawn_pairs.rejected == ()


def test_the_same_seed_draws_the_same(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        ctl.synthesize(tmp_path / name, scenes=2, styles=2, seed=seed)
    contents = [
        {path.name: path.read_bytes() for path in (tmp_path / name / "images").iterdir()}
        for name in ("a", "b", "c")
    ]
    assert contents[0] == contents[1]
    assert contents[0].keys() != contents[2].keys()


def test_errors(tmp_path, drawn):
    with pytest.raises(
        ctl.InputError,
        match="At least 1 scene and 2 styles are needed. Received: scenes=0, styles=8",
    ):
        ctl.synthesize(tmp_path / "x", scenes=0)
    with pytest.raises(ctl.InputError, match="already exists"):
        ctl.synthesize(drawn)
