"""Pinterest's 2020 outfits (Complete The Look, KDD 2020): pictures of whole outfits, with a box for
each item.

An item completes another one of its outfit: each pair of items of different categories is a row,
the one cut out as the scene, the other as the product. Items have ids made of the picture's
signature and the box, in ten-thousandths of the picture:
`00015b9d0c08164ed3b5dbb4613bb143-0068-0192-4946-3154`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ctl_keras.data.cropping import box_problems
from ctl_keras.data.reading.json_lines import text
from ctl_keras.data.reading.pair_table import (
    BOX,
    CATEGORY,
    LINE,
    OUTFIT,
    PRODUCT,
    SCENE,
    PairTable,
    first_of_each,
    mask,
)
from ctl_keras.data.reading.table_files import ROW, as_text, numbers, read_table_file
from ctl_keras.errors import InputError
from ctl_keras.files import read_json

_COLUMNS = ("signature", "x", "y", "w", "h", "label")
_EDGE = 1e-5  # boxes of the release end up to a rounding error outside of their picture
_ID = 10_000


def read_outfit_table(path: Path) -> PairTable:
    """Reads the raw outfits: rows of signature, x, y, width, height, label, separated by tabs.

    Returns:
        A row for each (anchor, positive), with the outfit's signature as `outfit` and the line of
        the anchor; `pictures` says where items are cut out.

    Raises:
        InputError: the file is missing or no such table.
    """
    what = "The table of outfits"
    try:
        with open(path, "rb") as file:
            # separated by spaces in the release
            header = file.readline().startswith(b"image_signature")
    except OSError:
        header = False  # reading says what is wrong
    rejected: list[dict[str, Any]] = []

    def on_bad_row(line: int, _: str, reason: str) -> None:
        rejected.append({LINE: line, "reason": reason})

    items = read_table_file(path, what, _COLUMNS, on_bad_row, _COLUMNS, int(header), "\t")
    items = as_text(items, ("signature", "label"), f"{what} {path}")
    read, bad_rows = items.num_rows + len(rejected), PairTable(_no_pairs(), 0)
    bad_rows.reject(rejected)
    items = _checked(items, bad_rows)
    table = PairTable(_pairs(items), read, _cut_outs(items))
    table.reject(bad_rows.rejected)
    return table


@dataclass(frozen=True)
class Questions:
    """Fill-in-the-blank questions: which answer completes the items of an outfit? The first is
    right.

    Attributes:
        items: list of lists of item ids, of each question.
        answers: list of lists of item ids.
        categories: list of str, of the answers.
        pictures: table of `id`, `file` and the box, as `PairTable.pictures`.
        rejected: dict, reason -> number of questions that are left out.
    """

    items: list[list[str]]
    answers: list[list[str]]
    categories: list[str]
    pictures: pa.Table
    rejected: dict[str, int]


def read_questions(path: str | Path) -> Questions:
    """Reads the release's questions: a JSON list of `{"question": [item …], "answers": [item …]}`,
    the first answer right.

    Raises:
        InputError: the file is missing or holds no such list.
    """
    value = read_json(path, "The file of questions")
    if not isinstance(value, list):
        raise InputError(f"The file of questions {path} must hold one JSON list.")
    rejected: dict[str, int] = {}
    kept: list[tuple[list[dict], list[dict]]] = []
    for question in value:
        items, answers = _items(question, "question"), _items(question, "answers")
        if not items or not answers:
            problem = "no items, or an item without signature, label or box"
        elif len(answers) < 2 or len({item["label"] for item in answers}) > 1:
            problem = "the answers are not several of one category"
        else:
            kept.append((items, answers))
            continue
        rejected[problem] = rejected.get(problem, 0) + 1
    flat = [item for question in kept for side in question for item in side]
    names = ("signature", "label", *_COLUMNS[1:5])
    types = [pa.string(), pa.string(), *[pa.float64()] * 4]
    table = pa.table(
        {
            name: pa.array([item[name] for item in flat], kind)
            for name, kind in zip(names, types, strict=True)
        }
    )
    table = _with_boxes(table)
    ids = iter(table["id"].to_pylist())
    named = [([next(ids) for _ in items], [next(ids) for _ in answers]) for items, answers in kept]
    return Questions(
        [items for items, _ in named],
        [answers for _, answers in named],
        [answers[0]["label"] for _, answers in kept],
        _cut_outs(table),
        rejected,
    )


def _items(question: Any, name: str) -> list[dict[str, Any]] | None:
    items = question.get(name) if isinstance(question, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        return None
    made = []
    for item in items:
        try:
            x, y, w, h = (float(item[key]) for key in "xywh")
        except (KeyError, TypeError, ValueError, OverflowError):
            return None
        box = _edges(np.array([[x, y, x + w, y + h]]))
        signature, label = text(item.get("signature")), text(item.get("label"))
        if not signature or not label or np.isnan(box).any() or box_problems(box)[0] is not None:
            return None
        made.append({"signature": signature, "label": label, "x": x, "y": y, "w": w, "h": h})
    return made


def _no_pairs() -> pa.Table:
    return pa.schema(
        [(LINE, pa.int64()), (SCENE, pa.string()), (PRODUCT, pa.string())]
    ).empty_table()


def _checked(items: pa.Table, rejects: PairTable) -> pa.Table:
    """The items that can be cut out, with `id` and box."""

    def drop(items: pa.Table, bad: Any, reason: str | pa.Array) -> pa.Table:
        rejects.rows = pa.table(
            {
                LINE: items[ROW],
                SCENE: items["signature"],
                PRODUCT: pa.nulls(items.num_rows, pa.string()),
            }
        )
        return items.filter(pa.array(rejects.drop(bad, reason)))

    for name in _COLUMNS[1:5]:
        items = items.set_column(items.column_names.index(name), name, numbers(items[name])[0])
    items = drop(
        items,
        pc.or_(pc.is_null(items["signature"]), pc.is_null(items["label"])),
        "no signature or no label",
    )
    bad = np.zeros(items.num_rows, bool)
    for name in _COLUMNS[1:5]:
        bad |= mask(pc.is_null(items[name]))
    items = _with_boxes(drop(items, bad, "box not four numbers"))
    problems = pa.array(box_problems(_boxes(items)), pa.string())
    items = drop(items, pc.is_valid(problems), pc.binary_join_element_wise("box ", problems, ""))
    return drop(items, ~first_of_each(items["id"]), "the same item again")


def _with_boxes(items: pa.Table) -> pa.Table:
    x, y, w, h = (items[name].to_numpy() for name in _COLUMNS[1:5])
    edges = _edges(np.stack([x, y, x + w, y + h], axis=1))
    for number, name in enumerate(BOX):
        items = items.append_column(name, pa.array(edges[:, number]))
    parts = [
        pc.utf8_lpad(pa.array(np.round(share * _ID).astype(np.int64)).cast(pa.string()), 4, "0")
        for share in (x, y, w, h)
    ]
    return items.append_column(
        "id", pc.binary_join_element_wise(items["signature"].combine_chunks(), *parts, "-")
    )


def _edges(boxes: np.ndarray) -> np.ndarray:
    near = np.clip(boxes, 0, 1)
    return np.where(np.abs(boxes - near) <= _EDGE, near, boxes)


def _boxes(items: pa.Table) -> np.ndarray:
    return np.stack([items[name].to_numpy() for name in BOX], axis=1)


def _cut_outs(items: pa.Table) -> pa.Table:
    return items.select(["id", "signature", *BOX]).rename_columns(["id", "file", *BOX])


def _pairs(items: pa.Table) -> pa.Table:
    """All (anchor, positive) of an outfit and of different categories."""
    items = items.sort_by([("signature", "ascending"), (ROW, "ascending")])
    outfit = items["signature"].combine_chunks().dictionary_encode().indices.to_numpy()
    starts = np.searchsorted(outfit, outfit, side="left")
    counts = np.searchsorted(outfit, outfit, side="right") - starts
    anchor = np.repeat(np.arange(items.num_rows), counts)
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    positive = np.repeat(starts, counts) + place
    label = items["label"].combine_chunks().dictionary_encode().indices.to_numpy()
    different = label[anchor] != label[positive]
    anchors, positives = items.take(anchor[different]), items.take(positive[different])
    columns = {
        LINE: anchors[ROW],
        SCENE: anchors["id"],
        PRODUCT: positives["id"],
        CATEGORY: positives["label"],
    }
    columns |= {name: pa.nulls(anchors.num_rows, pa.float64()) for name in BOX} | {
        OUTFIT: anchors["signature"]
    }
    return pa.table(columns)
