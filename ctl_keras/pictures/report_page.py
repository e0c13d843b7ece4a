"""The page of a report: what it shows, as HTML."""

import math
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ctl_keras.config import Config
from ctl_keras.evaluation.ranking import METRICS
from ctl_keras.evaluation.tables import too_few
from ctl_keras.pictures.boards import calibration_curve, loss_curve
from ctl_keras.pictures.report_attention import attended_scenes
from ctl_keras.pictures.report_cases import best_pairs, better_pairs, read_case, worst_pairs
from ctl_keras.pictures.report_images import Drawing, page_style, to_drawing
from ctl_keras.pictures.report_map import product_map
from ctl_keras.pictures.report_run import EvaluatedRun
from ctl_keras.settings import to_dict

SECTIONS = (
    ("what", "What was evaluated"),
    ("results", "Results"),
    ("training", "Training and calibration"),
    ("cases", "Best and worst cases"),
    ("attention", "Attention"),
    ("map", "Map of the products"),
)

# shown whether or not they differ from the defaults
SETTINGS = (
    *(
        f"model.{name}"
        for name in (
            "backbone",
            "weights",
            "global_tap",
            "local_tap",
            "train_backbone",
            "attention",
        )
    ),
    *(
        "model.distance",
        "model.dim",
        "data.image_size",
        "training.epochs",
        "training.batch_size",
        "training.optimizer",
    ),
    *(
        "training.learning_rate",
        "training.in_batch",
        "training.miner",
        "training.margin",
        "training.seed",
    ),
)


FRAMES = (
    *(
        "#0072b2",
        "#d55e00",
        "#009e73",
        "#cc79a7",
        "#b8860b",
        "#56b4e9",
        "#7b3294",
        "#f0e442",
        "#e7298a",
        "#888888",
        "#66a61e",
    ),
    "#99000d",
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
    best = best_pairs(run.percentiles, gaps, scenes, CASES)
    worst = worst_pairs(run.percentiles, gaps, scenes, CASES, besides=best)
    products = product_map(run.model, run.pairs)
    losses = _losses(runs)
    differences = [
        (name, figures["model_minus_baseline"]) for name, figures in result["baselines"].items()
    ]
    sections = SECTIONS if beside is None else (*SECTIONS, ("beside", "The other run"))
    with page_style():
        calibration = to_drawing(
            calibration_curve(result["calibration"]),
            "Share of positives by probability, beside the diagonal of a perfect calibration; the "
            "table has the values.",
        )
    return template().render(
        run=run,
        result=result,
        caution=too_few(result),
        data=data,
        sections=sections,
        facts=facts(runs, data, data_hash),
        settings=settings([one.config for one in runs]),
        run_names=[str(one.run) for one in runs],
        baselines=[("model", result["model"]), *result["baselines"].items()],
        differences=differences,
        span=_span(figures for _, figures in differences),
        categories=result["model"]["by_category"].items(),
        questions=result.get("questions"),
        loss=losses[0],
        calibration=calibration,
        best=[read_case([run], number) for number in best],
        worst=[read_case([run], number) for number in worst],
        attention=attended_scenes(run, rows),
        map=products,
        frames=[FRAMES[number % len(FRAMES)] for number in range(len(products.categories))],
        comparison=beside and comparison and _beside(run, beside, comparison, scenes, losses),
    )


def _beside(
    run: EvaluatedRun,
    beside: EvaluatedRun,
    comparison: dict[str, Any],
    scenes: list[str],
    losses: list[Drawing | None],
) -> dict[str, Any]:
    reference, figures = comparison["runs"]
    difference, names = figures["minus_reference"], (str(run.run), str(beside.run))
    better = better_pairs(run.percentiles, beside.percentiles, scenes, DIFFERING)
    worse = better_pairs(beside.percentiles, run.percentiles, scenes, DIFFERING)
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


def facts(
    runs: Sequence[EvaluatedRun], data: str, data_hash: str
) -> dict[str, list[tuple[str, str]]]:
    """What was evaluated, in groups of (name, value): the data, and each run."""
    result, scenes = runs[0].stored.result, {scene for scene, _, _ in runs[0].stored.pairs}
    evaluation = [
        ("data", data),
        ("split", result["split"]),
        ("pairs", f"{result['pairs']} of {len(scenes)} scenes"),
        *(
            (f"left out: {reason}", f"{count} pairs")
            for reason, count in result["left_out"].items()
        ),
        ("hash of the data", data_hash),
        ("hash of the candidates", result["candidates"]),
    ]
    names = ("The run",) if len(runs) == 1 else ("The first run", "The second run")
    return {
        "The evaluation": evaluation,
        **{name: _of_run(run, data_hash) for name, run in zip(names, runs, strict=True)},
    }


def _of_run(run: EvaluatedRun, data_hash: str) -> list[tuple[str, str]]:
    record, unknown = run.record, "not recorded"
    trained_on, best = (
        record.get("data_hash", unknown),
        record.get("best", {}).get("epoch", unknown),
    )
    return [
        ("folder", str(run.run)),
        ("model written", f"{run.written:%Y-%m-%d %H:%M} UTC"),
        ("hash of the run", run.stored.result["run_hash"]),
        ("trained on", str(record.get("data", unknown))),
        (
            "hash of that data",
            f"{trained_on} ({'the same' if trained_on == data_hash else 'other'} data)",
        ),
        ("epochs", f"{record.get('epochs', unknown)}, the best is {best}"),
        ("seconds", str(record.get("seconds", unknown))),
        (
            "versions",
            ", ".join(f"{name} {version}" for name, version in record.get("versions", {}).items())
            or unknown,
        ),
        ("command", shlex.join(record.get("command", [])) or unknown),
    ]


def settings(configs: Sequence[Config]) -> list[tuple[str, list[str]]]:
    """The settings that matter, each with its values in some runs: `SETTINGS`, and what is no
    default or differs."""
    flat, defaults = [_flat(config) for config in configs], _flat(Config())
    shown = [
        name
        for name in defaults
        if name in SETTINGS or any(one[name] != defaults[name] for one in flat)
    ]
    return [(name, [_value(one[name]) for one in flat]) for name in shown]


def _flat(config: Config) -> dict[str, Any]:
    return {
        f"{part}.{name}": value
        for part, values in to_dict(config).items()
        for name, value in values.items()
    }


def _value(value: Any) -> str:
    if value is None:
        return "not set"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
