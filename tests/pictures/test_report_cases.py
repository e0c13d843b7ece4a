import base64
import io
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import ctl_keras as ctl
from ctl_keras.data.batches import image_batches
from ctl_keras.data.picture_stores import Images
from ctl_keras.pictures.report import ranked_rows
from ctl_keras.pictures.report_attention import attended_scenes, where_highest
from ctl_keras.pictures.report_cases import best_pairs, better_pairs, read_case, worst_pairs
from ctl_keras.pictures.report_images import scene_picture, to_picture
from ctl_keras.pictures.report_map import principal_plane, product_map, snap_to_grid
from tests.conftest import SMALL

#             0    1    2    3    4    5    6
PERCENTILES = np.array([1.0, 1.0, 1.0, 0.2, 0.2, 0.9, 0.1])
GAPS = np.array([0.1, 0.5, 0.3, -0.2, -0.4, -0.1, -0.3])
SCENES = ["a", "b", "b", "c", "d", "a", "d"]


NONE = np.zeros(7, bool)


def test_best_and_worst_of_a_table():
    assert best_pairs(PERCENTILES, GAPS, NONE, SCENES, 9) == [
        1,
        0,
    ]  # 2 is of the scene of 1, 5 of that of 0; the others are worse than chance
    # 4 is of the scene of 6
    assert worst_pairs(PERCENTILES, GAPS, NONE, SCENES, 2) == [6, 3]
    # the others are better than chance
    assert worst_pairs(PERCENTILES, GAPS, NONE, SCENES, 9, besides=[6, 1]) == [4, 3]
    assert worst_pairs(PERCENTILES, GAPS, NONE, SCENES, 9, besides=range(7)) == []


def test_categories_with_few_candidates_lead_no_list():
    few = np.array([False, True, True, False, True, False, True])
    assert best_pairs(PERCENTILES, GAPS, few, SCENES, 9) == [0, 1]
    assert worst_pairs(PERCENTILES, GAPS, few, SCENES, 9) == [3, 6]
    assert worst_pairs(PERCENTILES, GAPS, few, SCENES, 1) == [3]
    other = np.array([0.9, 0.5, 0.9, 0.9, 0.1, 0.9, 0.7])
    assert better_pairs(PERCENTILES, other, few, SCENES, 9) == [0, 1, 4]


def test_pairs_on_which_two_runs_differ():
    other = np.array([1.0, 0.5, 0.9, 0.9, 0.1, 0.9, 0.7])
    # 2 is of the scene of 1
    assert better_pairs(PERCENTILES, other, NONE, SCENES, 9) == [1, 4]
    assert better_pairs(other, PERCENTILES, NONE, SCENES, 9) == [3, 6]


def test_a_case_by_a_loop(evaluated):
    """Rank, percentile, distance and the nearest, from the distances and the annotations."""
    pairs, gaps = evaluated.pairs, evaluated.gaps()
    assert (gaps > 0).any()
    for number in range(len(evaluated.rows)):
        row = evaluated.rows[number]
        candidates = pairs.category_products[pairs.category[row]]
        distances = evaluated.ranker(np.array([row]), candidates)[0]
        own = distances[list(candidates).index(pairs.product[row])]
        mine = {
            product
            for scene, product in zip(pairs.scene, pairs.product, strict=True)
            if scene == pairs.scene[row]
        }
        mine |= {product for scene, product in pairs.other_positives if scene == pairs.scene[row]}
        others = [
            distance
            for image, distance in zip(candidates, distances, strict=True)
            if image not in mine
        ]
        case = read_case([evaluated], number)
        (ranking,) = case.rankings
        assert (case.scene_id, case.product_id) == (
            pairs.images.ids[pairs.scene[row]],
            pairs.images.ids[pairs.product[row]],
        )
        assert ranking.rank == pytest.approx(1 + sum(distance < own for distance in others))
        assert ranking.among == 1 + len(others)
        assert ranking.percentile == pytest.approx(np.mean([distance > own for distance in others]))
        assert ranking.distance == pytest.approx(own)
        assert gaps[number] == pytest.approx(min(others) - own, abs=1e-5)
        nearest = sorted(zip(distances, pairs.images.ids[candidates], strict=True))[:6]
        assert [(one.distance, one.id) for one in ranking.nearest] == nearest
        kinds = {
            pairs.images.ids[image]: "own" if image == pairs.product[row] else "other"
            for image in mine
        }
        assert "other" in kinds.values()
        assert [one.kind for one in ranking.nearest] == [
            kinds.get(id_, "negative") for _, id_ in nearest
        ]


def test_the_map_is_always_the_same_and_hides_nothing(evaluated):
    first, again = (product_map(evaluated.model, evaluated.pairs, largest=10) for _ in range(2))
    assert first == again
    assert len(first.products) == 10
    assert first.total == len(
        {image for rows in evaluated.pairs.category_products for image in rows}
    )
    assert sum(count for _, count in first.categories) == 10
    cells = [(one.column, one.row) for one in first.products]
    assert len(set(cells)) == 10
    assert all(1 <= column <= first.columns and 1 <= row <= first.rows for column, row in cells)
    ids = dict(zip(evaluated.pairs.images.ids, range(10**6), strict=False))
    for one in first.products:
        (index,) = (
            i for i, rows in enumerate(evaluated.pairs.category_products) if ids[one.id] in rows
        )
        assert first.categories[one.category][0] == evaluated.pairs.categories[index].split("|")[-1]


