"""One table of requests and the status codes that TensorFlow Serving answers: for the development
server, and for the real one when `CTL_TF_SERVING` names its binary.

Where a code is not from docs or from a real server, it follows TensorFlow Serving's
util/json_tensor.cc, model_servers/http_rest_api_util.cc and servables/tensorflow/predict_util.cc.
"""

import gzip
import json

import grpc
import httpx
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from tests.serving.payloads import (
    BAD,
    PRODUCT,
    SCENE,
    arrays,
    b64,
    body,
    pair_request,
    predict_request,
    row,
)
from tests.serving.servers import NAME

VECTOR = [0.25] * 16
FLOATS = np.ones((2, 16), np.float32)
NONE, THREE = FLOATS[:0], np.ones((3, 16), np.float32)
PAIR = {"query": VECTOR, "embedding": VECTOR}
OUTPUTS = {"hybrid_distance", "global_distance", "local_distance", "compatibility", "valid"}


def by_signature(signature: str, **request) -> dict:
    return {"signature_name": signature, **request}


def scored(**request) -> dict:
    return by_signature("score_embeddings", **request)


# name -> (status, path after the model's URL, body); strings of a body that are "CATEGORY" stand
# for one of the model's
POST = {
    "rows": (200, ":predict", {"instances": [row("CATEGORY"), row("CATEGORY", PRODUCT)]}),
    "columns": (
        200,
        ":predict",
        {"inputs": {name: [value] for name, value in row("CATEGORY").items()}},
    ),
    "rows of numbers": (200, ":predict", scored(instances=[PAIR, PAIR])),
    "columns of numbers": (
        200,
        ":predict",
        scored(inputs={"query": [VECTOR], "embedding": [VECTOR]}),
    ),
    "plain rows of a single input": (
        200,
        ":predict",
        by_signature("embed_product", instances=[b64(PRODUCT)]),
    ),
    "plain column of a single input": (
        200,
        ":predict",
        by_signature("embed_product", inputs=[b64(PRODUCT)]),
    ),
    "named column of one input": (
        200,
        ":predict",
        by_signature("embed_product", inputs={"product_bytes": [b64(PRODUCT)]}),
    ),
    "default signature by name": (
        200,
        ":predict",
        by_signature("serving_default", instances=[row("CATEGORY")]),
    ),
    "empty signature name": (200, ":predict", by_signature("", instances=[row("CATEGORY")])),
    "a version": (200, "/versions/1:predict", {"instances": [row("CATEGORY")]}),
    "a label": (200, "/labels/stable:predict", {"instances": [row("CATEGORY")]}),
    "text for pictures": (
        200,
        ":predict",
        {"instances": [{**row("CATEGORY"), "scene_bytes": "not a picture"}]},
    ),
    "unknown category": (200, ":predict", {"instances": [row("Spaceships")]}),
    "b64 without padding": (
        200,
        ":predict",
        by_signature("embed_product", instances=[{"b64": "AAA"}]),
    ),
    "unknown keys beside the inputs": (
        200,
        ":predict",
        {"instances": [row("CATEGORY")], "comment": 1},
    ),
    "extra column": (
        200,
        ":predict",
        {"inputs": {**{k: [v] for k, v in row("CATEGORY").items()}, "extra": [1]}},
    ),
    "integers for decimals": (
        200,
        ":predict",
        scored(instances=[{"query": [1] * 16, "embedding": VECTOR}]),
    ),
    "NaN": (200, ":predict", scored(instances=[{**PAIR, "query": [float("nan")] * 16}])),
    "no rows in columns": (
        200,
        ":predict",
        {"inputs": {"scene_bytes": [], "product_bytes": [], "category": []}},
    ),
    "path in capitals": (200, ":PREDICT", {"instances": [row("CATEGORY")]}),
    "no rows": (400, ":predict", {"instances": []}),
    "instances is no list": (400, ":predict", {"instances": row("CATEGORY")}),
    "instances and inputs": (400, ":predict", {"instances": [row("CATEGORY")], "inputs": {}}),
    "neither instances nor inputs": (400, ":predict", {"signature_name": "serving_default"}),
    "unknown signature": (400, ":predict", by_signature("nothing", instances=[row("CATEGORY")])),
    "signature name is a number": (
        400,
        ":predict",
        {"signature_name": 1, "instances": [row("CATEGORY")]},
    ),
    "the signature that initialises": (
        400,
        ":predict",
        by_signature("__saved_model_init_op", instances=[1]),
    ),
    "missing input in a row": (
        400,
        ":predict",
        {"instances": [{"scene_bytes": b64(SCENE), "category": "CATEGORY"}]},
    ),
    "missing column": (
        400,
        ":predict",
        {"inputs": {"scene_bytes": [b64(SCENE)], "category": ["CATEGORY"]}},
    ),
    "extra input in a row": (400, ":predict", {"instances": [{**row("CATEGORY"), "extra": 1}]}),
    "plain rows for several inputs": (400, ":predict", {"instances": ["a"]}),
    "plain column for several inputs": (400, ":predict", {"inputs": ["a"]}),
    "rows of several kinds": (
        400,
        ":predict",
        by_signature("embed_product", instances=[{"product_bytes": "a"}, "b"]),
    ),
    "number for a string": (400, ":predict", {"instances": [{**row("CATEGORY"), "category": 7}]}),
    "null for a string": (400, ":predict", {"instances": [{**row("CATEGORY"), "category": None}]}),
    "object for a string": (
        400,
        ":predict",
        {"instances": [{**row("CATEGORY"), "category": {"b65": "AAAA"}}]},
    ),
    "string for a number": (400, ":predict", scored(instances=[{**PAIR, "query": ["1.0"] * 16}])),
    "bool for a number": (400, ":predict", scored(instances=[{**PAIR, "query": [True] * 16}])),
    "b64 for a number": (400, ":predict", scored(instances=[{**PAIR, "query": b64(b"1")}])),
    "invalid b64": (400, ":predict", by_signature("embed_product", instances=[{"b64": "***"}])),
    "ragged column": (
        400,
        ":predict",
        scored(inputs={"query": [VECTOR, VECTOR[:3]], "embedding": [VECTOR] * 2}),
    ),
    "ragged rows": (400, ":predict", scored(instances=[PAIR, {**PAIR, "query": VECTOR[:3]}])),
    "a number among lists": (
        400,
        ":predict",
        scored(inputs={"query": [VECTOR, 1.0], "embedding": [VECTOR] * 2}),
    ),
    "rows that do not match": (
        400,
        ":predict",
        scored(inputs={"query": [VECTOR] * 2, "embedding": [VECTOR] * 3}),
    ),
    "integer too big to be exact": (
        400,
        ":predict",
        scored(instances=[{**PAIR, "query": [2**24 + 1] * 16}]),
    ),
    "decimal too big for float": (
        400,
        ":predict",
        scored(instances=[{**PAIR, "query": [1e39] * 16}]),
    ),
    "decimal too big for double": (400, ":predict", b'{"instances": [1e999]}'),
    "no body": (400, ":predict", b""),
    "no object": (400, ":predict", []),
    "cut JSON": (400, ":predict", body({"instances": [row("CATEGORY")]})[:-9]),
    "text behind the JSON": (400, ":predict", body({"instances": [row("CATEGORY")]}) + b"x"),
    "no JSON": (400, ":predict", SCENE),
    "half a character": (
        400,
        ":predict",
        {"instances": [{**row("CATEGORY"), "category": "\ud800"}]},
    ),
    "nested lists": (400, ":predict", b'{"instances": %s1%s}' % (b"[" * 50, b"]" * 50)),
    "classify": (400, ":classify", {"examples": [{"a": 1}]}),
    "unknown method": (400, ":transform", {"instances": [row("CATEGORY")]}),
    "no method": (400, "", {"instances": [row("CATEGORY")]}),
    "version beyond 64 bits": (400, f"/versions/{2**64}:predict", {"instances": [row("CATEGORY")]}),
    "unknown label": (400, "/labels/canary:predict", {"instances": [row("CATEGORY")]}),
    "unknown version": (404, "/versions/7:predict", {"instances": [row("CATEGORY")]}),
}
GET = {
    "status": (200, ""),
    "status of a version": (200, "/versions/1"),
    "status of an unknown version": (404, "/versions/7"),
    "metadata": (200, "/metadata"),
    "metadata of a version": (200, "/versions/1/metadata"),
    "metadata of a label": (200, "/labels/stable/metadata"),
    "metadata of an unknown version": (404, "/versions/7/metadata"),
    "GET for POST": (400, ":predict"),
    "unknown resource": (400, "/nothing"),
}
# name -> (status, request); the category is filled in
GRPC = {
    "rows": ("OK", pair_request("CATEGORY", [SCENE, PRODUCT])),
    "no rows": (
        "OK",
        predict_request("embed_product", product_bytes=tf.make_tensor_proto([], tf.string, [0])),
    ),
    "no rows of vectors": ("OK", predict_request("score_embeddings", query=NONE, embedding=NONE)),
    "a version": ("OK", pair_request("CATEGORY", version=1)),
    "a label": ("OK", pair_request("CATEGORY", label="stable")),
    "unknown version": ("NOT_FOUND", pair_request("CATEGORY", version=7)),
    "unknown label": ("INVALID_ARGUMENT", pair_request("CATEGORY", label="canary")),
    "unknown signature": ("FAILED_PRECONDITION", pair_request("CATEGORY", signature="nothing")),
    "no inputs": ("INVALID_ARGUMENT", predict_request()),
    "missing input": (
        "INVALID_ARGUMENT",
        predict_request(scene_bytes=[SCENE], product_bytes=[PRODUCT]),
    ),
    "extra input": (
        "INVALID_ARGUMENT",
        predict_request("embed_product", product_bytes=[PRODUCT], extra=[1]),
    ),
    "other input": ("INVALID_ARGUMENT", predict_request("embed_product", extra=[PRODUCT])),
    "floats for strings": (
        "INVALID_ARGUMENT",
        predict_request("embed_product", product_bytes=[1.0]),
    ),
    "doubles for floats": (
        "INVALID_ARGUMENT",
        predict_request("score_embeddings", query=FLOATS.astype("d"), embedding=FLOATS),
    ),
    "rows that do not match": (
        "INVALID_ARGUMENT",
        predict_request("score_embeddings", query=FLOATS, embedding=THREE),
    ),
    "no type": (
        "INVALID_ARGUMENT",
        predict_request("embed_product", product_bytes=tf.make_tensor_proto([1]).__class__()),
    ),
}


