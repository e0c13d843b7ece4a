"""Pinterest's outfits of 2020, as the release has them: a header with spaces, rows with tabs."""

import itertools
import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import ctl_keras as ctl
from ctl_keras.data.importers.outfits import read_outfit_table, read_questions
from ctl_keras.data.reading.annotations import picture_names

HEADER = "image_signature bounding_x  bounding_y  bounding_width  bounding_height label\n"
QUARTERS = [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5)]
LABELS = ["Shoes", "Hats", "Pants", "Shoes"]
OUTFITS = [f"{number:032x}" for number in range(1, 9)]


def item(outfit, number):
    x, y = QUARTERS[number]
    return {
        "signature": outfit,
        "label": LABELS[number],
        "x": str(x),
        "y": str(y),
        "w": "0.5",
        "h": "0.5",
    }


def row(outfit, number):
    return "\t".join(
        item(outfit, number)[name] for name in ("signature", "x", "y", "w", "h", "label")
    )


def id_of(outfit, number):
    x, y = QUARTERS[number]
    return f"{outfit}-{round(x * 1e4):04d}-{round(y * 1e4):04d}-5000-5000"


@pytest.fixture
def folder(tmp_path):
    """Eight outfits of four items, each a flat colour."""
    images = tmp_path / "images"
    images.mkdir()
    for outfit, name in enumerate(OUTFITS):
        pixels = np.zeros((80, 60, 3), np.uint8)
        for number, (x, y) in enumerate(QUARTERS):
            pixels[round(80 * y) : round(80 * y) + 40, round(60 * x) : round(60 * x) + 30] = (
                20 * outfit,
                60 * number,
                90,
            )
        Image.fromarray(pixels).save(images / f"{name}.jpg", quality=95)
    lines = [row(outfit, number) for outfit in OUTFITS for number in range(4)]
    (tmp_path / "outfits.tsv").write_text(HEADER + "\n".join(lines) + "\n")
    return tmp_path


def test_each_two_items_of_different_categories_are_a_pair(folder):
    pairs = ctl.read_outfits(folder / "outfits.tsv", folder / "images")
    ids = pairs.images.ids
    found = {
        (ids[scene], ids[product], pairs.categories[category])
        for scene, product, category in rows_of(pairs)
    }
    expected = {
        (id_of(outfit, anchor), id_of(outfit, positive), LABELS[positive])
        for outfit in OUTFITS
        for anchor, positive in itertools.permutations(range(4), 2)
        if LABELS[anchor] != LABELS[positive]
    }
    assert found == expected
    assert len(pairs) == len(expected)
    assert len(np.unique(pairs.outfit)) == len(OUTFITS)


def rows_of(pairs):
    return zip(pairs.scene, pairs.product, pairs.category, strict=True)


def test_items_are_cut_out(folder):
    pairs = ctl.read_outfits(folder / "outfits.tsv", folder / "images")
    for outfit, number in ((0, 1), (7, 3)):
        row = pairs.images.ids.tolist().index(id_of(OUTFITS[outfit], number))
        pixels = tf.io.decode_image(pairs.images.load(row)).numpy()
        assert pixels.shape == (40, 30, 3)
        assert np.abs(pixels.mean(axis=(0, 1)) - (20 * outfit, 60 * number, 90)).max() < 6


def test_outfits_stay_in_one_split(folder):
    manifest = ctl.prepare(
        folder / "outfits.tsv", None, folder / "images", folder / "out", fractions=(0.5, 0.25, 0.25)
    )
    parts = [ctl.read_records(folder / "out", split) for split in ("train", "validation", "test")]
    outfits = [{id_[:32] for id_ in part.images.ids[part.scene]} for part in parts]
    assert [len(names) for names in outfits] == [4, 2, 2]
    assert not set.intersection(*outfits)
    assert manifest["leakage"]["test"] == {"scene": 0, "product": 0, "scene's file": 0, "outfit": 0}
    # negatives: of the positive's category, from another outfit
    batch, _ = next(iter(ctl.triplets(parts[0], 8, image_size=16)))
    assert batch["negative"].shape == (8, 16, 16, 3)
    for scene, _, category in rows_of(parts[0]):
        candidates = parts[0].category_products[category]
        negative = candidates[~parts[0].is_positive(scene, candidates)]
        own = parts[0].images.ids[scene][:32]
        assert all(id_[:32] != own for id_ in parts[0].images.ids[negative])


def test_prepared_items_are_a_catalog(folder):
    ctl.prepare(folder / "outfits.tsv", None, folder / "images", folder / "out")
    lines = (folder / "out" / "products.csv").read_text().splitlines()
    assert len(lines) == 33
    id_, image, category = lines[1].split(",")
    assert (id_, category) == (id_of(OUTFITS[0], 0), "Shoes")
    assert Image.open(folder / "out" / image).size == (30, 40)


