"""The verdict on results made by hand."""

import pytest

from ctl_keras.evaluation.tables import format_table
from ctl_keras.evaluation.verdict import verdict

METRICS = ("binary_accuracy", "hit@1", "hit@10", "mrr")
BETTER, OPEN, WORSE = (0.05, 0.15), (-0.03, 0.04), (-0.2, -0.1)
ALL_BETTER = dict.fromkeys(
    ("popularity", "untrained_cosine", "colour_histogram", "global_only", "local_only"), BETTER
)


def figures(low, high, n=180):
    """All four figures alike."""
    return {name: {"value": (low + high) / 2, "low": low, "high": high, "n": n} for name in METRICS}


def result_of(accuracy, differences, scenes=36, **more):
    """A result of `evaluate` with these edges of intervals."""
    baselines = {
        name: {**figures(0.4, 0.6), "by_category": {}, "model_minus_baseline": figures(*edges)}
        for name, edges in differences.items()
    }
    by_category = {
        "Shoes": figures(0.6, 0.7, 170) | {"candidates": 10},
        "Hats": figures(0.1, 0.9, 10) | {"candidates": 9},
    }
    model = figures(*accuracy) | {"by_category": by_category}
    return {
        "split": "test",
        "pairs": 180,
        "scenes": scenes,
        "left_out": {},
        "model": model,
        "baselines": baselines,
        **more,
    }


def test_better_than_everything():
    assert verdict(result_of((0.64, 0.7), ALL_BETTER)) == (
        "The model ranks better than a colour histogram, chance, popularity and the untrained "
        "backbone. Its accuracy is 0.670 [0.640, 0.700] on 180 pairs of 36 scenes, where chance is "
        "0.5. It ranks better than its global part alone and its local part alone."
    )


def test_not_better_than_colours_comes_first_with_what_to_do():
    said = verdict(result_of((0.54, 0.62), ALL_BETTER | {"colour_histogram": OPEN}))
    assert said.startswith(
        "The model is not shown to rank better than a colour histogram; it ranks better than "
        "chance, popularity and the untrained backbone. Its accuracy"
    )
    for advice in ("more scenes", "another backbone", "boxes"):
        assert advice in said.split("What can help: ")[1]
    said = verdict(result_of((0.54, 0.62), ALL_BETTER | {"colour_histogram": WORSE}))
    assert said.startswith("The model ranks worse than a colour histogram; it ranks better than")
    assert "What can help" in said


@pytest.mark.parametrize(
    ("accuracy", "says"),
    [
        ((0.5, 0.6), "it is not shown to rank better than chance."),
        ((0.4, 0.499), "it ranks worse than chance."),
    ],
)
def test_not_better_than_chance(accuracy, says):
    said = verdict(result_of(accuracy, ALL_BETTER))
    assert says in said
    assert "What can help" in said


def test_a_part_that_ranks_better_is_to_be_trained_alone():
    said = verdict(result_of((0.84, 0.9), ALL_BETTER | {"local_only": WORSE, "global_only": OPEN}))
    assert (
        "It is not shown to rank better than its global part alone; it ranks worse than its local "
        "part alone." in said
    )
    assert said.endswith("Train another run with `--set model.distance=local`, and compare.")
    assert "What can help" not in said  # the model beats what is not of its own


def test_a_wide_interval_is_named():
    said = verdict(result_of((0.6, 0.81), ALL_BETTER))
    assert said.startswith("These are few: 180 pairs of 36 scenes leave the accuracy open within ")
    assert "0.21. The model ranks better than" in said
    assert "Evaluate on more scenes" in said
    assert "few" not in verdict(result_of((0.6, 0.79), ALL_BETTER))


def test_few_scenes_are_not_judged():
    """One scene has intervals without any width."""
    said = verdict(result_of((0.9, 0.9), ALL_BETTER, scenes=1))
    assert said == (
        "Too few to judge the model: 180 pairs of 1 scene. Its accuracy is 0.900 [0.900, 0.900] "
        "on 180 pairs of 1 scene, where chance is 0.5. Evaluate on more scenes: prepare more, or "
        "with a larger share for the split (`--fractions`)."
    )
    said = verdict(result_of((0.6, 0.9), ALL_BETTER, scenes=9))
    assert "better than" not in said
    assert said.count("few") == 1  # although the interval is wide, too
    assert "better than" in verdict(result_of((0.8, 0.9), ALL_BETTER, scenes=10))


def test_pairs_without_a_box_come_first():
    by_box = {"with": figures(0.5, 0.6, 130), "without": figures(0.8, 0.9, 50)}
    result = result_of((0.64, 0.7), ALL_BETTER, by_box=by_box)
    said = verdict(result)
    assert said.startswith("50 of 180 pairs have no box: their scenes may show the product itself")
    assert "with a box 0.550 [0.500, 0.600]; without a box 0.850 [0.800, 0.900]. The" in said
    assert " The model ranks better than a colour histogram" in said
    lines = format_table(result | {"verdict": said}).splitlines()
    assert lines[0].startswith("50 of 180 pairs have no box")
    for name, cell in (("with", "0.550 [0.500, 0.600]"), ("without", "0.850 [0.800, 0.900]")):
        (line,) = (line for line in lines if line.startswith(f"pairs {name} a box"))
        assert line.count(cell) == len(METRICS)
    alone = result_of((0.64, 0.7), ALL_BETTER, by_box={"without": figures(0.64, 0.7)})
    assert verdict(alone).startswith("180 of 180 pairs have no box")


def test_baselines_that_are_missing_are_not_named():
    left = {"popularity": OPEN, "untrained_cosine": OPEN, "local_only": BETTER}
    said = verdict(result_of((0.64, 0.7), left))
    assert said.startswith(
        "The model ranks better than chance; it is not shown to rank better than popularity or the "
        "untrained backbone. Its"
    )
    assert "It ranks better than its local part alone." in said
    assert "better than chance. Its" in verdict(result_of((0.64, 0.7), {}))


def test_the_text_begins_with_it_and_marks_few_candidates():
    result = result_of((0.64, 0.7), ALL_BETTER)
    lines = format_table(result | {"verdict": "word " * 50}).splitlines()
    assert " ".join(lines[:3]).split() == ["word"] * 50
    assert lines[4] == "test: 180 pairs of 36 scenes"
    assert any(line.startswith("Hats (few candidates: 9)  ") for line in lines)
    assert any(line.startswith("Shoes  ") for line in lines)
