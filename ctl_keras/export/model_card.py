"""The page that tells a stranger what an export is."""

from typing import Any


def model_card(manifest: dict[str, Any], name: str, version: int) -> str:
    """Markdown from an export's manifest.

    Args:
        manifest: as `export` writes it.
        name: str. Of the model.
        version: int.
    """
    settings, calibration = manifest["settings"], manifest["calibration"]
    categories = "\n".join(f"* {category}" for category in manifest["categories"])
    signatures = "\n".join(
        f"| `{signature}` | {_names(value['inputs'])} | {_names(value['outputs'])} |"
        for signature, value in manifest["signatures"].items()
    )
    compatibility = (
        f"a logistic map of the distance, fitted on {calibration['pairs']} validation pairs against as many negatives"
        if calibration
        else "not calibrated: `sigmoid(2 - hybrid_distance)`"
    )
    metrics = manifest["metrics"].get("validation", {})
    figures = "\n".join(f"* {key}: {value:.4g}" for key, value in metrics.items() if isinstance(value, int | float))
    return f"""# {name}, version {version}

Given a photo of a scene, a photo of a product and the product's category: a distance that says how well the product completes
the scene. The smaller, the better; it ranks products *of one category* for one scene.

* Backbone: {settings["backbone"]}, {"trained" if settings["train_backbone"] else "frozen"}, weights: {settings["weights"]};
  pictures of {manifest["image_size"]} pixels.
* Distance: {settings["distance"]}, {"squared" if settings["squared"] else "plain norms"}; attention: {settings["attention"]};
  embeddings of {settings["dim"]} numbers.
* `compatibility`: {compatibility}.
* A scene should not show the product itself: the model was trained on scenes from which it was cut.
{_catalog(manifest)}
## Signatures
| signature | inputs | outputs |
|---|---|---|
{signatures}

Pictures are JPEG, PNG, GIF or BMP files; their EXIF orientation is not applied. A row with a picture that can't be decoded, or
with an unknown category, has `valid` false and the largest possible distance.

## Categories
{categories}

## Measured while training
{figures or "nothing recorded"}

Made with TensorFlow {manifest["versions"]["tensorflow"]}, Keras {manifest["versions"]["keras"]}.
"""


def _catalog(manifest: dict[str, Any]) -> str:
    if "catalog" not in manifest:
        return ""
    catalog = manifest["catalog"]
    counts = "\n".join(f"* {category}: {count}" for category, count in catalog["categories"].items())
    kept = f"{catalog['recall_at_10']:.1%} of the 10 nearest stay, distances differ by up to {catalog['largest_error']:.2g}"
    retrieved = "" if manifest["query_is_exact"] else "; candidates are retrieved by inner product and ranked by the distance"
    return f"""
## Catalog
{catalog["count"]} products (`{catalog["hash"][:12]}`); `recommend` returns the nearest {catalog["k"]} of a category{retrieved}.
Embeddings are stored as {catalog["vectors"]}{"" if catalog["vectors"] == "float32" else f": {kept}"}.

{counts}
"""


def _names(tensors: dict[str, Any]) -> str:
    return ", ".join(f"`{name}`" for name in tensors)
