"""What the export's tolerance of bad pictures costs: images per second through `decode_rows` against plain decoding.

`python benchmarks/decoding.py [--json F]` prints a table; `FULL=1` takes more repetitions.
"""

import argparse
import json
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

import ctl_keras as ctl
from ctl_keras.data.images import decode_image, resize_image
from ctl_keras.export.servable import decode_rows

SIZE, BATCH = 224, 32
MOST = 0.05  # of a backbone pass: decoding must not be what a server waits for


def photos(count: int) -> list[bytes]:
    """JPEGs of 400 x 300 pixels with the detail of a photo."""
    random = np.random.default_rng(0)
    coarse = random.uniform(0, 255, (count, 30, 40, 3)).astype(np.float32)
    fine = tf.image.resize(coarse, [300, 400], "bicubic") + random.normal(0, 8, (count, 300, 400, 3))
    return [tf.io.encode_jpeg(tf.cast(tf.clip_by_value(image, 0, 255), tf.uint8), quality=90).numpy() for image in fine]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    repetitions = 30 if os.environ.get("FULL") else 8
    data = tf.constant(photos(BATCH))
    backbone = ctl.Backbone("ResNet50", SIZE)

    spec = tf.TensorSpec([SIZE, SIZE, 3], tf.float32)
    functions = {
        "plain": tf.function(
            lambda rows: tf.map_fn(
                lambda row: resize_image(decode_image(row), SIZE), rows, fn_output_signature=spec, parallel_iterations=8
            )
        ),
        "tolerant": tf.function(lambda rows: decode_rows(rows, SIZE)[0]),
    }
    images = functions["plain"](data)
    passes = tf.function(lambda: backbone(images)[0])
    seconds: dict[str, list[float]] = {name: [] for name in (*functions, "backbone")}
    for repetition in range(repetitions + 1):
        for name in seconds:
            began = time.perf_counter()
            np.asarray(passes() if name == "backbone" else functions[name](data))
            if repetition:  # the first traces
                seconds[name].append(time.perf_counter() - began)
    best = {name: float(np.median(values)) for name, values in seconds.items()}
    figures = {
        "tolerant decoding, speed against plain": ratio(best["plain"] / best["tolerant"], None),
        "tolerant decoding, share of a ResNet50 pass": ratio(best["tolerant"] / best["backbone"], MOST),
    }
    for name, figure in figures.items():
        print(f"{name:48} {figure['value']:6.3f}   target {figure['target']}   met {figure['met']}")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=2)


def ratio(value: float, target: float | None) -> dict:
    return {"value": round(value, 4), "unit": "ratio", "target": target, "met": None if target is None else value <= target}


if __name__ == "__main__":
    main()
