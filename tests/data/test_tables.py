"""Tables of one's own: CSV and Parquet."""

import contextlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ctl_keras as ctl
from ctl_keras.data.reading.annotations import picture_names, read_annotations
from ctl_keras.data.reading.table_files import numbers

HEADER = "scene,product,category,left,top,right,bottom\n"


@pytest.fixture
def images(tmp_path, photo):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("s1", "s2", "007", "p2"):
        photo.save(folder / f"{name}.jpg")
    return folder


def read(images, text, name="pairs.csv", **options):
    path = images.parent / name
    path.write_text(text)
    return ctl.read_pairs(path, images, **options)


def named(pairs):
    ids = pairs.images.ids
    return [
        (ids[scene], ids[product], pairs.categories[category])
        for scene, product, category in zip(pairs.scene, pairs.product, pairs.category, strict=True)
    ]


def reasons(pairs):
    return [(reject["line"], reject["reason"]) for reject in pairs.rejected]


def test_a_table_says_what_json_lines_say(drawn, drawn_pairs, tmp_path):
    categories = json.loads((drawn / "fashion-cat.json").read_text())
    rows = [json.loads(line) for line in (drawn / "fashion.json").read_text().splitlines()]
    table = pa.table(
        {
            "scene": [row["scene"] for row in rows],
            "product": [row["product"] for row in rows],
            "category": [categories[row["product"]] for row in rows],
            **{
                name: [row["bbox"][number] for row in rows]
                for number, name in enumerate(("left", "top", "right", "bottom"))
            },
        }
    )
    pq.write_table(table, tmp_path / "pairs.parquet")
    pa.csv.write_csv(table, tmp_path / "pairs.csv")
    for name in ("pairs.parquet", "pairs.csv"):
        pairs = ctl.read_pairs(tmp_path / name, drawn / "images")
        assert named(pairs) == named(drawn_pairs)
        np.testing.assert_array_equal(pairs.window, drawn_pairs.window)


def test_ids_and_rows_without_a_box(images):
    pairs = read(images, HEADER + "s1,007,Shoes,,,,\ns2,p2, Hats ,0.1,0.6,0.9,0.9\n")
    assert named(pairs) == [("s1", "007", "Shoes"), ("s2", "p2", "Hats")]
    np.testing.assert_allclose(pairs.window, [[0, 0, 1, 1], [0, 0, 1, 0.6]])
    assert named(read(images, "product,scene,category\n007,s1,Shoes\n")) == [("s1", "007", "Shoes")]


def test_an_id_may_be_a_path(images, photo):
    (images / "2026").mkdir()
    photo.save(images / "2026" / "a.png")
    pairs = read(images, HEADER + "2026/a.png,007,Shoes,,,,\n../images/s1,007,Shoes,,,,\n")
    assert named(pairs) == [("2026/a.png", "007", "Shoes")]
    assert reasons(pairs) == [(3, "scene: picture missing")]


def test_bad_rows_have_their_line_and_reason(images):
    rows = [
        "s1,007,Shoes,0.1,0.6,0.9,0.9",
        ",007,Shoes,,,,",
        "s1, ,Shoes,,,,",
        "s1,007,,,,,",
        "s1,007,Shoes,a,0.6,0.9,0.9",
        "s1,007,Shoes,0.1,0.6,,0.9",
        "too,few",
        "s1,007,Shoes,0.1,0.6,9,0.9",
        "s1,007,Shoes,0.9,0.6,0.1,0.9",
        "s2,007,Hats,,,,",
        "s1,p2,Shoes,0.01,0.01,0.99,0.99",
        "s1,007,Shoes,0.1,0.6,0.9,0.9",
        "s2,gone,Shoes,,,,",
        "s2,p2,Shoes,,,,",
    ]
    pairs = read(images, HEADER + "\n".join(rows) + "\n")
    assert named(pairs) == [("s1", "007", "Shoes"), ("s2", "p2", "Shoes")]
    assert reasons(pairs) == [
        (3, "no scene or no product id"),
        (4, "no scene or no product id"),
        (5, "no category"),
        (6, "box not four numbers"),
        (7, "box not four numbers"),
        (8, "the row has 2 columns, not 7"),
        (9, "box outside 0..1 (normalised left, top, right, bottom are needed)"),
        (10, "box inverted or empty (left < right and top < bottom are needed)"),
        (11, "the product has another category"),
        (12, "no strip of the scene without the product has 0.2 of its area"),
        (13, "the same pair again"),
        (14, "product: picture missing"),
    ]
    details = {reject["line"]: reject.get("detail") for reject in pairs.rejected}
    assert details[6] == "[a, 0.6, 0.9, 0.9]"
    assert details[7] == "[0.1, 0.6, null, 0.9]"
    assert details[11] == "Shoes in line 2"
    assert details[3] is None


