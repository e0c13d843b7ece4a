import json
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

import ctl_keras as ctl
from ctl_keras.catalog.catalog import write_catalog


def table(ids, categories=None, pictures=None):
    categories = categories or ["Shoes"] * len(ids)
    columns = {
        "id": pa.array(ids, pa.string()),
        "image": pa.array([f"{identity}.jpg" for identity in ids], pa.string()),
        "category": pa.array(categories, pa.string()).dictionary_encode(),
        "price": pa.array(range(len(ids)), pa.int64()),
        "fingerprint": pa.array(ids, pa.string()),
        "picture_hash": pa.array(pictures or range(len(ids)), pa.int64()),
    }
    return pa.table(columns)


def write(folder, ids, value=1.0):
    def fill(target):
        target[:] = value

    return write_catalog(folder, fill, table(ids), 4, "hash", {})


def test_round_trip(tmp_path):
    catalog = write(tmp_path / "c", ["a", "b", "c"], 0.5)
    again = ctl.Catalog(tmp_path / "c")
    assert len(again) == 3
    assert isinstance(again.embeddings, np.memmap)
    np.testing.assert_array_equal(again.embeddings, np.full((3, 4), 0.5, np.float32))
    assert again.ids.to_pylist() == ["a", "b", "c"]
    assert again.products([2, 0]) == [
        {"id": "c", "image": "c.jpg", "category": "Shoes", "price": 2},
        {"id": "a", "image": "a.jpg", "category": "Shoes", "price": 0},
    ]
    assert again.where("price >= 1").tolist() == [False, True, True]
    assert again.mask(["c", "a"]).tolist() == [True, False, True]
    assert again.manifest["hash"] == catalog.manifest["hash"]
    assert again.manifest["columns"] == {"price": "int64"}
    assert again.manifest["categories"] == {"Shoes": 3}
    assert write(tmp_path / "d", ["a", "b", "c"], 0.25).manifest["hash"] != catalog.manifest["hash"]


def test_what_is_open_stays_readable(tmp_path):
    old = write(tmp_path / "c", ["a"], 1)
    new = write(tmp_path / "c", ["b", "c"], 2)
    assert old.embeddings.tolist() == [[1] * 4]
    assert old.products([0])[0]["id"] == "a"
    assert (len(new), new.manifest["count"]) == (2, 2)
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["2"]


def test_a_failure_leaves_the_state_before(tmp_path):
    write(tmp_path / "c", ["a"])

    def fail(target):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_catalog(tmp_path / "c", fail, table(["b"]), 4, "hash", {})
    assert ctl.Catalog(tmp_path / "c").ids.to_pylist() == ["a"]


def test_errors(tmp_path):
    with pytest.raises(
        ctl.InputError,
        match="holds no catalog. Make one with `ctl-keras catalog --model DIR --products F --out",
    ):
        ctl.Catalog(tmp_path)
    (tmp_path / "p.csv").touch()
    with pytest.raises(
        ctl.InputError,
        match=r"p.csv is a file; a catalog is a folder. Make one with `ctl-keras catalog --model",
    ):
        ctl.Catalog(tmp_path / "p.csv")
    catalog = write(tmp_path / "c", ["a", "b"])
    with pytest.raises(
        ctl.InputError, match=r"was embedded by another model \(hash\) than looks \(other\)"
    ):
        catalog.require_model({"weights_hash": "other"}, "looks")
    with pytest.raises(
        ctl.InputError, match=r"was embedded by another model \(hash\) than looks \(None\)"
    ):
        catalog.require_model({}, "looks")
    with pytest.raises(ctl.InputError, match="no product has the id 'z'"):
        catalog.mask(["a", "z"])
    with pytest.raises(ctl.InputError, match="there is no column fingerprint"):
        catalog.where("fingerprint == 'a'")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("embeddings.npy", b"", "is damaged"),
        ("embeddings.npy", None, "is damaged"),
        ("products.arrow", b"no arrow", "is damaged"),
        (
            "manifest.json",
            b'{"format": 99}',
            "has the format 99; 2 is needed. Remove it and make it anew.",
        ),
        ("manifest.json", b"{", "is not JSON"),
    ],
)
def test_damage_is_named(tmp_path, file, content, message):
    write(tmp_path / "c", ["a", "b"])
    path = tmp_path / "c" / "1" / file
    path.write_bytes(path.read_bytes()[:-8] if content is None else content)
    with pytest.raises(ctl.InputError, match=message):
        ctl.Catalog(tmp_path / "c")


def test_files_that_do_not_belong_together(tmp_path):
    write(tmp_path / "c", ["a", "b"])
    write(tmp_path / "d", ["a", "b", "c"])
    shutil.copy(tmp_path / "d" / "1" / "embeddings.npy", tmp_path / "c" / "1" / "embeddings.npy")
    with pytest.raises(
        ctl.InputError, match=r"2 products, embeddings \[3, 4\], and its manifest says \[2, 4\]"
    ):
        ctl.Catalog(tmp_path / "c")
    manifest = json.loads((tmp_path / "d" / "1" / "manifest.json").read_text())
    assert set(manifest["files"]) == {"embeddings.npy", "products.arrow", "rejected.jsonl"}


RENEWALS = """
import sys
import numpy as np, pyarrow as pa
from ctl_keras.catalog.catalog import write_catalog
for number in range(1, 51):
    count = 1 + number % 3
    columns = {"id": [f"{number}-{row}" for row in range(count)], "image": ["x"] * count}
    columns["category"] = pa.array(["Shoes"] * count).dictionary_encode()
    columns |= {"fingerprint": ["x"] * count, "picture_hash": [number] * count}
    write_catalog(sys.argv[1], lambda rows: rows.fill(number), pa.table(columns), 4, "0", {})
    print(number, flush=True)
"""


def test_a_reader_meets_the_old_state_or_the_new_one(tmp_path):
    command = [sys.executable, "-c", RENEWALS, str(tmp_path)]
    seen = set()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "1\n"
        while writer.poll() is None:
            catalog = ctl.Catalog(tmp_path)
            number = int(catalog.embeddings[0, 0])
            assert catalog.ids.to_pylist() == [f"{number}-{row}" for row in range(len(catalog))]
            assert (catalog.embeddings == number).all()
            seen.add(number)
        assert not writer.returncode
    assert len(seen) > 5
