"""Golden answers, folded networks and bfloat16: what is published answers as the trained model
does."""

import base64
import json

import numpy as np
import pytest
import tensorflow as tf

import ctl_keras as ctl
from ctl_keras.servable import signatures as servable
from ctl_keras.servable.golden import TOLERANCE


def golden_of(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    rows = manifest["golden"]
    inputs = {
        "scene_bytes": tf.constant([base64.b64decode(row["scene_bytes"]) for row in rows]),
        "product_bytes": tf.constant([base64.b64decode(row["product_bytes"]) for row in rows]),
        "category": tf.constant([row["category"] for row in rows]),
    }
    answers = tf.saved_model.load(str(folder)).signatures["serving_default"](**inputs)
    return manifest, np.array([row["hybrid_distance"] for row in rows]), answers


def test_the_manifest_holds_them_and_they_come_back(exported):
    manifest, distances, answers = golden_of(exported / "1")
    assert len(set(distances.round(6))) == len(distances) == 4
    assert np.abs(answers["hybrid_distance"].numpy() - distances).max() == pytest.approx(
        manifest["difference_from_plain"]
    )
    assert manifest["difference_from_plain"] < TOLERANCE["float32"]
    assert answers["valid"].numpy().all()
    assert (manifest["optimized"], manifest["precision"]) == (False, "float32")


def test_an_export_that_answers_otherwise_is_not_published(run, tmp_path, monkeypatch):
    model, _ = ctl.load_run(run)
    as_trained = servable.resize_image
    # BGR
    monkeypatch.setattr(
        servable, "resize_image", lambda image, size: as_trained(image[..., ::-1], size)
    )
    with pytest.raises(
        RuntimeError,
        match="The export answers otherwise than the trained model: .* Nothing is published.",
    ):
        ctl.export(model, tmp_path / "looks")
    assert list((tmp_path / "looks").iterdir()) == []


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_optimized(run, tmp_path, precision):
    folder = ctl.export(run, tmp_path / "looks", optimize=True, precision=precision)
    manifest, distances, answers = golden_of(folder)
    assert (manifest["optimized"], manifest["precision"]) == (True, precision)
    difference = np.abs(answers["hybrid_distance"].numpy() - distances).max()
    assert 0 < difference < TOLERANCE[precision]
    assert difference == pytest.approx(manifest["difference_from_plain"])
    graph = tf.saved_model.load(str(folder)).signatures["serving_default"].graph
    library = [
        node for function in graph.as_graph_def().library.function for node in function.node_def
    ]
    assert not any("BatchNorm" in node.op for node in library)
    kinds = [tf.as_dtype(node.attr["T"].type).name for node in library if node.op == "Conv2D"]
    preprocessing = 2  # of scene and product, in float32 always
    assert len(kinds) > 10
    assert kinds.count(precision) == len(kinds) - (preprocessing if precision == "bfloat16" else 0)
    assert {value.dtype.name for value in answers.values()} == {"float32", "bool"}


def test_a_network_that_cannot_be_folded_says_so(drawn_pairs, tmp_path):
    model = ctl.CompleteTheLook(
        drawn_pairs.categories, 32, backbone="MobileNetV3Small", weights="none", dim=8, hidden=16
    )
    with pytest.raises(
        ctl.InputError,
        match="MobileNetV3Small has layers that cannot be folded. Export it without `--optimize`",
    ):
        ctl.export(model, tmp_path / "looks", optimize=True)
    with pytest.raises(
        ctl.InputError, match="`precision` must be one of float32, bfloat16. Received: 'half'"
    ):
        ctl.export(model, tmp_path / "looks", precision="half")
    assert not (tmp_path / "looks").exists() or list((tmp_path / "looks").iterdir()) == []
