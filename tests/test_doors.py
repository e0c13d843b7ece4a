"""One question, all doors: the Keras model, LocalModel, the recommender, the command line, the
page, the SavedModel's signature and the client find the same products at the same distances."""

import csv
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from PIL import Image

import ctl_keras as ctl
from ctl_keras.catalog.catalog import write_catalog
from ctl_keras.data.images import decode_image, resize_image
from ctl_keras.serving.server import DevelopmentServer
from tests.conftest import SMALL

SHOES, HATS = "Apparel & Accessories|Shoes", "Apparel & Accessories|Hats"
ASKED = {"Shoes": SHOES, HATS: HATS}  # by the last part and by the whole path
K = 5
TOLERANCE = 1e-4


def copies(folder, products):
    """The rows of a shop: eight shoes and three hats, then some of them again."""
    shoes = [row for row in products if row["category"] == SHOES][:8]
    hats = [row for row in products if row["category"] == HATS][:3]
    rows = [*shoes, *hats]

    def again(row, name, category=None):
        rows.append({"id": name.split(".")[0], "image": folder / name, "category": category})
        rows[-1]["category"] = category or row["category"]
        return Image.fromarray(decode_image(tf.constant(row["image"].read_bytes())).numpy())

    for number, row in enumerate(shoes[:3]):  # whichever is near, it is there twice
        again(row, f"copy-{number}.jpg")
        shutil.copyfile(row["image"], folder / f"copy-{number}.jpg")
    for row, name in ((shoes[0], "other-format.png"), (shoes[3], "format.bmp"), (hats[0], "h.png")):
        again(row, name).save(folder / name)
    again(shoes[4], "shoe-as-hat.png", HATS).save(folder / "shoe-as-hat.png")
    again(shoes[5], "saved-anew.jpg").save(folder / "saved-anew.jpg", quality=40)  # other pixels
    return rows


@pytest.fixture(scope="module")
def weak_run(run, tmp_path_factory):
    """A run whose model is weakly spread: the same large number is added to all that it embeds."""
    folder = tmp_path_factory.mktemp("weak") / "run"
    shutil.copytree(run, folder)
    model, _ = ctl.load_run(run)
    for weight in model.weights:
        if tuple(weight.shape) == (model.config.dim,):  # the last biases
            weight.assign(weight + 8.0)
    model.save(folder / "model.keras")
    return folder


@pytest.fixture(scope="module")
def exported(weak_run, tmp_path_factory):
    return ctl.export(weak_run, tmp_path_factory.mktemp("exported") / "looks").parent


