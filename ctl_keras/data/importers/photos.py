"""Photos of which it is known where their items are, to the Shop-The-Look layout: the photos become
scenes, the items that are cut out of them products, on white.

What every importer of such photos ends with, so that the same photo gives the same pairs.
"""

import dataclasses
import json
import re
import shutil
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ctl_keras.data.importers.masks import item_mask
from ctl_keras.data.reading.pair_table import counted, in_words
from ctl_keras.errors import InputError
from ctl_keras.files import json_hash, new_file, read_json, resumed_folder, write_json
from ctl_keras.processes import run_in_processes
from ctl_keras.progress import track

SCENE_SIDE = 400  # of a scene, its longer side, as Pinterest's pictures of Shop The Look
PRODUCT_SIDE = 200
ITEM_SIDE = 176  # of the item in its product picture
SMALLEST = 16
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
_DONE = ".done"  # what became of each photo, until all are done


@dataclass(frozen=True)
class Item:
    """Something that a photo shows.

    Attributes:
        category: str.
        name: str, what its source calls it, for rejects.
        box: left, top, width and height in pixels, or None.
        segmentation: COCO's polygons or run lengths, or None: only the box is known.
        group: str. The items of a photo with the same group are one product, such as two shoes.
    """

    category: str
    name: str
    box: tuple[float, float, float, float] | None
    segmentation: Any = None
    group: str = ""


@dataclass(frozen=True)
class Photo:
    """A photo and its items.

    Attributes:
        file: str, its name in the source.
        path: the file, or None if it is missing.
        items: its items.
        size: width and height of the picture that boxes and segmentations are measured in, or None:
            that of the upright photo.
    """

    file: str
    path: Path | None
    items: tuple[Item, ...]
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class _Task:
    photo: Photo
    scene: str
    folder: Path
    smallest: int

    @property
    def report(self) -> Path:
        return self.folder / _DONE / f"{self.scene}.json"

    def save(self, picture: Image.Image, name: str) -> None:
        with new_file(self.folder / "images" / f"{name}.jpg") as temporary:
            picture.save(temporary, quality=90)


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
        for name in ("images", _DONE):
            (folder / name).mkdir(exist_ok=True)
        named = list(_named(photos))
        tasks = [_Task(*each, folder, smallest) for each in named if each[0].items]
        done = run_in_processes(_cut_items, tasks, workers)
        for _ in track(done, "Cutting out items", total=len(tasks)):
            pass
        reports = [read_json(task.report, "The report of a photo") for task in tasks]
        left_out = [*rejected, *(row for report in reports for row in report["rejected"])]
        products = [product for report in reports for product in report["products"]]
        because = counted(row["reason"] for row in left_out)
        if not products:
            why = in_words(because) or "it names none"
            raise InputError(f"No item can be cut out for {out}: {why}.")
        pairs = [{name: row[name] for name in ("product", "scene", "bbox")} for row in products]
        _write_lines(folder / "fashion.json", pairs)
        _write_lines(folder / "rejected.jsonl", left_out)
        write_json(
            folder / "fashion-cat.json", {row["product"]: row["category"] for row in products}
        )
        kept = {row[name] for row in products for name in ("product", "scene")}
        for path in (folder / "images").iterdir():  # what a run with other input has left
            if path.stem not in kept:
                path.unlink()
        shutil.rmtree(folder / _DONE)
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
    lines = [f"{out}: {counts['scenes']} scenes and {counts['products']} products cut out of them"]
    lines.append("  " + ", ".join(f"{name} {many}" for name, many in counts["categories"].items()))
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
    if "iscrowd" in counts["rejected_because"]:
        lines.append("  iscrowd marks groups, but CVAT marks all masks so: `--crowd` takes them")
    if counts["rejected"]:
        why = in_words(counts["rejected_because"])
        lines.append(f"  {counts['rejected']} left out: {why} (see rejected.jsonl)")
    return "\n".join(lines)


