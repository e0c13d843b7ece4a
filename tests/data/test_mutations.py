"""Good pictures and annotation files, damaged in every way that we could think of: no crash, each
reject has its reason."""

import io
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ctl_keras as ctl

PICTURES, FILES = 200, 50
REASONS = {
    "empty file",
    "cut off or damaged",
    "not a JPEG, PNG, GIF or BMP picture",
    "a WebP that cannot be read (save it as JPEG or PNG)",
    "a side below 8 pixels",
    "more than 64000000 pixels",
}


def cut(data, random):
    return data[: random.integers(len(data))]


def flip(data, random):
    changed = bytearray(data)
    for place in random.integers(len(data), size=random.integers(1, 30)):
        changed[place] ^= 1 << random.integers(8)
    return bytes(changed)


def overwrite(data, random):
    start = random.integers(len(data))
    return data[:start] + random.bytes(random.integers(1, 200)) + data[start + 100 :]


def header(data, random):
    return random.bytes(random.integers(1, 24)) + data[16:]


def hole(data, random):
    start = random.integers(len(data))
    return data[:start] + data[start + random.integers(1, 500) :]


def zeros(data, random):
    start = random.integers(len(data))
    return data[:start] + bytes(len(data) - start)


def other_kind(data, random):
    kinds = [
        b"",
        b"404 not found",
        b"<html></html>",
        b"\xff\xd8\xff",
        b"RIFF\0\0\0\0WEBP",
        b"\x89PNG\r\n\x1a\n",
    ]
    return kinds[random.integers(len(kinds))]


DAMAGES = [cut, flip, overwrite, header, hole, zeros, other_kind]


def test_bad_pictures(tmp_path, photo):
    random, images = np.random.default_rng(0), tmp_path / "images"
    images.mkdir()
    good = {}
    for suffix in ("jpg", "png", "webp", "gif", "bmp"):
        buffer = io.BytesIO()
        photo.save(buffer, {"jpg": "JPEG"}.get(suffix, suffix.upper()))
        good[suffix] = buffer.getvalue()
    photo.save(images / "good.jpg")
    lines, categories = [], {"good": "Shoes"}
    for number in range(PICTURES):
        suffix = list(good)[number % len(good)]
        damaged = DAMAGES[number % len(DAMAGES)](good[suffix], random)
        (images / f"bad{number}.{suffix if suffix in ('png', 'webp') else 'jpg'}").write_bytes(
            damaged
        )
        scene, product = (f"bad{number}", "good") if number % 2 else ("good", f"bad{number}")
        lines.append({"scene": scene, "product": product})
        categories[product] = "Shoes"
    (tmp_path / "fashion.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "cat.json").write_text(json.dumps(categories))
    manifest = ctl.prepare(
        tmp_path / "fashion.json",
        tmp_path / "cat.json",
        images,
        tmp_path / "out",
        fractions=(1, 0, 0),
    )
    assert manifest["read"] == PICTURES == manifest["pairs"] + manifest["rejected"]
    rejects = [
        json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()
    ]
    for reject in rejects:
        role, reason = reject["reason"].split(": ")
        assert reject[role].startswith("bad")
        assert reason in REASONS
    assert {reject["line"] for reject in rejects} | kept_lines(tmp_path / "out") == set(
        range(1, PICTURES + 1)
    )
    assert PICTURES * 0.4 < len(rejects) < PICTURES
    # what is kept can be trained on
    pairs = ctl.read_records(tmp_path / "out", "train")
    for row in range(len(pairs.images.ids)):
        assert ctl.data.images.picture_problem(pairs.images.load(row)) is None


def kept_lines(folder):
    pairs = ctl.read_records(folder, "train")
    names = [*pairs.images.ids[pairs.scene], *pairs.images.ids[pairs.product]]
    return {int(name[3:]) + 1 for name in names if name.startswith("bad")}


def swap_types(data, random):
    rows = [json.loads(line) for line in data.splitlines()]
    for row in rows[:: random.integers(1, 4)]:
        key = ["scene", "product", "bbox"][random.integers(3)]
        row[key] = [
            None,
            7,
            "",
            [],
            {},
            [1],
            ["a"] * 4,
            [0.1, None, 0.2, 0.3],
            True,
            "x" * 300,
            "../x",
            "a\0b",
            1e999,
        ][random.integers(13)]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def shuffle_lines(data, random):
    lines = data.splitlines(keepends=True)
    return b"".join(lines[place] for place in random.integers(len(lines), size=len(lines)))


@pytest.mark.parametrize("kind", ["json", "categories", "csv", "parquet"])
def test_bad_annotation_files(drawn, tmp_path, kind):
    random = np.random.default_rng(len(kind))
    rows = [json.loads(line) for line in (drawn / "fashion.json").read_text().splitlines()][:20]
    categories = json.loads((drawn / "fashion-cat.json").read_text())
    good = source(kind, rows, categories, tmp_path)
    name = {"json": "pairs.json", "categories": "cat.json"}.get(kind, f"pairs.{kind}")
    damages = [*DAMAGES, shuffle_lines, *([swap_types] if kind == "json" else [])]
    outcomes = []
    for number in range(FILES // 5):
        (tmp_path / name).write_bytes(damages[number % len(damages)](good, random))
        given = (tmp_path / "pairs.json" if kind == "categories" else tmp_path / name), None
        given = (given[0], tmp_path / "cat.json" if kind in ("json", "categories") else None)
        try:
            manifest = ctl.prepare(*given, drawn / "images", tmp_path / "out", fractions=(1, 0, 0))
        except ctl.InputError as error:
            outcomes.append(str(error))
            continue
        outcomes.append("")
        rejects = [
            json.loads(line)
            for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()
        ]
        assert all(reject["reason"] and reject["line"] > 0 for reject in rejects)
        assert sum(manifest["rejected_because"].values()) == manifest["rejected"] == len(rejects)
        assert manifest["read"] == manifest["pairs"] + manifest["rejected"]
        assert len(ctl.read_records(tmp_path / "out", "train")) == manifest["pairs"]
        shutil.rmtree(tmp_path / "out")
    assert len(outcomes) == FILES // 5
    assert all(not message or name in message or "pairs.json" in message for message in outcomes), (
        outcomes
    )


def source(kind, rows, categories, folder):
    """The bytes of the file that is damaged; what it needs beside it is written."""
    (folder / "cat.json").write_text(json.dumps(categories))
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (folder / "pairs.json").write_bytes(lines)
    if kind in ("json", "categories"):
        return lines if kind == "json" else (folder / "cat.json").read_bytes()
    names = ("left", "top", "right", "bottom")
    table = pa.table(
        {
            "scene": [row["scene"] for row in rows],
            "product": [row["product"] for row in rows],
            "category": [categories[row["product"]] for row in rows],
            **{name: [row["bbox"][number] for row in rows] for number, name in enumerate(names)},
        }
    )
    buffer = io.BytesIO()
    (pq.write_table if kind == "parquet" else pa.csv.write_csv)(table, buffer)
    return buffer.getvalue()
