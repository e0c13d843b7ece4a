import dataclasses

import numpy as np
import pytest

import ctl_keras as ctl
from ctl_keras.data.candidates import candidates_hash
from ctl_keras.evaluation.evaluate import with_model_categories
from ctl_keras.evaluation.ranking import METRICS
from ctl_keras.evaluation.tables import format_table

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
    lines = format_table(
        result | {"calibration": {"expected_calibration_error": 0.1234}}
    ).splitlines()
    assert lines[0] == f"test: {result['pairs']} pairs"

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
        assert line.split(name)[1].split()[0] == str(figures["binary_accuracy"]["n"])
        assert line.endswith(cell(figures["binary_accuracy"], ".3f"))
    assert lines[-1] == "expected calibration error: 0.123"


def test_too_few_pairs_are_named(result):
    def within(low, high):
        return {
            **result,
            "model": {
                **result["model"],
                "binary_accuracy": {"value": 0.5, "low": low, "high": high, "n": 9},
            },
        }

    assert (
        "9 pairs leave the accuracy open within 0.82"
        in format_table(within(0.0, 0.818)).splitlines()[1]
    )
    assert "few" not in format_table(within(0.84, 0.9))


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
