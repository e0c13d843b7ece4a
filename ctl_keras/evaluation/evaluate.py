"""How good the model is, beside the baselines, with intervals."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ctl_keras.data.pairs import Pairs
from ctl_keras.data.records import read_records
from ctl_keras.errors import InputError
from ctl_keras.evaluation.rankers import model_ranker, popularity_ranker, untrained_ranker
from ctl_keras.evaluation.ranking import METRICS, rank_metrics, summarise
from ctl_keras.files import write_json
from ctl_keras.models.complete_the_look import CompleteTheLook
from ctl_keras.training.run import load_run


def evaluate(
    model: CompleteTheLook, pairs: Pairs, batch_size: int = 32, resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Ranks each pair's product among the products of its category, by the model and by the baselines.

    Pairs of categories that the model doesn't know, and pairs without any negative, are left out and counted.

    Args:
        model: the trained model.
        pairs: the table, as a rule the test split.
        batch_size: int. Defaults to 32.
        resamples: int. Bootstrap resamples of the scenes. Defaults to 1000.
        seed: int. Of the bootstrap. Defaults to 0.

    Returns:
        `{"split", "pairs", "left_out", "model": M, "baselines": {"popularity": M, "untrained_cosine": M}}`; M as `summarise`
        gives it, `left_out` a dict reason -> number of pairs.

    Raises:
        InputError: no pair can be evaluated.
    """
    known, left_out = with_model_categories(model, pairs)
    usable = known.has_negative() if len(known) else np.zeros(0, bool)
    left_out["no negative in the category"] = int((~usable).sum())
    if not usable.any():
        raise InputError(f"None of the {len(pairs)} pairs can be evaluated: {left_out}. The model knows {model.categories}.")
    rankers = {
        "model": model_ranker(model, known, batch_size),
        "popularity": popularity_ranker(known),
        "untrained_cosine": untrained_ranker(model, known, batch_size),
    }
    ranked = known.take(usable)
    results = {
        name: summarise(ranked, rank_metrics(known, ranker)[usable], resamples, seed) for name, ranker in rankers.items()
    }
    return {
        "split": pairs.split_name,
        "pairs": len(ranked),
        "left_out": left_out,
        "model": results.pop("model"),
        "baselines": results,
    }


def evaluate_run(run: str | Path, data: str | Path, split: str = "test", to: str | Path | None = None) -> dict[str, Any]:
    """Evaluates the model of a run on a split of prepared data, and writes the result to `to`, if given, as JSON.

    Raises:
        InputError: as `load_run`, `read_records` and `evaluate`.
    """
    model, _ = load_run(run)
    result = evaluate(model, read_records(data, split))
    if to is not None:
        write_json(to, result)
    return result


def with_model_categories(model: CompleteTheLook, pairs: Pairs) -> tuple[Pairs, dict[str, int]]:
    """The pairs whose category the model knows, with the model's indices, and how many were left out.

    Returns:
        The table, and `{"category unknown to the model": count}`.
    """
    index_of = {name: index for index, name in enumerate(model.categories)}
    mapped = np.array([index_of.get(name, -1) for name in pairs.categories])[pairs.category]
    kept = dataclasses.replace(pairs.take(mapped >= 0), category=mapped[mapped >= 0], categories=model.categories)
    return kept, {"category unknown to the model": int((mapped < 0).sum())}


def format_table(result: dict[str, Any]) -> str:
    """The result of `evaluate` as text, one ranker a line, each figure with its interval."""
    rankers = {"model": result["model"], **result["baselines"]}
    lines = [f"{result['split']}: {result['pairs']} pairs"]
    lines += [f"left out: {count} pairs, {reason}" for reason, count in result["left_out"].items() if count]
    lines.append(f"{'':18}" + "".join(f"{name:>24}" for name in METRICS))
    for name, figures in rankers.items():
        cells = (figures[metric] for metric in METRICS)
        lines.append(f"{name:18}" + "".join(f"{c['value']:>8.3f} [{c['low']:.3f}, {c['high']:.3f}]" for c in cells))
    return "\n".join(lines)
