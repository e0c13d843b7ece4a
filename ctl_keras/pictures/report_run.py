"""A run and its evaluation, as a report looks at them."""

import datetime
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ctl_keras.config import Config
from ctl_keras.data.pairs import Pairs
from ctl_keras.data.preparing.records import read_records
from ctl_keras.evaluation.compare import evaluation_of
from ctl_keras.evaluation.evaluate import with_model_categories
from ctl_keras.evaluation.rankers import model_rankers
from ctl_keras.evaluation.ranking import Ranker, ranked_blocks
from ctl_keras.evaluation.stored import StoredEvaluation
from ctl_keras.files import read_json
from ctl_keras.models.complete_the_look import CompleteTheLook
from ctl_keras.settings import from_dict, to_dict
from ctl_keras.training.callbacks import read_history
from ctl_keras.training.run import load_run

# shown whether or not they differ from the defaults
SETTINGS = (
    *("model.backbone", "model.weights", "model.global_tap", "model.local_tap"),
    *("model.train_backbone", "model.attention", "model.distance", "model.dim", "data.image_size"),
    *("training.epochs", "training.batch_size", "training.optimizer", "training.learning_rate"),
    *("training.in_batch", "training.miner", "training.margin", "training.seed"),
)


@dataclass(frozen=True)
class EvaluatedRun:
    """A run with what its evaluation stored, and its model, which gives the pictures what no table
    holds.

    Attributes:
        run: the run folder.
        record: dict, what `run.json` says.
        config: its settings.
        history: one dict an epoch; empty if none is stored.
        written: when the model was written, UTC.
        model: the trained model.
        pairs: the split's pairs of the categories that the model knows, by the model's indices.
        rows: int array `[ranked]`, the rows of `pairs` that were ranked.
        ranker: the model's distances.
        stored: the evaluation; its pairs and values are those of `rows`, in that order.
    """

    run: Path
    record: dict[str, Any]
    config: Config
    history: list[dict[str, float]]
    written: datetime.datetime
    model: CompleteTheLook
    pairs: Pairs
    rows: np.ndarray
    ranker: Ranker
    stored: StoredEvaluation

    @property
    def ranks(self) -> np.ndarray:
        """The rank of each pair's product, 1 for the nearest, ties counting half; float64
        `[ranked]`."""
        return 1 / self.stored.values[:, 3]

    @property
    def percentiles(self) -> np.ndarray:
        """Share of the negatives that are farther than the pair's product, float64 `[ranked]`."""
        return self.stored.values[:, 0]

    def gaps(self) -> np.ndarray:
        """How much farther than the pair's product its nearest negative is, float64 `[ranked]`;
        below 0 if it is nearer."""
        gaps = np.full(len(self.pairs), np.nan)
        for rows, distances, own, negative in ranked_blocks(self.pairs, self.ranker):
            gaps[rows] = np.where(negative, distances, np.inf).min(axis=1) - own[:, 0]
        return gaps[self.rows]


def read_evaluated_run(run: str | Path, data: str | Path, split: str) -> EvaluatedRun:
    """Reads a run and its evaluation; evaluates it first if nothing is stored of this data and its
    present model.

    Raises:
        InputError: as `load_run`, `read_records` and `evaluate_run`.
    """
    run = Path(run)
    stored = evaluation_of(run, data, split)
    model, record = load_run(run)
    pairs, _ = with_model_categories(model, read_records(data, split))
    return EvaluatedRun(
        run=run,
        record=record,
        config=from_dict(Config, read_json(run / "config.json", "The settings of the run")),
        history=read_history(run / "history.csv"),
        written=datetime.datetime.fromtimestamp(
            (run / "model.keras").stat().st_mtime, datetime.timezone.utc
        ),
        model=model,
        pairs=pairs,
        rows=np.flatnonzero(pairs.has_negative()),
        ranker=model_rankers(model, pairs, 32)["model"],
        stored=stored,
    )


def facts(
    runs: Sequence[EvaluatedRun], data: str, data_hash: str
) -> dict[str, list[tuple[str, str]]]:
    """What was evaluated, in groups of (name, value): the data, and each run."""
    result = runs[0].stored.result
    evaluation = [
        ("data", data),
        ("split", result["split"]),
        ("pairs", f"{result['pairs']} of {result['scenes']} scenes"),
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
