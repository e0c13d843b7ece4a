"""Answers of the signatures as arrays, and the server's descriptions of a model as plain dicts."""

from typing import Any

import numpy as np

from ctl_keras.client.call import Answer
from ctl_keras.client.serving_error import not_understood

# type and rank of what each signature answers (docs/serving.md); an export may answer more
_FLAG, _ROW, _TABLE, _MAP = (np.bool_, 1), (np.float32, 1), (np.float32, 2), (np.float32, 3)
_SCORES = ("hybrid_distance", "global_distance", "local_distance", "compatibility")
_PRODUCTS = {"product_id": (np.str_, 2), "hybrid_distance": _TABLE, "valid": _FLAG}
_OUTPUTS: dict[str, dict[str, tuple[type, int]]] = {
    "serving_default": {**dict.fromkeys(_SCORES, _ROW), "valid": _FLAG},
    "embed_scene": {"query": _TABLE, "global_embedding": _TABLE, "attention": _MAP, "valid": _FLAG},
    "embed_product": {"embedding": _TABLE, "valid": _FLAG},
    "score_embeddings": {"hybrid_distance": _ROW},
    "recommend": _PRODUCTS,
    "recommend_excluding": _PRODUCTS,
    "rerank": {"hybrid_distance": _TABLE, "known": (np.bool_, 2)},
}


def empty(signature: str) -> Answer:
    """The answer to no rows: empty arrays."""
    outputs = _OUTPUTS[signature].items()
    return {name: np.zeros((0,) * rank, kind) for name, (kind, rank) in outputs}


def readable(array: np.ndarray) -> np.ndarray:
    """TensorFlow's strings, which are bytes, as text; other arrays as they are."""
    if array.dtype != object:
        return array
    texts = [value.decode("utf-8", "replace") for value in array.ravel()]
    return np.array(texts, np.str_).reshape(array.shape)


def checked(url: str, signature: str, rows: int, answer: Answer) -> Answer:
    """An answer that has the signature's outputs, each with a row for each row of the request.
    Raises `ServingError`: it has not."""
    if missing := sorted(set(_OUTPUTS[signature]) - set(answer)):
        raise not_understood(url, f"answers `{signature}` without {', '.join(missing)}")
    for name, value in answer.items():
        kind, rank = _OUTPUTS[signature].get(name, (value.dtype.type, value.ndim))
        if value.ndim != rank or len(value) != rows or not np.issubdtype(value.dtype, kind):
            what = f"`{name}` of the shape {list(value.shape)} and the type {value.dtype}"
            raise not_understood(url, f"answers {rows} rows of `{signature}` with {what}")
    return answer


def from_json(url: str, signature: str, rows: int, outputs: Any) -> Answer:
    """The `outputs` of a REST answer in columns. Raises `ServingError`: they are not such."""
    if not isinstance(outputs, dict):  # the server leaves out the name of an only output
        outputs = {next(iter(_OUTPUTS[signature])): outputs}
    try:
        arrays = {name: np.asarray(value) for name, value in outputs.items()}
    except ValueError:
        raise not_understood(url, f"answers `{signature}` with ragged lists") from None
    numbers = {name: a.astype(np.float32) for name, a in arrays.items() if a.dtype.kind in "fi"}
    return checked(url, signature, rows, arrays | numbers)


def model_metadata(url: str, document: Any) -> dict[str, Any]:
    """A `GetModelMetadataResponse` in JSON as `Client.metadata` returns it. Raises
    `ServingError`."""
    try:
        signatures = document["metadata"]["signature_def"]["signature_def"]
        return {
            "model": document["model_spec"]["name"],
            "version": int(document["model_spec"]["version"]),
            "signatures": {
                name: {side: _tensors(signature.get(side, {})) for side in ("inputs", "outputs")}
                for name, signature in sorted(signatures.items())
                if not name.startswith("__")  # the initialiser of a SavedModel is one
            },
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        raise not_understood(url, "does not answer with a model's metadata") from None


def _tensors(infos: dict[str, Any]) -> dict[str, Any]:
    tensors = {}
    for name, info in sorted(infos.items()):
        dtype = info["dtype"].removeprefix("DT_").lower()
        shape = [int(dim.get("size", 0)) for dim in info.get("tensor_shape", {}).get("dim", [])]
        dtype = {"float": "float32", "double": "float64"}.get(dtype, dtype)
        tensors[name] = {"dtype": dtype, "shape": shape}
    return tensors


def version_states(url: str, document: Any) -> list[dict[str, Any]]:
    """A `GetModelStatusResponse` in JSON as `Client.status` returns it. Raises `ServingError`."""
    try:
        rows = [
            {
                "version": int(row.get("version", 0)),
                "state": row.get("state", "UNKNOWN"),
                "error": row.get("status", {}).get("error_message", ""),
            }
            for row in document.get("model_version_status", [])
        ]
    except (TypeError, ValueError, AttributeError):
        raise not_understood(url, "does not answer with a model's status") from None
    return sorted(rows, key=lambda row: -row["version"])
