"""Valid requests, mutated: the development server never answers with a 500, never dies, and still
answers the good ones.

`CTL_FUZZ_EXAMPLES` is the number of requests, half of them over REST; a failure's seed is shown.
"""

import copy
import json
import os
import random
from collections import Counter

import grpc
import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serving.payloads import PRODUCT, SCENE, arrays, b64, pair_request, predict_request, row
from tests.serving.servers import start

EXAMPLES = os.environ.get("CTL_FUZZ_EXAMPLES")
VECTOR = [0.25] * 16
REST = [
    {"instances": [row("Shoes"), row("Hats", PRODUCT)]},
    {
        "signature_name": "serving_default",
        "inputs": {name: [value, value] for name, value in row("Shoes").items()},
    },
    {"signature_name": "embed_product", "instances": [b64(PRODUCT), "no picture"]},
    {
        "signature_name": "embed_scene",
        "instances": [{"scene_bytes": b64(SCENE), "category": "Shoes"}],
    },
    {
        "signature_name": "score_embeddings",
        "inputs": {"query": [VECTOR, VECTOR], "embedding": [VECTOR, VECTOR]},
    },
    {"signature_name": "score_embeddings", "instances": [{"query": VECTOR, "embedding": VECTOR}]},
]
GRPC = [
    pair_request("Shoes", [SCENE, b"no picture"]),
    predict_request("embed_product", version=1, product_bytes=[PRODUCT]),
    predict_request(
        "score_embeddings",
        query=np.ones((2, 16), np.float32),
        embedding=np.ones((2, 16), np.float32),
    ),
]
NUMBERS = [
    *(0, -1, 1, 2**24 + 1, -(2**31) - 1, 2**63, -(2**63), 2**64, 10**400),
    *(0.5, 1e39, 1e308, float("nan"), float("-inf")),
]
TEXTS = [
    "",
    "b64",
    "instances",
    "Shoes",
    "\ud800",
    "\x00",
    "é" * 9,
    "***",
    "x" * 3000,
    "__saved_model_init_op",
]
PATHS = [
    *[":predict"] * 40,
    *(
        "/versions/1:predict",
        "/versions/99:predict",
        "/labels/a:predict",
        "/metadata",
        "",
        "/%00",
        "/%FF:predict",
    ),
]
METHODS = [
    *["PredictionService/Predict"] * 12,
    *(
        "PredictionService/GetModelMetadata",
        "ModelService/GetModelStatus",
        "PredictionService/Classify",
    ),
]
INSERTED = [b"[" * 3000, b'{"a":' * 3000, b"\xff\xfe", b"\x00", b"Infinity", b"9" * 5000]
OF_THE_SERVER = {"INTERNAL", "UNKNOWN", "UNAVAILABLE", "DATA_LOSS"}
seen: dict[str, Counter] = {"REST": Counter(), "gRPC": Counter()}
# seeds, not hypothesis's own randoms: those prefer the smallest choices, and a seed is enough to
# see a failure again
RANDOM = st.integers(0, 2**64 - 1).map(random.Random)
limits = settings(
    max_examples=int(EXAMPLES or 300) // 2,
    deadline=None,
    database=None,
    derandomize=EXAMPLES is None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)


@pytest.fixture(scope="module")
def running(exported, tmp_path_factory):
    server = start(
        "development",
        exported,
        tmp_path_factory.mktemp("fuzzed"),
        options=("--max-request-mb", "1"),
    )
    yield server
    assert server.stop() == 0
    assert not any("Traceback" in line for line in server.log)


@pytest.fixture(scope="module")
def client():
    with httpx.Client(timeout=120) as client:
        yield client


def any_value(rng: random.Random) -> object:
    kind = rng.randrange(7)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind == 1:
        return rng.choice(NUMBERS)
    if kind == 2:
        return rng.choice(TEXTS)
    if kind == 3:
        return {"b64": rng.choice([*TEXTS, 1, "AAAA", "AA", "AA=A"])}
    if kind == 4:
        value = rng.choice([1, "a", []])
        for _ in range(rng.choice([1, 3, 40])):
            value = [value]
        return value
    if kind == 5:
        return [rng.choice(NUMBERS[:5]) for _ in range(rng.choice([0, 1, 16, 17]))]
    return {rng.choice(TEXTS): rng.choice(NUMBERS) for _ in range(rng.randrange(3))}


def places(value: object) -> list[tuple]:
    """Every container in a document with each of its keys."""
    keys = (
        value.keys()
        if isinstance(value, dict)
        else range(len(value))
        if isinstance(value, list)
        else ()
    )
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