def fill(value, category):
    """The body with the model's category in it."""
    return body(value).replace(b'"CATEGORY"', json.dumps(category).encode())


@pytest.mark.parametrize("name", POST)
def test_post(server, category, name):
    status, path, value = POST[name]
    answer = httpx.post(server.rest + path, content=fill(value, category), timeout=60)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    wanted = (
        "error" if status != 200 else "outputs" if b'"inputs"' in body(value) else "predictions"
    )
    assert set(answer.json()) == {wanted}


@pytest.mark.parametrize("name", GET)
def test_get(server, name):
    status, path = GET[name]
    answer = httpx.get(server.rest + path, timeout=60)
    assert answer.status_code == status, answer.text
    assert ("error" in answer.json()) == (status != 200)


@pytest.mark.parametrize("name", GRPC)
def test_grpc(server, category, name):
    status, request = GRPC[name]
    filled = type(request).FromString(request.SerializeToString())
    if "category" in filled.inputs:
        filled.inputs["category"].string_val[:] = [category.encode()] * len(
            filled.inputs["category"].string_val
        )
    if status == "OK":
        response = server.prediction.Predict(filled, timeout=60)
        assert response.model_spec.version.value == (
            1 if request.model_spec.WhichOneof("version_choice") else 2
        )
        rows = {len(value) for value in arrays(response).values()}
        assert rows == {len(next(iter(arrays_of(filled).values())))}
    else:
        assert refused(lambda: server.prediction.Predict(filled, timeout=60)) == status


