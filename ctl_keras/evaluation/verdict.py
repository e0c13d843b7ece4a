"""What an evaluation shows, in sentences that a person can act on."""

from typing import Any

from ctl_keras.data.cropping import box_warning
from ctl_keras.evaluation.ranking import METRICS

# parts of the model that rank beside it -> the setting of a model that is this part alone
PARTS = {
    "global_only": "model.distance=global",
    "local_only": "model.distance=local",
    "uniform_attention": "model.attention=uniform",
}
_WORDS = {
    "untrained_cosine": "the untrained backbone",
    "colour_histogram": "a colour histogram",
    "global_only": "its global part alone",
    "local_only": "its local part alone",
    "uniform_attention": "the same model with equal weights for all regions",
}
_SAYS = {1: "ranks better than", 0: "is not shown to rank better than", -1: "ranks worse than"}
_FEW_SCENES = 10  # a bootstrap over fewer gives intervals that are far too narrow
_WIDE = 0.2  # of an interval: some 20 scenes; models of the results page differ by less
_FEW_CANDIDATES = 10
_MORE_SCENES = (
    "Evaluate on more scenes: prepare more, or with a larger share for the split (`--fractions`)."
)


def verdict(result: dict[str, Any]) -> str:
    """Whether the model ranks better than a colour histogram, chance and the other baselines, by
    paired intervals; on how many pairs and scenes; and what to do.

    Pairs without a box come first, because they can make all figures too good. With fewer than ten
    scenes nothing is compared.

    Args:
        result: what `evaluate` gives. Baselines that it does not have are not mentioned.
    """
    accuracy, scenes = result["model"][METRICS[0]], result["scenes"]
    on = f"{_count(result['pairs'], 'pair')} of {_count(scenes, 'scene')}"
    width = accuracy["high"] - accuracy["low"]
    few = scenes < _FEW_SCENES
    wide = width > _WIDE and not few
    outcomes = {} if few else _outcomes(result)
    parts = {name: outcomes[name] for name in PARTS if name in outcomes}
    sentences = [
        _without_box(result),
        f"Too few to judge the model: {on}." if few else "",
        f"These are few: {on} leave the accuracy open within {width:.2f}." if wide else "",
        _compared("The model", {name: outcomes[name] for name in outcomes if name not in parts}),
        f"Its accuracy is {interval(accuracy)} on {on}, where chance is 0.5.",
        _compared("It", parts),
        _MORE_SCENES if few or wide else "",
        *_advice(outcomes),
    ]
    return " ".join(filter(None, sentences))


def _without_box(result: dict[str, Any]) -> str:
    accuracy = {kind: one[METRICS[0]] for kind, one in result.get("by_box", {}).items()}
    if not accuracy:
        return ""
    apart = "; ".join(f"{kind} a box {interval(one)}" for kind, one in accuracy.items())
    return f"{box_warning(accuracy['without']['n'], result['pairs'])} Accuracy {apart}."


def _outcomes(result: dict[str, Any]) -> dict[str, int]:
    """1 where the model is better, -1 where it is worse, 0 where the interval leaves it open; the
    colour histogram first."""
    accuracy, baselines = result["model"][METRICS[0]], result["baselines"]
    edges = {"chance": {edge: accuracy[edge] - 0.5 for edge in ("low", "high")}}
    edges |= {name: row["model_minus_baseline"][METRICS[0]] for name, row in baselines.items()}
    names = sorted(edges, key=lambda name: name != "colour_histogram")
    return {name: (edges[name]["low"] > 0) - (edges[name]["high"] < 0) for name in names}


def _compared(subject: str, outcomes: dict[str, int]) -> str:
    names: dict[int, list[str]] = {}
    for name, outcome in outcomes.items():
        names.setdefault(outcome, []).append(_WORDS.get(name, name))
    clauses = []
    for outcome, some in names.items():
        listed = (" and " if outcome else " or ").join(", ".join(some).rsplit(", ", 1))
        clauses.append(f"{_SAYS[outcome]} {listed}")
    return f"{subject} {'; it '.join(clauses)}." if clauses else ""


def _advice(outcomes: dict[str, int]) -> list[str]:
    advice = []
    if any(outcome < 1 for name, outcome in outcomes.items() if name not in PARTS):
        advice.append(
            "What can help: more scenes, to train and to evaluate on; another backbone or "
            "pretrained weights (`model.backbone`, `model.weights`); boxes that cover the whole "
            "product (`ctl-keras inspect`)."
        )
    if better := [f"`--set {PARTS[name]}`" for name in PARTS if outcomes.get(name) == -1]:
        advice.append(f"Train another run with {' or '.join(better)}, and compare.")
    return advice


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def interval(figure: dict[str, float], number: str = ".3f") -> str:
    """A figure with `value`, `low` and `high`, like 0.876 [0.847, 0.901]."""
    return f"{figure['value']:{number}} [{figure['low']:{number}}, {figure['high']:{number}}]"


def few_candidates(figures: dict[str, Any]) -> bool:
    """Whether a category has fewer than ten candidates (older exports don't count them), so that
    its ranks say little."""
    return figures.get("candidates", _FEW_CANDIDATES) < _FEW_CANDIDATES


def category_rows(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The model's figures by category, under a name that says if the candidates are few."""
    return {
        f"{name} (few candidates: {one['candidates']})" if few_candidates(one) else name: one
        for name, one in result["model"]["by_category"].items()
    }


def box_rows(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The model's figures of the pairs with and without a box; nothing if all have one."""
    return {f"pairs {kind} a box": one for kind, one in result.get("by_box", {}).items()}
