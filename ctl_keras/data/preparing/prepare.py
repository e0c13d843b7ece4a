"""From annotations and pictures to prepared data: read, check, crop, split, write. See records.py
for what is written."""

import csv
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from ctl_keras.data.candidates import candidate_lists
from ctl_keras.data.cropping import MIN_STRIP, box_warning
from ctl_keras.data.pairs import Pairs
from ctl_keras.data.picture_stores import Images
from ctl_keras.data.preparing import image_shards
from ctl_keras.data.preparing.examples import example
from ctl_keras.data.preparing.image_shards import ImageShard, RunShards, read_report, write_shard
from ctl_keras.data.preparing.records import FORMAT, data_hash
from ctl_keras.data.reading.annotations import read_annotations
from ctl_keras.data.reading.assembling import drop_without_pictures, picture_ids, to_pairs
from ctl_keras.data.reading.cleaning import boxes, clean
from ctl_keras.data.reading.pair_table import PairTable, in_words, reasons, reject_rows
from ctl_keras.data.source_pictures import find_picture, require_image_folder
from ctl_keras.data.splits import SCENE, SCENE_PRODUCT, leakage
from ctl_keras.files import resumed_folder, sha256, write_json
from ctl_keras.processes import run_in_processes
from ctl_keras.progress import track


def prepare(
    annotations: str | Path,
    categories: str | Path | None,
    images: str | Path,
    out: str | Path,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    min_strip: float = MIN_STRIP,
    split_by: str = SCENE,
    workers: int = 1,
    run: RunShards | None = None,
) -> dict[str, Any]:
    """Reads annotations, crops, checks, splits and writes records.

    A killed run goes on where it stopped when it is started again; whatever the number of workers,
    the same input and seed give the same files. Pictures are never held in memory, only the columns
    of the table of pairs.

    Args:
        annotations: see `read_annotations`: Shop-The-Look JSON lines, or a table (CSV, Parquet).
        categories: the category file of Shop-The-Look; None for a table.
        images: folder of pictures, see `read_shop_the_look`.
        out: folder to make. It appears only when everything in it is complete.
        fractions: shares of the scenes for train, validation and test, see `Pairs.split`. Defaults
            to 0.8, 0.1 and 0.1.
        seed: int. Of the split. Defaults to 0.
        min_strip: float. Least share of the scene that is left beside the product, see
            `read_shop_the_look`. Defaults to 0.2.
        split_by: `"scene"`, `"scene-product"`, see `Pairs.split`, or the name of a
            column of the annotations that holds train, validation or test. Defaults to `"scene"`.
        workers: int. Processes that read pictures. Defaults to 1: this one. A script that asks for
            more must start its work below `if __name__ == "__main__":`, because they import it.
        run: how the pictures' shards are written, such as `run_with_beam()`. Defaults to `workers`
            processes.

    Returns:
        The manifest.

    Raises:
        InputError: wrong input, no usable pair, or `out` exists.
    """
    by = split_by if split_by in (SCENE, SCENE_PRODUCT) else "column"
    run = run or functools.partial(run_in_processes, workers=workers)
    with resumed_folder(out) as folder:
        table = clean(
            read_annotations(annotations, categories, split_by if by == "column" else None),
            min_strip,
        )
        source = require_image_folder(images)
        shards = _plan(table, source, folder)
        for _ in track(run(write_shard, shards), "Writing pictures", total=len(shards)):
            pass
        ids, digests, problems = _pictures(shards)
        drop_without_pictures(table, problems)
        pairs = to_pairs(table, Images(ids), annotations)
        split = pairs.split_numbers(fractions, seed, by)
        parts = pairs.split(fractions, seed, by)
        for number, part in enumerate(parts):
            _write_pairs(
                folder / f"pairs-{part.split_name}.tfrecord",
                part,
                boxes(table.rows)[split == number],
            )
        write_json(
            folder / "candidates.json", {part.split_name: candidate_lists(part) for part in parts}
        )
        rejected = table.rejected
        with open(folder / "rejected.jsonl", "w", encoding="utf-8") as file:
            for batch in rejected.to_batches(10_000):
                file.writelines(
                    json.dumps(row) + "\n" for row in reject_rows(pa.Table.from_batches([batch]))
                )
        _write_products(folder, pairs, source)
        reports = {shard.path.name: read_report(shard) for shard in shards}
        names = "pairs-*.tfrecord", "candidates.json"
        tables = sorted(path for name in names for path in folder.glob(name))
        sources = {"annotations": annotations, "categories": categories}
        manifest = {
            "format": FORMAT,
            "settings": {
                "fractions": list(fractions),
                "seed": seed,
                "min_strip": min_strip,
                "split_by": split_by,
            },
            "read": table.read,
            "pairs": len(pairs),
            "rejected": rejected.num_rows,
            "rejected_because": reasons(rejected),
            "lost_in_split": int((split < 0).sum()),
            "categories": list(pairs.categories),
            "splits": {part.split_name: _counts(part) for part in parts},
            "leakage": leakage(
                split,
                {
                    "scene": pairs.scene,
                    "product": pairs.product,
                    "scene's file": digests[pairs.scene],
                },
            ),
            "images": [str(id_) for id_ in ids],
            "image_shards": [shard.path.name for shard in shards],
            # annotated pairs that are in no split: rows of scene and product pictures
            "other_positives": _in_no_split(pairs, split),
            "sources": {
                name: {"path": str(path), "sha256": sha256(path)}
                for name, path in sources.items()
                if path is not None
            },
            # what needs no check of its format whenever it is decoded
            "only_jpegs": all(report["only_jpegs"] for report in reports.values()),
            "files": {name: report["file"] for name, report in reports.items()}
            | {
                path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in tables
            },
        }
        manifest["hash"] = data_hash(manifest)
        write_json(folder / "manifest.json", manifest)
        for shard in shards:
            shard.report.unlink()
    return manifest