def arrays_of(request):
    return {name: tf.make_ndarray(value) for name, value in request.inputs.items()}


def refused(call) -> str:
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value.code().name


def test_other_models_and_paths_are_not_found(server):
    root = server.rest.split("/v1/")[0]
    for path in ("/", "/v2/models/looks", "/metrics"):
        assert httpx.get(root + path, timeout=60).status_code == 404
    assert httpx.get(f"{root}/v1/models/other", timeout=60).status_code == 404
    assert httpx.get(f"{root}/v1/models", timeout=60).status_code == 400
    rows = {"instances": [row("Shoes")]}
    assert httpx.post(f"{root}/v1/models/other:predict", json=rows, timeout=60).status_code == 404
    # the JSON is read first
    assert (
        httpx.post(f"{root}/v1/models/other:predict", content=b"{", timeout=60).status_code == 400
    )


def test_rows_and_columns_say_the_same_over_both_protocols(server, category):
    rows = [row(category), row(category, PRODUCT, SCENE), row("Spaceships")]
    by_row = httpx.post(server.rest + ":predict", json={"instances": rows}, timeout=60).json()[
        "predictions"
    ]
    columns = {name: [value[name] for value in rows] for name in rows[0]}
    by_column = httpx.post(server.rest + ":predict", json={"inputs": columns}, timeout=60).json()[
        "outputs"
    ]
    as_bytes = {
        "scene_bytes": [SCENE, PRODUCT, SCENE],
        "product_bytes": [PRODUCT, SCENE, PRODUCT],
        "category": columns["category"],
    }
    by_grpc = arrays(server.prediction.Predict(predict_request(**as_bytes), timeout=60))
    assert set(by_row[0]) == set(by_column) == set(by_grpc) == OUTPUTS
    for name in OUTPUTS:
        assert [value[name] for value in by_row] == by_column[name]
        # the digits give the same float32
        assert np.array_equal(np.array(by_column[name], by_grpc[name].dtype), by_grpc[name])
    # those of a float32, not of a double
    assert all(len(repr(distance)) <= 11 for distance in by_column["local_distance"])
    assert by_column["valid"] == [True, True, False]
    assert by_column["hybrid_distance"][2] == 4.0


