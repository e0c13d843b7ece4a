"""A client's requests over gRPC, with TensorFlow Serving's own stubs. They import TensorFlow."""

import asyncio
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from ctl_keras.errors import InputError
from ctl_keras.serving.client_answers import Answer, checked, model_metadata, version_states
from ctl_keras.serving.client_calls import Predict
from ctl_keras.serving.client_target import Target
from ctl_keras.serving.serving_error import ServingError, refused, too_late, unreachable

_OPTIONS = [
    ("grpc.max_receive_message_length", -1),  # 4 MB by default: some 30 photos
    ("grpc.max_send_message_length", -1),
    # a channel that found no server fails at once until its own backoff is over: a retry must be a
    # new attempt
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
_NO_CONNECTION = (
    "failed to connect",
    "connection refused",
    "connection reset",
    "socket closed",
    "dns resolution",
    "goaway",
)


def encoded(target: Target, request: Predict) -> predict_pb2.PredictRequest:
    """A request as the message of `Predict`."""
    message = predict_pb2.PredictRequest()
    _name_model(target, message.model_spec)
    message.model_spec.signature_name = request.signature
    for name, values in request.inputs.items():
        message.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    return message


def decoded(target: Target, request: Predict, response: predict_pb2.PredictResponse) -> Answer:
    """The answer of `Predict`.

    Raises:
        ServingError: the outputs are not the signature's.
    """
    rows = len(next(iter(request.inputs.values())))
    answer = {name: _array(proto) for name, proto in response.outputs.items()}
    return checked(target.url, request.signature, rows, answer)


def _array(proto: Any) -> np.ndarray:
    array = tf.make_ndarray(proto)
    if array.dtype != object:
        return array
    texts = [value.decode("utf-8", "replace") for value in array.ravel()]
    return np.array(texts, np.str_).reshape(array.shape)


def _name_model(target: Target, spec: Any) -> None:
    spec.name = target.model
    if target.version is not None:
        spec.version.value = target.version
    if target.label is not None:
        spec.version_label = target.label


def _metadata_request(target: Target) -> get_model_metadata_pb2.GetModelMetadataRequest:
    message = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    _name_model(target, message.model_spec)
    return message


def _status_request(target: Target) -> get_model_status_pb2.GetModelStatusRequest:
    message = get_model_status_pb2.GetModelStatusRequest()
    _name_model(target, message.model_spec)
    return message


def _document(message: Any) -> dict[str, Any]:
    """A message as the JSON that the REST routes send."""
    return MessageToDict(message, preserving_proto_field_name=True)


def _failure(
    target: Target, error: grpc.RpcError, seconds: float, signature: str = ""
) -> ServingError:
    """The ServingError for what gRPC raises."""
    status, details = error.code().name, error.details() or ""
    if status == "DEADLINE_EXCEEDED":
        return too_late(target.url, seconds)
    if status == "UNAVAILABLE" and any(sign in details.lower() for sign in _NO_CONNECTION):
        return unreachable(target.url, details)
    # RESOURCE_EXHAUSTED is mostly a message above a limit, which stays above it
    return refused(status, details, signature, may_retry=status == "UNAVAILABLE")


def _credentials(target: Target) -> grpc.ChannelCredentials:
    if target.ca_file is None:
        return grpc.ssl_channel_credentials()
    try:
        with open(target.ca_file, "rb") as file:
            return grpc.ssl_channel_credentials(file.read())
    except OSError as error:
        raise InputError(
            f"`ca_file` cannot be read: {error.strerror}. Received: {target.ca_file}"
        ) from None


def _headers(target: Target) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in (target.headers or {}).items()]


def _channel(target: Target, package: Any) -> Any:
    if target.has_tls:
        return package.secure_channel(target.host_and_port, _credentials(target), options=_OPTIONS)
    return package.insecure_channel(target.host_and_port, options=_OPTIONS)


class GrpcTransport:
    """Sends requests and waits.

    Args:
        target: where to.
    """

    def __init__(self, target: Target):
        self._target, self._headers = target, _headers(target)
        self._channel = _channel(target, grpc)
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)

    def predict(self, request: Predict, seconds: float) -> Answer:
        """The answer to a request, arrays by output; `seconds` is its deadline. Raises
        `ServingError`."""
        response = self._send(
            self._predictions.Predict, encoded(self._target, request), seconds, request.signature
        )
        return decoded(self._target, request, response)

    def metadata(self, seconds: float) -> dict[str, Any]:
        """What `Client.metadata` returns. Raises `ServingError`."""
        response = self._send(
            self._predictions.GetModelMetadata, _metadata_request(self._target), seconds
        )
        return model_metadata(self._target.url, _document(response))

    def status(self, seconds: float) -> list[dict[str, Any]]:
        """What `Client.status` returns. Raises `ServingError`."""
        response = self._send(self._models.GetModelStatus, _status_request(self._target), seconds)
        return version_states(self._target.url, _document(response))

    def close(self) -> None:
        """Closes the connections."""
        self._channel.close()

    def _send(self, method: Any, message: Any, seconds: float, signature: str = "") -> Any:
        try:
            return method(message, timeout=seconds, metadata=self._headers)
        except grpc.RpcError as error:
            raise _failure(self._target, error, seconds, signature) from None


class AsyncGrpcTransport:
    """`GrpcTransport` for asyncio."""

    def __init__(self, target: Target):
        self._target, self._headers = target, _headers(target)
        # the channel belongs to the event loop that runs when it is made: made for the first
        # request
        self._channel: Any = None

    async def predict(self, request: Predict, seconds: float) -> Answer:
        """The answer to a request, arrays by output; `seconds` is its deadline. Raises
        `ServingError`."""
        message = await asyncio.to_thread(encoded, self._target, request)
        response = await self._send(
            self._predictions().Predict, message, seconds, request.signature
        )
        return decoded(self._target, request, response)

    async def metadata(self, seconds: float) -> dict[str, Any]:
        """What `Client.metadata` returns. Raises `ServingError`."""
        response = await self._send(
            self._predictions().GetModelMetadata, _metadata_request(self._target), seconds
        )
        return model_metadata(self._target.url, _document(response))

    async def status(self, seconds: float) -> list[dict[str, Any]]:
        """What `Client.status` returns. Raises `ServingError`."""
        models = model_service_pb2_grpc.ModelServiceStub(self._open())
        response = await self._send(models.GetModelStatus, _status_request(self._target), seconds)
        return version_states(self._target.url, _document(response))

    async def close(self) -> None:
        """Closes the connections."""
        if self._channel is not None:
            await self._channel.close()

    def _open(self) -> Any:
        if self._channel is None:
            self._channel = _channel(self._target, grpc.aio)
        return self._channel

    def _predictions(self) -> Any:
        return prediction_service_pb2_grpc.PredictionServiceStub(self._open())

    async def _send(self, method: Any, message: Any, seconds: float, signature: str = "") -> Any:
        try:
            return await method(message, timeout=seconds, metadata=self._headers)
        except grpc.RpcError as error:
            raise _failure(self._target, error, seconds, signature) from None
