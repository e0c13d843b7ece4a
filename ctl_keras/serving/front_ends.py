"""What the development server answers over gRPC and over REST."""

import base64
import inspect
import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2
from tensorflow_serving.apis import model_service_pb2_grpc as models
from tensorflow_serving.apis import prediction_service_pb2_grpc as predictions

from ctl_keras.errors import InputError
from ctl_keras.serving.versions import RefusedError, VersionStore

_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
# else two servers share a port, and each gets some of the requests
_OPTIONS += [("grpc.so_reuseport", 0)]
# TensorFlow Serving answers in typed fields, and there are clients that read `float_val`
_FIELDS = {tf.float32: "float_val", tf.bool: "bool_val", tf.string: "string_val"}
_VERSION = r"(?:/versions/(?P<version>\d{1,18})|/labels/(?P<label>[^/:]+))?"
_ROUTE = re.compile(rf"/v1/models/(?P<name>[^/:]+){_VERSION}(?P<what>:predict|/metadata|)")
_KINDS = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}  # of numpy: what JSON may give for a dtype
# the argument that prints fields with their defaults was renamed in protobuf 5.26
_NAMES = {"always_print_fields_with_no_presence", "including_default_value_fields"}
_JSON = dict.fromkeys(_NAMES & inspect.signature(MessageToDict).parameters.keys(), True)


def start_grpc(store: VersionStore, host: str, port: int) -> tuple[grpc.Server, int]:
    """A running server and its port; 0 asks for any free one. Raises `InputError`."""
    server = grpc.server(ThreadPoolExecutor(32, "grpc"), options=_OPTIONS)
    predictions.add_PredictionServiceServicer_to_server(_Answers(store), server)
    models.add_ModelServiceServicer_to_server(_Answers(store), server)
    try:
        port = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        hint = "Is it taken? Choose another with --grpc-port."
        raise InputError(f"gRPC cannot listen on {host}:{port}. {hint}") from error
    server.start()
    return server, port


class _Answers(predictions.PredictionServiceServicer, models.ModelServiceServicer):
    def __init__(self, store: VersionStore):
        def guarded(answer: Callable[[VersionStore, Any], Any]) -> Callable[[Any, Any], Any]:
            def handle(request: Any, context: Any) -> Any:
                try:
                    return answer(store, request)
                except RefusedError as error:
                    context.abort(grpc.StatusCode[error.status], str(error))

            return handle

        self.Predict = guarded(_predict)
        self.GetModelMetadata = guarded(lambda *asked: _metadata(*asked)[0])
        self.GetModelStatus = guarded(_status)


def _predict(store: VersionStore, request: Any) -> Any:
    spec = request.model_spec
    version = store.get(spec)
    inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
    outputs = version.predict(spec.signature_name, inputs, request.output_filter)
    response = predict_pb2.PredictResponse()
    response.model_spec.name, response.model_spec.version.value = spec.name, version.number
    response.model_spec.signature_name = spec.signature_name or "serving_default"
    for name, array in outputs.items():
        proto, dtype = response.outputs[name], tf.dtypes.as_dtype(array.dtype)
        proto.dtype = dtype.as_datatype_enum
        proto.tensor_shape.CopyFrom(tf.TensorShape(array.shape).as_proto())
        getattr(proto, _FIELDS[dtype]).extend(array.ravel().tolist())
    return response


def _metadata(store: VersionStore, request: Any) -> tuple[Any, Any]:
    version = store.get(request.model_spec)
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name, response.model_spec.version.value = store.name, version.number
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in version.signatures.items():
        signatures.signature_def[name].CopyFrom(signature)
    response.metadata["signature_def"].Pack(signatures)
    return response, signatures


def _status(store: VersionStore, request: Any) -> Any:
    spec, response = request.model_spec, get_model_status_pb2.GetModelStatusResponse()
    is_one = spec.WhichOneof("version_choice") == "version"
    for number, (state, failure) in sorted(store.states.items(), reverse=True):
        if spec.name == store.name and (not is_one or number == spec.version.value):
            entry = response.model_version_status.add(version=number)
            entry.state = entry.State.Value(state)
            entry.status.error_code = 2 if failure else 0  # UNKNOWN, OK
            entry.status.error_message = failure
    if not response.model_version_status:
        raise RefusedError("NOT_FOUND", f"Could not find any versions of model {spec.name}")
    return response