def test_a_single_output_stands_by_itself(server):
    rows = httpx.post(server.rest + ":predict", json=scored(instances=[PAIR]), timeout=60).json()
    columns = httpx.post(
        server.rest + ":predict",
        json=scored(inputs={"query": [VECTOR], "embedding": [VECTOR]}),
        timeout=60,
    )
    assert rows == {"predictions": [1.0]}
    assert columns.json() == {"outputs": [1.0]}


def test_nothing_in_nothing_out(server):
    columns = {"scene_bytes": [], "product_bytes": [], "category": []}
    answer = httpx.post(server.rest + ":predict", json={"inputs": columns}, timeout=60).json()
    assert answer == {"outputs": {name: [] for name in OUTPUTS}}


def test_output_filter(server, category):
    request = pair_request(category)
    everything = arrays(server.prediction.Predict(request, timeout=60))
    request.output_filter[:] = ["valid", "hybrid_distance"]
    some = arrays(server.prediction.Predict(request, timeout=60))
    assert set(some) == {"valid", "hybrid_distance"}
    assert some["hybrid_distance"] == everything["hybrid_distance"]
    for wrong in (["nothing"], ["valid", "valid"]):
        request.output_filter[:] = wrong
        assert refused(lambda: server.prediction.Predict(request, timeout=60)) == "INVALID_ARGUMENT"


def test_answers_are_in_the_typed_fields(server, category):
    outputs = server.prediction.Predict(pair_request(category), timeout=60).outputs
    assert len(outputs["hybrid_distance"].float_val) == 1
    assert list(outputs["valid"].bool_val) == [True]


def test_metadata(server):
    over_rest = httpx.get(server.rest + "/metadata", timeout=60).json()
    assert over_rest["model_spec"]["name"] == NAME
    assert over_rest["model_spec"]["version"] == "2"
    signatures = over_rest["metadata"]["signature_def"]["signature_def"]
    assert {"serving_default", "embed_scene", "embed_product", "score_embeddings"} <= set(
        signatures
    )
    query = signatures["score_embeddings"]["inputs"]["query"]
    assert query["dtype"] == "DT_FLOAT"
    assert [dim["size"] for dim in query["tensor_shape"]["dim"]] == ["-1", "16"]
    assert set(signatures["serving_default"]["outputs"]) == OUTPUTS

    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = NAME
    response = server.prediction.GetModelMetadata(request, timeout=60)
    over_grpc = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(over_grpc)
    assert response.model_spec.version.value == 2
    assert set(over_grpc.signature_def) == set(signatures)
    for wrong in ([], ["graph"]):
        request.metadata_field[:] = wrong
        assert (
            refused(lambda: server.prediction.GetModelMetadata(request, timeout=60))
            == "INVALID_ARGUMENT"
        )


def test_status(server):
    good = {"error_code": "OK", "error_message": ""}
    states = [{"version": version, "state": "AVAILABLE", "status": good} for version in ("2", "1")]
    assert httpx.get(server.rest, timeout=60).json() == {"model_version_status": states}
    request = get_model_status_pb2.GetModelStatusRequest()
    assert refused(lambda: server.models.GetModelStatus(request, timeout=60)) == "INVALID_ARGUMENT"
    request.model_spec.name = NAME
    over_grpc = server.models.GetModelStatus(request, timeout=60).model_version_status
    assert [(entry.version, entry.State.Name(entry.state)) for entry in over_grpc] == [
        (2, "AVAILABLE"),
        (1, "AVAILABLE"),
    ]
    request.model_spec.version.value = 7
    assert refused(lambda: server.models.GetModelStatus(request, timeout=60)) == "NOT_FOUND"


def test_bad_pictures_flag_their_rows_only(server, category):
    alone = arrays(server.prediction.Predict(pair_request(category), timeout=60))["hybrid_distance"]
    mixed = arrays(
        server.prediction.Predict(pair_request(category, [SCENE, *BAD, SCENE]), timeout=60)
    )
    assert mixed["valid"].tolist() == [True, *[False] * len(BAD), True]
    assert np.allclose(mixed["hybrid_distance"][[0, -1]], alone, rtol=0, atol=1e-5)
    assert (mixed["hybrid_distance"][1:-1] == 4).all()


def test_gzip_body(server, category):
    packed = gzip.compress(body({"instances": [row(category)]}))
    answer = httpx.post(
        server.rest + ":predict", content=packed, headers={"Content-Encoding": "gzip"}, timeout=60
    )
    assert answer.status_code == 200, answer.text
