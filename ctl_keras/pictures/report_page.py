"""The page of a report: what it shows, as HTML."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ctl_keras.evaluation.ranking import METRICS
from ctl_keras.evaluation.verdict import PARTS, box_rows, category_rows, few_candidates
from ctl_keras.pictures.boards import calibration_curve, loss_curve
from ctl_keras.pictures.report_attention import attended_scenes
from ctl_keras.pictures.report_cases import best_pairs, better_pairs, read_case, worst_pairs
from ctl_keras.pictures.report_images import Drawing, page_style, to_drawing
from ctl_keras.pictures.report_map import product_map
from ctl_keras.pictures.report_run import EvaluatedRun, facts, settings

SECTIONS = {
    "cases": "Best and worst cases",
    "attention": "Attention",
    "results": "Results",
    "training": "Training and calibration",
    "map": "Map of the products",
    "beside": "The other run",
    "what": "What was evaluated",
}
FRAMES = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9"),
    *("#7b3294", "#f0e442", "#e7298a", "#888888", "#66a61e", "#99000d"),
)
CASES, DIFFERING = 5, 3


def render(
    run: EvaluatedRun,
    beside: EvaluatedRun | None,
    comparison: dict[str, Any] | None,
    data: str,
    data_hash: str,
    rows: np.ndarray,
) -> str:
    """The page.

    Args:
        run: the run.
        beside: another one that ranked the same pairs, or None.
        comparison: of both, `beside` being the reference, as `compare_evaluations` gives it; None
            without one.
        data: the prepared data's folder.
        data_hash: its hash.
        rows: int array, the rows of `run.pairs` whose scenes show the attention.
    """
    result = run.stored.result
    runs = [run] if beside is None else [run, beside]
    scenes = [scene for scene, _, _ in run.stored.pairs]
    gaps = run.gaps()
    by_category = result["model"]["by_category"]
    few = np.array([few_candidates(by_category[category]) for _, _, category in run.stored.pairs])
    best = best_pairs(run.percentiles, gaps, few, scenes, CASES)
    worst = worst_pairs(run.percentiles, gaps, few, scenes, CASES, besides=best)
    products = product_map(run.model, run.pairs)
    losses = _losses(runs)
    differences = [
        (name, figures["model_minus_baseline"]) for name, figures in result["baselines"].items()
    ]
    rivals = [
        (name, one[METRICS[0]]) for name, one in result["baselines"].items() if name not in PARTS
    ]
    with page_style():
        calibration = to_drawing(
            calibration_curve(result["calibration"]),
            "Share of positives by probability, beside the diagonal of a perfect calibration; the "
            "table has the values.",
        )
    return template().render(
        run=run,
        result=result,
        rivals=sorted(rivals, key=lambda rival: -rival[1]["value"]),
        data=data,
        sections=[(id_, SECTIONS[id_]) for id_ in SECTIONS if beside or id_ != "beside"],
        facts=facts(runs, data, data_hash),
        settings=settings([one.config for one in runs]),
        run_names=[str(one.run) for one in runs],
        baselines=[("model", result["model"]), *result["baselines"].items()],
        differences=differences,
        span=_span(figures for _, figures in differences),
        by_box=box_rows(result).items(),
        categories=category_rows(result).items(),
        loss=losses[0],
        calibration=calibration,
        best=[read_case([run], number) for number in best],
        worst=[read_case([run], number) for number in worst],
        attention=attended_scenes(run, rows),
        map=products,
        frames=[FRAMES[number % len(FRAMES)] for number in range(len(products.categories))],
        comparison=beside and comparison and _beside(run, beside, comparison, few, losses),
    )


def _beside(
    run: EvaluatedRun,
    beside: EvaluatedRun,
    comparison: dict[str, Any],
    few: np.ndarray,
    losses: list[Drawing | None],
) -> dict[str, Any]:
    reference, figures = comparison["runs"]
    difference, names = figures["minus_reference"], (str(run.run), str(beside.run))
    scenes = [scene for scene, _, _ in run.stored.pairs]
    better = better_pairs(run.percentiles, beside.percentiles, few, scenes, DIFFERING)
    worse = better_pairs(beside.percentiles, run.percentiles, few, scenes, DIFFERING)
    return {
        "pairs": comparison["pairs"],
        "runs": [(names[0], figures), (names[1], reference)],
        "difference": [(f"{names[0]} minus {names[1]}", difference)],
        "span": _span([difference]),
        "losses": list(zip(names, losses, strict=True)),
        "better": [read_case([run, beside], number) for number in better],
        "worse": [read_case([run, beside], number) for number in worse],
        "trained_apart": run.record.get("data_hash") != beside.record.get("data_hash"),
    }


def _losses(runs: Sequence[EvaluatedRun]) -> list[Drawing | None]:
    """The loss curves, on the same scales; None for a run without a history."""
    with page_style():
        figures = [
            loss_curve(run.history, run.config.training.margin) if run.history else None
            for run in runs
        ]
    drawn = [figure for figure in figures if figure is not None]
    for axes in zip(*(figure.axes for figure in drawn), strict=True):
        low, high = (
            min(axis.get_ylim()[0] for axis in axes),
            max(axis.get_ylim()[1] for axis in axes),
        )
        for axis in axes:
            axis.set_ylim(low, high)
    return [
        figure
        and to_drawing(
            figure, f"Triplet loss and triplet accuracy of {run.run} by epoch: {_course(run)}"
        )
        for figure, run in zip(figures, runs, strict=True)
    ]


def _course(run: EvaluatedRun) -> str:
    first, last = run.history[0], run.history[-1]
    return "; ".join(
        f"{label} {first[name]:.3f} to {last[name]:.3f}"
        for name, label in (
            ("loss", "training loss"),
            ("val_loss", "validation loss"),
            ("val_triplet_accuracy", "validation accuracy"),
        )
    )


def _span(rows: Iterable[dict[str, Any]]) -> float:
    """The largest difference that an axis must hold, in steps of 0.1."""
    edges = [abs(figures[METRICS[0]][edge]) for figures in rows for edge in ("low", "high")]
    return math.ceil(10 * max(edges, default=0)) / 10 or 0.1


def template() -> Any:
    """The Jinja2 template of the page, which escapes whatever it is given.

    Raises:
        ImportError: Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError:
        raise ImportError("Reports need Jinja2: pip install 'ctl-keras[pictures]'") from None
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["metrics"] = METRICS
    return environment.get_template("report.html")
