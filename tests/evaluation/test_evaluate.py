import dataclasses
import json
import random
import re
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import ctl_keras as ctl
from ctl_keras.data.batches import image_batches
from ctl_keras.data.candidates import candidates_hash
from ctl_keras.evaluation.evaluate import evaluate_run, with_model_categories
from ctl_keras.evaluation.ranking import METRICS
from ctl_keras.evaluation.stored import read_evaluation
from ctl_keras.evaluation.tables import format_table
from ctl_keras.evaluation.verdict import verdict

BASELINES = [
    "popularity",
    "untrained_cosine",
    "colour_histogram",
    "global_only",
    "local_only",
    "uniform_attention",
]


@pytest.fixture(scope="module")
def result(run, records):
    model, _ = ctl.load_run(run)
    return ctl.evaluate(model, ctl.read_records(records, "test"), resamples=50)


def test_evaluate(result, records):
    pairs = ctl.read_records(records, "test")
    assert result["split"] == "test"
    assert result["pairs"] + sum(result["left_out"].values()) == len(pairs)
    assert result["candidates"] == candidates_hash(pairs)
    assert list(result["baselines"]) == BASELINES
    assert result["verdict"] == verdict(result)
    ranked = pairs.take(pairs.has_negative())
    assert result["scenes"] == len(set(ranked.scene.tolist()))
    for name, figures in result["model"]["by_category"].items():
        candidates = pairs.category_products[pairs.categories.index(name)]
        assert figures["candidates"] == len(candidates)
    assert "calibration" not in result
    for figures in (result["model"], *result["baselines"].values()):
        assert {*METRICS, "by_category"} <= set(figures)
        for metric in METRICS:
            assert (
                0
                <= figures[metric]["low"]
                <= figures[metric]["value"]
                <= figures[metric]["high"]
                <= 1
            )
    for figures in result["baselines"].values():
        for metric, difference in figures["model_minus_baseline"].items():
            assert difference["value"] == pytest.approx(
                result["model"][metric]["value"] - figures[metric]["value"]
            )
            assert difference["low"] <= difference["value"] <= difference["high"]
            assert difference["n"] == result["pairs"]


def test_the_text_has_every_figure(result):
    said = format_table(result | {"calibration": {"expected_calibration_error": 0.1234}})
    lines = said.split("\n\n", 1)[1].splitlines()
    assert lines[0] == f"test: {result['pairs']} pairs of {result['scenes']} scenes"

    def cell(figure, number):
        return f"{figure['value']:{number}} [{figure['low']:{number}}, {figure['high']:{number}}]"

    for name, figures in {"model": result["model"], **result["baselines"]}.items():
        line = next(line for line in lines if line.startswith(name))
        assert all(cell(figures[metric], ".3f") in line for metric in METRICS)
    below = lines[next(n for n, line in enumerate(lines) if line.startswith("model minus")) :]
    for name, figures in result["baselines"].items():
        line = next(line for line in below if line.startswith(name))
        assert all(
            cell(figures["model_minus_baseline"][metric], "+.3f") in line for metric in METRICS
        )
    for name, figures in result["model"]["by_category"].items():
        line = next(line for line in below if line.startswith(name))
        assert (f"(few candidates: {figures['candidates']})" in line) == (
            figures["candidates"] < 10
        )
        assert re.split(r"  +", line)[1] == str(figures["binary_accuracy"]["n"])
        assert line.endswith(cell(figures["binary_accuracy"], ".3f"))
    assert lines[-1] == "expected calibration error: 0.123"


def test_the_baselines_have_paired_intervals(run, records):
    """A baseline that is the model itself differs by nothing, without any width."""
    model, _ = ctl.load_run(run)
    model = ctl.CompleteTheLook(
        model.categories, 32, model.config, attention="product", temperature=1e9
    )
    difference = ctl.evaluate(model, ctl.read_records(records, "test"))["baselines"][
        "uniform_attention"
    ]
    assert difference["binary_accuracy"]["high"] - difference["binary_accuracy"]["low"] > 0.01
    for figure in difference["model_minus_baseline"].values():
        assert (figure["value"], figure["low"], figure["high"]) == pytest.approx(
            (0, 0, 0), abs=1e-3
        )


@pytest.fixture(scope="module")
def fine_tuned(records, config, tmp_path_factory):
    """A run whose second stage trains the network, and its model as it began."""
    stage = ctl.StageConfig(1, 0.01, "all")
    training = dataclasses.replace(config.training, epochs=1, stages=(stage,))
    out = tmp_path_factory.mktemp("fine-tuned") / "run"
    ctl.train(records, out, dataclasses.replace(config, training=training))
    return out, keras.models.load_model(out / "checkpoints" / "initial.keras")


