"""Requests for the tests of servers: real JPEGs, over both protocols."""

import base64
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import predict_pb2

from tests.serving.servers import NAME


def jpeg(seed: int) -> bytes:
    """A picture of coloured stripes, as a file."""
    colours = np.random.default_rng(seed).integers(256, size=(6, 1, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(np.repeat(np.repeat(colours, 10, axis=0), 48, axis=1)).save(
        data, "JPEG", quality=90
    )
    return data.getvalue()


def b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


SCENE, PRODUCT = jpeg(0), jpeg(1)
BAD = [b"", b"not a picture", SCENE[: len(SCENE) // 3], SCENE[:20] + b"garbage" * 9]


def different(count: int) -> list[bytes]:
    """Scenes that the model takes one by one: what is the same in a request goes through the
    network once."""
    return [SCENE + str(number).encode() for number in range(count)]


def row(category: str, scene: bytes = SCENE, product: bytes = PRODUCT) -> dict[str, Any]:
    return {"scene_bytes": b64(scene), "product_bytes": b64(product), "category": category}


def predict_request(
    signature: str = "", version: int | None = None, label: str = "", **inputs: Any
) -> predict_pb2.PredictRequest:
    """A gRPC request; inputs are what `tf.make_tensor_proto` takes, or tensor protos."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = NAME
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    if label:
        request.model_spec.version_label = label
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(
            value if hasattr(value, "tensor_shape") else tf.make_tensor_proto(value)
        )
    return request


def pair_request(
    category: str, scenes: Sequence[bytes] = (SCENE,), **spec: Any
) -> predict_pb2.PredictRequest:
    """Pairs of scenes with one product, over gRPC."""
    return predict_request(
        scene_bytes=scenes,
        product_bytes=[PRODUCT] * len(scenes),
        category=[category.encode()] * len(scenes),
        **spec,
    )


def arrays(response: predict_pb2.PredictResponse) -> dict[str, np.ndarray]:
    return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}


def body(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()
