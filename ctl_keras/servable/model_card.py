"""The page that tells a stranger what an export is."""

import json
import textwrap
from typing import Any

from ctl_keras.evaluation.ranking import METRICS
from ctl_keras.evaluation.verdict import box_rows, category_rows, interval


def model_card(manifest: dict[str, Any], name: str, version: int) -> str:
    """Markdown from an export's manifest.

    Args:
        manifest: as `export` writes it.
        name: str. Of the model.
        version: int.

    Returns:
        The text: what it is for, how to call it, what it was trained on, how good it is and where
            its limits are.
    """
    settings = manifest["settings"]
    signatures = "\n".join(
        f"| `{signature}` | {_names(value['inputs'])} | {_names(value['outputs'])} |"
        for signature, value in manifest["signatures"].items()
    )
    categories = "\n".join(f"* {category}" for category in manifest["categories"])
    test = manifest["metrics"].get("test")
    return f"""# {name}, version {version}

{_verdict(test)}

Given a photo of a scene, a photo of a product and the product's category: a distance that says how
well the product completes the scene. The smaller, the better; it ranks products *of one category*
for one scene.

* Backbone: {settings["backbone"]}, {"trained" if settings["train_backbone"] else "frozen"},
  weights: {settings["weights"]}; pictures of {manifest["image_size"]} pixels.
* Distance: {settings["distance"]}, {"squared" if settings["squared"] else "plain norms"};
  attention: {settings["attention"]}; embeddings of {settings["dim"]} numbers.
* `compatibility`: {_compatibility(manifest["calibration"])}.

## Intended use
* Ranking and re-ranking a shop's products of one category for a photo: recommendations beside
  a picture, a look to complete.
* Not for finding the product that a photo shows: the model was trained on scenes from
  which the product was cut.
* Not for judging people. The photo goes in as a whole, whoever is in it, and nothing was measured
  by groups of people.

## How to call it
```python
import ctl_keras as ctl

with ctl.Client("grpc://localhost:8500", model="{name}") as client:
    scores = client.score("scene.jpg", ["product.jpg"], {json.dumps(manifest["categories"][0])})
```
`tf.saved_model.load` needs nothing of the package that made it. Signatures:

| signature | inputs | outputs |
|---|---|---|
{signatures}

Pictures are JPEG, PNG, GIF or BMP files, turned upright as their EXIF orientation says. A row with
a picture that can't be decoded, or with an unknown category, has `valid` false and the
largest possible distance.
{_catalog(manifest)}
## Trained on
{_data(manifest.get("data"))}

Categories that it knows; any other is answered with `valid` false:

{categories}

## Measured
{_test(test)}

{_validation(manifest["metrics"].get("validation", {}))}

## Limits
* It has learned what goes together in its training data. Other places, seasons, tastes and kinds of
  photos are other data: measure there before relying on it.
* A distance compares products of one category for one scene. Other categories, and other versions,
  have other scales.
* `compatibility` says how often this product wins against a random one of its category, not
  how often a shopper would agree.
* {_exactness(manifest)}

Made with TensorFlow {manifest["versions"]["tensorflow"]}, Keras {manifest["versions"]["keras"]}.
"""


def _verdict(test: dict[str, Any] | None) -> str:
    said = (
        "How good it is, is not known: it was not evaluated on a test split before the export. Run "
        "`ctl-keras evaluate`, then export again."
    )
    if test is not None:
        said = test.get("verdict", "")  # manifests of older exports have none
    return textwrap.fill(said, 100, break_on_hyphens=False)


def _compatibility(calibration: dict[str, Any] | None) -> str:
    if calibration is None:
        return "not calibrated: `sigmoid(2 - hybrid_distance)`"
    return (
        f"a logistic map of the distance, fitted on {calibration['pairs']} validation pairs "
        "against as many negatives"
    )


def _data(data: dict[str, Any] | None) -> str:
    if data is None:
        return "Unknown: the model was exported from Python, without a run."
    text = f"`{data['name']}`, hash `{data['hash'][:12]}`"
    if "splits" not in data:
        return f"{text}."
    rows = "\n".join(
        f"| {name} | {n['pairs']} | {n['scenes']} | {n['products']} |"
        for name, n in data["splits"].items()
    )
    known = ", ".join(
        f"{kind} {share:.1%}" for kind, share in data["leakage"].get("test", {}).items()
    )
    return f"""{text}, split by {data["split_by"]}.

| split | pairs | scenes | products |
|---|---|---|---|
{rows}

Known from train, of the test pairs: {known or "nothing"}."""


def _test(test: dict[str, Any] | None) -> str:
    if test is None:
        return "Nothing on a test split."
    rows = [("**model**", test["model"]), *box_rows(test).items()]
    rows += [(name.replace("|", "\\|"), figures) for name, figures in category_rows(test).items()]
    rows += [(f"baseline: {baseline}", figures) for baseline, figures in test["baselines"].items()]
    table = "\n".join(
        f"| {title} | {' | '.join(interval(figures[name]) for name in METRICS)} |"
        for title, figures in rows
    )
    return f"""On {test["pairs"]} test pairs, each ranked among the products of its category,
with 95 % intervals over scenes (`binary_accuracy` of 0.5 is chance):

| | {" | ".join(METRICS)} |
|---|---|---|---|---|
{table}

Expected calibration error of `compatibility`: {test["expected_calibration_error"]:.3f}."""


def _validation(best: dict[str, Any]) -> str:
    figures = ", ".join(
        f"{key.removeprefix('val_')} {value:.4g}"
        for key, value in best.items()
        if key.startswith("val_")
    )
    return (
        "On the validation split while training, in the best epoch: "
        f"{figures or 'nothing recorded'}."
    )


def _exactness(manifest: dict[str, Any]) -> str:
    if manifest["query_is_exact"]:
        return (
            "`2 - query . embedding` is the distance, exactly; any index for inner products ranks "
            "as the model does."
        )
    return (
        "`query` ranks only nearly as the model does: its distance has no inner-product form. "
        "`serving_default` is exact."
    )


def _catalog(manifest: dict[str, Any]) -> str:
    if "catalog" not in manifest:
        return ""
    catalog = manifest["catalog"]
    counts = "\n".join(f"* {name}: {count}" for name, count in catalog["categories"].items())
    kept = retrieved = ""
    if catalog["vectors"] != "float32":
        kept = (
            f": {catalog['recall_at_10']:.1%} of the 10 nearest stay, distances differ by up to "
            f"{catalog['largest_error']:.2g}"
        )
    if not manifest["query_is_exact"]:
        retrieved = "; candidates are retrieved by inner product and ranked by the distance"
    return f"""
## Catalog
{catalog["count"]} products (`{catalog["hash"][:12]}`); `recommend` returns the nearest
{catalog["k"]} of a category{retrieved}.
Embeddings are stored as {catalog["vectors"]}{kept}.

{counts}
"""


def _names(tensors: dict[str, Any]) -> str:
    return ", ".join(f"`{name}`" for name in tensors)
