"""How good the model is, beside the baselines, with intervals."""

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ctl_keras.data.candidates import candidates_hash
from ctl_keras.data.pairs import Pairs
from ctl_keras.data.preparing.records import read_manifest, read_records
from ctl_keras.errors import InputError
from ctl_keras.evaluation.rankers import all_rankers
from ctl_keras.evaluation.ranking import SceneBootstrap, rank_metrics, summarise
from ctl_keras.evaluation.reliability import reliability
from ctl_keras.evaluation.stored import run_hash, write_evaluation
from ctl_keras.evaluation.verdict import verdict
from ctl_keras.files import read_json, write_json
from ctl_keras.models.complete_the_look import CompleteTheLook
from ctl_keras.settings import from_dict
from ctl_keras.training.calibration import Calibration
from ctl_keras.training.run import INITIAL, load_run


def evaluate(
    model: CompleteTheLook,
    pairs: Pairs,
    batch_size: int = 32,
    resamples: int = 1000,
    seed: int = 0,
    calibration: Calibration | None = None,
    untrained: CompleteTheLook | None = None,
) -> dict[str, Any]:
    """Ranks each pair's product among the candidates of its category, by the model and by the
    baselines.

    Pairs of categories that the model doesn't know, and pairs without any negative, are left out
    and counted.

    Args:
        model: the trained model.
        pairs: the table, as a rule the test split. Prepared data bring their candidates along
            (`Pairs.candidates`); else they are the table's own products.
        batch_size: int. Defaults to 32.
        resamples: int. Bootstrap resamples of the scenes. Defaults to 1000.
        seed: int. Of the bootstrap. Defaults to 0.
        calibration: from `fit_calibration`, to be judged on these pairs. Without it `"calibration"`
            is left out.
        untrained: the model before its training, whose backbone is the baseline
            `untrained_cosine`. Defaults to `model`, if its backbone was not trained; else that
            baseline is left out with a warning.

    Returns:
        `{"verdict", "split", "pairs", "scenes", "left_out", "candidates", "model": M, "baselines":
        {NAME: M}, "calibration"}`: M as `summarise` gives it, for a baseline with the paired
        difference `"model_minus_baseline"`, as `SceneBootstrap.figures` gives it; `left_out` a dict
        reason -> number of pairs; `candidates` the SHA-256 of the candidate lists; `verdict` and
        `calibration` what the functions `verdict` and `reliability` give; `by_box`, if some pairs
        have no box, the model's figures apart of the pairs `"with"` and `"without"` one. The
        baselines are `popularity`, `untrained_cosine`, `colour_histogram` and the model's own
        parts, see `model_rankers`.

    Raises:
        InputError: no pair can be evaluated.
    """
    if untrained is None and backbone_is_untrained(model):
        untrained = model
    if untrained is None:
        warnings.warn(
            "The model's backbone was trained, so there is no baseline `untrained_cosine`. Give "
            "`evaluate` the model before its training: untrained=…",
            stacklevel=2,
        )
    return _evaluated(model, pairs, batch_size, resamples, seed, calibration, untrained)[0]


def evaluate_run(
    run: str | Path, data: str | Path, split: str = "test", to: str | Path | None = None
) -> dict[str, Any]:
    """Evaluates the model of a run, with its calibration, on a split of prepared data.

    The result is written into the run as `evaluation/<split>.json`, with the four figures of each
    pair in `evaluation/<split>.csv`; and to `to`, if given.

    Returns:
        As `evaluate`, with `"data_hash"` and `"run_hash"`, the hash of the prepared data and of
        the run's files.

    Raises:
        InputError: as `load_run`, `read_records` and `evaluate`.
    """
    model, _ = load_run(run)
    calibration = from_dict(
        Calibration, read_json(Path(run) / "calibration.json", "The run's calibration")
    )
    pairs = read_records(data, split)
    untrained = model
    if not backbone_is_untrained(model):
        untrained = keras.models.load_model(Path(run) / INITIAL)
    result, ranked, values = _evaluated(model, pairs, calibration=calibration, untrained=untrained)
    result |= {"data_hash": read_manifest(data)["hash"], "run_hash": run_hash(run)}
    write_evaluation(run, result, ranked, values)
    if to is not None:
        write_json(to, result)
    return result


def _evaluated(
    model: CompleteTheLook,
    pairs: Pairs,
    batch_size: int = 32,
    resamples: int = 1000,
    seed: int = 0,
    calibration: Calibration | None = None,
    untrained: CompleteTheLook | None = None,
) -> tuple[dict[str, Any], Pairs, np.ndarray]:
    """The result, the pairs that were ranked, and the model's figures `[pairs, 4]` for each."""
    known, left_out = with_model_categories(model, pairs)
    usable = known.has_negative() if len(known) else np.zeros(0, bool)
    left_out["no negative in the category"] = int((~usable).sum())
    if not usable.any():
        raise InputError(
            f"None of the {len(pairs)} pairs can be evaluated: {left_out}. The model knows "
            f"{model.categories}."
        )
    backbone = None if untrained is None else untrained.backbone
    rankers = all_rankers(model, known, batch_size, backbone)
    ranked = known.take(usable)
    values = {name: rank_metrics(known, ranker)[usable] for name, ranker in rankers.items()}
    bootstrap = SceneBootstrap(ranked.scene, resamples, seed)
    figures = {name: summarise(ranked, values[name], bootstrap) for name in values}
    result = {
        "split": pairs.split_name,
        "pairs": len(ranked),
        "scenes": len(np.unique(ranked.scene)),
        "left_out": left_out,
        "candidates": candidates_hash(pairs),
        "model": figures.pop("model"),
        "baselines": {
            name: {
                **figures[name],
                "model_minus_baseline": bootstrap.figures(values["model"] - values[name]),
            }
            for name in figures
        },
    }
    has_box = ranked.has_box
    if not has_box.all():
        rows = {"with": np.flatnonzero(has_box), "without": np.flatnonzero(~has_box)}
        result["by_box"] = {
            name: bootstrap.figures(values["model"], row) for name, row in rows.items() if len(row)
        }
    if calibration is not None:
        result["calibration"] = reliability(known, rankers["model"], calibration)
    return {"verdict": verdict(result), **result}, ranked, values["model"]


def backbone_is_untrained(model: CompleteTheLook) -> bool:
    """Whether the model's backbone has the weights that it was made with."""
    return model.backbone.weights_hash() == model.initial_backbone


def with_model_categories(model: CompleteTheLook, pairs: Pairs) -> tuple[Pairs, dict[str, int]]:
    """The pairs whose category the model knows, with the model's indices, and how many were left
    out.

    Returns:
        The table, with the candidates that it had, and `{"category unknown to the model": count}`.
    """
    index_of = {name: index for index, name in enumerate(model.categories)}
    mapped = np.array([index_of.get(name, -1) for name in pairs.categories])[pairs.category]
    products = dict(zip(pairs.categories, pairs.category_products, strict=True))
    kept = dataclasses.replace(
        pairs.take(mapped >= 0),
        category=mapped[mapped >= 0],
        categories=model.categories,
        candidates=tuple(products.get(name, np.zeros(0, int)) for name in model.categories),
    )
    return kept, {"category unknown to the model": int((mapped < 0).sum())}
