"""TensorFlow Serving's REST routes: which URL asks for what, and the JSON of the answers.

Follows model_servers/http_rest_api_util.cc and http_rest_api_handler.cc; nothing here knows of
sockets.
"""

import inspect
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import numpy as np
from google.protobuf import json_format

from ctl_keras.serving.json_tensors import answer, inputs_of, parse, signature_name
from ctl_keras.serving.prediction import SIGNATURES, Prediction
from ctl_keras.serving.refused_error import RefusedError, invalid

_TIMEOUT = 30.0  # of TensorFlow Serving's rest_api_timeout_in_ms
_MODEL = r"(?i:/v1/models)/(?P<name>[^/:]+)"
_MODEL += r"(?:/(?i:versions)/(?P<version>\d+)|/(?i:labels)/(?P<label>[^/:]+))?"
_POST = re.compile(_MODEL + r":(?P<method>(?i:classify|regress|predict))")
_GET = re.compile(_MODEL + r"(?P<metadata>/(?i:metadata))?")
# the argument that prints fields with their defaults was renamed in protobuf 5.26
_PRINTS_DEFAULTS = next(
    name
    for name in ("always_print_fields_with_no_presence", "including_default_value_fields")
    if name in inspect.signature(json_format.MessageToDict).parameters
)


def respond(prediction: Prediction, method: str, path: str, body: bytes) -> tuple[int, bytes]:
    """Answers one request.

    Args:
        prediction: answers what the URL asks for.
        method: "GET", "POST" or another one, which is refused.
        path: of the URL, still percent-encoded.
        body: the request's.

    Returns:
        HTTP status and JSON. Refusals are `{"error": "…"}`.
    """
    try:
        return 200, _answer(prediction, method, path, body)
    except RefusedError as refusal:
        return refusal.http, error_json(str(refusal))


def error_json(message: str) -> bytes:
    """The body of a refusal."""
    return json.dumps({"error": message}).encode()


def is_route(path: str) -> bool:
    """Whether a path belongs to the API; others are not found rather than malformed."""
    return path[:4].lower() == "/v1/"


def _answer(prediction: Prediction, method: str, path: str, body: bytes) -> bytes:
    from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

    if method == "POST" and (match := _POST.fullmatch(path)):
        return _predict(prediction, match, body)
    if method == "GET" and (match := _GET.fullmatch(path)):
        spec = _spec(match)
        if match["metadata"]:
            request = get_model_metadata_pb2.GetModelMetadataRequest(
                model_spec=spec, metadata_field=[SIGNATURES]
            )
            return _metadata_json(prediction.metadata(request))
        return _json(
            _dict(prediction.status(get_model_status_pb2.GetModelStatusRequest(model_spec=spec)))
        )
    raise invalid(f"Malformed request: {method} {path}")


def _predict(prediction: Prediction, match: re.Match[str], body: bytes) -> bytes:
    spec = _spec(match)
    document = parse(body)
    spec.signature_name = signature_name(document).encode("utf-8", "replace")
    if match["method"].lower() != "predict":
        raise invalid(
            f"Expected a signature for {match['method'].lower()}, but this model's are all for "
            "predict."
        )

    def read_inputs(expected: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return inputs_of(document, expected)

    _, outputs = prediction.predict(
        spec, read_inputs, timeout=_TIMEOUT, missing_signature="INVALID_ARGUMENT"
    )
    return answer(outputs, document)


def _spec(match: re.Match[str]) -> Any:
    from tensorflow_serving.apis import model_pb2

    spec = model_pb2.ModelSpec(name=unquote(match["name"]))
    if match["label"]:
        spec.version_label = unquote(match["label"])
    if match["version"]:
        try:
            spec.version.value = int(match["version"])
        except ValueError as error:
            raise invalid(
                f"Failed to convert version: {match['version'][:40]} to numeric."
            ) from error
    return spec


def _metadata_json(response: Any) -> bytes:
    from tensorflow_serving.apis import get_model_metadata_pb2

    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata[SIGNATURES].Unpack(signatures)
    return _json(
        {"model_spec": _dict(response.model_spec), "metadata": {SIGNATURES: _dict(signatures)}}
    )


def _dict(message: Any) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, **{_PRINTS_DEFAULTS: True}
    )


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode()
