import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import ctl_keras as ctl

SHOES, HATS = "Apparel|Shoes", "Apparel|Hats"


@pytest.fixture
def folder(tmp_path, photo):
    """Two good pairs; tests break it."""
    images = tmp_path / "images"
    images.mkdir()
    for name in ("s1", "s2", "p1", "p2"):
        photo.save(images / f"{name}.jpg")
    write(tmp_path, [pair("s1", "p1"), pair("s2", "p2")], {"p1": SHOES, "p2": SHOES})
    return tmp_path


def pair(scene, product, bbox=(0.1, 0.6, 0.9, 0.9)):
    return {"scene": scene, "product": product, "bbox": list(bbox)}


def write(folder, lines, categories):
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    (folder / "fashion.json").write_text(text)
    (folder / "fashion-cat.json").write_text(json.dumps(categories))


def read(folder, **options):
    return ctl.read_shop_the_look(
        folder / "fashion.json", folder / "fashion-cat.json", folder / "images", **options
    )


def reasons(pairs):
    return [(reject["line"], reject["reason"]) for reject in pairs.rejected]


def test_reads_pairs(folder):
    pairs = read(folder)
    assert len(pairs) == 2
    assert pairs.categories == (SHOES,)
    assert pairs.images.ids[pairs.scene].tolist() == ["s1", "s2"]
    assert pairs.images.ids[pairs.product].tolist() == ["p1", "p2"]
    np.testing.assert_allclose(pairs.window, [[0, 0, 1, 0.6]] * 2)
    assert pairs.rejected == ()


def test_a_pair_without_box_keeps_its_scene(folder):
    write(folder, [{"scene": "s1", "product": "p1"}], {"p1": SHOES})
    assert read(folder).window.tolist() == [[0, 0, 1, 1]]


