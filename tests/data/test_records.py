import hashlib
import io
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import ctl_keras as ctl
from ctl_keras.data.preparing import image_shards
from ctl_keras.data.splits import parse_fractions


def prepare(drawn, out, **options):
    return ctl.prepare(
        drawn / "fashion.json", drawn / "fashion-cat.json", drawn / "images", out, **options
    )


def test_records_hold_what_was_read(drawn, drawn_pairs, records):
    for part in drawn_pairs.split((0.5, 0.25, 0.25)):
        stored = ctl.read_records(records, part.split_name)
        assert stored.categories == part.categories
        for column in ("category", "window", "popularity"):
            np.testing.assert_array_equal(getattr(stored, column), getattr(part, column))
        for column in ("scene", "product"):
            rows = getattr(stored, column)
            assert (
                stored.images.ids[rows].tolist() == part.images.ids[getattr(part, column)].tolist()
            )
        row = stored.scene[0]
        assert (
            stored.images.load(row)
            == (drawn / "images" / f"{stored.images.ids[row]}.jpg").read_bytes()
        )


def test_examples_can_be_read_without_the_package(records):
    raw = next(iter(tf.data.TFRecordDataset(str(records / "pairs-train.tfrecord")))).numpy()
    features = tf.train.Example.FromString(raw).features.feature
    assert set(features) == {
        "scene",
        "product",
        "category",
        "window",
        "box",
        "scene_image",
        "product_image",
    }


def test_manifest(drawn, records):
    manifest = json.loads((records / "manifest.json").read_text())
    assert manifest["pairs"] == 150
    assert sum(split["pairs"] for split in manifest["splits"].values()) == 150
    assert manifest["settings"] == {
        "fractions": [0.5, 0.25, 0.25],
        "seed": 0,
        "min_strip": 0.2,
        "split_by": "scene",
    }
    for name, file in manifest["files"].items():
        assert hashlib.sha256((records / name).read_bytes()).hexdigest() == file["sha256"]
    source = manifest["sources"]["annotations"]["sha256"]
    assert source == hashlib.sha256((drawn / "fashion.json").read_bytes()).hexdigest()


def test_the_same_seed_gives_the_same_bytes(drawn, tmp_path):
    manifests = [
        prepare(drawn, tmp_path / name, seed=seed) for name, seed in [("a", 1), ("b", 1), ("c", 2)]
    ]
    assert manifests[0]["hash"] == manifests[1]["hash"]
    assert manifests[0]["hash"] != manifests[2]["hash"]


def test_several_shards(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(image_shards, "PICTURES", 40)
    manifest = prepare(drawn, tmp_path / "out", fractions=(1, 0, 0))
    assert len(manifest["image_shards"]) > 2
    pairs = ctl.read_records(tmp_path / "out", "train")
    for row in (0, len(pairs.images.ids) - 1):
        assert (
            pairs.images.load(row)
            == (drawn / "images" / f"{pairs.images.ids[row]}.jpg").read_bytes()
        )
    assert len(ctl.read_records(tmp_path / "out", "test")) == 0


def test_huge_pictures_are_stored_smaller(drawn, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(drawn, copy)
    line = json.loads((copy / "fashion.json").read_text().splitlines()[0])
    Image.new("RGB", (4000, 3000), "teal").save(copy / "images" / f"{line['scene']}.jpg")
    prepare(copy, tmp_path / "out", fractions=(1, 0, 0))
    pairs = ctl.read_records(tmp_path / "out", "train")
    row = pairs.images.ids.tolist().index(line["scene"])
    assert tf.image.extract_jpeg_shape(pairs.images.load(row)).numpy().tolist() == [768, 1024, 3]


def test_a_long_banner_is_not_made_too_flat_to_decode():
    banner = Image.new("RGB", (3000, 10), "teal")
    buffer = io.BytesIO()
    banner.save(buffer, "JPEG")
    assert image_shards._within(buffer.getvalue(), 1024) == buffer.getvalue()


def test_rejects_are_written(drawn, tmp_path):
    lines = (drawn / "fashion.json").read_text() + '{"scene": "gone", "product": "gone"}\n'
    (tmp_path / "fashion.json").write_text(lines)
    manifest = ctl.prepare(
        tmp_path / "fashion.json", drawn / "fashion-cat.json", drawn / "images", tmp_path / "out"
    )
    rejects = [
        json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()
    ]
    reason = "product not in the category file"
    assert rejects == [{"line": 151, "scene": "gone", "product": "gone", "reason": reason}]
    assert manifest["rejected"] == 1


def test_errors(drawn, records, tmp_path):
    with pytest.raises(
        ctl.InputError, match=r"already exists. Name another place, or remove it first."
    ):
        prepare(drawn, records)
    with pytest.raises(
        ctl.InputError, match="holds no prepared data. Make it with `ctl-keras prepare`."
    ):
        ctl.read_records(tmp_path, "train")
    with pytest.raises(
        ctl.InputError, match=r"`split` must be one of train, validation, test. Received: 'dev'"
    ):
        ctl.read_records(records, "dev")
    with pytest.raises(
        ctl.InputError,
        match=r"`fractions` must be three numbers such as 0.8,0.1,0.1. Received: 'a,b'",
    ):
        parse_fractions("a,b")
    prepare(drawn, tmp_path / "out")
    shard = tmp_path / "out" / "pairs-train.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(
        ctl.InputError, match=r"pairs-train.tfrecord is missing or cut off: \d+ bytes are listed"
    ):
        ctl.read_records(tmp_path / "out", "train")


def test_other_pictures_than_jpegs(drawn, tmp_path):
    folder = tmp_path / "drawn"
    shutil.copytree(drawn, folder)
    prepare(folder, tmp_path / "jpegs", fractions=(1, 0, 0))
    assert ctl.read_records(tmp_path / "jpegs", "train").images.are_checked_jpegs
    changed = sorted((folder / "images").glob("*.jpg"))[0]
    Image.open(changed).save(changed.with_suffix(".png"))
    changed.unlink()
    prepare(folder, tmp_path / "mixed", fractions=(1, 0, 0))
    pairs = ctl.read_records(tmp_path / "mixed", "train")
    assert not pairs.images.are_checked_jpegs
    assert changed.stem in pairs.images.ids
    manifest = json.loads((tmp_path / "jpegs" / "manifest.json").read_text())
    del manifest["only_jpegs"]  # as folders of before do not say so
    (tmp_path / "jpegs" / "manifest.json").write_text(json.dumps(manifest))
    assert not ctl.read_records(tmp_path / "jpegs", "train").images.are_checked_jpegs
