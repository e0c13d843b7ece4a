import io
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import ctl_keras as ctl
from ctl_keras.data.images import decode_image, resize_image
from ctl_keras.files import versions
from ctl_keras.servable.signatures import category_names
from ctl_keras.training.calibration import UNCALIBRATED
from tests.conftest import SMALL

SHOES = "Apparel & Accessories|Shoes"


@pytest.fixture(scope="module")
def version(exported) -> Path:
    return exported / "1"


@pytest.fixture(scope="module")
def signatures(version):
    loaded = tf.saved_model.load(str(version))
    return {name: (loaded, function) for name, function in loaded.signatures.items()}


def call(signatures, name, **inputs):
    outputs = signatures[name][1](**{key: tf.constant(value) for key, value in inputs.items()})
    return {key: value.numpy() for key, value in outputs.items()}


@pytest.fixture(scope="module")
def jpegs(drawn):
    lines = [json.loads(line) for line in (drawn / "fashion.json").read_text().splitlines()]
    categories = json.loads((drawn / "fashion-cat.json").read_text())
    rows = lines[::11]
    return {
        "scene": [(drawn / "images" / f"{row['scene']}.jpg").read_bytes() for row in rows],
        "product": [(drawn / "images" / f"{row['product']}.jpg").read_bytes() for row in rows],
        "category": [categories[row["product"]] for row in rows],
    }


def keras_distances(model, jpegs):
    def decoded(data):
        return np.stack(
            [resize_image(decode_image(tf.constant(row)), model.image_size) for row in data]
        )

    index = np.array([model.categories.index(name) for name in jpegs["category"]], "int32")
    product = decoded(jpegs["product"])
    inputs = {
        "scene": decoded(jpegs["scene"]),
        "positive": product,
        "negative": product,
        "category": index,
    }
    return np.asarray(model(inputs))[:, 0]


def test_serving_default_equals_the_keras_model_on_real_jpegs(signatures, run, jpegs):
    model, _ = ctl.load_run(run)
    outputs = call(
        signatures,
        "serving_default",
        scene_bytes=jpegs["scene"],
        product_bytes=jpegs["product"],
        category=jpegs["category"],
    )
    assert np.abs(outputs["hybrid_distance"] - keras_distances(model, jpegs)).max() < 1e-4
    assert outputs["valid"].all()
    expected = (outputs["global_distance"] + outputs["local_distance"]) / 2
    np.testing.assert_allclose(outputs["hybrid_distance"], expected, atol=1e-5)


def test_two_minus_query_times_embedding_is_the_distance(signatures, jpegs):
    pair = call(
        signatures,
        "serving_default",
        scene_bytes=jpegs["scene"],
        product_bytes=jpegs["product"],
        category=jpegs["category"],
    )
    query = call(signatures, "embed_scene", scene_bytes=jpegs["scene"], category=jpegs["category"])[
        "query"
    ]
    embedding = call(signatures, "embed_product", product_bytes=jpegs["product"])["embedding"]
    assert np.abs(2 - (query * embedding).sum(axis=1) - pair["hybrid_distance"]).max() < 1e-5
    scored = call(signatures, "score_embeddings", query=query, embedding=embedding)[
        "hybrid_distance"
    ]
    assert np.abs(scored - pair["hybrid_distance"]).max() < 1e-5


def test_compatibility_is_the_fitted_map(signatures, run, jpegs):
    outputs = call(
        signatures,
        "serving_default",
        scene_bytes=jpegs["scene"],
        product_bytes=jpegs["product"],
        category=jpegs["category"],
    )
    fitted = ctl.Calibration(**json.loads((run / "calibration.json").read_text()))
    np.testing.assert_allclose(
        outputs["compatibility"], fitted.probability(outputs["hybrid_distance"]), atol=1e-5
    )


def test_attention_adds_up_to_one(signatures, jpegs):
    attention = call(
        signatures, "embed_scene", scene_bytes=jpegs["scene"], category=jpegs["category"]
    )["attention"]
    assert attention.shape[1:] == (8, 8)
    np.testing.assert_allclose(attention.sum(axis=(1, 2)), 1, atol=1e-5)


