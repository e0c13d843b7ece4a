"""Photos of which it is known where their items are, to the Shop-The-Look layout: the photos become
scenes, the items that are cut out of them products, on white.

What every importer of such photos ends with, so that the same photo gives the same pairs.
"""

import json
import re
import shutil
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ctl_keras.data.importers.cutting import CutOut, Photo, cut_items
from ctl_keras.data.reading.pair_table import counted, in_words
from ctl_keras.errors import InputError
from ctl_keras.files import resumed_folder, write_json
from ctl_keras.processes import run_in_processes
from ctl_keras.progress import track

SMALLEST = 16


def import_photos(
    photos: Iterable[Photo],
    out: str | Path,
    rejected: Iterable[dict[str, Any]] = (),
    smallest: int = SMALLEST,
    workers: int = 1,
) -> dict[str, Any]:
    """Writes `fashion.json`, `fashion-cat.json`, `images/` and `rejected.jsonl`.

    Each item is a product of its own photo only. A killed run goes on when it is started again.

    Args:
        photos: the photos.
        out: folder to make.
        rejected: `photo`, `item` and `reason` of what the source holds and is left out.
        smallest: int. Items whose shorter side has fewer pixels are left out. Defaults to 16.
        workers: int. Processes. Defaults to 1: this one.

    Returns:
        Counts: `scenes`, `products`, `with_background` (of those, cut out by their box),
            `categories` (category -> products), `without_items` (photos), `rejected` and
            `rejected_because`.

    Raises:
        InputError: `out` exists, or no item is left.
    """
    with resumed_folder(out) as folder:
        images, done = folder / "images", folder / ".done"
        for path in (images, done):
            path.mkdir(exist_ok=True)
        named = list(_named(photos))
        tasks = [CutOut(*each, images, done, smallest) for each in named if each[0].items]
        cut = run_in_processes(cut_items, tasks, workers)
        for _ in track(cut, "Cutting out items", total=len(tasks)):
            pass
        reports = [report for task in tasks if (report := task.report()) is not None]
        left_out = [*rejected, *(row for report in reports for row in report["rejected"])]
        products = [product for report in reports for product in report["products"]]
        because = counted(row["reason"] for row in left_out)
        if not products:
            why = in_words(because) or "no item is named"
            first = f" The first photo is {named[0][0].file}." if named else ""
            raise InputError(f"Nothing can be cut out for {out}: {why}.{first}")
        pairs = [{name: row[name] for name in ("product", "scene", "bbox")} for row in products]
        _write_lines(folder / "fashion.json", pairs)
        _write_lines(folder / "rejected.jsonl", left_out)
        write_json(
            folder / "fashion-cat.json", {row["product"]: row["category"] for row in products}
        )
        kept = {row[name] for row in products for name in ("product", "scene")}
        for path in images.iterdir():  # what a run with other input has left
            if path.stem not in kept:
                path.unlink()
        shutil.rmtree(done)
    return {
        "scenes": len({row["scene"] for row in products}),
        "products": len(products),
        "with_background": sum(row["with_background"] for row in products),
        "categories": counted(row["category"] for row in products),
        "without_items": len(named) - len(tasks),
        "rejected": len(left_out),
        "rejected_because": because,
    }


def describe(counts: dict[str, Any], out: str | Path) -> str:
    """What was imported, in a few lines for people."""
    lines = [
        f"{out}: {counts['scenes']} scenes and {counts['products']} products cut out of them",
        "  " + ", ".join(f"{name} {many}" for name, many in counts["categories"].items()),
    ]
    if counts["with_background"]:
        lines.append(
            f"  {counts['with_background']} products have a box and no mask: their background is "
            "left in"
        )
    if counts["without_items"]:
        lines.append(f"  {counts['without_items']} photos without a product")
    if counts.get("no_products"):
        names = ", ".join(f"{name} {many}" for name, many in counts["no_products"].items())
        lines.append(f"  no products: {names} (`--product NAME` chooses)")
    if counts["rejected"]:
        why = in_words(counts["rejected_because"])
        lines.append(f"  {counts['rejected']} left out: {why} (see rejected.jsonl)")
    return "\n".join(lines)


def _named(photos: Iterable[Photo]) -> Iterable[tuple[Photo, str]]:
    """Photos with the ids of their scenes: the names of their files, as far as ids can be those."""
    used = set()
    for photo in photos:
        stem = unicodedata.normalize("NFC", re.sub(r"\.\w+$", "", photo.file))
        base = re.sub(r"[\W_]+", "-", stem).strip("-")[-40:] or "photo"
        name, number = base, 1
        while name.casefold() in used:  # on some file systems A.jpg is a.jpg
            number += 1
            name = f"{base}-{number}"
        used.add(name.casefold())
        yield photo, name


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
