"""A client's requests over gRPC, with TensorFlow Serving's own stubs. They import TensorFlow."""

import asyncio
from typing import Any

import grpc
import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2
from tensorflow_serving.apis import model_service_pb2_grpc as models
from tensorflow_serving.apis import prediction_service_pb2_grpc as predictions

from ctl_keras.client.address import Address
from ctl_keras.client.answers import checked, readable
from ctl_keras.client.call import Answer, Call
from ctl_keras.client.serving_error import refused, unreachable
from ctl_keras.errors import InputError

_OPTIONS = [
    ("grpc.max_receive_message_length", -1),  # 4 MB by default: some 30 photos
    ("grpc.max_send_message_length", -1),
    # a channel that found no server fails at once until its own backoff is over: a retry must be a
    # new attempt
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
# words of UNAVAILABLE without a server that answers
_NO_CONNECTION = ("connect", "socket closed", "dns resolution", "goaway", "handshake", "proxy")


class GrpcTransport:
    """Sends requests by gRPC. Raises `InputError`: `ca_file` cannot be read."""

    def __init__(self, address: Address):
        self._address = address
        self._headers = [(name.lower(), value) for name, value in (address.headers or {}).items()]
        self._credentials = _credentials(address) if address.has_tls else None
        self._channel: Any = None

    def open(self) -> None:
        """Makes ready for requests from the event loop that runs."""
        host = self._address.url.partition("://")[2].strip("/")
        if self._credentials is None:
            self._channel = grpc.aio.insecure_channel(host, options=_OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(host, self._credentials, options=_OPTIONS)
        stub = predictions.PredictionServiceStub(self._channel)
        status = models.ModelServiceStub(self._channel).GetModelStatus
        self._methods = {
            "predict": (stub.Predict, predict_pb2.PredictRequest),
            "metadata": (stub.GetModelMetadata, get_model_metadata_pb2.GetModelMetadataRequest),
            "status": (status, get_model_status_pb2.GetModelStatusRequest),
        }

    async def close(self) -> None:
        """Closes the connections."""
        if self._channel is not None:
            await self._channel.close()

    def encode(self, call: Call, start: int, stop: int) -> Any:
        """Some rows of a call as a `PredictRequest`. Raises `InputError`."""
        message = predict_pb2.PredictRequest()
        message.model_spec.signature_name = call.signature
        for name, column in call.columns.items():
            message.inputs[name].CopyFrom(tf.make_tensor_proto(column.rows(start, stop)))
        return message

    def decode(self, response: Any, signature: str, rows: int) -> Answer:
        """Arrays by output. Raises `ServingError`."""
        answer = {
            name: readable(tf.make_ndarray(proto)) for name, proto in response.outputs.items()
        }
        return checked(self._address.url, signature, rows, answer)

    async def send(self, what: str, message: Any, signature: str, seconds: float) -> Any:
        """The answer to "predict", and the JSON document that REST would answer to "metadata" and
        "status". Raises `ServingError`."""
        method, kind = self._methods[what]
        message = message or kind()
        message.model_spec.name = self._address.model
        if what == "metadata":
            message.metadata_field[:] = ["signature_def"]
        if self._address.version is not None:
            message.model_spec.version.value = self._address.version
        if self._address.label is not None:
            message.model_spec.version_label = self._address.label
        try:
            response = await method(message, timeout=seconds, metadata=self._headers)
        except grpc.RpcError as error:
            status, details = error.code().name, error.details() or ""
            if status == "DEADLINE_EXCEEDED":
                raise asyncio.TimeoutError from None
            if status == "UNAVAILABLE" and any(sign in details.lower() for sign in _NO_CONNECTION):
                raise unreachable(self._address.url, details) from None
            raise refused(status, details, signature, message.ByteSize()) from None
        is_answer = what == "predict"
        return response if is_answer else MessageToDict(response, preserving_proto_field_name=True)


def _credentials(address: Address) -> grpc.ChannelCredentials:
    try:
        if address.ca_file is None:
            return grpc.ssl_channel_credentials()
        with open(address.ca_file, "rb") as file:
            return grpc.ssl_channel_credentials(file.read())
    except OSError as error:
        reason = f"`ca_file` cannot be read: {error.strerror}."
        raise InputError(f"{reason} Received: {address.ca_file}") from None
