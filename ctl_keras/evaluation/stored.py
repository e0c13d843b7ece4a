"""Evaluations beside the run that they are of: what `compare` reads.

```
RUN/evaluation/<split>.json    the result of `evaluate_run`, with the hash of the file below
RUN/evaluation/<split>.csv     scene, product, category, and `METRICS`: one row a ranked pair
```
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ctl_keras.data.pairs import Pairs
from ctl_keras.errors import InputError
from ctl_keras.evaluation.ranking import METRICS
from ctl_keras.files import json_hash, new_file, read_json, sha256, write_json
from ctl_keras.training.run import INITIAL

FORMAT = 2  # of an evaluation: another where it is made in another way


@dataclass(frozen=True)
class StoredEvaluation:
    """What was stored of one run.

    Attributes:
        run: str, the run folder.
        result: dict, as `evaluate_run` gives it.
        pairs: list of (scene id, product id, category path).
        values: float64 `[pairs, 4]`, in the order of `METRICS`.
    """

    run: str
    result: dict[str, Any]
    pairs: list[tuple[str, str, str]]
    values: np.ndarray


def write_evaluation(
    run: str | Path, result: dict[str, Any], ranked: Pairs, values: np.ndarray
) -> None:
    """Writes both files, each atomically, the table first; `result["split"]` names them."""
    table = _table(run, result["split"])
    table.parent.mkdir(exist_ok=True)
    ids = ranked.images.ids
    with new_file(table) as temporary:
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["scene", "product", "category", *METRICS])
            for scene, product, category, figures in zip(
                ids[ranked.scene],
                ids[ranked.product],
                ranked.category,
                values.tolist(),
                strict=True,
            ):
                writer.writerow([scene, product, ranked.categories[category], *figures])
        table_hash = sha256(temporary)
    write_json(table.with_suffix(".json"), {**result, "table_hash": table_hash})


def read_evaluation(
    run: str | Path, split: str, data_hash: str, candidates: str
) -> StoredEvaluation | None:
    """The stored evaluation of a run, or None if there is none of this data, these candidates and
    the run's present model.

    Args:
        run: run folder.
        split: `"train"`, `"validation"` or `"test"`.
        data_hash: str, from the manifest of the data.
        candidates: str, from `candidates_hash`.
    """
    table = _table(run, split)
    try:
        result = read_json(table.with_suffix(".json"), "The evaluation")
    except InputError:  # none, or a damaged one: the run is evaluated anew
        return None
    if not isinstance(result, dict) or not table.is_file():
        return None
    expected = {
        "data_hash": data_hash,
        "candidates": candidates,
        "run_hash": run_hash(run),
        "table_hash": sha256(table),
    }
    if any(result.get(name) != value for name, value in expected.items()):
        return None
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    values = np.array([[float(row[name]) for name in METRICS] for row in rows])
    return StoredEvaluation(
        str(run), result, [(row["scene"], row["product"], row["category"]) for row in rows], values
    )


def run_hash(run: str | Path) -> str:
    """What an evaluation depends on, apart from data and candidates: how it is made, the run's
    model, its calibration, and the backbone that it began with."""
    files = (Path(run) / name for name in ("model.keras", "calibration.json", INITIAL))
    return json_hash([FORMAT, *(sha256(file) if file.is_file() else None for file in files)])


def _table(run: str | Path, split: str) -> Path:
    return Path(run) / "evaluation" / f"{split}.csv"
