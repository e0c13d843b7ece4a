"""Clothing Co-Parsing (Yang, Luo and Lin, CVPR 2014): 1,004 street photos in which each pixel has a
label, to scenes and cut-out products.

`photos/NNNN.jpg`, `annotations/pixel-level/NNNN.mat` with `groundtruth` `[height, width]`, and
`label_list.mat` with the names of the labels, 0 of them the background.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ctl_keras.data.importers.cutting import Photo
from ctl_keras.data.importers.masks import Item, coco_masks
from ctl_keras.data.importers.photos import import_photos
from ctl_keras.errors import InputError
from ctl_keras.progress import track

ADDRESS = "https://github.com/bearpaw/clothing-co-parsing"
CATEGORIES = {
    "Clothing|Shirts & Tops": (
        "blouse bodysuit cardigan hoodie jumper shirt sweater sweatshirt t-shirt top vest"
    ),
    "Clothing|Coats & Jackets": "blazer cape coat jacket",
    "Clothing|Dresses": "dress romper",
    "Clothing|Pants": "jeans leggings pants",
    "Clothing|Shorts": "shorts",
    "Clothing|Skirts": "skirt",
    "Handbags & Wallets|Handbags": "bag purse",
    "Hats": "hat",
    "Scarves": "scarf",
    "Shoes": "boots clogs flats heels loafers pumps sandals shoes sneakers wedges",
    "Sunglasses": "glasses sunglasses",
}
_CATEGORY_OF = {
    label: f"Apparel & Accessories|{category}"
    for category, labels in CATEGORIES.items()
    for label in labels.split()
}


def import_clothing_co_parsing(
    source: str | Path, out: str | Path, workers: int = 1
) -> dict[str, Any]:
    """Makes a Shop-The-Look folder of the photos with pixel labels; what is no product, such as
    skin, hair and jewellery, is left aside.

    Args:
        source: a copy of the repository.
        out: folder to make.
        workers: int. Processes that cut out items. Defaults to 1: this one.

    Returns:
        Counts, see `import_photos`.

    Raises:
        InputError: `source` is no such folder, SciPy or pycocotools is not installed, or as
            `import_photos`.
    """
    source, rejected = Path(source), []
    files = sorted((source / "annotations" / "pixel-level").glob("*.mat"))
    if not files or not (source / "label_list.mat").exists():
        raise InputError(
            f"{source} holds no annotations/pixel-level/*.mat with label_list.mat. Get the data "
            f"with: git clone {ADDRESS}"
        )
    names = [str(name) for name in _matrix(source / "label_list.mat", "label_list").ravel()]

    def photos() -> Iterator[Photo]:
        for file in track(files, "Reading labels", total=len(files)):
            path = source / "photos" / f"{file.stem}.jpg"
            try:
                labels = _matrix(file, "groundtruth")
            except InputError as error:
                rejected.append({"photo": path.name, "item": None, "reason": "labels unreadable"})
                rejected[-1]["detail"] = str(error)
                continue
            size = labels.shape[1], labels.shape[0]
            yield Photo(path.name, path if path.exists() else None, _items(labels, names), size)

    return import_photos(list(photos()), out, rejected, workers=workers)


def _items(labels: np.ndarray, names: list[str]) -> tuple[Item, ...]:
    """One for each label of a product, as run lengths."""
    present = [int(number) for number in np.unique(labels) if number < len(names)]
    return tuple(
        Item(_CATEGORY_OF[names[number]], names[number], None, _run_lengths(labels == number))
        for number in present
        if names[number] in _CATEGORY_OF
    )


def _run_lengths(mask: np.ndarray) -> dict[str, Any]:
    lengths = coco_masks().encode(np.asfortranarray(mask, np.uint8))
    return {**lengths, "counts": lengths["counts"].decode()}


def _matrix(path: Path, name: str) -> np.ndarray:
    try:
        from scipy.io import loadmat  # type: ignore[import-untyped]
    except ImportError:
        raise InputError(
            "SciPy is not installed. Install it with: pip install ctl-keras[import]"
        ) from None
    try:
        return np.atleast_1d(loadmat(path, squeeze_me=True)[name])
    except Exception as error:  # SciPy raises what it meets in a damaged file
        raise InputError(f"{path} is no MATLAB file with {name}: {error}") from None