def mutate_document(document: dict, rng: random.Random) -> dict:
    document = copy.deepcopy(document)
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        container, key = rng.choice(places(document) or [(document, "instances")])
        action = rng.randrange(5)
        if action == 0:
            container.pop(key, None) if isinstance(container, dict) else container.pop(key)
        elif action == 1 and isinstance(container, list):
            container.insert(key, copy.deepcopy(container[key]))
        elif action == 2 and isinstance(container, dict):
            container[rng.choice(TEXTS)] = copy.deepcopy(container.get(key))
        else:
            container[key] = any_value(rng)
    return document


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    action, at = rng.randrange(16), rng.randrange(len(data) + 1)
    if action == 0:
        return data[:at]
    if action == 1:
        return data[:at] + rng.randbytes(rng.randint(1, 8)) + data[at:]
    if action == 2:
        return data[:at] + rng.randbytes(1) + data[at + 1 :]
    if action == 3:
        return data[:at] + rng.choice(INSERTED) + data[at:]
    return data  # most documents stay JSON


def mutate_request(request, rng: random.Random):
    mutated = type(request).FromString(request.SerializeToString())
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        names = list(mutated.inputs)
        action = rng.randrange(10)
        if action == 0:
            mutated.model_spec.signature_name = rng.choice(
                ["", "embed_product", "nothing", "__saved_model_init_op"]
            )
        elif action == 1:
            mutated.output_filter.append(rng.choice(["valid", "embedding", "nothing", ""]))
        elif action == 2:
            mutated.model_spec.version.value = rng.choice([1, 0, -1, 2**63 - 1])
        elif action == 3:
            mutated.model_spec.version_label = rng.choice(["", "stable", "é"])
        elif action == 4 and names:
            mutated.inputs[rng.choice([*names, "extra"])].CopyFrom(
                mutated.inputs[rng.choice(names)]
            )
        elif action == 5 and names:
            mutated.inputs.pop(rng.choice(names))
        elif names:
            mutate_tensor(mutated.inputs[rng.choice(names)], rng)
    return mutated


def mutate_tensor(tensor, rng: random.Random) -> None:
    action, dims = rng.randrange(6), tensor.tensor_shape.dim
    if action == 0:
        tensor.dtype = rng.choice([*range(31), 101, 107, 999])
    elif action == 1 and dims:
        dims[rng.randrange(len(dims))].size = rng.choice(
            [-1, 0, 1, 2, 3, 16, 64, 2**20, 2**40, 2**62]
        )
    elif action == 2:
        (
            dims.add(size=rng.choice([0, 1, 2, 2**33]))
            if rng.random() < 0.6 or not dims
            else dims.pop()
        )
    elif action == 3:
        tensor.tensor_content = rng.randbytes(rng.choice([0, 1, 4, 64, 128]))
    elif action == 4:
        field = rng.choice(
            [
                "float_val",
                "int_val",
                "string_val",
                "bool_val",
                "half_val",
                "double_val",
                "int64_val",
            ]
        )
        value = {"string_val": b"\xff", "bool_val": True, "float_val": float("nan")}.get(field, -1)
        (
            getattr(tensor, field).extend([value] * rng.choice([1, 16, 33]))
            if rng.random() < 0.7
            else tensor.ClearField(field)
        )
    else:
        tensor.tensor_shape.unknown_rank = rng.random() < 0.5


@limits
@given(RANDOM)
def test_over_rest(running, client, rng):
    document = mutate_document(rng.choice(REST), rng)
    data = mutate_bytes(json.dumps(document).encode(), rng)
    method = rng.choice(["POST"] * 40 + ["GET", "PUT", "HEAD", "OPTIONS"])
    answer = client.request(method, running.rest + rng.choice(PATHS), content=data)
    seen["REST"][answer.status_code == 200] += 1
    assert answer.status_code in (200, 400, 404, 413), answer.text
    if method != "HEAD":
        assert isinstance(answer.json(), dict)
        assert ("error" in answer.json()) == (answer.status_code != 200)


@limits
@given(RANDOM)
def test_over_grpc(running, rng):
    data = mutate_bytes(mutate_request(rng.choice(GRPC), rng).SerializeToString(), rng)
    call = running.channel.unary_unary(f"/tensorflow.serving.{rng.choice(METHODS)}").future(
        data, timeout=120
    )
    seen["gRPC"][call.code() is grpc.StatusCode.OK] += 1
    assert call.code().name not in OF_THE_SERVER, call.details()


@pytest.mark.parametrize("protocol", seen)
def test_mutations_neither_spoil_all_nor_none(protocol):
    answered, refused = seen[protocol][True], seen[protocol][False]
    print(f"{protocol}: {answered} answered, {refused} refused")
    assert min(answered, refused) > 0.1 * (answered + refused)


def test_still_answers(running, client):
    """What the good requests get after all that."""
    answer = client.post(running.rest + ":predict", json=REST[0])
    assert answer.status_code == 200
    outputs = arrays(running.prediction.Predict(GRPC[0], timeout=60))
    assert outputs["valid"].tolist() == [True, False]
    assert answer.json()["predictions"][0]["hybrid_distance"] == pytest.approx(
        outputs["hybrid_distance"][0], abs=1e-5
    )
    assert running.process.poll() is None