def _named(photos: Iterable[Photo]) -> Iterable[tuple[Photo, str]]:
    """Photos with the ids of their scenes: the names of their files, as far as ids can be those."""
    used = set()
    for photo in photos:
        stem = unicodedata.normalize("NFC", re.sub(r"\.\w+$", "", photo.file))
        base = re.sub(r"[\W_]+", "-", stem).strip("-")[-80:] or "photo"
        name, number = base, 1
        while name.casefold() in used:  # on some file systems A.jpg is a.jpg
            number += 1
            name = f"{base}-{number}"
        used.add(name.casefold())
        yield photo, name


def _cut_items(task: _Task) -> None:
    """Writes the pictures of a photo, and then its report."""
    photo = task.photo
    stat = photo.path.stat() if photo.path else None
    file = stat and [str(photo.path), stat.st_size, stat.st_mtime_ns]
    source = dataclasses.asdict(dataclasses.replace(photo, path=None))
    key = json_hash([source, file, task.smallest])
    if task.report.exists() and read_json(task.report, "The report of a photo")["key"] == key:
        return
    report: dict[str, Any] = {"key": key, "products": [], "rejected": []}

    def reject(name: str | None, reason: str) -> None:
        report["rejected"].append({"photo": photo.file, "item": name, "reason": reason})

    try:
        if photo.path is None:
            raise FileNotFoundError
        with Image.open(photo.path) as stored:
            turned = stored.getexif().get(0x0112, 1)
            size, picture = stored.size, ImageOps.exif_transpose(stored).convert("RGB")
    except FileNotFoundError:
        reject(None, "picture missing")
    except UNREADABLE:
        reject(None, "picture cannot be read")
    else:
        # most tools show the upright picture, and some measure in the stored one
        is_stored = photo.size == size != picture.size
        groups: dict[Any, list[Item]] = {}
        for number, item in enumerate(photo.items):
            group = (item.category, item.group) if item.group else number
            groups.setdefault(group, []).append(item)
        for number, items in enumerate(groups.values(), 1):
            mask = np.zeros(picture.size[::-1], bool)
            used = []
            for item in items:
                try:
                    mask |= item_mask(item, photo.size, picture.size, turned if is_stored else 1)
                    used.append(item)
                except ValueError as error:
                    reject(item.name, str(error))
            if not used:
                continue
            box = Image.fromarray(mask).getbbox() or (0, 0, 0, 0)
            if min(box[2] - box[0], box[3] - box[1]) < task.smallest:
                reject(used[0].name, f"smaller than {task.smallest} pixels")
                continue
            product = f"{task.scene}--{number}"  # no scene's id has two dashes in a row
            task.save(_on_white(picture, mask, box), product)
            report["products"].append(
                {
                    "product": product,
                    "scene": task.scene,
                    "bbox": [
                        round(edge / side, 6)
                        for edge, side in zip(box, picture.size * 2, strict=True)
                    ],
                    "category": items[0].category,
                    "with_background": any(item.segmentation is None for item in used),
                }
            )
        if report["products"]:
            picture.thumbnail((SCENE_SIDE, SCENE_SIDE), Image.Resampling.LANCZOS)
            task.save(picture, task.scene)
    write_json(task.report, report)


def _on_white(
    picture: Image.Image, mask: np.ndarray, box: tuple[int, int, int, int]
) -> Image.Image:
    """The item in the middle of a square."""
    shown = Image.fromarray(mask).crop(box).convert("L")
    item = Image.composite(picture.crop(box), Image.new("RGB", shown.size, "white"), shown)
    scale = ITEM_SIDE / max(item.size)
    width, height = (max(round(side * scale), 1) for side in item.size)
    product = Image.new("RGB", (PRODUCT_SIDE, PRODUCT_SIDE), "white")
    item = item.resize((width, height), Image.Resampling.LANCZOS)
    product.paste(item, ((PRODUCT_SIDE - width) // 2, (PRODUCT_SIDE - height) // 2))
    return product


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
