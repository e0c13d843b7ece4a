"""Evaluations and comparisons as text for people."""

import textwrap
from collections.abc import Iterator
from typing import Any

from ctl_keras.evaluation.ranking import METRICS
from ctl_keras.evaluation.verdict import box_rows, category_rows, interval

_WIDTH = 26


def format_table(result: dict[str, Any]) -> str:
    """The result of `evaluate`: the verdict, each ranker, the paired differences to the model,
    pairs with and without a box, the categories, the calibration."""
    lines = [*textwrap.wrap(result["verdict"], 100, break_on_hyphens=False), ""]
    lines += [f"{result['split']}: {result['pairs']} pairs of {result['scenes']} scenes"]
    lines += [
        f"left out: {count} pairs, {reason}"
        for reason, count in result["left_out"].items()
        if count
    ]
    baselines = result["baselines"]
    differences = {name: row["model_minus_baseline"] for name, row in baselines.items()}
    lines += _rows("", {"model": result["model"], **baselines}, ".3f")
    lines += ["", *_rows("model minus", differences, "+.3f")]
    if by_box := box_rows(result):
        lines += ["", *_rows("", by_box, ".3f")]
    lines += ["", *_categories(category_rows(result))]
    if "calibration" in result:
        error = result["calibration"]["expected_calibration_error"]
        lines += ["", f"expected calibration error: {error:.3f}"]
    return "\n".join(lines)


def format_comparison(result: dict[str, Any]) -> str:
    """The result of `compare`: each run, then the paired differences to the first."""
    lines = [f"{result['split']}: {result['pairs']} pairs"]
    lines += _rows("", {row["run"]: row for row in result["runs"]}, ".3f")
    differences = {row["run"]: row["minus_reference"] for row in result["runs"][1:]}
    return "\n".join([*lines, "", *_rows(f"minus {result['reference']}", differences, "+.3f")])


def _rows(title: str, figures: dict[str, dict], number: str) -> Iterator[str]:
    width = 2 + max(len(name) for name in (title, *figures))
    yield f"{title:{width}}" + "".join(f"{name:>{_WIDTH}}" for name in METRICS)
    for name, row in figures.items():
        cells = (f"{interval(row[metric], number):>{_WIDTH}}" for metric in METRICS)
        yield f"{name:{width}}" + "".join(cells)


def _categories(figures: dict[str, dict]) -> Iterator[str]:
    width = 2 + max(len(name) for name in ("category", *figures))
    yield f"{'category':{width}}{'pairs':>7}{METRICS[0]:>{_WIDTH}}"
    for name, row in figures.items():
        accuracy = row[METRICS[0]]
        yield f"{name:{width}}{accuracy['n']:>7}{interval(accuracy):>{_WIDTH}}"
