"""Evaluations and comparisons as text for people."""

from collections.abc import Iterator
from typing import Any

from ctl_keras.evaluation.ranking import METRICS

_WIDTH = 26
_WIDE = 0.2  # of an interval: some 20 scenes; models of the results page differ by less


def format_table(result: dict[str, Any]) -> str:
    """The result of `evaluate`: each ranker, the paired differences to the model, the categories,
    the calibration."""
    rankers = {"model": result["model"], **result["baselines"]}
    lines = [f"{result['split']}: {result['pairs']} pairs"]
    lines += [
        f"left out: {count} pairs, {reason}"
        for reason, count in result["left_out"].items()
        if count
    ]
    lines += [caution] if (caution := too_few(result)) else []
    lines += _rows("", rankers, ".3f")
    differences = {
        name: figures["model_minus_baseline"] for name, figures in result["baselines"].items()
    }
    lines += ["", *_rows("model minus", differences, "+.3f")]
    lines += ["", *_categories(result["model"]["by_category"])]
    if "calibration" in result:
        lines += [
            "",
            (
                "expected calibration error: "
                f"{result['calibration']['expected_calibration_error']:.3f}"
            ),
        ]
    if "questions" in result:
        lines += ["", *_questions(result["questions"])]
    return "\n".join(lines)


def too_few(result: dict[str, Any]) -> str:
    """A sentence for a result of `evaluate` whose interval is too wide to tell one ranker from
    another; else nothing."""
    accuracy = result["model"][METRICS[0]]
    width = accuracy["high"] - accuracy["low"]
    if width <= _WIDE:
        return ""
    return (
        f"These are few: {accuracy['n']} pairs leave the accuracy open within {width:.2f}, so this "
        "shows little. Evaluate on more scenes: prepare more, or with a larger share for the "
        "split (`--fractions`)."
    )


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
        yield f"{name:{width}}" + "".join(
            f"{_cell(row[metric], number):>{_WIDTH}}" for metric in METRICS
        )


def _categories(by_category: dict[str, dict]) -> Iterator[str]:
    width = 2 + max(len(name) for name in ("category", *by_category))
    yield f"{'category':{width}}{'pairs':>7}{METRICS[0]:>{_WIDTH}}"
    for name, figures in by_category.items():
        accuracy = figures[METRICS[0]]
        yield f"{name:{width}}{accuracy['n']:>7}{_cell(accuracy, '.3f'):>{_WIDTH}}"


def _questions(result: dict[str, Any]) -> Iterator[str]:
    left_out = (
        f", {result['left_out']} of unknown categories left out" if result["left_out"] else ""
    )
    yield (
        f"{result['questions']} fill-in-the-blank questions, chance "
        f"{result['chance']:.3f}{left_out}"
    )
    for name, figure in result.items():
        if isinstance(figure, dict):
            yield f"{name:20}{_cell(figure, '.3f'):>{_WIDTH}}"


def _cell(figure: dict[str, float], number: str) -> str:
    return f"{figure['value']:{number}} [{figure['low']:{number}}, {figure['high']:{number}}]"
