"""The items of a photo, cut out and laid on white."""

import dataclasses
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ctl_keras.data.importers.masks import ORIENTATION, Item, item_mask
from ctl_keras.data.picture_files import read_image_bytes
from ctl_keras.errors import InputError
from ctl_keras.files import json_hash, new_file, read_json, write_json

SCENE_SIDE = 400  # of a scene, its longer side, as Pinterest's pictures of Shop The Look
PRODUCT_SIDE = 200
ITEM_SIDE = 176  # of the item in its product picture
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


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
class CutOut:
    """A photo whose items are to be cut out.

    Attributes:
        photo: the photo.
        scene: str, the id of its scene.
        images: folder for the pictures.
        reports: folder for what became of each photo.
        smallest: int, least pixels of an item's shorter side.
    """

    photo: Photo
    scene: str
    images: Path
    reports: Path
    smallest: int

    def report(self) -> dict[str, Any] | None:
        """What `cut_items` ended with: `products`, `rejected`, and the `key` of its input; or
        None."""
        path = self.reports / f"{self.scene}.json"
        return read_json(path, "The report of a photo") if path.exists() else None


def cut_items(task: CutOut) -> None:
    """Writes the pictures of a photo's items, of its scene, and then its report. A photo whose
    report is of the same input is done already."""
    photo, key = task.photo, _key(task)
    report = task.report()
    if report is not None and report["key"] == key:
        return
    rejected, products = [], []

    def reject(name: str | None, reason: str) -> None:
        rejected.append({"photo": photo.file, "item": name, "reason": reason})

    def save(picture: Image.Image, name: str) -> None:
        with new_file(task.images / f"{name}.jpg") as temporary:
            picture.save(temporary, quality=90)

    try:
        if photo.path is None:
            raise FileNotFoundError
        with Image.open(io.BytesIO(read_image_bytes(photo.path))) as stored:
            turned = stored.getexif().get(ORIENTATION, 1)
            size, picture = stored.size, ImageOps.exif_transpose(stored).convert("RGB")
    except FileNotFoundError:
        reject(None, "picture missing")
    except UNREADABLE:
        reject(None, "picture cannot be read")
    else:
        if not photo.size == size != picture.size:  # measured in the upright picture
            turned = 1
        for number, items in enumerate(_products(photo), 1):
            mask, used = np.zeros(picture.size[::-1], bool), []
            for item in items:
                try:
                    mask |= item_mask(item, photo.size, picture.size, turned)
                    used.append(item)
                except InputError:
                    raise
                except ValueError as error:
                    reject(item.name, str(error))
            box = Image.fromarray(mask).getbbox() or (0, 0, 0, 0)
            if used and min(box[2] - box[0], box[3] - box[1]) < task.smallest:
                reject(used[0].name, f"smaller than {task.smallest} pixels")
            elif used:
                product = f"{task.scene}--{number}"  # no scene's id has two dashes in a row
                save(_on_white(picture, mask, box), product)
                edges = zip(box, picture.size * 2, strict=True)
                products.append(
                    {
                        "product": product,
                        "scene": task.scene,
                        "bbox": [round(edge / side, 6) for edge, side in edges],
                        "category": items[0].category,
                        "with_background": any(item.segmentation is None for item in used),
                    }
                )
        if products:
            picture.thumbnail((SCENE_SIDE, SCENE_SIDE), Image.Resampling.LANCZOS)
            save(picture, task.scene)
    report = {"key": key, "products": products, "rejected": rejected}
    write_json(task.reports / f"{task.scene}.json", report)


def _key(task: CutOut) -> str:
    stat = task.photo.path.stat() if task.photo.path else None
    file = stat and [str(task.photo.path), stat.st_size, stat.st_mtime_ns]
    source = dataclasses.asdict(dataclasses.replace(task.photo, path=None))
    return json_hash([source, file, task.smallest])


def _products(photo: Photo) -> list[list[Item]]:
    """The items of each product."""
    groups: dict[Any, list[Item]] = {}
    for number, item in enumerate(photo.items):
        groups.setdefault((item.category, item.group) if item.group else number, []).append(item)
    return list(groups.values())


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
