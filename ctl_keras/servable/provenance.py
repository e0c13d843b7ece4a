"""What a run knows of where its model comes from and how good it is: for the export's manifest, and
so for the model card."""

from pathlib import Path
from typing import Any

from ctl_keras.data.preparing.records import read_manifest
from ctl_keras.errors import InputError
from ctl_keras.evaluation.stored import run_hash
from ctl_keras.files import read_json


def run_data(record: dict[str, Any]) -> dict[str, Any]:
    """The data that a run was trained on.

    Args:
        record: what the run's `run.json` says.

    Returns:
        `{"name", "hash"}`, and, if the folder is still there as it was, `split_by`, `splits`
        (pairs, scenes and products of each) and `leakage`.
    """
    known = {"name": Path(record["data"]).name, "hash": record["data_hash"]}
    try:
        manifest = read_manifest(record["data"])
    except InputError:  # the folder was moved; the hash still names it
        return known
    if manifest["hash"] != record["data_hash"]:
        return known
    splits = {
        split: {name: counts[name] for name in ("pairs", "scenes", "products")}
        for split, counts in manifest["splits"].items()
    }
    return {
        **known,
        "split_by": manifest["settings"]["split_by"],
        "splits": splits,
        "leakage": manifest["leakage"],
    }


def run_metrics(run: str | Path, record: dict[str, Any]) -> dict[str, Any]:
    """What was measured of a run.

    Args:
        run: run folder.
        record: what its `run.json` says.

    Returns:
        `{"validation"}`, the figures of the best epoch, and, if `evaluate` has stored an evaluation
        of the run's present model on the test split of its data, `"test"`: its
        `verdict`, `pairs`, `model`, `by_box` (if it has it), `baselines` and
        `expected_calibration_error`.
    """
    metrics = {"validation": record["best"]}
    try:
        result = read_json(Path(run) / "evaluation" / "test.json", "The evaluation")
    except InputError:
        return metrics
    if (result.get("data_hash"), result.get("run_hash")) != (record["data_hash"], run_hash(run)):
        return metrics
    names = ("verdict", "pairs", "model", "by_box", "baselines")
    error = result["calibration"]["expected_calibration_error"]
    test = {name: result[name] for name in names if name in result}
    return {**metrics, "test": {**test, "expected_calibration_error": error}}
