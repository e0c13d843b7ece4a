import csv
import importlib
import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import ctl_keras as ctl
from ctl_keras.data.images import decode_image
from ctl_keras.retrieval import embedding
from ctl_keras.retrieval.embedding import build_catalog, describe

SHOES, HATS = "Apparel & Accessories|Shoes", "Apparel & Accessories|Clothing Accessories|Hats"


@pytest.fixture
def shop(records, tmp_path):
    """A table of twelve products with pictures of its own, which tests may change."""
    with open(records / "products.csv", newline="") as file:
        rows = list(csv.DictReader(file))[:12]
    (tmp_path / "images").mkdir()
    for row in rows:
        shutil.copy(records / row["image"], tmp_path / "images" / f"{row['id']}.jpg")
    return Shop(
        tmp_path,
        [
            {**row, "image": f"images/{row['id']}.jpg", "price": 10 + 5 * n}
            for n, row in enumerate(rows)
        ],
    )


class Shop:
    def __init__(self, folder, rows):
        self.folder, self.rows = folder, rows

    def picture(self, row):
        return self.folder / row["image"]

    def build(self, model, **arguments):
        with open(self.folder / "products.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, self.rows[0])
            writer.writeheader()
            writer.writerows(self.rows)
        return build_catalog(
            model, self.folder / "products.csv", self.folder / "catalog", **arguments
        )


real = ctl.LocalModel.embed_product


def shaken(answer):
    """As another batch, or another machine, rounds; more, so that it is seen."""
    return {**answer, "embedding": answer["embedding"] + np.float32(1e-3)}


def test_embeddings_are_those_of_the_model(shop, exported, local):
    catalog = shop.build(exported)
    assert isinstance(catalog.embeddings, np.memmap)
    assert catalog.embeddings.dtype == np.float32
    categories = catalog.categories.to_pylist()
    order = [local.manifest["categories"].index(category) for category in categories]
    assert order == sorted(order)
    by_id = {row["id"]: row for row in shop.rows}
    for row, identity in enumerate(catalog.ids.to_pylist()):
        alone = local.embed_product([shop.picture(by_id[identity]).read_bytes()])["embedding"][0]
        np.testing.assert_allclose(catalog.embeddings[row], alone, atol=1e-5)
        assert categories[row] == by_id[identity]["category"]
    assert catalog.products([0])[0]["price"] == by_id[catalog.ids[0].as_py()]["price"]
    assert catalog.manifest["weights_hash"] == local.manifest["weights_hash"]
    assert catalog.manifest["update"] == {
        "read": 12,
        "added": 12,
        "changed": 0,
        "removed": 0,
        "unchanged": 0,
        "unreadable": 0,
        "embedded": 12,
        "rejected": {},
        "examples": {},
    }
    assert sum(catalog.manifest["categories"].values()) == 12
    assert [path.name for path in catalog.folder.iterdir()] == ["1"]


def test_an_update_embeds_what_is_new(shop, exported):
    before = shop.build(exported)
    changed, removed, dearer, renamed = shop.rows[:4]
    shop.picture(changed).write_bytes(shop.picture(shop.rows[5]).read_bytes())
    dearer["price"] = 999
    shop.rows = [row for row in shop.rows if row is not removed] + [{**renamed, "id": "new"}]
    after = shop.build(exported)
    counts = after.manifest["update"]
    assert counts == {
        "read": 12,
        "added": 1,
        "changed": 1,
        "removed": 1,
        "unchanged": 10,
        "unreadable": 0,
        "embedded": 1,
        "rejected": {},
        "examples": {},
    }
    assert [path.name for path in after.folder.iterdir()] == ["2"]
    assert sorted(after.ids.to_pylist()) == sorted(row["id"] for row in shop.rows)
    assert after.where("price == 999").sum() == 1
    rows = {identity: row for row, identity in enumerate(after.ids.to_pylist())}
    np.testing.assert_allclose(
        after.embeddings[rows[changed["id"]]], after.embeddings[rows[shop.rows[4]["id"]]], atol=1e-6
    )
    np.testing.assert_array_equal(
        after.embeddings[rows["new"]], after.embeddings[rows[renamed["id"]]]
    )
    # its files are mapped still
    old = {identity: row for row, identity in enumerate(before.ids.to_pylist())}
    np.testing.assert_array_equal(
        before.embeddings[old[dearer["id"]]], after.embeddings[rows[dearer["id"]]]
    )
    fresh = build_catalog(exported, shop.folder / "products.csv", shop.folder / "fresh")
    assert fresh.table.equals(after.table)
    np.testing.assert_allclose(fresh.embeddings, after.embeddings, atol=1e-6)


def test_the_same_picture_has_the_same_embedding(shop, exported, monkeypatch):
    """Whatever batch it was in, also when it comes later, in another format or category."""
    first = shop.rows[0]
    another = next(row for row in shop.rows if row["category"] != first["category"])
    pixels = decode_image(tf.constant(shop.picture(first).read_bytes())).numpy()
    for name in ("again.png", "later.bmp"):
        Image.fromarray(pixels).save(shop.folder / "images" / name)
    again = {**first, "id": "again", "image": "images/again.png"}
    shop.rows += [{**another, "id": "other", "image": "images/again.png"}, again]
    monkeypatch.setattr(embedding, "_PART", 5)
    before = shop.build(exported)
    shop.rows.append({**first, "id": "later", "image": "images/later.bmp", "price": 7})
    monkeypatch.setattr(
        ctl.LocalModel, "embed_product", lambda self, data: shaken(real(self, data))
    )
    catalog = shop.build(exported)
    assert catalog.manifest["update"]["embedded"] == 1

    ids = catalog.ids.to_pylist()
    row = ids.index(first["id"])
    assert ids[row : row + 3] == [first["id"], "again", "later"]  # side by side
    for name in ("again", "later", "other"):
        np.testing.assert_array_equal(catalog.embeddings[ids.index(name)], catalog.embeddings[row])
    np.testing.assert_array_equal(
        catalog.embeddings[row], before.embeddings[before.ids.to_pylist().index(first["id"])]
    )
    numbers = dict(zip(ids, catalog.pictures.tolist(), strict=True))
    assert numbers[first["id"]] == numbers["again"] == numbers["later"]
    assert len(set(numbers.values())) == len(ids) - 2  # in the other category it is one of its own
    assert list(numbers.values()) == sorted(numbers.values())
    assert "  2 have the same picture as an earlier one" in describe(catalog)
    kept = shop.build(exported, keep_duplicates=True)
    assert kept.table.equals(catalog.table)
    assert kept.pictures.tolist() == list(range(len(ids)))
    assert "same picture" not in describe(kept)


def test_bad_pictures_are_left_out_and_explained(shop, exported, capsys):
    cut, empty, gone, tiny, text = shop.rows[:5]
    shop.picture(cut).write_bytes(shop.picture(cut).read_bytes()[:300])
    shop.picture(empty).write_bytes(b"")
    shop.picture(gone).unlink()
    shop.picture(tiny).write_bytes(shop.picture(tiny).read_bytes()[:1])
    shop.picture(text).write_text("no picture")
    shop.rows[5]["category"] = "Socks"
    catalog = shop.build(exported)
    expected = {
        "the model does not know the category Socks": 1,
        "the picture does not exist": 1,
        "cut off or damaged": 1,
        "the picture is empty or cannot be read": 1,
        "not a JPEG, PNG, GIF or BMP picture": 2,
    }
    assert catalog.manifest["update"]["rejected"] == expected
    assert len(catalog) == 6
    lines = [
        json.loads(line)
        for line in (catalog.folder / "1" / "rejected.jsonl").read_text().splitlines()
    ]
    assert {line["id"] for line in lines} == {row["id"] for row in shop.rows[:6]}
    what = f"not a JPEG, PNG, GIF or BMP picture ({tiny['id']}: {shop.picture(tiny)})"
    assert f"  2 left out: {what}" in describe(catalog)
    assert "  12 read, 6 kept, 6 left out\n" in describe(catalog)
    assert "(6 added, 0 changed, 0 removed; 10 pictures embedded)" in describe(catalog)
    # a mended picture is another file
    shutil.copy(shop.picture(shop.rows[7]), shop.picture(cut))
    # the other three are tried again
    assert shop.build(exported).manifest["update"]["embedded"] == 4


def test_nothing_that_can_be_used(shop, exported):
    for row in shop.rows:
        row["category"] = "Socks"
    what = r"12 x the model does not know the category Socks \(\w+: images/\w+.jpg\)\.$"
    with pytest.raises(ctl.InputError, match=rf"No product of .*products.csv can be used: {what}"):
        shop.build(exported)
    assert not (shop.folder / "catalog").exists()


def state(folder):
    """Names and bytes of all files of a catalog."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (0, r"No product of .* can be used: it is empty\. .*catalog stays as it is\.$"),
        (5, r"would remove 7 of 12 products: it has 5 that can be used\. .*--allow-shrinking.* as"),
    ],
)
def test_a_feed_that_was_cut_off_removes_nothing(shop, exported, count, message):
    before = state(shop.build(exported).folder)
    lines = (shop.folder / "products.csv").read_text().splitlines(keepends=True)
    (shop.folder / "cut.csv").write_text("".join(lines[: 1 + count]))
    with pytest.raises(ctl.InputError, match=message):
        build_catalog(exported, shop.folder / "cut.csv", shop.folder / "catalog")
    assert state(shop.folder / "catalog") == before
    if count:
        after = build_catalog(
            exported, shop.folder / "cut.csv", shop.folder / "catalog", allow_shrinking=True
        )
        assert (len(after), after.manifest["update"]["removed"]) == (5, 7)


@pytest.mark.parametrize("how", ["not there", "empty"])
def test_a_share_that_is_away_removes_nothing(shop, exported, how):
    before = shop.build(exported)
    share, away = shop.folder / "images", shop.folder / "away"
    share.rename(away)
    if how == "empty":  # the mount point
        share.mkdir()
    shop.rows = [{**shop.rows[0], "id": "new"}, *shop.rows[1:]]  # one is sold out, one is new
    shop.rows[1]["price"] = 999
    after = shop.build(exported)
    assert after.manifest["update"] == {
        "read": 12,
        "added": 0,
        "changed": 0,
        "removed": 1,
        "unchanged": 11,
        "unreadable": 11,
        "embedded": 0,
        "rejected": {"the picture's folder is not there, or it is empty": 1},
        "examples": {
            "the picture's folder is not there, or it is empty": (
                f"new: {shop.picture(shop.rows[0])}"
            )
        },
    }
    assert "  11 keep the picture they had: the one in the table cannot be read" in describe(after)
    assert after.where("price == 999").sum() == 1
    vectors = dict(zip(before.ids.to_pylist(), before.embeddings, strict=True))
    for identity, vector in zip(after.ids.to_pylist(), after.embeddings, strict=True):
        np.testing.assert_array_equal(vector, vectors[identity])
    if how == "empty":
        share.rmdir()
    away.rename(share)
    shop.picture(shop.rows[2]).unlink()  # where its folder is there, a picture that is not is gone
    shop.picture(shop.rows[3]).write_bytes(b"")  # and one that is half copied will come
    update = shop.build(exported).manifest["update"]
    assert update["rejected"] == {"the picture does not exist": 1}
    assert (update["added"], update["removed"], update["unreadable"]) == (1, 1, 1)


def test_from_any_folder(shop, exported, monkeypatch):
    shop.build(exported)
    monkeypatch.chdir(shop.folder)
    catalog = build_catalog(exported, "products.csv", "catalog")
    assert catalog.manifest["update"]["embedded"] == 0
    monkeypatch.chdir("/")
    images = ctl.Catalog(shop.folder / "catalog").table["image"].to_pylist()
    assert set(images) == {str(shop.picture(row)) for row in shop.rows}


def test_addresses_are_no_files(shop, exported):
    shop.rows[0]["image"] = "https://shop.example/a.jpg"
    update = shop.build(exported).manifest["update"]
    assert update["rejected"] == {"the picture is an address; download it first": 1}
    with pytest.raises(ctl.InputError, match="is an address; a folder on this computer is needed"):
        build_catalog(exported, shop.folder / "products.csv", "s3://bucket/catalog")


def test_two_runs_at_once(shop, exported):
    def embed(*arguments):
        with pytest.raises(ctl.InputError, match=r"Another process is writing .*/catalog \("):
            shop.build(exported)
        embedding.embed_here(*arguments)

    assert len(shop.build(exported, embed=embed)) == 12


def test_an_interrupted_run_goes_on(shop, exported, monkeypatch):
    undisturbed = build_catalog(
        exported, shop.build(exported) and shop.folder / "products.csv", shop.folder / "undisturbed"
    )
    monkeypatch.setattr(embedding, "_PART", 4)
    real, embedded = embedding.embed_pictures, []

    def embed(model, data):
        if len(embedded) == 8:
            raise KeyboardInterrupt
        embedded.extend(data)
        return real(model, data)

    monkeypatch.setattr(embedding, "embed_pictures", embed)
    shutil.rmtree(shop.folder / "catalog")
    with pytest.raises(KeyboardInterrupt):
        shop.build(exported)
    with pytest.raises(
        ctl.InputError, match="holds no catalog. Make one with `ctl-keras catalog --model DIR"
    ):
        ctl.Catalog(shop.folder / "catalog")
    monkeypatch.setattr(
        embedding, "embed_pictures", lambda model, data: embedded.extend(data) or real(model, data)
    )
    catalog = shop.build(exported)
    assert len(embedded) == 12
    assert catalog.manifest["update"]["embedded"] == 4
    assert catalog.table.equals(undisturbed.table)
    np.testing.assert_allclose(catalog.embeddings, undisturbed.embeddings, atol=1e-6)
    assert [path.name for path in catalog.folder.iterdir()] == ["1"]


PROCESS = """
import sys
from ctl_keras.retrieval import embedding
embedding._PART = 2
embedding.build_catalog(*sys.argv[1:])
"""


@pytest.mark.slow
def test_a_killed_run_goes_on(shop, exported):
    undisturbed = shop.build(exported)
    shutil.move(undisturbed.folder, shop.folder / "undisturbed")
    out = shop.folder / "catalog"
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(exported), str(shop.folder / "products.csv"), str(out)]
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(list(out.glob(".parts-*/*.parquet"))) < 2:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    catalog = shop.build(exported)
    assert catalog.manifest["update"]["embedded"] < 12
    assert catalog.table.equals(ctl.Catalog(shop.folder / "undisturbed").table)
    np.testing.assert_allclose(
        catalog.embeddings, ctl.Catalog(shop.folder / "undisturbed").embeddings, atol=1e-6
    )


def test_what_a_killed_writer_leaves_is_no_part(shop, exported):
    with pytest.raises(RuntimeError):
        shop.build(
            exported,
            embed=lambda model, pictures, parts: (parts / ".tmp-a.parquet").write_bytes(
                b"PAR1 half"
            ),
        )
    assert shop.build(exported).manifest["update"]["embedded"] == 12


def test_another_models_catalog(shop, exported, tmp_path):
    shop.build(exported)
    shutil.copytree(exported, tmp_path / "other")
    path = tmp_path / "other" / "1" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "weights_hash": "0" * 64}))
    with pytest.raises(
        ctl.InputError,
        match=r"was embedded by another model \(\w{12}\) than .*other \(000000000000\)",
    ):
        shop.build(tmp_path / "other")


def test_a_model_that_gives_no_finite_numbers(shop, exported, monkeypatch):
    real = ctl.LocalModel.embed_product

    def embed(self, data):
        answer = real(self, data)
        answer["embedding"][3] = np.nan
        return answer

    monkeypatch.setattr(ctl.LocalModel, "embed_product", embed)
    catalog = shop.build(exported)
    assert catalog.manifest["update"]["rejected"] == {"the model gives no finite embedding": 1}
    assert np.isfinite(catalog.embeddings).all()


def test_an_embedder_that_leaves_some_out(shop, exported):
    with pytest.raises(
        RuntimeError, match="12 of 12 pictures were not embedded. Start it again to go on."
    ):
        shop.build(exported, embed=lambda *_: None)


def test_beam_embeds_the_same(shop, exported):
    pytest.importorskip("apache_beam")
    from ctl_keras.retrieval.beam_embedding import embed_with_beam

    here = build_catalog(
        exported, shop.build(exported) and shop.folder / "products.csv", shop.folder / "here"
    )
    shutil.rmtree(shop.folder / "catalog")
    shop.picture(shop.rows[0]).write_text("no picture")
    catalog = shop.build(exported, embed=embed_with_beam())
    assert catalog.manifest["update"]["rejected"] == {"not a JPEG, PNG, GIF or BMP picture": 1}
    kept = np.asarray([identity != shop.rows[0]["id"] for identity in here.ids.to_pylist()])
    assert catalog.ids.to_pylist() == here.ids.filter(kept).to_pylist()
    np.testing.assert_allclose(catalog.embeddings, here.embeddings[kept], atol=1e-5)
    hashes = here.table["picture_hash"].filter(kept)
    assert catalog.table["picture_hash"].to_pylist() == hashes.to_pylist()


def test_without_beam(monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.delitem(sys.modules, "ctl_keras.retrieval.beam_embedding", raising=False)
    with pytest.raises(ctl.InputError, match=r"Install it with: pip install ctl-keras\[beam\]"):
        importlib.import_module("ctl_keras.retrieval.beam_embedding")