def bad_pictures(jpeg):
    picture = Image.open(io.BytesIO(jpeg)).convert("RGB")

    def encoded(kind, image=picture, **options):
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    bomb = encoded("PNG", Image.new("1", (30000, 30000)))
    return {
        "empty": b"",
        "text": b"hello",
        "cut": jpeg[: len(jpeg) // 2],
        "garbage": b"\xff\xd8\xff\xe0" + bytes(range(256)) * 4,
        "cut png": encoded("PNG")[:60],
        "bomb": bomb,
        "webp": encoded("WEBP"),
    }


def test_a_bad_picture_flags_its_own_row_and_changes_no_other(signatures, jpegs):
    bad = bad_pictures(jpegs["scene"][0])
    good = call(
        signatures,
        "serving_default",
        scene_bytes=jpegs["scene"],
        product_bytes=jpegs["product"],
        category=jpegs["category"],
    )
    for data in bad.values():
        for role, other in (("scene", "product"), ("product", "scene")):
            rows = list(jpegs[role])
            rows[1] = data
            outputs = call(
                signatures,
                "serving_default",
                **{
                    f"{role}_bytes": rows,
                    f"{other}_bytes": jpegs[other],
                    "category": jpegs["category"],
                },
            )
            others = np.arange(len(rows)) != 1
            np.testing.assert_allclose(
                outputs["hybrid_distance"][others], good["hybrid_distance"][others], atol=1e-5
            )
            assert outputs["valid"].tolist() == others.tolist()
            assert all(
                outputs[name][1] == 4
                for name in ("hybrid_distance", "global_distance", "local_distance")
            )
            assert outputs["compatibility"][1] == 0


def test_bad_pictures_in_the_embedding_signatures(signatures, jpegs):
    data = [jpegs["scene"][0], b"bad"]
    scene = call(signatures, "embed_scene", scene_bytes=data, category=jpegs["category"][:2])
    product = call(signatures, "embed_product", product_bytes=data)
    for outputs in (scene, product):
        assert outputs["valid"].tolist() == [True, False]
        assert all(np.isfinite(value.astype(float)).all() for value in outputs.values())
    assert not product["embedding"][1].any()


def test_categories_by_path_and_by_last_part(signatures, jpegs):
    scene, product = jpegs["scene"][:1] * 3, jpegs["product"][:1] * 3
    outputs = call(
        signatures,
        "serving_default",
        scene_bytes=scene,
        product_bytes=product,
        category=[SHOES, "Shoes", "Trousers"],
    )
    assert outputs["valid"].tolist() == [True, True, False]
    assert outputs["hybrid_distance"][0] == pytest.approx(outputs["hybrid_distance"][1], abs=1e-6)
    assert outputs["hybrid_distance"][2] == 4


def test_an_ambiguous_last_part_names_no_category():
    assert category_names(("Men|Shoes", "Women|Shoes", "Hats")) == {
        "Men|Shoes": 0,
        "Women|Shoes": 1,
        "Hats": 2,
    }


def test_empty_batch(signatures):
    empty = tf.zeros([0], tf.string)
    inputs = {"scene_bytes": empty, "product_bytes": empty, "category": empty}
    for name in ("serving_default", "embed_scene", "embed_product"):
        function = signatures[name][1]
        outputs = function(**{key: inputs[key] for key in function.structured_input_signature[1]})
        assert all(value.shape[0] == 0 for value in outputs.values())


def test_the_names_and_shapes_of_the_contract(signatures):
    contract = {
        "serving_default": (
            {"scene_bytes", "product_bytes", "category"},
            {
                "hybrid_distance": 1,
                "global_distance": 1,
                "local_distance": 1,
                "compatibility": 1,
                "valid": 1,
            },
        ),
        "embed_scene": (
            {"scene_bytes", "category"},
            {"query": 2, "global_embedding": 2, "attention": 3, "valid": 1},
        ),
        "embed_product": ({"product_bytes"}, {"embedding": 2, "valid": 1}),
        "score_embeddings": ({"query", "embedding"}, {"hybrid_distance": 1}),
    }
    assert set(signatures) == set(contract)
    for name, (inputs, ranks) in contract.items():
        function = signatures[name][1]
        assert set(function.structured_input_signature[1]) == inputs
        assert {key: spec.shape.rank for key, spec in function.structured_outputs.items()} == ranks


def test_only_stock_ops_and_each_variable_once(version, run):
    from tensorflow.core.protobuf import saved_model_pb2

    graph = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
    ops = {
        node.op
        for function in graph.meta_graphs[0].graph_def.library.function
        for node in function.node_def
    }
    assert "PyFunc" not in " ".join(ops)
    assert not any("XlaLaunch" in op for op in ops)
    model, _ = ctl.load_run(run)
    weights = {
        id(w): int(np.prod(w.shape))
        for tower in (model.scene_tower, model.product_tower)
        for w in tower.weights
    }
    size = (version / "variables" / "variables.data-00000-of-00001").stat().st_size
    assert size < 4 * sum(weights.values()) * 1.02 + 20_000


def warmup_records(version):
    from tensorflow_serving.apis import prediction_log_pb2

    raw = tf.data.TFRecordDataset(str(version / "assets.extra" / "tf_serving_warmup_requests"))
    logs = map(prediction_log_pb2.PredictionLog.FromString, raw.as_numpy_iterator())
    return [log.predict_log.request for log in logs]


def rows_of(request):
    (rows,) = {tf.make_ndarray(value).shape[0] for value in request.inputs.values()}
    return rows


@pytest.mark.parametrize("asked", [None, 1, 6])
def test_no_warmup_request_is_larger_than_the_manifest_says(run, tmp_path, asked, signatures):
    """A server whose `max_batch_size` is smaller would refuse to load the version."""
    version = ctl.export(run, tmp_path / "looks", warmup_batch_size=asked)
    most = json.loads((version / "manifest.json").read_text())["warmup_batch_size"]
    assert most == (asked or 1)
    sizes = {}
    for request in warmup_records(version):
        sizes.setdefault(request.model_spec.signature_name, []).append(rows_of(request))
    assert sizes == dict.fromkeys(signatures, [1, 2, 4, 6] if asked == 6 else [1])


def test_warmup_requests_cover_the_signatures_and_are_answered(version, signatures):
    requests = warmup_records(version)
    assert {request.model_spec.signature_name for request in requests} == set(signatures)
    for request in requests:
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        outputs = call(signatures, request.model_spec.signature_name, **inputs)
        assert outputs.get("valid", np.array([True])).all()


def test_manifest_and_model_card(version, run):
    manifest = json.loads((version / "manifest.json").read_text())
    assert manifest["settings"] == json.loads((run / "config.json").read_text())["model"]
    assert manifest["signatures"]["serving_default"]["inputs"]["scene_bytes"] == {
        "shape": [None],
        "dtype": "string",
    }
    assert manifest["signatures"]["embed_scene"]["outputs"]["attention"] == {
        "shape": [None, 8, 8],
        "dtype": "float32",
    }
    assert manifest["calibration"]["pairs"] > 0
    assert manifest["metrics"]["validation"]["val_loss"] > 0
    assert "saved_model.pb" in manifest["files"]
    card = (version / "MODEL_CARD.md").read_text()
    assert "Shoes" in card
    assert "`serving_default`" in card


CHECK = """
import sys
import numpy as np, tensorflow as tf
folder, arrays = sys.argv[1:]
stored = np.load(arrays, allow_pickle=False)
names = ("scene", "product", "category")
def rows(name):
    return np.split(stored[name], np.cumsum(stored[name + "_sizes"])[:-1])
data = {name: [bytes(row) for row in rows(name)] for name in names}
loaded = tf.saved_model.load(folder).signatures["serving_default"]
inputs = {"scene_bytes": "scene", "product_bytes": "product", "category": "category"}
outputs = loaded(**{key: tf.constant(data[name]) for key, name in inputs.items()})
modern = outputs["hybrid_distance"].numpy()
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    graph = tf.compat.v1.saved_model.load(session, ["serve"], folder)
    signature = graph.signature_def["serving_default"]
    feed = {signature.inputs[key].name: data[name] for key, name in
            (("scene_bytes", "scene"), ("product_bytes", "product"), ("category", "category"))}
    old = session.run(signature.outputs["hybrid_distance"].name, feed)
assert not any(name.startswith("ctl_keras") for name in sys.modules), "the package was imported"
expected = stored["hybrid_distance"]
print(tf.__version__, np.abs(modern - expected).max(), np.abs(old - expected).max())
assert np.abs(modern - expected).max() < 1e-4 and np.abs(old - expected).max() < 1e-4
"""


def check_elsewhere(python, version, signatures, jpegs, tmp_path):
    """Loads the export with `tf.saved_model.load` and into a TF1 session, in a process without the
    package."""
    rows = {name: jpegs[name] + [b"bad"] for name in ("scene", "product")}
    rows["category"] = [name.encode() for name in jpegs["category"]] + [b"Shoes"]
    outputs = call(
        signatures,
        "serving_default",
        scene_bytes=rows["scene"],
        product_bytes=rows["product"],
        category=rows["category"],
    )
    arrays = {name: np.frombuffer(b"".join(values), np.uint8) for name, values in rows.items()}
    sizes = {f"{name}_sizes": [len(value) for value in values] for name, values in rows.items()}
    np.savez(tmp_path / "rows.npz", **arrays, **sizes, hybrid_distance=outputs["hybrid_distance"])
    command = [python, "-c", CHECK, str(version), str(tmp_path / "rows.npz")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_answers_in_a_process_without_the_package(version, signatures, jpegs, tmp_path):
    check_elsewhere(sys.executable, version, signatures, jpegs, tmp_path)


def test_answers_the_same_on_the_other_stack(version, signatures, jpegs, tmp_path):
    """`CTL_OTHER_PYTHON` names the interpreter of the other stack; CI sets it."""
    other = os.environ.get("CTL_OTHER_PYTHON")
    if not other:
        pytest.skip("CTL_OTHER_PYTHON names no interpreter")
    said = check_elsewhere(other, version, signatures, jpegs, tmp_path)
    assert not said.startswith(tf.__version__)


@pytest.mark.parametrize("settings", [{"squared": False}, {"attention": "product"}])
def test_without_inner_product_the_pair_signature_is_exact_and_the_rest_says_so(
    settings, jpegs, tmp_path, drawn_pairs
):
    model = ctl.CompleteTheLook(drawn_pairs.categories, 32, **SMALL, **settings)
    folder = ctl.export(model, tmp_path / "looks")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["query_is_exact"] is False
    assert manifest["score_embeddings"].startswith("left out")
    assert manifest["calibration"] is None
    loaded = tf.saved_model.load(str(folder)).signatures
    assert set(loaded) == {"serving_default", "embed_scene", "embed_product"}
    inputs = {
        "scene_bytes": jpegs["scene"],
        "product_bytes": jpegs["product"],
        "category": jpegs["category"],
    }
    outputs = loaded["serving_default"](
        **{name: tf.constant(value) for name, value in inputs.items()}
    )
    distances = outputs["hybrid_distance"].numpy()
    assert np.abs(distances - keras_distances(model, jpegs)).max() < 1e-4
    np.testing.assert_allclose(
        outputs["compatibility"], UNCALIBRATED.probability(distances), atol=1e-5
    )


def test_versions_count_up_and_odd_names_are_ignored(run, tmp_path):
    model, _ = ctl.load_run(run)
    base = tmp_path / "looks"
    for name in ("latest", ".tmp-7-x", "007x", "0077"):
        (base / name).mkdir(parents=True)
    (base / "12").mkdir()
    assert versions(base) == [12]
    assert ctl.export(model, base).name == "13"
    with pytest.raises(ctl.InputError, match=r"looks.13 already exists"):
        ctl.export(model, base, version=13)
    with pytest.raises(ctl.InputError, match="`version` must be positive. Received: 0"):
        ctl.export(model, base, version=0)
    (tmp_path / "file").touch()
    with pytest.raises(ctl.InputError, match="is a file; name a folder such as saved_models/looks"):
        ctl.export(model, tmp_path / "file")


def test_an_export_that_fails_its_warmup_is_not_published(run, tmp_path):
    model, _ = ctl.load_run(run)
    layer = next(layer for layer in model.layers if layer.name == "style")
    layer.set_weights([np.full_like(weight, np.nan) for weight in layer.get_weights()])
    with pytest.raises(RuntimeError, match="The export fails its own warm-up"):
        ctl.export(model, tmp_path / "looks")
    assert list((tmp_path / "looks").iterdir()) == []


FULL_DISK = """
import resource, signal, sys
import ctl_keras as ctl
model, _ = ctl.load_run(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    ctl.export(model, sys.argv[2])
except Exception as error:
    print(type(error).__name__, error)
else:
    sys.exit("the export should have failed")
"""


@pytest.mark.parametrize("limit", [100, 500_000])  # in the weights, in the graph
def test_a_full_disk_leaves_nothing_that_a_server_would_load(run, tmp_path, limit):
    """Writes fail in the system itself, as on a full disk, at two points of the export."""
    base = tmp_path / "looks"
    command = [sys.executable, "-c", FULL_DISK, str(run), str(base), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Error" in done.stdout
    assert list(base.iterdir()) == []


@pytest.mark.slow
def test_the_real_resnet50_trains_and_is_exported(drawn_pairs, tmp_path, jpegs):
    """The default network, 2048 and 14x14x1024 features at 224 pixels, for two steps and one
    export."""
    model = ctl.CompleteTheLook(drawn_pairs.categories, weights="none")
    assert model.backbone.map_size == (14, 14)
    assert model.backbone.local_tap == "conv4_block6_out"
    model.compile("adam", loss=ctl.TripletLoss(margin=0.2), metrics=[ctl.TripletAccuracy()])
    dataset = ctl.triplets(drawn_pairs.take(np.arange(16)), batch_size=8)
    history = model.fit(dataset, epochs=1, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    folder = ctl.export(model, tmp_path / "looks")
    loaded = tf.saved_model.load(str(folder)).signatures["serving_default"]
    few = {name: values[:2] for name, values in jpegs.items()}
    outputs = loaded(
        scene_bytes=tf.constant(few["scene"]),
        product_bytes=tf.constant(few["product"]),
        category=tf.constant(few["category"]),
    )
    assert np.abs(outputs["hybrid_distance"].numpy() - keras_distances(model, few)).max() < 1e-4


@pytest.mark.parametrize(
    ("policy", "source"), [("mixed_float16", "image"), ("mixed_bfloat16", "map")]
)
def test_a_model_made_in_half_precision_is_exported_in_float32(policy, source, tmp_path, photo):
    """The answers are those of the same weights in float32."""
    keras.mixed_precision.set_global_policy(policy)
    settings = {**SMALL, "region_source": source, "regions": [2, 2]}
    model = ctl.CompleteTheLook(["a", "b"], 32, **settings)
    keras.mixed_precision.set_global_policy("float32")
    folder = ctl.export(model, tmp_path / "looks")
    assert json.loads((folder / "manifest.json").read_text())["precision"] == "float32"
    loaded = tf.saved_model.load(str(folder))
    graph = loaded.signatures["serving_default"].graph.as_graph_def()
    graphs = [graph.node, *(function.node_def for function in graph.library.function)]
    half = {tf.float16.as_datatype_enum, tf.bfloat16.as_datatype_enum}
    used = {node.attr["T"].type for nodes in graphs for node in nodes if "T" in node.attr}
    assert tf.float32.as_datatype_enum in used
    assert not used & half
    plain = ctl.export(model.copy(), tmp_path / "plain")
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG")
    picture = tf.constant([buffer.getvalue()])
    inputs = {"scene_bytes": picture, "product_bytes": picture, "category": tf.constant(["a"])}
    expected = tf.saved_model.load(str(plain)).signatures["serving_default"](**inputs)
    answer = loaded.signatures["serving_default"](**inputs)
    assert float(answer["hybrid_distance"][0]) == float(expected["hybrid_distance"][0])


def test_image_regions_can_be_exported_in_bfloat16(tmp_path):
    model = ctl.CompleteTheLook(["a"], 32, **SMALL, region_source="image", regions=[2, 2])
    ctl.export(model, tmp_path / "looks", precision="bfloat16")
