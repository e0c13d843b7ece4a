"""Runs side by side, on the same pairs and the same candidates."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ctl_keras.data.candidates import candidates_hash
from ctl_keras.data.preparing.records import read_manifest, read_records
from ctl_keras.errors import InputError
from ctl_keras.evaluation.evaluate import evaluate_run
from ctl_keras.evaluation.ranking import SceneBootstrap
from ctl_keras.evaluation.stored import StoredEvaluation, read_evaluation
from ctl_keras.training.run import load_run


def compare(runs: Sequence[str | Path], data: str | Path, split: str = "test") -> dict[str, Any]:
    """How much better each run is than the first, with paired intervals.

    A run without a stored evaluation of this data, of these candidates and of its present model is
    evaluated first.

    Args:
        runs: two or more run folders; the first is the reference. Seeds of one setting are several
            runs.
        data: prepared data.
        split: `"train"`, `"validation"` or `"test"`. Defaults to `"test"`.

    Returns:
        As `compare_evaluations`.

    Raises:
        InputError: fewer than two runs, or as `evaluate_run` and `compare_evaluations`.
    """
    if len(runs) < 2:
        raise InputError(
            "`compare` needs two or more runs, the first being the reference. Received: "
            f"{len(runs)}"
        )
    for run in runs:
        if not (Path(run) / "model.keras").is_file():
            load_run(run)  # says what is missing, before the others take their time
    return compare_evaluations([evaluation_of(run, data, split) for run in runs])


def compare_evaluations(
    evaluations: Sequence[StoredEvaluation], resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Compares what `read_evaluation` gave for several runs.

    The same resampled scenes serve all runs, so a difference has the interval of the differences
    pair by pair: what is hard for both runs cancels out.

    Args:
        evaluations: two or more; the first is the reference.
        resamples: int. Bootstrap resamples of the scenes. Defaults to 1000.
        seed: int. Of the bootstrap. Defaults to 0.

    Returns:
        `{"split", "pairs", "data_hash", "candidates", "reference", "runs": [{"run",
        "binary_accuracy": {"value", "low", "high", "n"}, "hit@1", "hit@10", "mrr",
        "minus_reference"}]}`, in the order given; `minus_reference` has the four differences, and
        is None for the first.

    Raises:
        InputError: they ranked different data, other candidates or other pairs.
    """
    first = evaluations[0]
    for other in evaluations[1:]:
        for name, what in (
            ("data_hash", "data"),
            ("split", "splits"),
            ("candidates", "candidates"),
        ):
            if other.result[name] != first.result[name]:
                raise InputError(
                    f"{first.run} and {other.run} were evaluated on different {what}: "
                    f"{first.result[name]} and {other.result[name]}. Evaluate both on the same."
                )
        if other.pairs != first.pairs:
            differing = len(set(other.pairs) ^ set(first.pairs))
            raise InputError(
                f"{first.run} and {other.run} ranked different pairs ({differing} are of one "
                "only), because their models know different categories. Compare runs that were "
                "trained on the same categories."
            )
    bootstrap = SceneBootstrap([scene for scene, _, _ in first.pairs], resamples, seed)
    rows = [
        {
            "run": one.run,
            **bootstrap.figures(one.values),
            "minus_reference": (
                None if one is first else bootstrap.figures(one.values - first.values)
            ),
        }
        for one in evaluations
    ]
    same = {name: first.result[name] for name in ("data_hash", "candidates")}
    return {
        "split": first.result["split"],
        "pairs": len(first.pairs),
        **same,
        "reference": first.run,
        "runs": rows,
    }


def evaluation_of(run: str | Path, data: str | Path, split: str = "test") -> StoredEvaluation:
    """The stored evaluation of a run on this data and these candidates; evaluates its present model
    if there is none.

    Raises:
        InputError: as `evaluate_run`.
    """
    data_hash, candidates = read_manifest(data)["hash"], candidates_hash(read_records(data, split))
    if (Path(run) / "model.keras").is_file() and (
        stored := read_evaluation(run, split, data_hash, candidates)
    ):
        return stored
    evaluate_run(run, data, split)
    stored = read_evaluation(run, split, data_hash, candidates)
    if stored is None:
        raise RuntimeError(f"The evaluation of {run} changed while it was read. Compare again.")
    return stored
