"""What a server makes of the network's speed: pairs of JPEGs from 32 threads, one a request,
against the bare network in this process, which gets decoded pictures.

`python benchmarks/served_throughput.py [--json F]` asks TensorFlow Serving, set up by the files of
`server-files`, in turns with the bare network. `FULL=1` takes pictures of 224 pixels and longer
turns.
"""

import itertools
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from _common import FULL, Figures, photos
from _server import Server

import ctl_keras as ctl

CATEGORY, THREADS = "Shoes", 32
SIZE, SECONDS, TURNS = (224, 30, 3) if FULL else (112, 8, 3)
LOCAL_TAP = "conv4_block6_out" if FULL else "conv3_block4_out"


def served_pairs(client: ctl.Client, scenes: list[bytes], products: list[bytes]) -> float:
    """Pairs a second over a turn. A byte behind each file makes it another picture to the server,
    which puts what is the same in a batch through the network once."""
    numbers, end = itertools.count(), time.monotonic() + SECONDS

    def ask(_: int) -> int:
        done = 0
        while time.monotonic() < end:
            number = next(numbers)
            mark = number.to_bytes(8, "big")
            scene, product = scenes[number % len(scenes)], products[number % len(products)]
            answer = client.score(scene + mark, product + mark, CATEGORY)
            assert answer["valid"].all()
            done += 1
        return done

    began = time.monotonic()
    with ThreadPoolExecutor(THREADS) as threads:
        done = sum(threads.map(ask, range(THREADS)))
    return done / (time.monotonic() - began)


def bare_pairs(network, images: tf.Tensor) -> float:
    """Pairs a second over a turn."""
    began, done = time.monotonic(), 0
    while time.monotonic() < began + SECONDS:
        for output in network(images):
            output.numpy()
        done += len(images) // 2
    return done / (time.monotonic() - began)


def main() -> None:
    figures = Figures(__doc__)
    model = ctl.CompleteTheLook([CATEGORY], image_size=SIZE, weights="none", local_tap=LOCAL_TAP)
    trunk = model.backbone.trunk
    spec = tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32)
    network = tf.function(lambda images: trunk(images, training=False), [spec], jit_compile=False)
    images = tf.random.uniform([32, SIZE, SIZE, 3], -128, 128)
    network(images)
    with tempfile.TemporaryDirectory(prefix="ctl-throughput-") as name:
        base = Path(name, "looks")
        ctl.export(model, base)
        server = Server(base, Path(name, "server.log"))
        try:
            if not server.wait(1, 120):
                sys.exit(f"The server did not start:\n{server.last_words()}")
            scenes, products = photos(32, seed=1), photos(32, seed=2)
            for protocol, url in {"gRPC": server.grpc, "REST": server.rest}.items():
                with ctl.Client(url, base.name, timeout=120) as client:
                    client.score(scenes[0], products, CATEGORY)
                    turns = [
                        (served_pairs(client, scenes, products), bare_pairs(network, images))
                        for _ in range(TURNS)
                    ]
                served, bare = np.median(turns, axis=0)
                name = f"{THREADS} threads over {protocol}, pairs a second against the bare network"
                figures.add(name, served / bare, at_least=0.9)
                figures.add(f"{protocol}: served", served, unit="pairs a second")
        finally:
            server.stop()
    figures.write()


if __name__ == "__main__":
    main()