def _plan(table: PairTable, images: Path, folder: Path) -> list[ImageShard]:
    """Which picture comes into which shard; what another plan left in the folder is removed."""
    ids = picture_ids(table.rows).to_pylist()
    count = max(-(-len(ids) // image_shards.PICTURES), 1)
    shards = []
    for number in range(count):
        part = slice(number * image_shards.PICTURES, (number + 1) * image_shards.PICTURES)
        path = folder / f"images-{number:05d}-of-{count:05d}.tfrecord"
        shards.append(ImageShard(path, images.resolve(), ids[part]))
    expected = {path for shard in shards for path in (shard.path, shard.report)}
    for path in folder.rglob("*"):
        if path.is_file() and path not in expected:
            path.unlink()
    return shards


def _pictures(shards: list[ImageShard]) -> tuple[np.ndarray, np.ndarray, dict[str, str]]:
    """The ids of the pictures in the shards and their files' digests, int64, `[images]`, and why
    others are not there."""
    ids: list[str] = []
    digests: list[int] = []
    problems: dict[str, str] = {}
    for shard in shards:
        for id_, picture in zip(shard.ids, read_report(shard)["pictures"], strict=True):
            if picture["problem"] is None:
                ids.append(id_)
                digests.append(int(picture["digest"], 16))
            else:
                problems[id_] = picture["problem"]
    return np.array(ids, object), np.array(digests, np.int64), problems


def _in_no_split(pairs: Pairs, split: np.ndarray) -> list[list[int]]:
    left_out = np.stack([pairs.scene, pairs.product], axis=1)[split < 0]
    return np.concatenate([pairs.other_positives, left_out]).tolist()


def _counts(part: Pairs) -> dict[str, Any]:
    by_category = np.bincount(part.category, minlength=len(part.categories))
    return {
        "pairs": len(part),
        "scenes": len(np.unique(part.scene)),
        "products": len(np.unique(part.product)),
        "pairs_without_box": int((~part.has_box).sum()),
        "pairs_without_negative": int((~part.has_negative()).sum()) if len(part) else 0,
        "by_category": dict(zip(part.categories, by_category.tolist(), strict=True)),
    }


def _write_pairs(path: Path, part: Pairs, box: np.ndarray) -> None:
    ids = part.images.ids
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row, (scene, product) in enumerate(zip(part.scene, part.product, strict=True)):
            features = {
                "scene": ids[scene],
                "product": ids[product],
                "scene_image": int(scene),
                "product_image": int(product),
                "category": part.categories[part.category[row]],
                "window": part.window[row],
                "box": box[row],
            }
            writer.write(example(**features))


def _write_products(folder: Path, pairs: Pairs, images: Path) -> None:
    rows = np.unique(pairs.product, return_index=True)[1]
    with open(folder / "products.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "image", "category"])
        for row in rows:
            id_, category = (
                pairs.images.ids[pairs.product[row]],
                pairs.categories[pairs.category[row]],
            )
            writer.writerow([id_, find_picture(images.resolve(), id_), category])


def describe(manifest: dict[str, Any]) -> str:
    """What was prepared, in a few lines for people."""
    without = sum(counts["pairs_without_box"] for counts in manifest["splits"].values())
    lines = [warning] if (warning := box_warning(without, manifest["pairs"])) else []
    lines.append(f"{manifest['pairs']} pairs of {len(manifest['categories'])} categories")
    if manifest["rejected"]:
        lines.append(
            f"  {manifest['rejected']} left out: {in_words(manifest['rejected_because'])} (see "
            "rejected.jsonl)"
        )
    if manifest["lost_in_split"]:
        lines.append(f"  {manifest['lost_in_split']} left out so that no product is in two splits")
    for name, counts in manifest["splits"].items():
        line = (
            f"  {name}: {counts['pairs']} pairs, {counts['scenes']} scenes, {counts['products']} "
            "products"
        )
        alone = counts["pairs_without_negative"]
        lines.append(line + (f"; without a negative in the category: {alone}" if alone else ""))
    for name, shares in manifest["leakage"].items():
        if manifest["splits"][name]["pairs"]:
            known = ", ".join(f"{what} {share:.1%}" for what, share in shares.items())
            lines.append(f"  pairs of {name} known from train: {known}")
    return "\n".join(lines)
