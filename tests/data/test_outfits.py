"""Pinterest's outfits of 2020, as the release has them: a header with spaces, rows with tabs."""

import json

import numpy as np
import pytest
from PIL import Image

import ctl_keras as ctl
from ctl_keras.data.importers.outfits import import_outfits

HEADER = "image_signature bounding_x  bounding_y  bounding_width  bounding_height label\n"
QUARTERS = [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5)]
LABELS = ["Shoes", "Hats", "Pants", "Shoes"]
OUTFITS = [f"{number:032x}" for number in range(1, 9)]


def row(outfit, number):
    return "\t".join((outfit, *map(str, QUARTERS[number]), "0.5", "0.50000001", LABELS[number]))


@pytest.fixture
def folder(tmp_path):
    """Eight outfits of four items, each a flat colour."""
    (tmp_path / "images").mkdir()
    for outfit, name in enumerate(OUTFITS):
        pixels = np.zeros((80, 60, 3), np.uint8)
        for number, (x, y) in enumerate(QUARTERS):
            top, left = round(80 * y), round(60 * x)
            pixels[top : top + 40, left : left + 30] = (20 * outfit, 60 * number, 90)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{name}.jpg", quality=95)
    lines = [row(outfit, number) for outfit in OUTFITS for number in range(4)]
    (tmp_path / "outfits.tsv").write_text(HEADER + "\n".join(lines) + "\n")
    return tmp_path


def test_an_outfit_is_a_scene_and_its_items_are_products(folder, here):
    out = folder / "out"
    given = folder / "outfits.tsv", folder / "images", "--out", out, "--workers", 1
    said = here("import", "outfits", *given).out
    assert "8 scenes and 32 products" in said
    assert "32 products have a box and no mask: their background is left in" in said
    pairs = ctl.read_shop_the_look(out / "fashion.json", out / "fashion-cat.json", out / "images")
    assert len(pairs) == 32
    assert pairs.categories == ("Hats", "Pants", "Shoes")
    lines = [json.loads(line) for line in (out / "fashion.json").read_text().splitlines()]
    for number, line in enumerate(lines):
        outfit, item = divmod(number, 4)
        x, y = QUARTERS[item]
        assert line["scene"] == OUTFITS[outfit]
        assert line["bbox"] == [x, y, x + 0.5, y + 0.5]
        shown = np.asarray(Image.open(out / "images" / f"{line['product']}.jpg"), int)
        assert shown.shape == (200, 200, 3)
        assert np.abs(shown[100, 100] - (20 * outfit, 60 * item, 90)).max() < 6
        assert shown[:8].min() > 235


def test_bad_rows_have_their_line_and_reason(folder):
    bad = [
        f"{OUTFITS[0]}\t0\t0\tx\t0.5\tShoes",
        f"{OUTFITS[0]}\t0\t0\t0.5\tShoes",
        "\t0\t0\t0.5\t0.5\tShoes",
        f"{OUTFITS[0]}\t0.9\t0\t0.5\t0.5\tShoes",
        f"{OUTFITS[0]}\t0.2\t0\t0\t0.5\tShoes",
        f"{OUTFITS[0]}\t0\tnan\t0.5\t0.5\tShoes",
        f'{OUTFITS[0]}\t0.25\t0.5\t0.5\t0.5\t5" Heels',
        f"{'f' * 32}\t0\t0\t0.5\t0.5\tShoes",
    ]
    text = (folder / "outfits.tsv").read_text().removeprefix(HEADER) + "\n".join(bad)
    (folder / "outfits.tsv").write_text(text)
    counts = import_outfits(folder / "outfits.tsv", folder / "images", folder / "out")
    rejected = (folder / "out" / "rejected.jsonl").read_text().splitlines()
    assert [(row["item"], row["reason"]) for row in map(json.loads, rejected)] == [
        ("line 33", "box not four numbers"),
        ("line 34", "the row has 5 columns, not 6"),
        ("line 35", "no signature or no label"),
        ("line 36", "box outside 0..1"),
        ("line 37", "box inverted or empty"),
        ("line 38", "box not four numbers"),
        (None, "picture missing"),
    ]
    assert counts["categories"] == {"Shoes": 16, "Hats": 8, "Pants": 8, '5" Heels': 1}


def test_wrong_files(folder):
    for table, message in (("gone.tsv", "does not exist"), ("images", "no text in UTF-8")):
        with pytest.raises(ctl.InputError, match=f"The table of outfits .*{table} .*{message}"):
            import_outfits(folder / table, folder / "images", folder / "out")
    (folder / "empty.tsv").write_text(HEADER)
    with pytest.raises(ctl.InputError, match="Nothing can be cut out .* no item is named"):
        import_outfits(folder / "empty.tsv", folder / "images", folder / "out")
    assert not (folder / "out").exists()
