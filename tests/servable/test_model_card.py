"""What an export says of its data and its figures."""

import json
import re
import shutil

import pytest

import ctl_keras as ctl
from ctl_keras.evaluation.evaluate import evaluate_run
from ctl_keras.evaluation.ranking import METRICS
from ctl_keras.servable.model_card import model_card
from ctl_keras.servable.provenance import run_data, run_metrics


@pytest.fixture(scope="module")
def manifest(exported):
    return json.loads((exported / "1" / "manifest.json").read_text())


@pytest.fixture(scope="module")
def evaluated(run, records, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated") / "run"
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("evaluation"))
    return folder, evaluate_run(folder, records, "test")


def record(run):
    return json.loads((run / "run.json").read_text())


def table(card, title):
    """The rows of the table below a heading, cells by column."""
    lines = [
        line
        for line in card.split(f"## {title}\n")[1].split("\n## ")[0].splitlines()
        if line.startswith("|")
    ]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_the_data_of_the_run(manifest, records):
    prepared = json.loads((records / "manifest.json").read_text())
    assert manifest["data"]["hash"] == prepared["hash"]
    rows = table(model_card(manifest, "looks", 1), "Trained on")
    counts = [prepared["splits"]["train"][name] for name in ("pairs", "scenes", "products")]
    assert ["train", *map(str, counts)] in rows


def test_data_that_were_moved_or_changed_are_named_by_their_hash(run, records, tmp_path):
    known = record(run)
    expected = {"name": known["data"].split("/")[-1], "hash": known["data_hash"]}
    assert run_data(known | {"data": str(tmp_path / expected["name"])}) == expected
    moved = tmp_path / expected["name"]
    moved.mkdir()
    other = json.loads((records / "manifest.json").read_text()) | {"hash": "other"}
    (moved / "manifest.json").write_text(json.dumps(other))
    assert run_data(known | {"data": str(moved)}) == expected


def test_a_run_that_was_not_evaluated_says_so(manifest):
    manifest = manifest | {"metrics": {"validation": manifest["metrics"]["validation"]}}
    card = model_card(manifest, "looks", 1)
    assert "not evaluated on a test split" in card.split("\n\n")[1]
    assert (
        f"triplet_accuracy {manifest['metrics']['validation']['val_triplet_accuracy']:.4g}" in card
    )


@pytest.mark.slow
def test_the_stored_evaluation_with_intervals_and_baselines(manifest, evaluated):
    folder, result = evaluated
    metrics = run_metrics(folder, record(folder))
    assert metrics["test"]["model"] == result["model"]
    by_box = {"without": result["model"]}
    metrics["test"] |= {"verdict": "Good `enough`. " * 10, "by_box": by_box}
    card = model_card(manifest | {"metrics": metrics}, "looks", 1)
    assert card.split("\n\n")[1].split() == ["Good", "`enough`."] * 10
    assert "| pairs without a box |" in card
    metrics = run_metrics(folder, record(folder))
    assert metrics["test"]["verdict"] == result["verdict"]
    header, _, *rows = table(model_card(manifest | {"metrics": metrics}, "looks", 1), "Measured")
    assert header == ["", *METRICS]
    assert {len(row) for row in rows} == {5}  # the bars of category paths do not end a cell
    figure = result["model"]["mrr"]
    assert rows[0][4] == f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
    assert len(rows) == 1 + len(result["model"]["by_category"]) + len(result["baselines"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["data_hash", "run_hash"])
def test_an_evaluation_of_other_data_or_of_another_model_is_not_taken(evaluated, name, tmp_path):
    folder = shutil.copytree(evaluated[0], tmp_path / "run")
    stored = folder / "evaluation" / "test.json"
    stored.write_text(json.dumps(json.loads(stored.read_text()) | {name: "other"}))
    assert "test" not in run_metrics(folder, record(folder))


def test_an_export_from_python_knows_no_run(manifest):
    manifest = {name: value for name, value in manifest.items() if name != "data"} | {"metrics": {}}
    assert "without a run" in model_card(manifest, "looks", 1)


def test_how_to_call_it_is_python(manifest):
    code = re.search(r"```python\n(.*?)```", model_card(manifest, "looks", 1), re.DOTALL)[1]
    compile(code, "card", "exec")
    assert hasattr(ctl.Client, "score")
