"""Prepared data: TFRecord shards of `tf.train.Example` with a manifest.

```
OUT/manifest.json                         counts, settings, splits, categories, hashes
OUT/images-00000-of-00002.tfrecord        {id, image}: each picture once
OUT/pairs-train.tfrecord                  {scene, product, category, window, scene_image, product_image}: one example a pair
OUT/candidates.json                       split -> category path -> product ids: what its pairs are ranked among
OUT/products.csv                          id, image, category of every kept product: a catalogue for `recommend`
OUT/rejected.jsonl                        {line, scene, product, reason}
```
`window` is the part of the scene that does not show the product; `scene_image` and `product_image` count image records.
"""

import csv
import dataclasses
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from ctl_keras.data.annotations import explain, read_shop_the_look
from ctl_keras.data.candidates import candidate_lists, read_candidates
from ctl_keras.data.cropping import MIN_STRIP
from ctl_keras.data.images import MIN_SIDE, decode_image
from ctl_keras.data.pairs import SPLITS, ImageRecords, Pairs
from ctl_keras.errors import InputError
from ctl_keras.files import json_hash, new_folder, read_json, sha256, write_json
from ctl_keras.progress import track

FORMAT = 2  # 2: with candidates.json
SHARD_BYTES = 128 << 20
MAX_SIDE = 1024  # larger pictures are made smaller: every epoch decodes them again


def prepare(
    annotations: str | Path,
    categories: str | Path,
    images: str | Path,
    out: str | Path,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    min_strip: float = MIN_STRIP,
) -> dict[str, Any]:
    """Reads a Shop-The-Look folder, crops, checks, splits by scene and writes records.

    Args:
        annotations, categories, images, min_strip: see `read_shop_the_look`.
        out: folder to make. It appears only when everything in it is complete.
        fractions, seed: see `Pairs.split`.

    Returns:
        The manifest.

    Raises:
        InputError: wrong input, no usable pair, or `out` exists.
    """
    with new_folder(out) as folder:
        pairs = read_shop_the_look(annotations, categories, images, min_strip)
        splits = pairs.split(fractions, seed)
        used = np.unique(np.concatenate([pairs.scene, pairs.product]))
        shards = _write_images(folder, pairs, used)
        row_of = np.zeros(len(pairs.images.ids), int)
        row_of[used] = np.arange(len(used))
        for part in splits:
            _write_pairs(folder / f"pairs-{part.split_name}.tfrecord", part, row_of)
        write_json(folder / "candidates.json", {part.split_name: candidate_lists(part) for part in splits})
        with open(folder / "rejected.jsonl", "w", encoding="utf-8") as file:
            file.writelines(json.dumps(reject) + "\n" for reject in pairs.rejected)
        _write_products(folder / "products.csv", pairs)
        manifest = {
            "format": FORMAT,
            "settings": {"fractions": list(fractions), "seed": seed, "min_strip": min_strip},
            "pairs": len(pairs),
            "rejected": len(pairs.rejected),
            "rejected_because": explain(pairs.rejected),
            "categories": list(pairs.categories),
            "splits": {part.split_name: _counts(part) for part in splits},
            "images": [str(image) for image in pairs.images.ids[used]],
            "image_shards": shards,
            # annotated pairs that are not in the records: rows of scene and product pictures
            "other_positives": row_of[pairs.other_positives[np.isin(pairs.other_positives, used).all(axis=1)]].tolist(),
            "sources": {
                name: {"path": str(path), "sha256": sha256(path)}
                for name, path in (("annotations", annotations), ("categories", categories))
            },
            "files": {
                path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)}
                for path in sorted([*folder.glob("*.tfrecord"), folder / "candidates.json"])
            },
        }
        manifest["hash"] = json_hash(manifest["files"])
        write_json(folder / "manifest.json", manifest)
    return manifest


def _counts(part: Pairs) -> dict[str, Any]:
    by_category = np.bincount(part.category, minlength=len(part.categories))
    return {
        "pairs": len(part),
        "scenes": len(np.unique(part.scene)),
        "products": len(np.unique(part.product)),
        "pairs_without_negative": int((~part.has_negative()).sum()) if len(part) else 0,
        "by_category": dict(zip(part.categories, by_category.tolist(), strict=True)),
    }


def _write_images(folder: Path, pairs: Pairs, used: np.ndarray) -> list[str]:
    groups: list[list[bytes]] = [[]]
    names: list[str] = []
    size = 0

    def flush(examples: list[bytes]) -> None:
        names.append(f"images-{len(names):05d}.tfrecord")
        with tf.io.TFRecordWriter(str(folder / names[-1])) as writer:
            for example in examples:
                writer.write(example)

    for row in track(used, "Writing pictures", total=len(used)):
        example = _example(id=pairs.images.ids[row], image=_within(pairs.images.load(int(row)), MAX_SIDE))
        groups[-1].append(example)
        size += len(example)
        if size >= SHARD_BYTES:
            flush(groups.pop())
            groups.append([])
            size = 0
    if groups[-1] or not names:
        flush(groups.pop())
    for number, name in enumerate(names):
        final = f"images-{number:05d}-of-{len(names):05d}.tfrecord"
        (folder / name).rename(folder / final)
        names[number] = final
    return names


