"""What the benchmarks share: pictures, runs side by side, and the table of figures."""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

FULL = bool(os.environ.get("FULL"))


def photos(count: int, seed: int = 0) -> list[bytes]:
    """JPEGs of 400 x 300 pixels with the detail of a photo."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(0, 255, (count, 30, 40, 3)).astype(np.float32)
    fine = tf.image.resize(coarse, [300, 400], "bicubic") + random.normal(
        0, 8, (count, 300, 400, 3)
    )
    return [
        tf.io.encode_jpeg(tf.cast(tf.clip_by_value(image, 0, 255), tf.uint8), quality=90).numpy()
        for image in fine
    ]


def side_by_side(runs: dict[str, Callable[[], Any]], repetitions: int) -> dict[str, float]:
    """Median seconds of each, in turns, after one that traces."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repetition in range(repetitions + 1):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            if repetition:
                seconds[name].append(time.perf_counter() - began)
    return {name: float(np.median(values)) for name, values in seconds.items()}


class Figures:
    """Prints each figure beside its target; `--json F` keeps them as `{name: {"value", "unit",
    "target", "met"}}`.

    Args:
        description: str. The benchmark's docstring.
        *options: pairs of an option of the benchmark's own and its help.

    Attributes:
        arguments: the command line's.
    """

    def __init__(self, description: str | None, *options: tuple[str, str]):
        parser = argparse.ArgumentParser(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument("--json", help="file for the figures")
        for name, text in options:
            parser.add_argument(name, help=text)
        self.arguments = parser.parse_args()
        self._figures: dict[str, dict[str, Any]] = {}

    def add(
        self,
        name: str,
        value: float,
        at_least: float | None = None,
        at_most: float | None = None,
        unit: str = "ratio",
    ) -> None:
        target = at_most if at_least is None else at_least
        met = (
            None
            if target is None
            else bool(value <= target if at_least is None else value >= target)
        )
        self._figures[name] = {
            "value": round(float(value), 4),
            "unit": unit,
            "target": target,
            "met": met,
        }
        wanted = (
            ""
            if target is None
            else f"{'at most' if at_least is None else 'at least'} {target:<5g} met {met}"
        )
        print(f"{name:78} {value:9.3f} {'' if unit == 'ratio' else unit:4} {wanted}", flush=True)

    def write(self) -> None:
        if self.arguments.json:
            Path(self.arguments.json).write_text(
                json.dumps(self._figures, indent=2), encoding="utf-8"
            )
