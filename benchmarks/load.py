"""A server under load that means it no good: 16 clients, good and bad requests mixed, a version
swap and a roll back, clients that hang up.

`python benchmarks/load.py [--json F]` runs for 20 seconds, `FULL=1` for 10 minutes, against
TensorFlow Serving, started with the files that `server-files` writes (`CTL_TF_SERVING` names it, or
the shared folder has it), or else against the development server. It makes its own small export.
Exit code 1 if a good request failed.

A good request is one that must be answered, with the values that the server gave before the load; a
bad picture or an unknown category in a row makes no request bad. Clients don't retry, so that
nothing is covered up.
"""

import os
import random
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import httpx
import numpy as np
from _common import FULL, Figures, photos
from _server import Server

import ctl_keras as ctl

CLIENTS, CATEGORIES, MODEL = 16, ("Apparel|Shoes", "Apparel|Hats", "Apparel|Handbags"), "looks"
SECONDS = 600 if FULL else 20
WARM_UP = 0.2  # share of the time that is not counted: memory pools and thread stacks grow in it
LARGE_MB = 5
KINDS = {
    "score": 6,
    "embed": 4,
    "vectors": 2,
    "bad rows": 3,
    "malformed": 2,
    "large": 1,
    "hang up": 2,
}
GOOD = ("score", "embed", "vectors", "bad rows")
MOST_MEMORY = 1.1


def export_versions(folder: Path) -> tuple[Path, list[Path]]:
    """The base path with version 1; versions 2, 3 and 4 of the same weights beside it, ready to be
    moved in."""
    model = ctl.CompleteTheLook(
        CATEGORIES,
        image_size=64,
        weights="none",
        backbone="ResNet50",
        hidden=32,
        dim=16,
        global_tap="conv3_block1_out",
        local_tap="conv2_block2_out",
    )
    ctl.export(model, folder / MODEL, version=1)
    return (
        folder / MODEL,
        [ctl.export(model, folder / "next", version=version) for version in (2, 3, 4)],
    )


class Tally:
    """What all clients saw."""

    def __init__(self, counted_from: float):
        self._lock, self._from = threading.Lock(), counted_from
        self.seconds: dict[str, list[float]] = {"REST": [], "gRPC": []}
        self.counts: Counter[str] = Counter()
        self.failures: dict[str, list[str]] = {"good": [], "bad": []}

    def add(self, kind: str, protocol: str, began: float, failure: str | None) -> None:
        with self._lock:
            self.counts[kind] += 1
            if failure:
                self.failures["good" if kind in GOOD else "bad"].append(
                    f"{kind} over {protocol}: {failure}"
                )
            elif kind in GOOD and began >= self._from:
                self.seconds[protocol].append(time.monotonic() - began)


class Visitor:
    """One client: what it may ask, and whether the answer is the right one."""

    def __init__(self, server: Server, url: str, pictures: list[bytes], seed: int):
        self._rest, self._random, self._pictures = server.rest, random.Random(seed), pictures
        self._client = ctl.Client(url, MODEL, retries=0, timeout=60)
        self._impatient = ctl.Client(url, MODEL, retries=0, timeout=0.02)
        self._http = httpx.Client(timeout=60)
        scenes, products = pictures[::2], pictures[1::2]
        self._expected = self._client.score_pairs(scenes, products, "Shoes")["hybrid_distance"]
        self._query = self._client.embed_scene(scenes, "Shoes")["query"]
        self._embedding = self._client.embed_product(products)["embedding"]
        assert self._expected.std() > 0, (
            "all pairs are at the same distance: nothing could be seen to go wrong"
        )

    def ask(self, kind: str) -> str | None:
        """Sends one request of a kind; returns what was wrong, or None."""
        rows = self._random.sample(range(len(self._expected)), self._random.randint(1, 4))
        scenes, products = (
            [self._pictures[2 * row] for row in rows],
            [self._pictures[2 * row + 1] for row in rows],
        )
        return getattr(self, "_" + kind.replace(" ", "_"))(rows, scenes, products)

    def _score(self, rows, scenes, products):
        return differs(
            self._client.score_pairs(scenes, products, "Shoes")["hybrid_distance"],
            self._expected[rows],
        )

    def _embed(self, rows, scenes, products):
        return differs(
            self._client.embed_scene(scenes, "Apparel|Shoes")["query"], self._query[rows]
        ) or differs(self._client.embed_product(products)["embedding"], self._embedding[rows])

    def _vectors(self, rows, scenes, products):
        answer = self._client.score_embeddings(self._query[rows], self._embedding[rows])
        return differs(answer["hybrid_distance"], self._expected[rows])

    def _bad_rows(self, rows, scenes, products):
        """A cut picture and an unknown category around good rows."""
        answer = self._client.score_pairs(
            [scenes[0], *scenes, scenes[0]],
            [products[0][:300], *products, products[0]],
            ["Shoes"] * (len(rows) + 1) + ["Shoes of Mars"],
        )
        if answer["valid"].tolist() != [False] + [True] * len(rows) + [False]:
            return f"valid is {answer['valid'].tolist()}"
        return differs(answer["hybrid_distance"][1:-1], self._expected[rows])

    def _malformed(self, rows, scenes, products):
        text = (
            '{"signature_name": "score_embeddings", "inputs": {"query": ["x"], "embedding": ["x"]}}'
        )
        body = self._random.choice(
            ['{"inputs": {"scene_', '{"instances": [{"nothing": 1}]}', "\x00\xff", "[]", "", text]
        )
        code = self._http.post(f"{self._rest}/v1/models/{MODEL}:predict", content=body).status_code
        return None if 400 <= code < 500 else f"HTTP {code}"

    def _large(self, rows, scenes, products):
        answer = self._client.embed_product(bytes(LARGE_MB * 2**20))
        return "was found valid" if answer["valid"].any() else None

    def _hang_up(self, rows, scenes, products):
        if self._random.random() < 0.5:
            try:
                self._impatient.score_pairs(scenes, products, "Shoes")
            except ctl.ServingError as error:
                return None if error.status in ("DEADLINE_EXCEEDED", "UNAVAILABLE") else str(error)
            return None
        parts = urlsplit(self._rest)
        with socket.create_connection((parts.hostname, parts.port), timeout=60) as connection:
            head = (
                f"POST /v1/models/{MODEL}:predict HTTP/1.1\r\nHost: "
                f"{parts.netloc}\r\nContent-Length: 100000\r\n\r\n"
            )
            connection.sendall(head.encode() + b'{"inputs": {"scene_bytes": [{"b64": "')
        return None