def test_every_bad_row_is_left_out_with_its_line_and_reason(folder, photo):
    images = folder / "images"
    (images / "empty.jpg").touch()
    (images / "text.jpg").write_text("404 not found")
    jpeg = (images / "s1.jpg").read_bytes()
    (images / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    lines = [
        pair("s1", "p1"),
        "{not json",
        '["a list"]',
        {"scene": "s1"},
        pair("s1", "unknown"),
        pair("s1", "nocategory"),
        pair("s1", "p1", (0.5, 0.1, 0.2, 0.4)),
        pair("s1", "p1", (0, 0, 2, 1)),
        pair("s1", "p2", (0.05, 0.05, 0.95, 0.95)),
        pair("gone", "p1"),
        pair("s1", "empty"),
        pair("s1", "text"),
        pair("cut", "p1"),
        pair("s1", "p1"),
        "",
        pair("s2", "p2"),
    ]
    write(folder, lines, {"p1": SHOES, "p2": SHOES, "empty": SHOES, "text": SHOES, "nocategory": 7})
    pairs = read(folder)
    assert len(pairs) == 2
    assert reasons(pairs) == [
        (2, "not JSON"),
        (3, "no scene or no product id"),
        (4, "no scene or no product id"),
        (5, "product not in the category file"),
        (6, "category is no text"),
        (7, "box inverted or empty (left < right and top < bottom are needed)"),
        (8, "box outside 0..1 (normalised left, top, right, bottom are needed)"),
        (9, "no strip of the scene without the product has 0.2 of its area"),
        (10, "scene: picture missing"),
        (11, "product: empty file"),
        (12, "product: not a JPEG, PNG, GIF or BMP picture"),
        (13, "scene: cut off or damaged"),
        (14, "the same pair again"),
    ]


@pytest.mark.parametrize("kind", ["CMYK", "L", "RGBA", "I;16", "P"])
def test_unusual_pictures_are_read(folder, photo, kind):
    values = np.asarray(photo.convert("L")).astype(np.uint16) * 257
    image = Image.fromarray(values) if kind == "I;16" else photo.convert(kind)
    (folder / "images" / "p1.jpg").unlink()
    image.save(folder / "images" / ("p1.jpg" if kind == "CMYK" else "p1.png"))
    pairs = read(folder)
    assert len(pairs) == 2
    batch, _ = next(iter(ctl.triplets(pairs, 2, image_size=16, training=False)))
    assert batch["positive"].shape == (2, 16, 16, 3)


def test_other_suffixes_and_signature_folders(folder, photo):
    images = folder / "images"
    (images / "p1.jpg").rename(images / "p1.jpeg")
    (images / "p2.jpg").unlink()
    photo.save(images / "p2.webp")
    (images / "s1.jpg").unlink()
    nested = images / "ab" / "cd" / "ef"
    nested.mkdir(parents=True)
    photo.save(nested / "abcdef01.jpg")
    write(folder, [pair("abcdef01", "p1"), pair("s2", "p2")], {"p1": SHOES, "p2": HATS})
    assert len(read(folder)) == 2


def test_a_product_with_two_boxes_is_cut_out_whole(folder):
    write(
        folder,
        [pair("s1", "p1", (0.1, 0.8, 0.2, 0.9)), pair("s1", "p1", (0.7, 0.6, 0.9, 0.85))],
        {"p1": SHOES},
    )
    pairs = read(folder)
    np.testing.assert_allclose(pairs.window, [[0, 0, 1, 0.6]])
    assert reasons(pairs) == [(2, "the same pair again")]


def test_a_pair_that_is_left_out_is_no_negative_either(folder):
    whole = (0.05, 0.05, 0.95, 0.95)
    write(
        folder,
        [pair("s1", "p1"), pair("s1", "p2", whole), pair("s2", "p2")],
        {"p1": SHOES, "p2": SHOES},
    )
    pairs = read(folder)
    assert len(pairs) == 2
    ids = pairs.images.ids
    assert [(ids[scene], ids[product]) for scene, product in pairs.other_positives] == [
        ("s1", "p2")
    ]
    assert pairs.has_negative().tolist() == [False, True]
    ctl.prepare(
        folder / "fashion.json",
        folder / "fashion-cat.json",
        folder / "images",
        folder / "out",
        fractions=(1, 0, 0),
    )
    assert ctl.read_records(folder / "out", "train").has_negative().tolist() == [False, True]


def test_a_damaged_webp_is_a_reject(folder, photo):
    photo.save(folder / "images" / "p2.webp")
    data = (folder / "images" / "p2.webp").read_bytes()
    (folder / "images" / "p2.webp").write_bytes(data[: len(data) // 2])
    (folder / "images" / "p2.jpg").unlink()
    pairs = read(folder)
    assert [line for line, _ in reasons(pairs)] == [2]


def test_min_strip(folder):
    assert len(read(folder, min_strip=0.59)) == 2
    with pytest.raises(
        ctl.InputError, match="2 x no strip of the scene without the product has 0.61 of its area"
    ):
        read(folder, min_strip=0.61)


def test_nothing_usable_says_why(folder):
    write(folder, [pair("s1", "p1"), pair("s2", "p2")], {"p1": SHOES})
    (folder / "images" / "s1.jpg").unlink()
    with pytest.raises(
        ctl.InputError,
        match=r"No usable pair in .*: 1 x scene: picture missing, 1 x product not in the cat",
    ):
        read(folder)
    (folder / "fashion.json").write_text("")
    with pytest.raises(ctl.InputError, match="the file is empty"):
        read(folder)


def test_missing_files_and_wrong_formats(folder, tmp_path):
    good = (folder / "fashion.json", folder / "fashion-cat.json", folder / "images")
    with pytest.raises(ctl.InputError, match=r"The annotation file nothing does not exist"):
        ctl.read_shop_the_look("nothing", *good[1:])
    with pytest.raises(ctl.InputError, match=r"The category file nothing does not exist"):
        ctl.read_shop_the_look(good[0], "nothing", good[2])
    with pytest.raises(ctl.InputError, match=r"The image folder nothing does not exist"):
        ctl.read_shop_the_look(*good[:2], "nothing")
    with pytest.raises(ctl.InputError, match=r"is a folder; a file is needed"):
        ctl.read_shop_the_look(good[0], folder, good[2])
    (folder / "fashion-cat.json").write_text("{")
    with pytest.raises(ctl.InputError, match=r"The category file .* is not JSON"):
        read(folder)
    (folder / "fashion-cat.json").write_text("[]")
    with pytest.raises(ctl.InputError, match=r"must hold one JSON object"):
        read(folder)


@given(
    st.lists(
        st.one_of(
            st.text(max_size=20),
            st.recursive(
                st.none() | st.booleans() | st.floats() | st.text(max_size=5),
                lambda inner: (
                    st.lists(inner, max_size=4)
                    | st.dictionaries(
                        st.sampled_from(["scene", "product", "bbox", "x"]), inner, max_size=4
                    )
                ),
                max_leaves=8,
            ).map(json.dumps),
        ),
        max_size=6,
    )
)
def test_no_annotation_line_can_crash_the_reader(folder, lines):
    good = json.dumps(pair("s1", "p1"))
    (folder / "fashion.json").write_bytes(
        "\n".join([good, *lines]).encode("utf-8", "surrogatepass")
    )
    pairs = read(folder)
    assert len(pairs) == 1
    assert all(reject["reason"] for reject in pairs.rejected)