class RestServer(ThreadingHTTPServer):
    """A running server; port 0 asks for any free one. Raises `InputError`."""

    daemon_threads = False  # `stop` waits for them
    request_queue_size = 128

    def __init__(self, store: VersionStore, host: str, port: int):
        self.store = store
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            reason = f"REST cannot listen on {host}:{port}: {error.strerror}."
            raise InputError(f"{reason} Choose another with --rest-port.") from error
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Takes no more requests and waits for those that run."""
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: RestServer
    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds: a client that stops sending must not keep the server from stopping

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            code, answer = 200, _respond(self.server.store, self.command, self.path, body)
        except RefusedError as error:
            code, answer = 404 if error.status == "NOT_FOUND" else 400, {"error": str(error)}
        except Exception as error:  # a mistake of this server's; it goes on
            code, answer = 500, {"error": repr(error)}
        data = json.dumps(answer, ensure_ascii=False).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")  # an idle one would keep the server from stopping
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


def _respond(store: VersionStore, method: str, path: str, body: bytes) -> dict[str, Any]:
    match = _ROUTE.fullmatch(path)
    if not match or (method == "POST") != (match["what"] == ":predict"):
        kind = "INVALID_ARGUMENT" if path.startswith("/v1/") else "NOT_FOUND"
        raise RefusedError(kind, f"Malformed request: {method} {path}")
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = unquote(match["name"])
    if match["label"]:
        request.model_spec.version_label = unquote(match["label"])
    if match["version"]:
        request.model_spec.version.value = int(match["version"])
    if method == "POST":
        return _predict_json(store, request.model_spec, body)
    if not match["what"]:
        return _dict(_status(store, request))
    response, signatures = map(_dict, _metadata(store, request))
    return {"model_spec": response["model_spec"], "metadata": {"signature_def": signatures}}


def _predict_json(store: VersionStore, spec: Any, body: bytes) -> dict[str, Any]:
    version = store.get(spec)
    try:
        request = json.loads(body)
        signature, rows = request.get("signature_name", ""), request.get("instances")
        expected = version.signature(signature).inputs
        columns = request["inputs"] if rows is None else rows
        if rows is not None and isinstance(rows[0], dict) and rows[0].keys() != {"b64"}:
            columns = {name: [row.pop(name) for row in rows] for name in expected}
            if any(rows):
                raise ValueError(f"the inputs are {sorted(expected)}")
        if not isinstance(columns, dict):  # the name of an only input may be left out
            (only,) = expected
            columns = {only: columns}
        inputs = {name: _array(columns[name], info) for name, info in expected.items()}
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise RefusedError("INVALID_ARGUMENT", f"JSON Parse error: {error!r}") from error
    outputs = version.predict(signature, inputs)
    values = {name: _values(outputs[name]) for name in sorted(outputs)}
    if len(values) == 1:  # a single output stands by itself, without its name
        return {"outputs" if rows is None else "predictions": next(iter(values.values()))}
    each = zip(*values.values(), strict=True)
    predictions = [dict(zip(values, row, strict=True)) for row in each]
    return {"outputs": values} if rows is None else {"predictions": predictions}


def _array(values: Any, info: Any) -> np.ndarray:
    dtype = np.dtype(tf.dtypes.as_dtype(info.dtype).as_numpy_dtype)
    if values == []:
        return np.empty([0, *(max(dim.size, 0) for dim in info.tensor_shape.dim[1:])], dtype)
    if dtype.kind == "O":
        return np.vectorize(_bytes, [object])(np.array(values, object))
    array = np.array(values)
    if array.dtype.kind not in _KINDS[dtype.kind]:
        raise ValueError(f"{array.dtype.name} is no {dtype.name}")
    return array.astype(dtype)


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    return base64.b64decode(value["b64"] + "=" * (-len(value["b64"]) % 4), validate=True)


def _values(array: np.ndarray) -> Any:
    if array.dtype.kind == "O":
        return np.vectorize(bytes.decode, [object])(array).tolist()
    # the fewest digits that give the same float32, where `tolist` would give those of a double
    is_float = array.dtype == np.float32
    return (array.astype("U32").astype(np.float64) if is_float else array).tolist()


def _dict(message: Any) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True, **_JSON)
