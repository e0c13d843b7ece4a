"""`import coco`: files as annotation tools write them, with masks that are drawn here."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

import ctl_keras as ctl
from ctl_keras.data.importers import cutting
from ctl_keras.data.importers.masks import Item, item_mask

mask_tools = pytest.importorskip("pycocotools.mask")

WIDTH, HEIGHT = 120, 160
COLOURS = {1: (200, 30, 30), 2: (30, 160, 60), 3: (40, 60, 200), "4": (150, 120, 20)}
POLYGONS = {
    1: [[30, 40, 90, 40, 80, 80, 40, 80]],
    2: [[40, 85, 80, 85, 82, 130, 62, 95, 42, 130]],
    3: [[20, 135, 50, 135, 50, 155, 20, 155], [70, 135, 100, 135, 100, 155, 70, 155]],
}
CATEGORIES = [
    {"id": 1, "name": "top, t-shirt", "supercategory": "upperbody"},
    {"id": 2, "name": "skirt"},
    {"id": 3, "name": "shoe"},
    {"id": "4", "name": "sleeve", "supercategory": "garment parts"},
]


def mask_of(category):
    lengths = mask_tools.frPyObjects(POLYGONS[category], HEIGHT, WIDTH)
    return mask_tools.decode(mask_tools.merge(lengths)).astype(bool)


def photo(*categories, shade=0):
    """Grey, with each item in its colour."""
    pixels = np.full((HEIGHT, WIDTH, 3), 120 + shade, np.uint8)
    for category in categories:
        pixels[mask_of(category)] = COLOURS[category]
    return Image.fromarray(pixels)


def compressed(mask):
    lengths = mask_tools.encode(np.asfortranarray(mask, np.uint8))
    return {"size": lengths["size"], "counts": lengths["counts"].decode()}


def uncompressed(mask):
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    return {"size": list(mask.shape), "counts": counts if not flat[0] else [0, *counts]}


SPELLINGS = {
    "polygons": lambda category: POLYGONS[category],
    "compressed": lambda category: compressed(mask_of(category)),
    "uncompressed": lambda category: uncompressed(mask_of(category)),
}


def annotation(number, image, category, **more):
    return {"id": number, "image_id": image, "category_id": category, **more}


def write(folder, images, annotations, categories=CATEGORIES):
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(content))
    return folder / "instances.json", folder / "photos", folder / "out"


def entry(id_, name, width=WIDTH, height=HEIGHT):
    return {"id": id_, "file_name": name, "width": width, "height": height}


def lines(out, name="fashion.json"):
    return [json.loads(line) for line in (out / name).read_text().splitlines()]


def reasons(out):
    return {row["item"]: row["reason"] for row in lines(out, "rejected.jsonl")}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    photo(1, 2, 3).save(tmp_path / "photos" / "a.png")
    return tmp_path


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_masks_are_those_of_pycocotools(spelling):
    for category in POLYGONS:
        item = Item("", "", None, SPELLINGS[spelling](category))
        found = item_mask(item, (WIDTH, HEIGHT), (WIDTH, HEIGHT))
        assert np.array_equal(found, mask_of(category))
        # a photo that was made smaller since
        half = item_mask(item, (WIDTH, HEIGHT), (WIDTH // 2, HEIGHT // 2))
        assert np.mean(half != mask_of(category)[::2, ::2]) < 0.02


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_photo_is_a_scene_and_its_items_are_products_on_white(folder, spelling, here):
    marked = [annotation(n, 0, n, segmentation=SPELLINGS[spelling](n)) for n in POLYGONS]
    given = write(folder, [entry(0, "a.png")], marked)
    said = here("import", "coco", *given[:2], "--out", given[2], "--workers", 1).out
    out = given[2]
    assert "1 scenes and 3 products" in said
    assert "background" not in said
    for number, (line, category) in enumerate(zip(lines(out), POLYGONS, strict=True), 1):
        rows, columns = np.nonzero(mask_of(category))
        box = [columns.min() / WIDTH, rows.min() / HEIGHT]
        box += [(columns.max() + 1) / WIDTH, (rows.max() + 1) / HEIGHT]
        assert line["bbox"] == pytest.approx(box, abs=1e-6)
        assert (line["scene"], line["product"]) == ("a", f"a--{number}")
        shown = np.asarray(Image.open(out / "images" / f"{line['product']}.jpg"), int)
        near = np.abs(shown - COLOURS[category]).max(axis=2) < 40
        white = shown.min(axis=2) > 215
        # as much of the square as the mask has of its box, and nothing of the grey around it
        side = max(rows.max() + 1 - rows.min(), columns.max() + 1 - columns.min())
        expected = mask_of(category).sum() * (176 / side) ** 2 / 200**2
        assert near.mean() == pytest.approx(expected, abs=0.03)
        assert (near | white).mean() > 0.93
    assert Image.open(out / "images" / "a.jpg").size == (WIDTH, HEIGHT)
    pairs = ctl.read_shop_the_look(out / "fashion.json", out / "fashion-cat.json", out / "images")
    assert pairs.categories == ("shoe", "skirt", "top, t-shirt")


def test_boxes_where_there_is_no_mask(folder):
    boxes = [[30, 40, 60, 40], [40.4, 85.2, 41.8, 44.9]]
    shapes = [{}, {"segmentation": []}]
    marked = [
        annotation(n, 0, n, bbox=box, **shape)
        for n, (box, shape) in enumerate(zip(boxes, shapes, strict=True), 1)
    ]
    counts = ctl.import_coco(*write(folder, [entry(0, "a.png")], marked))
    assert counts["with_background"] == 2
    assert lines(folder / "out")[1]["bbox"] == pytest.approx([1 / 3, 85 / 160, 82 / 120, 130 / 160])
    shown = np.asarray(Image.open(folder / "out" / "images" / "a--2.jpg"), int)
    assert (np.abs(shown - 120).max(axis=2) < 12).mean() > 0.1


def test_which_categories_are_products_and_which_are_merged(folder, here):
    shoes = [[part] for part in POLYGONS[3]]
    marked = [
        annotation(1, 0, "1", segmentation=POLYGONS[1]),
        annotation(2, 0, 3.0, segmentation=shoes[0]),
        annotation(3, 0, 3, segmentation=shoes[1]),
        annotation(4, 0, 4, bbox=[30, 40, 60, 40]),
    ]
    given = write(folder, [entry(0, "a.png")], marked)
    counts = ctl.import_coco(*given)
    assert counts["categories"] == {"top, t-shirt": 1, "shoe": 1}
    assert counts["no_products"] == {"sleeve": 1}
    assert lines(given[2])[1]["bbox"] == pytest.approx(
        [1 / 6, 135 / 160, 5 / 6, 155 / 160], abs=0.01
    )
    counts = ctl.import_coco(
        *given[:2],
        folder / "other",
        products=["top, t-shirt=Clothes|Tops", "sleeve=Clothes|Tops", "shoe"],
        merge=["none"],
    )
    assert counts["categories"] == {"Clothes|Tops": 2, "shoe": 2}
    error = here(
        "import", "coco", *given[:2], "--out", folder / "x", "--product", "hat", code=2
    ).err
    assert "'hat'" in error
    assert "shoe; skirt" in error


def test_what_is_left_out_is_counted_with_its_reason(folder, here):
    (folder / "photos" / "damaged.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    images = [
        entry(0, "a.png"),
        entry("one", "sub/gone.jpg"),
        entry(2, "damaged.jpg"),
        entry(3, "https://shop.example/a.jpg"),
        entry(4, "a.png"),
        {"id": 5},
        entry(6, "photos-without-annotations.jpg"),
    ]
    shape = {"segmentation": POLYGONS[1]}
    marked = [
        annotation(1, 0, 1, **shape),
        annotation(2, "one", 1, **shape),
        annotation(3, "2", 1, **shape),
        annotation(4, 99, 1, **shape),
        annotation(5, 0, 99, **shape),
        annotation(6, 0, 2, iscrowd=1, segmentation=uncompressed(mask_of(2))),
        annotation(7, 0, 2, bbox=[5, 5, 10, 60]),
        annotation(8, 0, 2),
        annotation(9, 0, 2, segmentation=[[1, 2, "x"]]),
        annotation(10, 0, 2, segmentation=[[1, 2, 3, 4]]),
        annotation(11, 0, 2, segmentation={"size": [HEIGHT, WIDTH], "counts": [5, 5]}),
        annotation(12, 0, 2, segmentation={"size": [WIDTH, WIDTH], "counts": "01"}),
        annotation(13, 0, 2, bbox=[1, 2, None, 4]),
        annotation(14, 4, 2, segmentation=POLYGONS[2]),  # of the same file as 0
        annotation(15, 0, 2, segmentation=[[40, 85, 1e12, 85, 60, 130]]),
    ]
    given = write(folder, images, marked)
    said = here("import", "coco", *given[:2], "--out", given[2], "--workers", 1).out
    assert reasons(given[2]) == {
        None: "picture cannot be read",  # the last of four photos
        "annotation 4": "its image is not listed",
        "annotation 5": "its category is not listed",
        "annotation 6": "iscrowd, so a group (--crowd takes it; CVAT marks painted masks so)",
        "annotation 7": "smaller than 16 pixels",
        "annotation 8": "no mask, and no box of four numbers",
        "annotation 9": "polygon not pairs of numbers",
        "annotation 10": "polygon not pairs of numbers, at least three",
        "annotation 11": "run lengths are damaged",
        "annotation 12": "measured in a picture of another shape",
        "annotation 13": "no mask, and no box of four numbers",
    }
    assert "1 x picture missing" in said
    assert "2 x file_name names no file" in said
    assert "1 photos without a product" in said
    assert [line["scene"] for line in lines(given[2])] == ["a"] * 3
    counts = ctl.import_coco(*given[:2], folder / "crowd", crowd=True, smallest=8)
    assert counts["products"] == 5


def test_files_in_folders_and_scenes_with_ids_of_their_own(folder):
    for name, shade in (("x/1.png", 0), ("y/1.webp", 9), ("x 1.png", 20), ("x/1--1.png", 30)):
        (folder / "photos" / name).parent.mkdir(exist_ok=True)
        photo(1, shade=shade).save(folder / "photos" / name)
    names = ["..\\..\\up/x/1.png", "/up/y/1.webp", "up/x 1.png", "up\\x/1--1.png"]
    images = [entry(number, name) for number, name in enumerate(names)]
    marked = [annotation(1, number, 1, segmentation=POLYGONS[1]) for number in range(4)]
    counts = ctl.import_coco(*write(folder, images, marked))
    assert (counts["scenes"], counts["products"], counts["rejected"]) == (4, 4, 0)
    rows = lines(folder / "out")
    assert len({row[name] for row in rows for name in ("scene", "product")}) == 8
    for row, shade in zip(rows, (0, 9, 20, 30), strict=True):
        assert row["product"].startswith(row["scene"])
        scene = np.asarray(Image.open(folder / "out" / "images" / f"{row['scene']}.jpg"), int)
        assert np.abs(scene[5, 5] - 120 - shade).max() < 4


@pytest.mark.parametrize("measured", ["upright", "stored"])
def test_a_turned_photo_is_upright(folder, measured):
    upright = photo(1, 2)
    stored, exif = upright.transpose(Image.Transpose.ROTATE_90), Image.Exif()
    exif[0x0112] = 6
    stored.save(folder / "photos" / "turned.jpg", exif=exif, quality=95)
    mask = mask_of(1) if measured == "upright" else np.rot90(mask_of(1))
    rows, columns = np.nonzero(mask)
    box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
    height, width = mask.shape
    marked = [
        annotation(1, 0, 1, segmentation=uncompressed(mask)),
        annotation(2, 0, 2, bbox=[int(edge) for edge in box]),
    ]
    ctl.import_coco(*write(folder, [entry(0, "turned.jpg", width, height)], marked))
    out, (rows, columns) = folder / "out", np.nonzero(mask_of(1))
    box = [columns.min() / WIDTH, rows.min() / HEIGHT]
    for line in lines(out):
        assert line["bbox"][:2] == pytest.approx(box, abs=1e-6)
    scene = Image.open(out / "images" / "turned.jpg")
    assert scene.size == (WIDTH, HEIGHT)
    assert np.abs(np.asarray(scene, int) - np.asarray(upright, int)).mean() < 6


def test_a_killed_run_goes_on(folder, monkeypatch):
    for number in range(3):
        photo(1, shade=number).save(folder / "photos" / f"{number}.png")
    images = [entry(number, f"{number}.png") for number in range(3)]
    marked = [annotation(number, number, 1, segmentation=POLYGONS[1]) for number in range(3)]
    given = write(folder, images, marked)
    ctl.import_coco(*given[:2], folder / "expected")
    opened, real = [], cutting.read_image_bytes

    def fails(path):
        opened.append(path.name)
        if path.name == "2.png" and len(opened) < 4:
            raise KeyboardInterrupt
        return real(path)

    monkeypatch.setattr(cutting, "read_image_bytes", fails)
    with pytest.raises(KeyboardInterrupt):
        ctl.import_coco(*given)
    assert not given[2].exists()
    ctl.import_coco(*given)
    assert opened == ["0.png", "1.png", "2.png", "2.png"]
    for path in (folder / "expected").rglob("*.*"):
        if path.is_file():
            assert (
                given[2] / path.relative_to(folder / "expected")
            ).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "It holds: list"),
        ({"images": [], "licenses": []}, "annotations is none. It holds: images, licenses"),
        ({"images": [], "annotations": [], "categories": []}, "Nothing .* no item is named"),
    ],
)
def test_wrong_files(folder, content, message):
    (folder / "instances.json").write_text(json.dumps(content))
    with pytest.raises(ctl.InputError, match=message):
        ctl.import_coco(folder / "instances.json", folder / "photos", folder / "out")


def test_without_pycocotools_a_box_is_enough(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    given = write(folder, [entry(0, "a.png")], [annotation(1, 0, 1, bbox=[30, 40, 60, 40])])
    assert ctl.import_coco(*given)["products"] == 1
    write(folder, [entry(0, "a.png")], [annotation(1, 0, 1, segmentation=POLYGONS[1])])
    with pytest.raises(ctl.InputError, match=r"pip install ctl-keras\[import\]"):
        ctl.import_coco(*given[:2], folder / "other")