def test_a_column_says_the_split(images):
    text = "scene,product,category,fold\ns1,007,Shoes,train\ns1,p2,Shoes,test\n"
    text += "s2,p2,Shoes,dev\ns2,007,Shoes,\n"
    pairs = read(images, text, split_column="fold")
    assert reasons(pairs) == [
        (line, "the split is none of train, validation, test") for line in (4, 5)
    ]
    assert [named(part) for part in pairs.split(by="column")] == [
        [("s1", "007", "Shoes")],
        [],
        [("s1", "p2", "Shoes")],
    ]
    with pytest.raises(
        ctl.InputError, match=r"`by` must be one of scene, scene-product, column. Received: 'row'"
    ):
        pairs.split(by="row")
    manifest = ctl.prepare(
        images.parent / "pairs.csv", None, images, images.parent / "out", split_by="fold"
    )
    assert [manifest["splits"][name]["pairs"] for name in ("train", "validation", "test")] == [
        1,
        0,
        1,
    ]
    assert manifest["leakage"]["test"]["scene"] == 1


def test_wrong_tables(images, tmp_path):
    with pytest.raises(
        ctl.InputError,
        match=r"The table of pairs .* lacks the column category. Needed: scene, product, cat",
    ):
        read(images, "scene,product\ns1,007\n")
    with pytest.raises(
        ctl.InputError,
        match="must have all of the columns left, .*, or none of them. It has left, top",
    ):
        read(images, "scene,product,category,left,top\ns1,007,Shoes,0,0\n")
    with pytest.raises(ctl.InputError, match=r"lacks the column fold"):
        read(images, "scene,product,category\ns1,007,Shoes\n", split_column="fold")
    with pytest.raises(ctl.InputError, match=r"has the column scene twice"):
        read(images, "scene,scene,product,category\ns1,s1,007,Shoes\n")
    with pytest.raises(ctl.InputError, match=r"is neither CSV in UTF-8 nor Parquet"):
        read(images, "no parquet", name="pairs.parquet")
    with pytest.raises(ctl.InputError, match=r"The table of pairs .* does not exist"):
        ctl.read_pairs(tmp_path / "gone.csv", images)
    with pytest.raises(ctl.InputError, match=r"leave out the category file. Received: cat.json"):
        read_annotations(tmp_path / "pairs.csv", "cat.json")
    with pytest.raises(ctl.InputError, match=r"No usable pair in .*: the file is empty"):
        read(images, HEADER)


def test_which_pictures_to_fetch(images):
    (images.parent / "pairs.csv").write_text(HEADER + "s1,007,Shoes,,,,\ns1,p2,,,,,\n")
    (images.parent / "pairs.json").write_text('{"scene": "s3", "product": "007"}\n')
    files = [images.parent / "pairs.csv", images.parent / "pairs.json"]
    assert picture_names(files) == ["007", "p2", "s1", "s3"]


@given(
    st.lists(
        st.none() | st.text("0123456789.+-eE naif", max_size=8) | st.floats().map(repr), max_size=20
    )
)
def test_text_is_a_number_where_python_says_so(values):
    parsed, bad = numbers(
        pa.chunked_array([pa.array([value or None for value in values], pa.string())])
    )
    for value, number, is_bad in zip(values, parsed.to_pylist(), bad, strict=True):
        try:
            expected = (
                float(value)
                if value and value.strip().lower().lstrip("+-")[:1] not in ("n", "i")
                else None
            )
        except ValueError:
            expected = None
        if expected is not None and "_" not in value:
            assert number == expected
        else:
            assert number is None
        assert is_bad == (bool(value) and number is None)


@given(st.lists(st.text(max_size=40), max_size=6))
def test_no_row_can_crash_the_reader(images, lines):
    path = images.parent / "pairs.csv"
    path.write_bytes(
        (HEADER + "s1,007,Shoes,,,,\n" + "\n".join(lines)).encode("utf-8", "surrogatepass")
    )
    # it may have made one long quoted text of the table, or no UTF-8
    with contextlib.suppress(ctl.InputError):
        pairs = ctl.read_pairs(path, images)
        assert all(reject["reason"] and reject["line"] > 1 for reject in pairs.rejected)


def test_boxes_by_their_size_say_the_same(images):
    corners = HEADER + "s1,007,Shoes,0.1,0.6,0.5,0.9\ns1,p2,Shoes,,,,\n"
    sized = "scene,product,category,x,y,width,height\n"
    sized += "s1,007,Shoes,0.1,0.6,0.4,0.3\ns1,p2,Shoes,,,,\n"
    expected, found = read(images, corners), read(images, sized)
    np.testing.assert_allclose(found.window, expected.window)
    assert found.has_box.tolist() == [True, False]


@pytest.mark.parametrize("columns", ["x,y,width", "x,y,width,height,left,top,right,bottom", "left"])
def test_half_a_box_is_refused(images, columns):
    row = "s1,007,Shoes" + ",0.5" * len(columns.split(","))
    with pytest.raises(ctl.InputError, match="must have all of the columns left, top, right"):
        read(images, f"scene,product,category,{columns}\n{row}\n")


def test_pairs_without_a_box_are_named_first(images, here):
    (images.parent / "pairs.csv").write_text(
        HEADER + "s1,007,Shoes,,,,\ns1,p2,Shoes,0.1,0.6,0.9,0.9\ns2,p2,Shoes,,,,\n"
    )
    files = ["--annotations", images.parent / "pairs.csv", "--images", images]
    out = here("prepare", *files, "--out", images.parent / "data", "--workers", 1).out
    assert "2 of 3 pairs have no box: their scenes may show the product" in out.splitlines()[0]
