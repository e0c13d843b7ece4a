"""What the development server answers, TensorFlow Serving answers: both are asked the same."""

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
PAIR = {"query": VECTOR, "embedding": VECTOR}
COLUMNS = {name: [value, value] for name, value in row("CATEGORY").items()}
# name -> path after the model's URL, and body; "CATEGORY" stands for one of the model's
POST = {
    "rows": (":predict", {"instances": [row("CATEGORY"), row("CATEGORY", PRODUCT)]}),
    "columns": (":predict", {"inputs": COLUMNS}),
    "an extra column": (":predict", {"inputs": {**COLUMNS, "extra": [1]}}),
    "no rows": (":predict", {"inputs": {key: [] for key in COLUMNS}}),
    "bad pictures": (":predict", {"instances": [row("CATEGORY", bad) for bad in BAD]}),
    "an unknown category": (":predict", {"instances": [row("Spaceships")]}),
    "rows of numbers": (
        ":predict",
        {"signature_name": "score_embeddings", "instances": [PAIR, PAIR]},
    ),
    "columns of numbers": (
        ":predict",
        {"signature_name": "score_embeddings", "inputs": {name: [VECTOR] for name in PAIR}},
    ),
    "integers for decimals": (
        ":predict",
        {"signature_name": "score_embeddings", "instances": [{**PAIR, "query": [1] * 16}]},
    ),
    "an only input without its name": (
        ":predict",
        {"signature_name": "embed_product", "instances": [b64(PRODUCT), "no picture"]},
    ),
    "an only column without its name": (
        ":predict",
        {"signature_name": "embed_product", "inputs": [b64(PRODUCT)]},
    ),
    "b64 without padding": (
        ":predict",
        {"signature_name": "embed_product", "instances": [{"b64": "AAA"}]},
    ),
    "a version": ("/versions/1:predict", {"instances": [row("CATEGORY")]}),
    "a label": ("/labels/stable:predict", {"instances": [row("CATEGORY")]}),
}
# refused with a 4xx and an "error"
REFUSED = {
    "an unknown version": ("/versions/7:predict", {"instances": [row("CATEGORY")]}),
    "an unknown signature": (":predict", {"signature_name": "nothing", "instances": [1]}),
    "a missing input": (":predict", {"instances": [{"category": "CATEGORY"}]}),
    "an extra input": (":predict", {"instances": [{**row("CATEGORY"), "extra": 1}]}),
    "a string for a number": (
        ":predict",
        {"signature_name": "score_embeddings", "instances": [{**PAIR, "query": ["1.0"] * 16}]},
    ),
    "a number for a string": (":predict", {"instances": [{**row("CATEGORY"), "category": 7}]}),
    "ragged rows": (
        ":predict",
        {"signature_name": "score_embeddings", "instances": [PAIR, {**PAIR, "query": VECTOR[:3]}]},
    ),
    "no JSON": (":predict", b"{"),
    "no body": (":predict", b""),
    "another method": (":transform", {"instances": [row("CATEGORY")]}),
}
GRPC = {
    "pairs": pair_request("CATEGORY", [SCENE, *BAD, PRODUCT]),
    "no rows": predict_request(
        "embed_product", product_bytes=tf.make_tensor_proto([], tf.string, [0])
    ),
    "a version": pair_request("CATEGORY", version=1),
    "a label": pair_request("CATEGORY", label="stable"),
    "an unknown version": pair_request("CATEGORY", version=7),
    "an unknown signature": pair_request("CATEGORY", signature="nothing"),
    "a missing input": predict_request(scene_bytes=[SCENE], product_bytes=[PRODUCT]),
    "floats for strings": predict_request("embed_product", product_bytes=[1.0]),
}


def post(server, category, path, value):
    content = body(value).replace(b'"CATEGORY"', json.dumps(category).encode())
    return httpx.post(server.rest + path, content=content, timeout=60)


def assert_alike(one, other):
    """The same JSON; numbers may differ in the last digits."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_alike(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_alike(*pair)
    else:
        assert one == (pytest.approx(other, abs=1e-5) if isinstance(one, float) else other)


@pytest.mark.parametrize("name", POST)
def test_rest(server, development, category, name):
    answers = [post(one, category, *POST[name]) for one in (server, development)]
    assert [answer.status_code for answer in answers] == [200, 200], answers[1].text
    assert_alike(*[answer.json() for answer in answers])


def test_digits_are_those_of_float32(development, category):
    rows = post(development, category, *POST["rows"]).json()["predictions"]
    assert all(len(repr(value["local_distance"])) <= 11 for value in rows)


@pytest.mark.parametrize("name", REFUSED)
def test_rest_refuses(server, development, category, name):
    answers = [post(one, category, *REFUSED[name]) for one in (server, development)]
    codes = [answer.status_code for answer in answers]
    assert codes[0] == codes[1] in (400, 404)
    assert all(answer.json().keys() == {"error"} for answer in answers)


@pytest.mark.parametrize("path", ["", "/versions/1", "/metadata", "/labels/stable/metadata"])
def test_status_and_metadata_over_rest(server, development, path):
    answers = [httpx.get(one.rest + path, timeout=60) for one in (server, development)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()


@pytest.mark.parametrize("path", ["/v1/models/other", "/v1/models/looks/versions/7", "/metrics"])
def test_what_is_not_there(server, development, path):
    roots = [one.rest.split("/v1/")[0] for one in (server, development)]
    assert {httpx.get(root + path, timeout=60).status_code for root in roots} == {404}


@pytest.mark.parametrize("name", GRPC)
def test_grpc(server, development, category, name):
    request = type(GRPC[name]).FromString(GRPC[name].SerializeToString())
    if "category" in request.inputs:
        names = request.inputs["category"].string_val
        names[:] = [category.encode()] * len(names)

    def ask(one):
        try:
            return one.prediction.Predict(request, timeout=60)
        except grpc.RpcError as error:
            return error.code()

    wanted, answer = ask(server), ask(development)
    if isinstance(wanted, grpc.StatusCode):
        assert answer is wanted
        return
    assert answer.model_spec == wanted.model_spec
    assert answer.outputs.keys() == wanted.outputs.keys()
    for output, value in arrays(wanted).items():
        np.testing.assert_allclose(arrays(answer)[output], value, rtol=0, atol=1e-5)
        assert answer.outputs[output].dtype == wanted.outputs[output].dtype
    # clients that read the typed fields work on both
    fields = [str(one.outputs["valid"]).split() for one in (answer, wanted)]
    assert fields[0] == fields[1]


def test_an_output_filter(server, development, category):
    request = pair_request(category)
    request.output_filter[:] = ["valid", "hybrid_distance"]
    for one in (server, development):
        outputs = one.prediction.Predict(request, timeout=60).outputs
        assert set(outputs) == {"valid", "hybrid_distance"}


def test_status_and_metadata_over_grpc(server, development):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    status = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = status.model_spec.name = NAME
    servers = (server, development)
    answers = [one.prediction.GetModelMetadata(request, timeout=60) for one in servers]
    signatures = [get_model_metadata_pb2.SignatureDefMap() for _ in answers]
    for answer, unpacked in zip(answers, signatures, strict=True):
        answer.metadata["signature_def"].Unpack(unpacked)
    assert answers[0].model_spec == answers[1].model_spec
    assert signatures[0] == signatures[1]
    states = [one.models.GetModelStatus(status, timeout=60) for one in servers]
    assert states[0] == states[1]