def differs(values: np.ndarray, expected: np.ndarray) -> str | None:
    difference = float(np.abs(values - expected).max())
    return None if difference < 1e-4 else f"the answer is off by {difference:.3g}"


def visit(visitor: Visitor, protocol: str, seed: int, end: float, tally: Tally) -> None:
    order = random.Random(seed)
    while time.monotonic() < end:
        kind = order.choices(list(KINDS), list(KINDS.values()))[0]
        began = time.monotonic()
        try:
            failure = visitor.ask(kind)
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
        tally.add(kind, protocol, began, failure)


def run(
    server: Server, base: Path, following: Path, pictures: list[bytes]
) -> tuple[Tally, list[float], bool]:
    """The load: the tally, the server's memory in each third, in MB, and whether the new version
    took over, and the old one again."""
    urls = [server.rest if index % 2 else server.grpc for index in range(CLIENTS)]
    visitors = [Visitor(server, url, pictures, seed) for seed, url in enumerate(urls)]
    began = time.monotonic()
    counted = began + WARM_UP * SECONDS
    tally = Tally(counted)
    threads = [
        threading.Thread(
            target=visit,
            args=(visitor, "REST" if url == server.rest else "gRPC", seed, began + SECONDS, tally),
            daemon=True,
        )
        for seed, (visitor, url) in enumerate(zip(visitors, urls, strict=True))
    ]
    for thread in threads:
        thread.start()
    newest = int(following.name)
    steps = 0
    while time.monotonic() < began + SECONDS:
        server.sample()
        done = (time.monotonic() - began) / SECONDS
        if steps == 0 and done > 0.5:  # as an export ends: complete, and in one step
            following.rename(base / following.name)
            steps = 1
        elif steps == 1 and done > 0.7 and server.wait(newest, 0.5):
            shutil.rmtree(base / following.name)
            steps = 2
        time.sleep(0.1)
    for thread in threads:
        thread.join(90)
    if steps == 1 and server.wait(newest, 60):  # a short run on a busy machine
        shutil.rmtree(base / following.name)
        steps = 2
    third = SECONDS * (1 - WARM_UP) / 3
    kilobytes = [
        [
            size
            for when, size in server.memory
            if counted + part * third <= when < counted + (part + 1) * third
        ]
        for part in range(3)
    ]
    return (
        tally,
        [float(np.median(sizes)) / 1024 if sizes else float("nan") for sizes in kilobytes],
        steps == 2 and server.wait(newest - 1, 30),
    )


def main() -> None:
    figures = Figures(__doc__)
    with tempfile.TemporaryDirectory(prefix="ctl-load-") as name:
        folder = Path(name)
        base, following = export_versions(folder)
        server = Server(base, folder / "server.log")
        try:
            started = server.wait(1, 120)
            # a swap has three versions in memory, and the allocator keeps it: one swap belongs to
            # the warm-up
            for version in following[:2]:
                version.rename(base / version.name)
                started = started and server.wait(int(version.name), 60)
            if not started:
                sys.exit(f"The server did not start:\n{server.last_words()}")
            tally, memory, swapped = run(server, base, following[2], photos(24))
            alive = server.process.poll() is None
        finally:
            server.stop()
        if not alive:
            print(f"The server ended under the load:\n{server.last_words()}")

    seconds = np.concatenate(list(tally.seconds.values())) * 1000
    p50, p99 = np.percentile(seconds, [50, 99]) if len(seconds) else (float("nan"), float("nan"))
    failed, wrong = tally.failures["good"], tally.failures["bad"]
    print(
        f"{CLIENTS} clients for {SECONDS} s: "
        + ", ".join(f"{count} {kind}" for kind, count in sorted(tally.counts.items()))
    )
    for protocol, values in tally.seconds.items():
        if values:
            print(
                f"{protocol}: p50 {np.percentile(values, 50) * 1000:.0f} ms, p99 "
                f"{np.percentile(values, 99) * 1000:.0f} ms"
            )
    print("server's memory in each third: " + ", ".join(f"{size:.0f} MB" for size in memory))
    figures.add("good requests that failed", len(failed), at_most=0, unit="requests")
    figures.add("bad requests that were not refused", len(wrong), at_most=0, unit="requests")
    figures.add("swaps or roll backs that failed", 0 if swapped else 1, at_most=0, unit="versions")
    figures.add(
        "server's memory, last third against first", memory[2] / memory[0], at_most=MOST_MEMORY
    )
    figures.add("good requests, median latency", float(p50), unit="ms")
    figures.add("good requests, p99 latency", float(p99), unit="ms")
    figures.add("good requests", len(seconds) / (SECONDS * (1 - WARM_UP)), unit="a second")
    for line in [*failed[:10], *wrong[:10]]:
        print(line)
    figures.write()
    sys.exit(1 if failed or not alive else 0)


if __name__ == "__main__":
    main()
