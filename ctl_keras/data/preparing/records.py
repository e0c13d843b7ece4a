"""Prepared data: TFRecord shards of `tf.train.Example` with a manifest.

```
OUT/manifest.json                         counts, settings, splits, categories, hashes
OUT/images-00000-of-00002.tfrecord        {id, image}: each picture once
OUT/pairs-train.tfrecord                  a pair: {scene, product, category, window, box,
                                          scene_image, product_image}
OUT/candidates.json                       what pairs are ranked among: split -> category path -> ids
OUT/products.csv                          id, image, category of every kept product, for `catalog`
OUT/rejected.jsonl                        {line, scene, product, reason}
```
`window` is the part of the scene that does not show the product, `box` where it shows it (NaN: not
boxed); `scene_image` and `product_image` count image records.
"""

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ctl_keras.data.candidates import read_candidates
from ctl_keras.data.pairs import Pairs
from ctl_keras.data.picture_stores import ImageRecords
from ctl_keras.data.splits import SPLITS
from ctl_keras.errors import InputError
from ctl_keras.files import json_hash, read_json

FORMAT = 4  # 3: with boxes and leakage. 4: the hash covers all that a reader takes
# What `read_records` takes from the manifest: two folders that differ in any of it are other data.
# The rest says how they were made.
_HASHED = ("format", "categories", "images", "image_shards", "other_positives", "files")


def read_records(folder: str | Path, split: str) -> Pairs:
    """Opens one split of a prepared folder.

    Args:
        folder: what `prepare` made.
        split: `"train"`, `"validation"` or `"test"`.

    Returns:
        `Pairs` whose pictures and candidates are those of the records; it may be empty.

    Raises:
        InputError: no such split, no prepared folder, its files are not those of its manifest, or
            as `read_candidates`.
    """
    if split not in SPLITS:
        raise InputError(f"`split` must be one of {', '.join(SPLITS)}. Received: {split!r}")
    folder = Path(folder)
    manifest = read_manifest(folder)
    for name, file in manifest["files"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != file["bytes"]:
            raise InputError(
                f"{path} is missing or cut off: {file['bytes']} bytes are listed. Run `prepare` "
                "again."
            )
    images = ImageRecords(
        manifest["images"],
        [folder / name for name in manifest["image_shards"]],
        manifest.get("only_jpegs", False),
    )
    categories = tuple(manifest["categories"])
    parts = {name: read_pair_columns(folder, name) for name in SPLITS}
    columns = parts[split]
    counts = np.bincount(parts["train"]["product_image"], minlength=len(images.ids))
    known = [np.stack([part["scene_image"], part["product_image"]], 1) for part in parts.values()]
    known.append(np.array(manifest["other_positives"], int).reshape(-1, 2))
    index_of = {category: number for number, category in enumerate(categories)}
    pairs = Pairs(
        scene=columns["scene_image"],
        product=columns["product_image"],
        category=np.array([index_of[category.decode()] for category in columns["category"]], int),
        window=columns["window"],
        popularity=counts[columns["product_image"]],
        categories=categories,
        images=images,
        split_name=split,
        other_positives=np.concatenate(known),
    )
    return dataclasses.replace(pairs, candidates=read_candidates(folder / "candidates.json", pairs))


def hash_of_pictures(folder: str | Path) -> str:
    """What stands for the pictures of a prepared folder, whatever its splits and categories.

    Raises:
        InputError: as `read_manifest`.
    """
    manifest = read_manifest(folder)
    return hashlib.sha256(
        "".join(manifest["files"][name]["sha256"] for name in manifest["image_shards"]).encode()
    ).hexdigest()


def data_hash(manifest: dict[str, Any]) -> str:
    """The hash of prepared data, in hex: all that training and evaluation on them depend on."""
    return json_hash([manifest[name] for name in _HASHED])


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of a prepared folder.

    Raises:
        InputError: there is none, or it is of another version.
    """
    if not (Path(folder) / "manifest.json").is_file():
        raise InputError(f"{folder} holds no prepared data. Make it with `ctl-keras prepare`.")
    manifest = read_json(Path(folder) / "manifest.json", "The manifest of the prepared data")
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InputError(f"{folder} does not hold data of this version. Run `prepare` again.")
    return manifest


def read_pair_columns(folder: str | Path, split: str) -> dict[str, np.ndarray]:
    """The pairs of a split as they are stored, column by column."""
    path = Path(folder) / f"pairs-{split}.tfrecord"
    features = {
        "category": tf.io.FixedLenFeature([], tf.string),
        "window": tf.io.FixedLenFeature([4], tf.float32),
        "box": tf.io.FixedLenFeature([4], tf.float32),
        "scene_image": tf.io.FixedLenFeature([], tf.int64),
        "product_image": tf.io.FixedLenFeature([], tf.int64),
    }

    def batches() -> Iterator[dict[str, np.ndarray]]:
        # an empty first batch gives every column its type and shape when the file holds no pair
        empty = tf.zeros([0], tf.string)
        yield {name: value.numpy() for name, value in tf.io.parse_example(empty, features).items()}
        dataset = (
            tf.data.TFRecordDataset(str(path))
            .batch(4096)
            .map(lambda batch: tf.io.parse_example(batch, features))
        )
        yield from dataset.as_numpy_iterator()

    parts = list(batches())
    return {name: np.concatenate([part[name] for part in parts]) for name in features}
