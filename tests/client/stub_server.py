"""A server without a model, for the client's tests: it answers in TensorFlow Serving's form what a
Python function says.

`answer(signature, inputs)` returns the outputs as arrays, or raises `RefusalError`. Over REST, too,
it is called with arrays.
"""

import base64
import json
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

CODES = {
    "INVALID_ARGUMENT": 400,
    "NOT_FOUND": 404,
    "FAILED_PRECONDITION": 400,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
}


class RefusalError(Exception):
    """Status name and message of a refused request."""


class StubServer:
    """Serves `answer` on a free port of 127.0.0.1; `requests` keeps each request's signature,
    inputs and headers."""

    def __init__(self, scheme, answer, certificate=None):
        self.requests = []
        self._answer = answer
        tls = "s" if certificate else ""
        if scheme == "http":
            self._server = _HttpServer(("127.0.0.1", 0), _handler(self))
            if certificate:
                import ssl

                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(*certificate)
                self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            port = self._server.server_port
            threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        else:
            options = [
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
            ]
            self._server = grpc.server(futures.ThreadPoolExecutor(4), options=options)
            prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
                _Servicer(self), self._server
            )
            if certificate:
                chain, key = certificate
                pair = (key.read_bytes(), chain.read_bytes())
                port = self._server.add_secure_port(
                    "localhost:0", grpc.ssl_server_credentials([pair])
                )
            else:
                port = self._server.add_insecure_port("127.0.0.1:0")
            self._server.start()
        self._is_http = scheme == "http"
        self.url = f"{scheme}{tls}://{'localhost' if tls else '127.0.0.1'}:{port}"

    def answer(self, signature, inputs, headers):
        self.requests.append((signature, inputs, headers))
        return self._answer(signature, inputs)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._is_http:
            self._server.shutdown()
            self._server.server_close()
        else:
            self._server.stop(None)


class _HttpServer(ThreadingHTTPServer):
    request_queue_size = 128  # connections of many threads at once


def _handler(stub):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            document = json.loads(self.rfile.read(int(self.headers["content-length"])))
            inputs = {name: _from_json(values) for name, values in document["inputs"].items()}
            try:
                outputs = {
                    name: np.asarray(value).tolist()
                    for name, value in stub.answer(
                        document["signature_name"], inputs, self.headers
                    ).items()
                }
                only = len(outputs) == 1  # TensorFlow Serving leaves out the name of an only output
                code, answer = 200, {"outputs": next(iter(outputs.values())) if only else outputs}
            except RefusalError as refusal:
                code, answer = CODES[refusal.args[0]], {"error": refusal.args[1]}
            body = json.dumps(answer).encode()
            try:
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                pass  # a client that did not wait

        def log_message(self, *_):
            pass

    return Handler


def _from_json(values):
    return np.array(
        [base64.b64decode(value["b64"]) if isinstance(value, dict) else value for value in values],
        object,
    )


class _Servicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, stub):
        self._stub = stub

    def Predict(self, request, context):  # noqa: N802
        inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
        try:
            outputs = self._stub.answer(
                request.model_spec.signature_name, inputs, dict(context.invocation_metadata())
            )
        except RefusalError as refusal:
            context.abort(getattr(grpc.StatusCode, refusal.args[0]), refusal.args[1])
        response = predict_pb2.PredictResponse()
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response


def lengths(signature, inputs):
    """Answers with the lengths of the files, so that a test sees which row came from which
    picture."""
    # a protobuf map has no order
    names = ("scene_bytes", "product_bytes", "category", "query", "product_id")
    inputs = {name: inputs[name] for name in names if name in inputs}
    rows = [np.float32([len(value) for value in values]) for values in inputs.values()]
    count = len(rows[0])
    valid = np.array([not bytes(value).startswith(b"bad") for value in next(iter(inputs.values()))])
    table = np.stack([rows[0]] * 3, axis=1)
    return {
        "serving_default": lambda: {
            "hybrid_distance": rows[1],
            "global_distance": rows[0],
            "local_distance": rows[2],
            "compatibility": rows[0],
            "valid": valid,
        },
        "embed_scene": lambda: {
            "query": table,
            "global_embedding": table,
            "attention": table[:, :, None],
            "valid": valid,
        },
        "embed_product": lambda: {"embedding": table, "valid": valid},
        "score_embeddings": lambda: {
            "hybrid_distance": np.sum(np.float32(list(inputs["query"])), axis=1, dtype=np.float32)
        },
        "recommend": lambda: {
            "product_id": np.array([["a", "ü", "c"]] * count),
            "hybrid_distance": table,
            "valid": valid,
        },
        "rerank": lambda: {"hybrid_distance": table, "known": table > 5},
    }[signature]()
