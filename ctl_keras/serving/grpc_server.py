"""PredictionService and ModelService of TensorFlow Serving over gRPC. Classify, Regress and the
like are UNIMPLEMENTED."""

import logging
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from ctl_keras.errors import InputError
from ctl_keras.serving.loaded_version import arrays_of
from ctl_keras.serving.prediction import Prediction
from ctl_keras.serving.proto_tensors import write_array
from ctl_keras.serving.refused_error import RefusedError, invalid

_FOREVER = 1e6  # seconds: a call without a deadline has one in the far future
_log = logging.getLogger(__name__)


class GrpcServer:
    """Listens for gRPC requests as soon as it is made.

    Args:
        prediction: answers the requests.
        host: str. Name or address to listen on.
        port: int. 0 is any free one.
        pool: runs the requests.
        max_bytes: int. Larger requests are RESOURCE_EXHAUSTED.

    Attributes:
        address: str. "host:port".

    Raises:
        InputError: the address cannot be listened on.
    """

    def __init__(
        self, prediction: Prediction, host: str, port: int, pool: Executor, max_bytes: int
    ):
        import grpc

        options = [
            ("grpc.max_receive_message_length", max_bytes),
            ("grpc.max_send_message_length", -1),
            # else two servers share a port, and each gets some of the requests
            ("grpc.so_reuseport", 0),
        ]
        self._server = grpc.server(pool, options=options)
        self._server.add_generic_rpc_handlers(_services(prediction))
        host = f"[{host}]" if ":" in host else host
        try:
            bound = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise InputError(
                f"gRPC cannot listen on {host}:{port}; is it taken? Choose another with "
                "--grpc-port."
            ) from error
        self.address = f"{host}:{bound}"
        self._server.start()

    def stop(self, grace: float) -> None:
        """Takes no more requests and waits up to `grace` seconds for those that run."""
        self._server.stop(grace).wait()


def _services(prediction: Prediction) -> list[Any]:
    # not the generated servicers: with those, gRPC answers bytes that are no protobuf with
    # INTERNAL. The services' own protos are left out, for those of serving-api 2.15 cannot be
    # imported beside the protobuf of TensorFlow 2.15
    import grpc
    from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2

    def predict(request: Any, timeout: float | None) -> Any:
        response = predict_pb2.PredictResponse()
        spec, outputs = prediction.predict(
            request.model_spec, lambda _: arrays_of(request.inputs), request.output_filter, timeout
        )
        response.model_spec.CopyFrom(spec)
        for name, value in outputs.items():
            write_array(response.outputs[name], value)
        return response

    methods = {
        "tensorflow.serving.PredictionService": {
            "Predict": (predict, predict_pb2.PredictRequest),
            "GetModelMetadata": (
                lambda request, _: prediction.metadata(request),
                get_model_metadata_pb2.GetModelMetadataRequest,
            ),
        },
        "tensorflow.serving.ModelService": {
            "GetModelStatus": (
                lambda request, _: prediction.status(request),
                get_model_status_pb2.GetModelStatusRequest,
            ),
        },
    }
    return [
        grpc.method_handlers_generic_handler(
            service,
            {
                method: grpc.unary_unary_rpc_method_handler(
                    _guarded(answer, request_type),
                    response_serializer=lambda response: response.SerializeToString(),
                )
                for method, (answer, request_type) in table.items()
            },
        )
        for service, table in methods.items()
    ]


def _guarded(
    answer: Callable[[Any, float | None], Any], request_type: Any
) -> Callable[[bytes, Any], Any]:
    import grpc

    def handle(data: bytes, context: Any) -> Any:
        remaining = context.time_remaining()
        try:
            return answer(
                _parsed(data, request_type),
                remaining if remaining is not None and remaining < _FOREVER else None,
            )
        except RefusedError as error:
            refusal = error
        except Exception as error:  # a mistake of this server's; it goes on
            _log.exception("%s", request_type.__name__)
            refusal = RefusedError("INTERNAL", f"{type(error).__name__}: {error}")
        context.abort(grpc.StatusCode[refusal.status], str(refusal))

    return handle


def _parsed(data: bytes, request_type: Any) -> Any:
    try:
        return request_type.FromString(data)
    except Exception as error:  # DecodeError has another home in each protobuf
        raise invalid(f"The request is no {request_type.__name__}") from error
