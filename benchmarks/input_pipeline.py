"""What feeds a training: tf.data against bare decoding of the same files, and `prepare` with two
processes against one.

`python benchmarks/input_pipeline.py [--json F]` prints a table; `FULL=1` takes the sizes of the
targets.
"""

import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from _common import FULL, Figures, photos

import ctl_keras as ctl
from ctl_keras.data.cached_pictures import CachedPictures
from ctl_keras.data.stream import PictureSource

SIZE, BATCH = 224, 32
SCENES, PRODUCTS = (1200, 2400) if FULL else (120, 240)
REPETITIONS = 5 if FULL else 3
PREPARED = 40_000 if FULL else 6_000  # pictures


def write_folder(folder: Path, scenes: int, products: int) -> None:
    """A Shop-The-Look folder with pictures of a photo's size and detail; two pairs a scene."""
    images = folder / "images"
    images.mkdir()
    distinct = photos(min(scenes + products, 200))
    names = [f"s{number}" for number in range(scenes)] + [
        f"p{number}" for number in range(products)
    ]
    for number, name in enumerate(names):
        (images / f"{name}.jpg").write_bytes(distinct[number % len(distinct)])
    box = {"bbox": [0.3, 0.6, 0.7, 0.9]}
    lines = [
        {"scene": f"s{number % scenes}", "product": f"p{number}", **box}
        for number in range(products)
    ]
    (folder / "fashion.json").write_text(
        "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8"
    )
    categories = {f"p{number}": f"Category {number % 4}" for number in range(products)}
    (folder / "fashion-cat.json").write_text(json.dumps(categories), encoding="utf-8")


def prepare(folder: Path, out: Path, workers: int = 1) -> None:
    files = folder / "fashion.json", folder / "fashion-cat.json", folder / "images"
    ctl.prepare(*files, out, fractions=(1, 0, 0), workers=workers)


def bare(files: list[str]) -> tf.data.Dataset:
    def load(path: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3, dct_method="INTEGER_ACCURATE")
        return tf.image.resize(image, [SIZE, SIZE], antialias=True)

    dataset = tf.data.Dataset.from_tensor_slices(files).map(
        load, num_parallel_calls=tf.data.AUTOTUNE
    )
    return dataset.batch(BATCH).prefetch(tf.data.AUTOTUNE)


def seconds_of(dataset: tf.data.Dataset) -> float:
    began = time.perf_counter()
    for batch in dataset:
        tf.nest.flatten(batch)[0].shape  # noqa: B018
    return time.perf_counter() - began


def pipeline(figures: Figures, folder: Path) -> None:
    write_folder(folder, SCENES, PRODUCTS)
    prepare(folder, folder / "records")
    train = ctl.read_records(folder / "records", "train")
    ids = train.images.ids
    rows = [
        row
        for pair in zip(train.scene, train.product, train.product[::-1], strict=True)
        for row in pair
    ]
    files = [str(folder / "images" / f"{ids[row]}.jpg") for row in rows]
    runs: dict[str, list[float]] = {}
    for repetition in range(REPETITIONS + 1):
        # a source of its own each time, so that nothing is cached before the first epoch
        cached = ctl.triplets(
            train, BATCH, SIZE, seed=repetition, source=CachedPictures(train, SIZE)
        )
        uncached = ctl.triplets(
            train, BATCH, SIZE, seed=repetition, source=PictureSource(train, SIZE, augment=True)
        )
        turns = {
            "bare": bare(files),
            "no room to cache": uncached,
            "first epoch": cached,
            "later epochs": cached,
        }
        for name, dataset in turns.items():
            runs.setdefault(name, []).append(seconds_of(dataset))
    rate = {name: len(rows) / float(np.median(values[1:])) for name, values in runs.items()}
    figures.add("bare decode and resize", rate.pop("bare"), unit="pictures a second")
    for name, value in rate.items():
        ratio = value * float(np.median(runs["bare"][1:])) / len(rows)
        figures.add(
            f"training pipeline, {name}, against bare decode and resize", ratio, at_least=0.9
        )


def preparing(figures: Figures, folder: Path) -> None:
    write_folder(folder, PREPARED // 3, PREPARED - PREPARED // 3)
    seconds = {}
    for workers in (1, 2):
        began = time.perf_counter()
        prepare(folder, folder / f"records{workers}", workers)
        seconds[workers] = time.perf_counter() - began
    figures.add("prepare in one process", PREPARED / seconds[1], unit="pictures a second")
    figures.add("prepare, two processes against one", seconds[1] / seconds[2], at_least=1.7)


def main() -> None:
    figures = Figures(__doc__)
    for part in (pipeline, preparing):
        with tempfile.TemporaryDirectory() as folder:
            part(figures, Path(folder))
    figures.write()


if __name__ == "__main__":
    main()