def _within(data: bytes, side: int) -> bytes:
    """The picture itself, or a JPEG of it with its longer side reduced to `side` pixels."""
    pixels = Image.fromarray(decode_image(tf.constant(data)).numpy())
    if max(pixels.size) <= side or min(pixels.size) * side < MIN_SIDE * max(pixels.size):
        return data
    pixels.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    pixels.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def _write_pairs(path: Path, part: Pairs, row_of: np.ndarray) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for scene, product, category, window in zip(part.scene, part.product, part.category, part.window, strict=True):
            writer.write(
                _example(
                    scene=part.images.ids[scene],
                    product=part.images.ids[product],
                    category=part.categories[category],
                    window=window,
                    scene_image=int(row_of[scene]),
                    product_image=int(row_of[product]),
                )
            )


def _write_products(path: Path, pairs: Pairs) -> None:
    rows = np.unique(pairs.product, return_index=True)[1]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "image", "category"])
        for row in rows:
            image = pairs.product[row]
            writer.writerow(
                [pairs.images.ids[image], pairs.images.path(image).resolve(), pairs.categories[pairs.category[row]]]
            )


def _example(**values: Any) -> bytes:
    def feature(value: Any) -> tf.train.Feature:
        if isinstance(value, int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        if isinstance(value, np.ndarray):
            return tf.train.Feature(float_list=tf.train.FloatList(value=value))
        data = value if isinstance(value, bytes) else str(value).encode()
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[data]))

    example = tf.train.Example(features=tf.train.Features(feature={key: feature(value) for key, value in values.items()}))
    return example.SerializeToString(deterministic=True)


def parse_fractions(text: str) -> tuple[float, ...]:
    """`"0.8,0.1,0.1"` as numbers.

    Raises:
        InputError: something else.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"`fractions` must be three numbers such as 0.8,0.1,0.1. Received: {text!r}") from None


def describe(manifest: dict[str, Any]) -> str:
    """What was prepared, in a few lines for people."""
    lines = [f"{manifest['pairs']} pairs of {len(manifest['categories'])} categories"]
    if manifest["rejected"]:
        lines.append(f"  {manifest['rejected']} left out: {manifest['rejected_because']}")
    for name, counts in manifest["splits"].items():
        line = f"  {name}: {counts['pairs']} pairs, {counts['scenes']} scenes, {counts['products']} products"
        alone = counts["pairs_without_negative"]
        lines.append(line + (f"; {alone} pairs have no negative in their category" if alone else ""))
    return "\n".join(lines)


def read_records(folder: str | Path, split: str) -> Pairs:
    """Opens one split of a prepared folder.

    Args:
        folder: what `prepare` made.
        split: `"train"`, `"validation"` or `"test"`.

    Returns:
        `Pairs` whose pictures and candidates are those of the records; it may be empty.

    Raises:
        InputError: no such split, no prepared folder, its files are not those of its manifest, or as `read_candidates`.
    """
    if split not in SPLITS:
        raise InputError(f"`split` must be one of {', '.join(SPLITS)}. Received: {split!r}")
    folder = Path(folder)
    manifest = read_manifest(folder)
    for name, file in manifest["files"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != file["bytes"]:
            raise InputError(f"{path} is missing or cut off: {file['bytes']} bytes are listed. Run `prepare` again.")
    images = ImageRecords(manifest["images"], [folder / name for name in manifest["image_shards"]])
    categories = tuple(manifest["categories"])
    columns = _read_pairs(folder / f"pairs-{split}.tfrecord")
    trained = columns if split == "train" else _read_pairs(folder / "pairs-train.tfrecord")
    counts = np.bincount(trained["product_image"], minlength=len(images.ids))
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
        other_positives=np.array(manifest["other_positives"], int).reshape(-1, 2),
    )
    return dataclasses.replace(pairs, candidates=read_candidates(folder / "candidates.json", pairs))


def hash_of_pictures(folder: str | Path) -> str:
    """What stands for the pictures of a prepared folder, whatever its splits and categories.

    Raises:
        InputError: as `read_manifest`.
    """
    manifest = read_manifest(folder)
    return hashlib.sha256("".join(manifest["files"][name]["sha256"] for name in manifest["image_shards"]).encode()).hexdigest()


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of a prepared folder.

    Raises:
        InputError: there is none, or it is of another version.
    """
    manifest = read_json(Path(folder) / "manifest.json", "The manifest of the prepared data")
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InputError(f"{folder} does not hold data of this version. Run `prepare` again.")
    return manifest


def _read_pairs(path: Path) -> dict[str, np.ndarray]:
    features = {
        "category": tf.io.FixedLenFeature([], tf.string),
        "window": tf.io.FixedLenFeature([4], tf.float32),
        "scene_image": tf.io.FixedLenFeature([], tf.int64),
        "product_image": tf.io.FixedLenFeature([], tf.int64),
    }

    def batches() -> Iterator[dict[str, np.ndarray]]:
        # an empty first batch gives every column its type and shape when the file holds no pair
        empty = tf.zeros([0], tf.string)
        yield {name: value.numpy() for name, value in tf.io.parse_example(empty, features).items()}
        dataset = tf.data.TFRecordDataset(str(path)).batch(4096).map(lambda batch: tf.io.parse_example(batch, features))
        yield from dataset.as_numpy_iterator()

    parts = list(batches())
    return {name: np.concatenate([part[name] for part in parts]) for name in features}