def test_principal_plane():
    random = np.random.default_rng(0)
    points = random.normal(size=(50, 2)) * [3, 1]
    turned = np.linalg.qr(random.normal(size=(5, 5)))[0][:2]
    plane, share = principal_plane(points @ turned + 7)
    assert share == pytest.approx(1)
    centred = points - points.mean(axis=0)
    assert np.linalg.norm(plane[:, None] - plane[None], axis=-1) == pytest.approx(
        np.linalg.norm(centred[:, None] - centred[None], axis=-1)
    )
    assert np.var(plane[:, 0]) > np.var(plane[:, 1])
    flipped, _ = principal_plane((points @ turned)[::-1])
    assert flipped[::-1] == pytest.approx(plane)
    plane, share = principal_plane(np.ones((3, 4)))  # a collapsed model
    assert np.abs(plane).max() == pytest.approx(0)
    assert share == 0
    assert principal_plane(np.ones((1, 4)))[0].shape == (1, 2)


def test_each_point_has_the_nearest_free_cell():
    plane = np.array([[x, y] for x, y in itertools.product(range(4), range(3))], float)
    assert (snap_to_grid(plane, 4, 3) == np.stack([plane[:, 0], 2 - plane[:, 1]], axis=1)).all()
    cells = snap_to_grid(np.zeros((5, 2)), 3, 2)
    assert len(set(map(tuple, cells))) == 5


class Grey(Images):
    def load(self, row):
        file = io.BytesIO()
        Image.new("RGB", (60, 80), (100, 100, 100)).save(file, "PNG")
        return file.getvalue()


def decoded(picture):
    with Image.open(io.BytesIO(base64.b64decode(picture.uri.split(",")[1]))) as image:
        assert image.size == (picture.width, picture.height)
        return np.asarray(image.convert("L"), float)


def test_what_the_model_does_not_see_is_pale():
    seen = scene_picture(Grey(["a"]), 0, "", np.array([0, 0, 1, 0.5]))
    assert seen.alt == ""
    pixels = decoded(seen)
    assert pixels[:20].mean() == pytest.approx(100, abs=3)
    assert pixels[-20:].mean() > 200
    attention = np.array([[0.0, 1.0]])
    pixels = decoded(scene_picture(Grey(["a"]), 0, "", np.array([0, 0, 1, 0.5]), attention))
    assert pixels[:20, -10:].mean() > pixels[:20, :10].mean() + 50
    assert pixels[-20:].mean() > 200


def test_product_attention_is_that_for_the_scenes_own_product(drawn_pairs):
    """Softmax of minus the squared distances, by numpy."""
    model = ctl.CompleteTheLook(drawn_pairs.categories, 32, **{**SMALL, "attention": "product"})
    rows = np.array([3, 40])
    found = attended_scenes(SimpleNamespace(model=model, pairs=drawn_pairs), rows)
    scenes = next(
        iter(
            image_batches(
                drawn_pairs.images, drawn_pairs.scene[rows], drawn_pairs.window[rows], 2, 32
            )
        )
    )
    products = model.product_tower(
        next(iter(image_batches(drawn_pairs.images, drawn_pairs.product[rows], None, 2, 32)))
    )
    asked = {"scene": np.asarray(scenes), "category": np.zeros(2, np.int32)}
    regions = model.scene_tower.predict(asked, verbose=0)["attention_embeddings"]
    for scene, of_scene, product in zip(found, regions, np.asarray(products), strict=True):
        weights = np.exp(-np.square(of_scene - product).sum(axis=1))
        ((name, largest, _),) = scene.overlays
        assert name == "its own product"
        assert largest == pytest.approx(weights.max() / weights.mean(), rel=1e-4)
    assert [scene.scene_id for scene in found] == drawn_pairs.images.ids[
        drawn_pairs.scene[rows]
    ].tolist()


@pytest.mark.parametrize("settings", [{"attention": "uniform"}, {"distance": "global"}])
def test_nothing_is_laid_over_where_all_regions_are_equal(settings):
    model = SimpleNamespace(config=ctl.ModelConfig(**settings))
    assert attended_scenes(SimpleNamespace(model=model, pairs=None), np.arange(2)) == []


def test_pictures_keep_their_shape():
    picture = to_picture(np.zeros((50, 400, 3), np.uint8), "wide", 100)
    assert (picture.width, picture.height) == (100, 13)
    assert picture.uri.startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize(
    ("row", "column", "words"),
    [
        (0, 0, "at the top on the left"),
        (4, 5, "in the middle"),
        (8, 8, "at the bottom on the right"),
    ],
)
def test_where_attention_is_highest(row, column, words):
    attention = np.zeros((9, 9))
    attention[row, column] = 1
    assert where_highest(attention) == words


def test_ranked_rows_have_the_ranks_of_the_evaluation(evaluated):
    rows = ranked_rows(evaluated.model, evaluated.pairs, evaluated.rows, ranker=evaluated.ranker)
    assert [float(row["rank"].split(" of ")[0]) for row in rows] == pytest.approx(evaluated.ranks)
    assert [row["rank"].split(" of ")[1] for row in rows] == [
        str(read_case([evaluated], number).rankings[0].among) for number in range(len(rows))
    ]