def test_the_untrained_baseline_is_the_network_that_the_run_began_with(fine_tuned, records):
    out, initial = fine_tuned
    result = evaluate_run(out, records)["baselines"]["untrained_cosine"]
    model, _ = ctl.load_run(out)
    weights = model.backbone.get_weights(), initial.backbone.get_weights()
    assert max(np.abs(one - other).max() for one, other in zip(*weights, strict=True)) > 1e-3
    by_hand = cosines(initial.backbone, ctl.read_records(records, "test"))
    for metric in METRICS:
        assert result[metric]["value"] == pytest.approx(by_hand[metric], abs=1e-9)


def cosines(backbone, pairs):
    """The four metrics of ranking by the cosine of features, in plain loops."""
    size = backbone.image_size
    pictures = image_batches(pairs.images, np.arange(len(pairs.images.ids)), None, 500, size)
    products = np.asarray(backbone(next(iter(pictures)))[0], np.float64)
    windows = image_batches(pairs.images, pairs.scene, pairs.window, 500, size)
    scenes = np.asarray(backbone(next(iter(windows)))[0], np.float64)
    values = []
    for row in np.flatnonzero(pairs.has_negative()):
        candidates = pairs.category_products[pairs.category[row]]
        cosine = {
            name: scenes[row] @ products[name] / np.linalg.norm(products[name])
            for name in candidates
        }
        own = cosine[pairs.product[row]]
        rivals = [
            cosine[name] for name in candidates if not pairs.is_positive(pairs.scene[row], name)
        ]
        better = sum(value > own for value in rivals)
        values.append([1 - better / len(rivals), better < 1, better < 10, 1 / (1 + better)])
    return dict(zip(METRICS, np.mean(values, axis=0), strict=True))


def test_a_trained_network_is_no_untrained_baseline(fine_tuned, records):
    out, initial = fine_tuned
    model, pairs = ctl.load_run(out)[0], ctl.read_records(records, "test")
    with pytest.warns(UserWarning, match="no baseline `untrained_cosine`. Give `evaluate`"):
        assert "untrained_cosine" not in ctl.evaluate(model, pairs, resamples=10)["baselines"]
    given = ctl.evaluate(model, pairs, resamples=10, untrained=initial)["baselines"]
    assert given["untrained_cosine"]["mrr"] == pytest.approx(
        ctl.evaluate(initial, pairs, resamples=10)["baselines"]["untrained_cosine"]["mrr"]
    )


def test_evaluating_leaves_random_numbers_alone(fine_tuned, records):
    model, _ = ctl.load_run(fine_tuned[0])
    pairs = ctl.read_records(records, "test")
    drawn = []
    for evaluates in (False, True):
        keras.utils.set_random_seed(5)
        if evaluates:
            ctl.evaluate(model, pairs, resamples=10, untrained=fine_tuned[1])
        drawn.append((random.random(), np.random.random(), float(tf.random.uniform([]))))
    assert drawn[0][:2] == drawn[1][:2]
    assert drawn[0] == drawn[1]


def test_what_changes_an_evaluation_makes_the_stored_one_old(fine_tuned, records, tmp_path):
    first = evaluate_run(fine_tuned[0], records)
    key = "test", first["data_hash"], first["candidates"]
    for name in ("model.keras", "calibration.json", "checkpoints/initial.keras"):
        out = shutil.copytree(fine_tuned[0], tmp_path / name.replace("/", "-"))
        assert read_evaluation(out, *key) is not None
        if name.endswith(".json"):
            (out / name).write_text(json.dumps({"slope": 3.0, "intercept": 0.5, "pairs": 9}))
        else:
            other = keras.models.load_model(out / name)
            other.set_weights([weight * 1.5 for weight in other.get_weights()])
            other.save(out / name)
        assert read_evaluation(out, *key) is None
        second = evaluate_run(out, records)
        changed = [part for part in first if first[part] != second[part]]
        assert set(changed) - {"run_hash"}, f"{name} changes nothing: change it otherwise"


def test_categories_keep_their_candidates(records):
    pairs = ctl.read_records(records, "test")
    names = (pairs.categories[3], "other", pairs.categories[1])
    kept, left_out = with_model_categories(type("Model", (), {"categories": names})(), pairs)
    for index, category in ((0, 3), (2, 1)):
        np.testing.assert_array_equal(
            kept.category_products[index], pairs.category_products[category]
        )
    assert len(kept.category_products[1]) == 0
    assert len(kept) + left_out["category unknown to the model"] == len(pairs)


def test_nothing_to_evaluate(run, drawn_pairs):
    model, _ = ctl.load_run(run)
    renamed = dataclasses.replace(
        drawn_pairs, categories=tuple(f"other {name}" for name in drawn_pairs.categories)
    )
    with pytest.raises(
        ctl.InputError,
        match=r"None of the 150 pairs can be evaluated: .*category unknown to the model': 150",
    ):
        ctl.evaluate(model, renamed)
