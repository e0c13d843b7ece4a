import csv
import json
import shutil

import keras
import numpy as np
import pytest

import ctl_keras as ctl
from ctl_keras.data.candidates import candidates_hash
from ctl_keras.data.preparing.records import read_manifest
from ctl_keras.evaluation import compare as module
from ctl_keras.evaluation.compare import compare_evaluations
from ctl_keras.evaluation.evaluate import evaluate_run
from ctl_keras.evaluation.ranking import METRICS
from ctl_keras.evaluation.stored import (
    StoredEvaluation,
    read_evaluation,
    run_hash,
    write_evaluation,
)
from ctl_keras.evaluation.tables import format_comparison
from tests.conftest import SMALL
from tests.data.test_candidates import edited


@pytest.fixture(scope="module")
def runs(run, tmp_path_factory):
    """The run, and one of another model."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("first", "second"):
        shutil.copytree(
            run, folder / name, ignore=shutil.ignore_patterns("checkpoints", "evaluation", "logs")
        )
    keras.utils.set_random_seed(7)
    ctl.CompleteTheLook(ctl.load_run(run)[0].categories, 32, **SMALL).save(
        folder / "second" / "model.keras"
    )
    return folder / "first", folder / "second"


def rows_of(run, split="test"):
    with open(run / "evaluation" / f"{split}.csv", newline="") as file:
        return list(csv.DictReader(file))


def stored(name="a", values=None, scenes=20, **result):
    pairs = [(f"s{n}", f"p{n}", "Shoes") for n in range(scenes)]
    values = np.random.default_rng(0).random((scenes, len(METRICS))) if values is None else values
    return StoredEvaluation(
        name, {"split": "test", "data_hash": "d", "candidates": "c", **result}, pairs, values
    )


def test_evaluate_run_leaves_the_figures_of_each_pair_in_the_run(runs, records):
    result = evaluate_run(runs[0], records)
    written = json.loads((runs[0] / "evaluation" / "test.json").read_text())
    assert {name: written[name] for name in result} == result
    assert 0 <= result["calibration"]["expected_calibration_error"] <= 1
    assert len(result["calibration"]["bins"]) == 10
    rows = rows_of(runs[0])
    assert list(rows[0]) == ["scene", "product", "category", *METRICS]
    assert len(rows) == result["pairs"]
    for metric in METRICS:
        assert np.mean([float(row[metric]) for row in rows]) == pytest.approx(
            result["model"][metric]["value"]
        )
    pairs = ctl.read_records(records, "test")
    known = {
        (pairs.images.ids[scene], pairs.images.ids[product], pairs.categories[category])
        for scene, product, category in zip(pairs.scene, pairs.product, pairs.category, strict=True)
    }
    assert {(row["scene"], row["product"], row["category"]) for row in rows} <= known
    assert not list((runs[0] / "evaluation").glob(".tmp*"))


def test_differences_are_those_of_the_rows(runs, records):
    result = ctl.compare(runs, records, "test")
    first, second = (rows_of(run) for run in runs)
    assert [row["run"] for row in result["runs"]] == [str(run) for run in runs]
    assert result["reference"] == str(runs[0])
    assert result["runs"][0]["minus_reference"] is None
    for metric in METRICS:
        expected = np.mean(
            [float(b[metric]) - float(a[metric]) for a, b in zip(first, second, strict=True)]
        )
        figure = result["runs"][1]["minus_reference"][metric]
        assert figure["value"] == pytest.approx(expected)
        assert figure["low"] <= figure["value"] <= figure["high"]
        assert figure["n"] == len(first) == result["pairs"]
    text = format_comparison(result)
    assert f"minus {runs[0]}" in text
    assert text.count(str(runs[1])) == 2


def test_what_is_hard_for_both_cancels_out():
    """The second run is better by 0.1 everywhere: its own interval is wide, that of the paired
    difference has no width."""
    values = np.random.default_rng(1).random((20, len(METRICS)))
    rows = compare_evaluations([stored("a", values), stored("b", values + 0.1)])["runs"]
    assert rows[1]["mrr"]["high"] - rows[1]["mrr"]["low"] > 0.1
    for edge in ("value", "low", "high"):
        assert rows[1]["minus_reference"]["mrr"][edge] == pytest.approx(0.1)


def test_only_what_is_missing_or_stale_is_evaluated(records, tmp_path, monkeypatch):
    runs = [tmp_path / name for name in ("first", "second")]
    for run in runs:
        run.mkdir()
        (run / "model.keras").write_text(run.name)
    evaluated = []

    def evaluate(run, data, split):
        evaluated.append(run.name)
        pairs = ctl.read_records(data, split)
        result = {
            "split": split,
            "data_hash": read_manifest(data)["hash"],
            "candidates": candidates_hash(pairs),
        }
        write_evaluation(
            run, result | {"run_hash": run_hash(run)}, pairs, np.zeros((len(pairs), len(METRICS)))
        )

    monkeypatch.setattr(module, "evaluate_run", evaluate)

    def again(data=records, split="test"):
        evaluated.clear()
        assert ctl.compare(runs, data, split)["split"] == split
        return evaluated

    def add_one(lists):
        name = next(iter(lists["test"]))
        lists["test"][name].append(lists["train"][name][0])

    assert again() == ["first", "second"]
    assert again() == []
    assert again(split="validation") == ["first", "second"]
    assert again() == []
    (runs[0] / "model.keras").write_text("trained on")
    assert again() == ["first"]
    (runs[1] / "evaluation" / "test.csv").write_text("scene\n")
    assert again() == ["second"]
    (runs[1] / "evaluation" / "test.json").write_text("{")
    assert again() == ["second"]
    assert again(edited(records, tmp_path / "other", add_one)) == ["first", "second"]


def test_nothing_is_read_of_other_data(runs, records):
    ctl.compare(runs, records)
    written = json.loads((runs[0] / "evaluation" / "test.json").read_text())
    right = {"data_hash": written["data_hash"], "candidates": written["candidates"]}
    assert read_evaluation(runs[0], "test", **right) is not None
    assert read_evaluation(runs[0], "validation", **right) is None
    for name in right:
        assert read_evaluation(runs[0], "test", **{**right, name: "other"}) is None


def test_errors(runs, records, tmp_path):
    with pytest.raises(
        ctl.InputError,
        match=r"`compare` needs two or more runs, the first being the reference. Received: 1",
    ):
        ctl.compare(runs[:1], records)
    with pytest.raises(ctl.InputError, match=r"nowhere holds no trained model"):
        ctl.compare([tmp_path / "nowhere", runs[0]], records)
    with pytest.raises(
        ctl.InputError, match=r"a and b were evaluated on different candidates: c and other"
    ):
        compare_evaluations([stored("a"), stored("b", candidates="other")])
    with pytest.raises(
        ctl.InputError, match=r"a and b were evaluated on different data: d and other"
    ):
        compare_evaluations([stored("a"), stored("b", data_hash="other")])
    with pytest.raises(
        ctl.InputError, match=r"a and b ranked different pairs \(2 are of one only\)"
    ):
        compare_evaluations([stored("a"), stored("b", scenes=18)])


def test_from_the_command_line(runs, records, here):
    printed = here("compare", *runs, "--data", records, "--json").out
    assert json.loads(printed) == ctl.compare(runs, records)
    assert "minus " in here("compare", *runs, "--data", records, "--split", "test").out
    assert "needs two or more runs" in here("compare", runs[0], "--data", records, code=2).err
    assert (
        "holds no trained model"
        in here("compare", runs[0], "nowhere", "--data", records, code=2).err
    )
    assert (
        "`split` must be one of"
        in here("compare", *runs, "--data", records, "--split", "dev", code=2).err
    )