def test_bad_rows_have_their_line_and_reason(folder):
    bad = [
        f"{OUTFITS[0]}\t0\t0\tx\t0.5\tShoes",
        f"{OUTFITS[0]}\t0\t0\t0.5\tShoes",
        "\t0\t0\t0.5\t0.5\tShoes",
        f"{OUTFITS[0]}\t0.9\t0\t0.5\t0.5\tShoes",
        f"{OUTFITS[0]}\t0.2\t0\t0\t0.5\tShoes",
        row(OUTFITS[0], 0),
        f'{OUTFITS[0]}\t0.25\t0.5\t0.5\t0.50000001\t5" Heels',
        f"{'f' * 32}\t0\t0\t0.5\t0.5\tShoes",
        f"{'f' * 32}\t0.5\t0\t0.5\t0.5\tHats",
    ]
    text = (folder / "outfits.tsv").read_text() + "\n".join(bad) + "\n"
    (folder / "outfits.tsv").write_text(text)
    pairs = ctl.read_outfits(folder / "outfits.tsv", folder / "images")
    first = 1 + 1 + 4 * len(OUTFITS)
    assert sorted({(reject["line"] - first, reject["reason"]) for reject in pairs.rejected}) == [
        (0, "box not four numbers"),
        (1, "the row has 5 columns, not 6"),
        (2, "no signature or no label"),
        (3, "box outside 0..1 (normalised left, top, right, bottom are needed)"),
        (4, "box inverted or empty (left < right and top < bottom are needed)"),
        (5, "the same item again"),
        (7, "scene: picture missing"),
        (8, "scene: picture missing"),
    ]
    assert '5" Heels' in pairs.categories


def test_without_a_header(folder):
    text = (folder / "outfits.tsv").read_text().removeprefix(HEADER)
    (folder / "bare.tsv").write_text(text)
    bare, headed = read_outfit_table(folder / "bare.tsv"), read_outfit_table(folder / "outfits.tsv")
    assert bare.read == headed.read == 32
    assert bare.rows.drop_columns("line").equals(headed.rows.drop_columns("line"))
    assert picture_names([folder / "bare.tsv"]) == OUTFITS


def questions():
    return [
        {
            "question": [item(outfit, 1), item(outfit, 2)],
            "answers": [item(other, 0) for other in (outfit, *others[:3])],
        }
        for number, outfit in enumerate(OUTFITS)
        if (others := OUTFITS[number + 1 :] + OUTFITS[:number])
    ]


def test_questions(folder):
    damaged = [
        {"question": [], "answers": [item(OUTFITS[0], 0)] * 2},
        {"question": [item(OUTFITS[0], 1)], "answers": [item(OUTFITS[0], 0), item(OUTFITS[0], 1)]},
        {
            "question": [{**item(OUTFITS[0], 1), "x": "left"}],
            "answers": [item(OUTFITS[0], 0), item(OUTFITS[1], 0)],
        },
        "?",
        {"question": [item("gone" * 8, 1)], "answers": [item(OUTFITS[0], 0), item(OUTFITS[1], 0)]},
    ]
    (folder / "fitb.json").write_text(json.dumps([*questions(), *damaged]))
    asked = read_questions(folder / "fitb.json")
    assert asked.items[0] == [id_of(OUTFITS[0], 1), id_of(OUTFITS[0], 2)]
    assert asked.answers[7] == [id_of(OUTFITS[number], 0) for number in (7, 0, 1, 2)]
    assert set(asked.categories) == {"Shoes"}
    assert asked.rejected == {
        "no items, or an item without signature, label or box": 3,
        "the answers are not several of one category": 1,
    }
    ctl.prepare(
        folder / "outfits.tsv",
        None,
        folder / "images",
        folder / "out",
        questions=folder / "fitb.json",
    )
    stored = json.loads((folder / "out" / "questions.json").read_text())
    assert len(stored["questions"]) == 8
    assert stored["rejected_because"] == {**asked.rejected, "picture missing": 1}


def test_the_commands(folder, here):
    (folder / "fitb.json").write_text(json.dumps(questions()))
    given = [
        "--annotations",
        folder / "outfits.tsv",
        "--images",
        folder / "images",
        "--questions",
        folder / "fitb.json",
    ]
    said = here(
        "prepare", *given, "--out", folder / "out", "--fractions", "0.5,0.25,0.25", "--workers", 1
    ).out
    assert (
        "pairs of test known from train: scene 0.0%, product 0.0%, scene's file 0.0%, outfit 0.0%"
        in said
    )
    said = here("inspect", folder / "out").out
    assert "80 pairs kept" in said
    assert "8 fill-in-the-blank questions" in said
    assert "kept part: whole 80" in said


def test_wrong_files(folder, drawn):
    with pytest.raises(ctl.InputError, match=r"The table of outfits .*gone.tsv does not exist"):
        ctl.read_outfits(folder / "gone.tsv", folder / "images")
    (folder / "fitb.json").write_text("{}")
    with pytest.raises(ctl.InputError, match=r"The file of questions .* must hold one JSON list"):
        read_questions(folder / "fitb.json")
    (folder / "fitb.json").write_text("[]")
    street = drawn / "fashion.json", drawn / "fashion-cat.json", drawn / "images"
    with pytest.raises(
        ctl.InputError,
        match=r"questions are about outfits: give a table of outfits \(.tsv\) with them",
    ):
        ctl.prepare(*street, folder / "out", questions=folder / "fitb.json")
    with pytest.raises(
        ctl.InputError, match=r"Outfits have no column to split by. Received: 'fold'"
    ):
        ctl.prepare(
            folder / "outfits.tsv", None, folder / "images", folder / "out", split_by="fold"
        )


@given(
    st.lists(
        st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=5), min_size=1, max_size=5
    )
)
def test_pairs_of_any_outfits(tmp_path_factory, outfits):
    path = tmp_path_factory.mktemp("outfits") / "outfits.tsv"
    lines = [
        f"{number:032x}\t{place / 10}\t0\t0.1\t0.5\t{label}"
        for number, labels in enumerate(outfits)
        for place, label in enumerate(labels)
    ]
    path.write_text("\n".join(lines) + "\n")
    table = read_outfit_table(path)
    expected = sum(
        one != two for labels in outfits for one, two in itertools.permutations(labels, 2)
    )
    assert len(table) == expected
    assert table.read == len(lines)