@pytest.fixture(scope="module")
def shop(weak_run, exported, records, drawn, tmp_path_factory):
    """The shop's rows, its catalog, the export with the catalog, and a scene's photo."""
    folder = tmp_path_factory.mktemp("doors")
    with open(records / "products.csv", newline="") as file:
        products = [{**row, "image": records / row["image"]} for row in csv.DictReader(file)]
    rows = copies(folder, products)
    with open(folder / "shop.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "image", "category"])
        writer.writeheader()
        writer.writerows(rows)
    catalog = ctl.build_catalog(exported, folder / "shop.csv", folder / "catalog")
    version = ctl.export(exported, folder / "looks", catalog=catalog.folder)
    with open(drawn / "fashion.json") as lines:
        scene = drawn / "images" / f"{json.loads(next(lines))['scene']}.jpg"
    return SimpleNamespace(
        rows=rows, catalog=catalog, export=version.parent, scene=scene, folder=folder, run=weak_run
    )


def pixels(path):
    return decode_image(tf.constant(path.read_bytes())).numpy()


@pytest.fixture(scope="module")
def pictures(shop):
    """The oracle of the rule: `pictures(category, allowed)` -> id of the first product with each
    picture -> ids of the others, by comparing the pixels of each with each."""

    def find(category, allowed=lambda row: True):
        found = []
        for row in filter(allowed, shop.rows):
            if row["category"] == category:
                image = pixels(row["image"])
                same = [entry for entry in found if np.array_equal(entry[0], image)]
                if same:
                    same[0][2].append(row["id"])
                else:
                    found.append((image, row["id"], []))
        return {first: others for _, first, others in found}

    return find


@pytest.fixture(scope="module")
def expected(shop, pictures):
    """What the Keras model says, category -> (id, distance) of each picture, nearest first."""
    model, _ = ctl.load_run(shop.run)
    images = {row["id"]: row["image"] for row in shop.rows}

    def tensor(paths):
        return tf.stack([resize_image(pixels(path), model.image_size) for path in paths])

    answer = {}
    for path in ASKED.values():
        index = tf.constant([model.categories.index(path)])
        scene = model.scene_tower({"scene": tensor([shop.scene]), "category": index})
        ids = list(pictures(path))
        embeddings = model.product_tower(tensor([images[name] for name in ids]))
        distances = model.score(scene, embeddings[None])["hybrid_distance"][0].numpy()
        answer[path] = sorted(zip(ids, distances.tolist(), strict=True), key=lambda pair: pair[1])
    return answer


def check(found, expected, k=K):
    """`found`: category path -> (id, distance) of what a door answered."""
    assert found.keys() == expected.keys()
    for path, pairs in found.items():
        assert [name for name, _ in pairs] == [name for name, _ in expected[path]][:k]
        np.testing.assert_allclose(
            [distance for _, distance in pairs],
            [distance for _, distance in expected[path]][:k],
            atol=TOLERANCE,
        )


def pairs(rows):
    return [(row["id"], row["hybrid_distance"]) for row in rows]


def test_the_questions_are_hard(shop, expected):
    """The model is weakly spread: by distance most pictures would be taken for one."""
    for path, count in ((SHOES, 9), (HATS, 4)):
        chosen = shop.catalog.mask([name for name, _ in expected[path]])
        embeddings = np.asarray(shop.catalog.embeddings[chosen])
        assert len(embeddings) == count
        apart = 2 - 2 * embeddings @ embeddings.T
        gaps = np.diff([distance for _, distance in expected[path]])
        assert np.median(apart) < 0.05
        assert gaps.min() > 1e-6  # so that rounding cannot change the order


def test_local_model(shop, expected):
    local, found = ctl.LocalModel(shop.export), {}
    for name, path in ASKED.items():
        first = dict(expected[path])
        rows = [row for row in shop.rows if row["category"] == path and row["id"] in first]
        scored = local.score(shop.scene, [row["image"] for row in rows], name)
        distances = scored["hybrid_distance"].tolist()
        by_id = zip([row["id"] for row in rows], distances, strict=True)
        found[path] = sorted(by_id, key=lambda pair: pair[1])[:K]
    check(found, expected)


def test_recommender(shop, expected, pictures):
    recommender = ctl.Recommender(shop.export, shop.catalog.folder)
    answer = recommender.recommend(shop.scene, list(ASKED), K)
    check({ASKED[name]: pairs(rows) for name, rows in answer.items()}, expected)
    for name, path in ASKED.items():
        every = recommender.recommend(shop.scene, [name], 99)[name]
        assert {row["id"]: row["same_picture"] for row in every} == pictures(path)
    assert sum(len(others) for others in pictures(SHOES).values()) == 5

    gone = list(pictures(SHOES))[:2]
    answer = recommender.recommend(shop.scene, ["Shoes"], 99, exclude=gone)["Shoes"]
    others = pictures(SHOES, lambda row: row["id"] not in gone)
    assert {row["id"]: row["same_picture"] for row in answer} == others
    assert len(others) == 9  # the copies take their places


def test_command_line(shop, expected, here, pictures):
    asked = [part for name in ASKED for part in ("--category", name)]
    command = ["recommend", "--model", shop.export, "--catalog", shop.catalog.folder]
    command += ["--scene", shop.scene, *asked, "-k"]
    rows = json.loads(here(*command, K, "--json").out)
    found = {path: pairs(row for row in rows if row["category"] == path) for path in expected}
    check(found, expected)
    said = here(*command, 99).out
    for first, others in pictures(SHOES).items():
        assert not others or f"also with this picture: {', '.join(others)}\n" in said, first
    assert "(9 of 99: no more products of Shoes pass, but 5 with a picture that is above)" in said


def test_page(shop, expected):
    from ctl_keras.web.looks import Looks
    from ctl_keras.web.scenes import cut, look_around, open_picture

    looks = Looks(shop.export, shop.catalog.folder)
    seen = cut(open_picture(shop.scene), look_around(None))
    answer = looks.find(seen, list(ASKED.values()), K)
    check({path: pairs(rows) for path, rows in answer.products.items()}, expected)


def test_saved_model(shop, expected):
    loaded = tf.saved_model.load(str(shop.export / "1")).signatures
    scenes = tf.constant([shop.scene.read_bytes()] * len(ASKED))
    asked = tf.constant(list(ASKED))
    answer = loaded["recommend"](scene_bytes=scenes, category=asked)
    found = {}
    for row, path in enumerate(ASKED.values()):
        ids = [name.decode() for name in answer["product_id"][row].numpy()]
        distances = answer["hybrid_distance"][row].numpy().tolist()
        count = len(expected[path])
        assert ids[count:] == [""] * (9 - count)
        found[path] = list(zip(ids[:count], distances, strict=False))
    check(found, expected, k=9)

    every = [row["id"] for row in shop.rows]
    answer = loaded["rerank"](scene_bytes=scenes, category=asked, product_id=[every] * len(ASKED))
    assert answer["known"].numpy().all()
    for row, path in enumerate(ASKED.values()):
        by_id = dict(zip(every, answer["hybrid_distance"][row].numpy(), strict=True))
        for name, distance in expected[path]:
            assert by_id[name] == pytest.approx(distance, abs=TOLERANCE)
        assert by_id["copy-0"] == by_id["other-format"] == by_id[every[0]]
        assert by_id["shoe-as-hat"] == by_id[every[4]]
    said = ctl.LocalModel(shop.export).manifest["catalog"]
    assert (said["count"], said["pictures"], said["k"]) == (19, 13, 9)


def test_client_and_server(shop, expected):
    from tests.serving.servers import NAME, start

    server = start("development", shop.export, shop.folder)
    try:
        rest = server.rest.split("/v1/")[0]
        for address in (rest, f"grpc://{server.grpc_address}"):
            with ctl.Client(address, NAME) as client:
                answer = client.recommend([shop.scene] * len(ASKED), list(ASKED), k=K)
                found = {
                    path: [pair for pair in zip(*row, strict=True) if pair[0]]
                    for path, *row in zip(
                        ASKED.values(),
                        answer["product_id"].tolist(),
                        answer["hybrid_distance"].tolist(),
                        strict=True,
                    )
                }
                check(found, expected)
    finally:
        server.stop()


def test_excluding_at_each_door(shop, pictures):
    """Leaving out a product lets another with its picture take its place; leaving out all of them
    leaves out the picture: in the recommender, in the SavedModel and for a client."""
    groups = [[first, *others] for first, others in pictures(SHOES).items() if others]
    recommender = ctl.Recommender(shop.export, shop.catalog.folder)
    signature = ctl.LocalModel(shop.export).loaded.signatures["recommend_excluding"]
    photo, every = shop.scene.read_bytes(), set(shop.catalog.ids.to_pylist())
    with DevelopmentServer(shop.export, rest_port=0, grpc_port=0) as server:
        client = ctl.Client(f"http://{server.rest_address}", server.name)
        for gone in ([groups[0][0]], groups[0], [groups[0][0], *groups[1]], ["no such product"]):
            expected = [
                [
                    row["id"]
                    for row in recommender.recommend(shop.scene, ["Shoes"], K, exclude=ids)["Shoes"]
                ]
                for ids in ([name for name in gone if name in every], [])
            ]
            answer = signature(
                scene_bytes=tf.constant([photo] * 2),
                category=tf.constant(["Shoes"] * 2),
                exclude=tf.constant([[*gone, ""], [""] * (len(gone) + 1)]),
            )
            found = [[name.decode() for name in row[:K]] for row in answer["product_id"].numpy()]
            assert found == expected
            asked = client.recommend([shop.scene] * 2, "Shoes", K, exclude=[gone, []])
            assert asked["product_id"].tolist() == expected
        client.close()


def test_a_catalog_that_keeps_duplicates(shop, exported, here, tmp_path):
    table = shop.folder / "shop.csv"
    said = here("catalog", "--model", exported, "--products", table, "--out", tmp_path / "once")
    assert "6 have the same picture as an earlier one" in said.out
    command = ["catalog", "--model", exported, "--products", table, "--out", tmp_path / "all"]
    assert "same picture" not in here(*command, "--keep-duplicates").out
    catalog = ctl.Catalog(tmp_path / "all")
    assert catalog.manifest["keep_duplicates"] is True
    assert catalog.manifest["hash"] != shop.catalog.manifest["hash"]
    recommender = ctl.Recommender(exported, catalog.folder)
    rows = recommender.recommend(shop.scene, ["Shoes"], 99)["Shoes"]
    assert {row["id"] for row in rows} == {r["id"] for r in shop.rows if r["category"] == SHOES}
    assert all(row["same_picture"] == [] for row in rows)
    served = ctl.LocalModel(ctl.export(exported, tmp_path / "looks", catalog=catalog.folder))
    answer = served.loaded.signatures["recommend"](
        scene_bytes=tf.constant([shop.scene.read_bytes()]), category=tf.constant(["Shoes"])
    )
    assert [name.decode() for name in answer["product_id"][0].numpy()] == [r["id"] for r in rows]


def test_a_model_without_inner_product(drawn_pairs, shop, tmp_path):
    """The SavedModel and the recommender look at the same candidates. The vectors have lengths that
    no model gives: the nearest by `query` are then not those of the model."""
    model = ctl.CompleteTheLook(drawn_pairs.categories, 32, **SMALL, squared=False)
    plain = ctl.export(model, tmp_path / "looks")
    manifest, count = ctl.LocalModel(plain).manifest, 1500
    random = np.random.default_rng(0)

    def fill(target):
        target[:] = random.standard_normal(target.shape)
        target *= random.uniform(0.1, 1, (count, 1))

    ids = pa.array(map(str, range(count)), pa.string())
    category = pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), [SHOES])
    columns = {"id": ids, "image": ids, "category": category, "fingerprint": ids}
    table = pa.table({**columns, "picture_hash": np.arange(count) // 2})
    catalog = write_catalog(
        tmp_path / "catalog", fill, table, SMALL["dim"], manifest["weights_hash"], {}
    )
    version = ctl.export(plain, tmp_path / "looks", catalog=catalog.folder)
    found = ctl.Recommender(version, catalog.folder).recommend(shop.scene, ["Shoes"], K)["Shoes"]
    answer = tf.saved_model.load(str(version)).signatures["recommend"](
        scene_bytes=tf.constant([shop.scene.read_bytes()]), category=tf.constant(["Shoes"])
    )
    served = [name.decode() for name in answer["product_id"][0, :K].numpy()]
    assert [row["id"] for row in found] == served
    distances = [row["hybrid_distance"] for row in found]
    np.testing.assert_allclose(distances, answer["hybrid_distance"][0, :K], atol=TOLERANCE)
