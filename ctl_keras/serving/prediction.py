"""What a request asks of the models, whichever protocol brought it: both front ends call this, so
that they cannot differ."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ctl_keras.serving.loaded_version import DEFAULT_SIGNATURE, ReadInputs
from ctl_keras.serving.model_store import ModelStore
from ctl_keras.serving.refused_error import invalid

SIGNATURES = "signature_def"  # the one metadata field that TensorFlow Serving has


class Prediction:
    """Answers requests from a store.

    Args:
        store: the versions.
    """

    def __init__(self, store: ModelStore):
        self._store = store

    def predict(
        self,
        spec: Any,
        read_inputs: ReadInputs,
        output_filter: Sequence[str] = (),
        timeout: float | None = None,
        missing_signature: str = "FAILED_PRECONDITION",
    ) -> tuple[Any, dict[str, np.ndarray]]:
        """Runs the signature that a `ModelSpec` asks for. Args, Raises: as `LoadedVersion.predict`
        and `ModelStore.use`.

        Returns:
            The `ModelSpec` that answered, and output name -> array.
        """
        with self._store.use(spec) as (number, version):
            outputs = version.predict(
                spec.signature_name, read_inputs, output_filter, timeout, missing_signature
            )
        answered = type(spec)(
            name=spec.name, signature_name=spec.signature_name or DEFAULT_SIGNATURE
        )
        answered.version.value = number
        return answered, outputs

    def metadata(self, request: Any) -> Any:
        """The signatures of a version: `GetModelMetadataResponse` to a `GetModelMetadataRequest`.

        Raises:
            RefusedError: INVALID_ARGUMENT, no model or another field than `signature_def`; or as
                `ModelStore.use`.
        """
        from tensorflow_serving.apis import get_model_metadata_pb2

        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        if set(request.metadata_field) != {SIGNATURES}:
            raise invalid(
                f"The metadata fields must be {SIGNATURES}. Received: "
                f"{list(request.metadata_field)[:20]}"
            )
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        signatures = get_model_metadata_pb2.SignatureDefMap()
        with self._store.use(request.model_spec) as (number, version):
            response.model_spec.name = request.model_spec.name
            response.model_spec.version.value = number
            for name, signature in version.signatures.items():
                signatures.signature_def[name].CopyFrom(signature)
        response.metadata[SIGNATURES].Pack(signatures)
        return response

    def status(self, request: Any) -> Any:
        """The state of the versions: `GetModelStatusResponse` to a `GetModelStatusRequest`.

        Raises:
            RefusedError: INVALID_ARGUMENT, no model; or as `ModelStore.states`.
        """
        from tensorflow_serving.apis import get_model_status_pb2

        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        response = get_model_status_pb2.GetModelStatusResponse()
        for number, state in self._store.states(request.model_spec).items():
            entry = response.model_version_status.add(version=number)
            entry.state = entry.State.Value(state.state)
            entry.status.error_code = state.failure.number if state.failure else 0
            entry.status.error_message = str(state.failure or "")
        return response
