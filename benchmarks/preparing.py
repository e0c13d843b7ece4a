"""From annotations to candidate lists, without pictures: pairs a second and memory, of generated
Shop-The-Look annotations.

`python benchmarks/preparing.py [--json F]` prints a table; `FULL=1` takes 1,000,000 pairs.
"""

import json
import multiprocessing
import os
import resource
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from _common import FULL, Figures

from ctl_keras.data.candidates import candidate_lists, candidates_hash
from ctl_keras.data.picture_stores import Images
from ctl_keras.data.reading.annotations import read_annotations
from ctl_keras.data.reading.assembling import picture_ids, to_pairs
from ctl_keras.data.reading.cleaning import clean

PAIRS = 1_000_000 if FULL else 100_000
CATEGORIES = 20
PAIRS_A_SCENE, PAIRS_A_PRODUCT = 3, 2


def generate(folder: Path) -> None:
    """The files, with ids and boxes as the release has them; 1 % of the lines are damaged in some
    way."""
    random = np.random.default_rng(0)
    scenes, products = (
        [random.bytes(16).hex() for _ in range(PAIRS // each)]
        for each in (PAIRS_A_SCENE, PAIRS_A_PRODUCT)
    )
    corner, size = random.uniform(0, 0.6, (PAIRS, 2)), random.uniform(0.1, 0.4, (PAIRS, 2))
    boxes = np.round(np.concatenate([corner, corner + size], axis=1), 6).tolist()
    scene, product = (
        random.integers(len(scenes), size=PAIRS),
        random.integers(len(products), size=PAIRS),
    )
    with open(folder / "fashion.json", "w", encoding="utf-8") as file:
        for number, box in enumerate(boxes):
            line = json.dumps(
                {"product": products[product[number]], "scene": scenes[scene[number]], "bbox": box}
            )
            file.write(
                (
                    line[:-7]
                    if number % 100_000 == 50
                    else line.replace("0.", "1.")
                    if number % 100 == 0
                    else line
                )
                + "\n"
            )
    names = [f"Apparel & Accessories|Category {number}" for number in range(CATEGORIES)]
    category = random.integers(CATEGORIES, size=len(products)).tolist()
    with open(folder / "fashion-cat.json", "w", encoding="utf-8") as file:
        json.dump(
            {product: names[index] for product, index in zip(products, category, strict=True)}, file
        )


def main() -> None:
    figures = Figures(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        process = multiprocessing.get_context("spawn").Process(
            target=generate, args=(Path(folder),)
        )
        process.start()  # a process of its own: its memory does not count
        process.join()
        files = Path(folder) / "fashion.json", Path(folder) / "fashion-cat.json"
        seconds = {}

        def timed(name, run):
            began = time.perf_counter()
            value = run()
            seconds[name] = time.perf_counter() - began
            return value

        table = timed("reading", lambda: clean(read_annotations(*files), 0.2))
        pairs = timed(
            "to arrays",
            lambda: to_pairs(table, Images(picture_ids(table.rows).to_pylist()), files[0]),
        )
        parts = timed("splitting", lambda: pairs.split())
        timed(
            "candidate lists",
            lambda: [(candidate_lists(part), candidates_hash(part)) for part in parts],
        )
        print(
            f"{table.read:,} rows read, {len(pairs):,} kept, {table.rejected.num_rows:,} left out"
        )
    for name, value in seconds.items():
        figures.add(name, value, unit="s")
    figures.add(
        "reading, splitting and candidate lists",
        PAIRS / sum(seconds.values()),
        at_least=100_000,
        unit="pairs a second",
    )
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    figures.add("memory at most", memory, at_most=2, unit="GB")
    figures.write()


if __name__ == "__main__":
    main()
