"""One version of an export, loaded and run as TensorFlow Serving does it: a session on the graph of
the SavedModel."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ctl_keras.serving.proto_tensors import array_of
from ctl_keras.serving.refused_error import RefusedError, from_tensorflow, invalid

DEFAULT_SIGNATURE = "serving_default"
_PREDICT = "tensorflow/serving/predict"
_MOST_WARMUP_RECORDS = 1000  # TensorFlow Serving refuses more
ReadInputs = Callable[[Mapping[str, Any]], dict[str, np.ndarray]]


class LoadedVersion:
    """A version in memory.

    A session of TensorFlow 1, not `tf.saved_model.load`: it is what TensorFlow Serving runs, so the
    graph answers and fails alike; it loads several times faster; and closing it gives the memory
    back.

    Args:
        folder: of the version, with `saved_model.pb`.

    Attributes:
        signatures: signature name -> `SignatureDef`.

    Raises:
        OSError, RuntimeError, tf.errors.OpError: the SavedModel cannot be loaded.
    """

    def __init__(self, folder: Path):
        self._warmup = folder / "assets.extra" / "tf_serving_warmup_requests"
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        try:
            with self._session.graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(self._session, ["serve"], str(folder))
        except BaseException:
            self._session.close()
            raise
        self.signatures: dict[str, Any] = dict(meta_graph.signature_def)

    def predict(
        self,
        signature_name: str,
        read_inputs: ReadInputs,
        output_filter: Sequence[str] = (),
        timeout: float | None = None,
        missing_signature: str = "FAILED_PRECONDITION",
    ) -> dict[str, np.ndarray]:
        """Runs one signature.

        Args:
            signature_name: "" is `serving_default`.
            read_inputs: called with input name -> `TensorInfo` of the signature, returns the
                arrays.
            output_filter: names of the outputs to compute. Defaults to all.
            timeout: float, seconds. Defaults to None, no limit.
            missing_signature: the status if there is no such signature. TensorFlow Serving's front
                ends differ in it.

        Returns:
            Output name -> array.

        Raises:
            RefusedError: the inputs do not fit the signature, or the graph fails.
        """
        name = signature_name or DEFAULT_SIGNATURE
        signature = self.signatures.get(name)
        if signature is None:
            raise RefusedError(missing_signature, f'Serving signature key "{name}" not found.')
        if signature.method_name != _PREDICT or not signature.inputs:
            raise invalid(f'Serving signature "{name}" is not for prediction.')
        inputs = read_inputs(signature.inputs)
        _check_inputs(signature.inputs, inputs)
        wanted = _wanted(signature.outputs, output_filter)
        feeds = {signature.inputs[key].name: value for key, value in inputs.items()}
        options = (
            tf.compat.v1.RunOptions(timeout_in_ms=max(1, int(1000 * timeout)))
            if timeout is not None
            else None
        )
        try:
            values = self._session.run(
                [signature.outputs[key].name for key in wanted], feeds, options
            )
        except tf.errors.OpError as error:
            raise from_tensorflow(error) from error
        return {
            key: np.asarray(value, object if isinstance(value, bytes) else None)
            for key, value in zip(wanted, values, strict=True)
        }

    def warm_up(self) -> int:
        """Replays the export's warm-up requests, if it has any.

        Returns:
            Their number.

        Raises:
            RefusedError: one fails, cannot be read, or there are more than 1,000.
        """
        from tensorflow_serving.apis import prediction_log_pb2

        if not self._warmup.is_file():
            return 0
        number = 0
        for number, record in enumerate(
            tf.data.TFRecordDataset(str(self._warmup)).as_numpy_iterator(), start=1
        ):
            try:
                log = prediction_log_pb2.PredictionLog.FromString(record)
            except Exception as error:  # DecodeError has another home in each protobuf
                raise invalid(f"Failed to parse warm-up record {number}") from error
            if log.WhichOneof("log_type") != "predict_log":
                raise RefusedError(
                    "UNIMPLEMENTED", f"Warm-up record {number} is no predict request"
                )
            if number > _MOST_WARMUP_RECORDS:
                raise invalid(
                    f"Number of warm-up records exceeds the maximum ({_MOST_WARMUP_RECORDS})"
                )
            request = log.predict_log.request
            inputs = arrays_of(request.inputs)
            self.predict(
                request.model_spec.signature_name,
                lambda _, inputs=inputs: inputs,  # type: ignore[misc]
                request.output_filter,
            )
        return number

    def close(self) -> None:
        """Gives the memory back. No request may be running."""
        self._session.close()


def arrays_of(tensors: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Arrays of the `TensorProto`s of a `PredictRequest`; see `array_of`."""
    return {name: array_of(name, tensor) for name, tensor in tensors.items()}


def _check_inputs(expected: Mapping[str, Any], inputs: Mapping[str, np.ndarray]) -> None:
    extra, missing = sorted(set(inputs) - set(expected)), sorted(set(expected) - set(inputs))
    if extra or missing:
        raise invalid(
            f"Inputs do not match the signature. Sent extra: {extra}. Missing but required: "
            f"{missing}."
        )
    for name, info in expected.items():
        array, dtype = inputs[name], tf.dtypes.as_dtype(info.dtype)
        if array.dtype != dtype.as_numpy_dtype:
            raise invalid(
                f"Input {name} is expected to be {dtype.name}, but "
                f"{tf.dtypes.as_dtype(array.dtype).name} is provided."
            )
        shape = tf.TensorShape(info.tensor_shape)
        if not shape.is_compatible_with(array.shape):
            raise invalid(
                f"Input {name} is expected to have the shape {shape}, but {list(array.shape)} is "
                "provided."
            )


def _wanted(outputs: Mapping[str, Any], output_filter: Sequence[str]) -> list[str]:
    wanted = list(output_filter) or sorted(outputs)
    for name in wanted:
        if name not in outputs:
            raise invalid(
                f"output tensor alias not found in signature: {name[:100]}. Outputs expected: "
                f"{sorted(outputs)}"
            )
    if len(set(wanted)) != len(wanted):
        raise invalid(f"duplicate output tensor alias in {wanted[:20]}")
    return wanted
