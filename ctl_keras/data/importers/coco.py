"""Anything annotated in COCO's format (Fashionpedia, ModaNet, exports of CVAT and Label Studio) to
scenes and cut-out products."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ctl_keras.data.importers.cutting import Photo
from ctl_keras.data.importers.masks import Item
from ctl_keras.data.importers.photos import SMALLEST, import_photos
from ctl_keras.data.picture_files import MAX_PIXELS
from ctl_keras.data.source_pictures import find_picture, require_image_folder
from ctl_keras.errors import InputError
from ctl_keras.files import read_json

# what data sets of clothes mark that nobody sells, by name or supercategory
_NO_PRODUCTS = re.compile(
    r"background|null|person|people|human|man|woman|body|skin|hair|face|arms?|legs?|hands?|foot|feet"
    r"|garment parts|closures|decorations",
    re.IGNORECASE,
)
# what is worn in pairs and often marked twice
_PAIRS = re.compile(
    r"\b(footwear|flats|heels|pumps"
    r"|(shoe|boot|sandal|sneaker|loafer|clog|slipper|sock|stocking|glove|earring|leg warmer)s?)\b",
    re.IGNORECASE,
)


def import_coco(
    annotations: str | Path,
    images: str | Path,
    out: str | Path,
    products: Sequence[str] = (),
    merge: Sequence[str] = (),
    smallest: int = SMALLEST,
    crowd: bool = False,
    workers: int = 1,
) -> dict[str, Any]:
    """Makes a Shop-The-Look folder of photos that are annotated in COCO's format.

    Args:
        annotations: JSON with `images`, `annotations` and `categories`. Items are cut out by their
            polygons or run lengths, or else by their box.
        images: folder of the photos.
        out: folder to make.
        products: names of the categories that are products; `NAME=CATEGORY` gives one another name,
            and several the same. Defaults to all that are no persons, parts of the body or parts of
            garments.
        merge: names of the categories of which a photo shows one product, however often it is
            marked; `none` for none. Defaults to shoes and whatever else is worn in pairs.
        smallest: int. Items whose shorter side has fewer pixels are left out. Defaults to 16.
        crowd: bool. Whether annotations with `iscrowd` are items, too. Defaults to False.
        workers: int. Processes that cut out items. Defaults to 1: this one.

    Returns:
        Counts, see `import_photos`, and `no_products`: category -> annotations of others.

    Raises:
        InputError: the file is missing or is none of COCO's, a category is not in it, or as
            `import_photos`.
    """
    folder, content = require_image_folder(images), _read(annotations)
    name_of = {_key(entry.get("id")): str(entry.get("name")) for entry in content["categories"]}
    category_of = _categories(content["categories"], products)
    known = [name for name in merge if name != "none"]
    _require_names(known, name_of.values())
    is_pair = known.__contains__ if merge else _PAIRS.search
    rejected: list[dict[str, Any]] = []
    no_products: Counter[str] = Counter()
    items: dict[str, list[Item]] = {_key(entry.get("id")): [] for entry in content["images"]}
    for entry in content["annotations"]:
        name = name_of.get(_key(entry.get("category_id")), "")
        image, label = _key(entry.get("image_id")), f"annotation {entry.get('id')}"
        if image not in items:
            reason = "its image is not listed"
        elif not name:
            reason = "its category is not listed"
        elif name not in category_of:
            no_products[name] += 1
            continue
        elif entry.get("iscrowd") and not crowd:
            reason = "iscrowd, so a group (--crowd takes it; CVAT marks painted masks so)"
        else:
            group = name if is_pair(name) else ""
            items[image].append(Item(category_of[name], label, *_place(entry), group))
            continue
        rejected.append({"photo": None, "item": label, "reason": reason})
    photos = _photos(content["images"], items, folder, rejected)
    counts = import_photos(photos, out, rejected, smallest, workers)
    return {**counts, "no_products": dict(no_products.most_common())}


def _read(path: str | Path) -> dict[str, list[dict[str, Any]]]:
    content = read_json(path, "The COCO file")
    for name in ("images", "annotations", "categories"):
        rows = content.get(name) if isinstance(content, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            found = ", ".join(content) if isinstance(content, dict) else type(content).__name__
            raise InputError(
                f"The COCO file {path} must be one JSON object with the lists images, annotations "
                f"and categories; {name} is none. It holds: {found[:200]}"
            )
    return content


def _key(id_: Any) -> str:
    """Ids are numbers in one list and text in another."""
    return str(int(id_) if isinstance(id_, float) and id_.is_integer() else id_)


def _categories(entries: list[dict[str, Any]], products: Sequence[str]) -> dict[str, str]:
    """Name of a category -> that of its products."""
    names = [str(entry.get("name")) for entry in entries]
    if not products:
        kinds = [str(entry.get("supercategory")) for entry in entries]
        return {
            name: name
            for name, kind in zip(names, kinds, strict=True)
            if not _NO_PRODUCTS.fullmatch(name) and not _NO_PRODUCTS.fullmatch(kind)
        }
    chosen = {}
    for given in products:
        name, _, category = (given, "", given) if given in names else given.rpartition("=")
        chosen[name or given] = category
    _require_names(chosen, names)
    return chosen


def _require_names(given: Any, names: Any) -> None:
    for name in given:
        if name not in names:
            raise InputError(
                f"No category has the name {name!r}. The file has: {'; '.join(sorted(names))}"
            )


def _place(entry: dict[str, Any]) -> tuple[Any, Any]:
    """Box and segmentation; None where there is none."""
    try:
        left, top, width, height = map(float, entry.get("bbox") or ())
        box = left, top, width, height
    except (TypeError, ValueError):
        box = None
    shape = entry.get("segmentation") or None
    if isinstance(shape, list) and not isinstance(shape[0], list | dict):
        shape = [shape]  # one polygon
    if isinstance(shape, list) and not any(shape):
        shape = None
    return box, shape


def _photos(
    entries: list[dict[str, Any]],
    items: dict[str, list[Item]],
    folder: Path,
    rejected: list[dict[str, Any]],
) -> Iterator[Photo]:
    """One for each file, also where it is listed twice."""
    files: dict[str, tuple[tuple[int, int] | None, list[Item]]] = {}
    for entry in entries:
        file, of_image = entry.get("file_name"), items[_key(entry.get("id"))]
        if not isinstance(file, str) or not file or "://" in file:
            reason = "file_name names no file"
            rejected.append({"photo": file, "item": None, "reason": reason})
            continue
        parts = PurePosixPath(file.replace("\\", "/")).parts
        file = "/".join(part for part in parts if part not in ("/", "..", "."))
        files.setdefault(file, (_size(entry), []))[1].extend(of_image)
        items[_key(entry.get("id"))] = []
    # tools put folders of their own before all names: these need not be there
    shared = os.path.commonpath([os.path.dirname(file) for file in files]) if files else ""
    skipped = len(PurePosixPath(shared).parts)
    for file, (size, of_file) in files.items():
        parts = PurePosixPath(file).parts
        places = ("/".join(parts[number:]) for number in range(skipped + 1))
        paths = (find_picture(folder, place) for place in places)
        path = next((path for path in paths if path is not None), None)
        yield Photo(file, path, tuple(of_file), size)


def _size(entry: dict[str, Any]) -> tuple[int, int] | None:
    try:
        width, height = int(entry["width"]), int(entry["height"])
    except (KeyError, TypeError, ValueError):
        return None
    return (width, height) if min(width, height) > 0 and width * height <= MAX_PIXELS else None
