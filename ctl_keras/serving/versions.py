"""The versions of one model: found below its base path, loaded, warmed up and swapped while
requests run. The newest is served, and the old one goes only when the new one answers."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from ctl_keras.errors import InputError
from ctl_keras.files import versions


class RefusedError(Exception):
    """A request that is not answered: the name of a gRPC status, and what is wrong."""

    def __init__(self, status: str, message: str):
        super().__init__(message[:1000])  # gRPC carries it in a header, and headers end at 8 KB
        self.status = status


class Version:
    """A version in memory, until nobody holds it.

    A session of TensorFlow 1, not `tf.saved_model.load`: it is what TensorFlow Serving runs, it
    loads several times faster, and it gives the memory back."""

    def __init__(self, folder: Path):
        self.number = int(folder.name)
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            meta_graph = tf.compat.v1.saved_model.load(self._session, ["serve"], str(folder))
        self.signatures: dict[str, Any] = dict(meta_graph.signature_def)
        warmup = folder / "assets.extra" / "tf_serving_warmup_requests"
        records = tf.data.TFRecordDataset(str(warmup)).as_numpy_iterator()
        for record in records if warmup.is_file() else ():
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
            inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
            self.predict(request.model_spec.signature_name, inputs)

    def signature(self, name: str) -> Any:
        """The `SignatureDef` of a name; "" is `serving_default`. Raises `RefusedError`."""
        signature = self.signatures.get(name or "serving_default")
        if signature is None or not signature.inputs:
            raise RefusedError("FAILED_PRECONDITION", f'Serving signature "{name}" not found')
        return signature

    def predict(
        self, name: str, inputs: Mapping[str, np.ndarray], output_filter: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        """The outputs, or those that `output_filter` names. Raises `RefusedError`."""
        signature = self.signature(name)
        expected, outputs = signature.inputs, signature.outputs
        wanted = list(output_filter) or sorted(outputs)
        types = {key: tf.dtypes.as_dtype(info.dtype) for key, info in expected.items()}
        given = {key: tf.dtypes.as_dtype(value.dtype) for key, value in inputs.items()}
        if given != types or set(wanted) - set(outputs):
            known = f"The inputs are {types}, the outputs {sorted(outputs)}"
            raise RefusedError("INVALID_ARGUMENT", f"{known}. Received: {given}, {wanted}")
        feeds = {expected[key].name: value for key, value in inputs.items()}
        try:
            values = self._session.run([outputs[key].name for key in wanted], feeds)
        except (ValueError, tf.errors.OpError) as error:  # ValueError: another shape
            raise RefusedError("INVALID_ARGUMENT", str(error)) from error
        return dict(zip(wanted, values, strict=True))


class VersionStore:
    """The newest version below `folder`, and those that `labels` name. `states` has the state of
    each version seen, and why it cannot be served. One thread calls `poll`. Raises `InputError`."""

    def __init__(
        self, folder: Path, name: str, labels: Mapping[str, int], tell: Callable[[str], None]
    ):
        self.name, self._folder, self._labels, self._tell = name, folder, labels, tell
        self._loaded: dict[int, Version] = {}
        self.states: dict[int, tuple[str, str]] = {}
        there = versions(folder)
        missing = "".join(f" {number}" for number in sorted(set(labels.values()) - set(there)))
        if missing or not there:
            hint = f"Make one with `export --run RUN --to {folder}`."
            raise InputError(f"{folder} holds no version{missing}. {hint}")
        self.poll()
        for number, (_, failure) in self.states.items():
            if failure:
                raise InputError(f"Version {number} of {folder} cannot be served: {failure}")

    def poll(self) -> None:
        """Looks for versions that came or went, once; takes as long as loading takes."""
        there = set(versions(self._folder))
        wanted = {max(there, default=0), *self._labels.values()} & there
        # one that failed is tried again when its folder was taken away and put back
        self.states = {n: state for n, state in self.states.items() if n in there or not state[1]}
        for number in sorted(wanted - set(self._loaded)):
            if not self.states.get(number, ("", ""))[1]:
                self._set(number, "LOADING")
                try:
                    self._loaded = {**self._loaded, number: Version(self._folder / str(number))}
                    self._set(number, "AVAILABLE")
                except Exception as error:
                    self._set(number, "END", " ".join(str(error).split()) or repr(error))
        if wanted and wanted <= set(self._loaded):
            for number in set(self._loaded) - wanted:
                self._set(number, "END")
            # a request that runs holds its version, and the last one frees it
            self._loaded = {number: self._loaded[number] for number in wanted}

    def get(self, spec: Any) -> Version:
        """The version that a `ModelSpec` asks for. Raises `RefusedError`."""
        loaded, choice = self._loaded, spec.WhichOneof("version_choice")
        number = spec.version.value if choice == "version" else max(loaded, default=0)
        number = self._labels.get(spec.version_label, -1) if spec.version_label else number
        if spec.name != self.name or number not in loaded:
            raise RefusedError("NOT_FOUND", f"Servable not found for request: {spec}")
        return loaded[number]

    def _set(self, number: int, state: str, failure: str = "") -> None:
        # a new dict: other threads read the old one
        self.states = {**self.states, number: (state, failure)}
        self._tell(f"{self.name}: version {number} is {state} {failure}".rstrip())
