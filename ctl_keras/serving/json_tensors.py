"""JSON requests to arrays and arrays to JSON answers, as TensorFlow Serving's util/json_tensor.cc
does it.

What it takes is taken, what it refuses is refused, with two exceptions: keys that appear twice are
refused here, and an empty column is a batch of no rows whatever the input's rank.
"""

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import tensorflow as tf

from ctl_keras.serving.refused_error import RefusedError, invalid

# strings of a request that are not UTF-8 reach the graph as the bytes they were, and come back so
_BYTES = {"encoding": "utf-8", "errors": "surrogateescape"}
_DEEPEST = 8  # dimensions of an input whose signature does not say
_EXACT_INTEGERS = {np.dtype(np.float32): 2**24 - 1, np.dtype(np.float64): 2**53 - 1}


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object of a request's body; NaN and Infinity are numbers.

    Raises:
        RefusedError: INVALID_ARGUMENT, not JSON, not an object, nested too deeply, or a key appears
            twice.
    """
    try:
        text = body.removeprefix(b"\xef\xbb\xbf").decode(**_BYTES)
        document = json.loads(text, parse_float=_finite, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise invalid(f"JSON Parse error: {error}") from error
    if not isinstance(document, dict):
        raise invalid(f"JSON value {_short(document)} is not an object")
    return document


def signature_name(document: Mapping[str, Any]) -> str:
    """The signature that a request names, "" for the default one.

    Raises:
        RefusedError: INVALID_ARGUMENT, it is not a string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(f"'signature_name' key must be a string value. Received: {_short(name)}")
    return name


def inputs_of(document: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of a predict request.

    Args:
        document: the request, with `instances` (rows) or `inputs` (columns).
        expected: input name -> `TensorInfo` of the signature.

    Returns:
        Input name -> array of the input's type; strings are `bytes` in object arrays.

    Raises:
        RefusedError: INVALID_ARGUMENT, an input is missing or too much, ragged, or of another type.
            UNIMPLEMENTED, the input has a type that JSON requests cannot give, such as bfloat16.
    """
    if "instances" in document and "inputs" in document:
        raise invalid(
            "Not formatted correctly, expecting only one of 'inputs' or 'instances' keys to exist"
        )
    if "instances" in document:
        return {
            name: _array(name, column, expected[name])
            for name, column in _columns(document["instances"], expected).items()
        }
    if "inputs" not in document:
        raise invalid("Missing 'inputs' or 'instances' key")
    columns = document["inputs"]
    if not isinstance(columns, dict) or _is_bytes(columns):
        if len(expected) > 1:
            raise invalid(
                f"'inputs' must be an object with the keys {_keys(expected)}. Received: "
                f"{_short(columns)}"
            )
        columns = dict.fromkeys(expected, columns)
    for name in expected:
        if name not in columns:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    # others are ignored, as in TF Serving
    return {name: _array(name, columns[name], info) for name, info in expected.items()}


def answer(outputs: Mapping[str, np.ndarray], document: Mapping[str, Any]) -> bytes:
    """The JSON answer: `predictions` (rows) to `instances`, `outputs` (columns) to `inputs`.

    A single output stands by itself, without its name. Strings of outputs named `*_bytes` are
    `{"b64": …}`.

    Args:
        outputs: output name -> array.
        document: the request.

    Raises:
        RefusedError: INVALID_ARGUMENT, an output has a type that JSON cannot carry or, in rows, not
            one row for each.
    """
    columns = {name: _values(name, outputs[name]) for name in sorted(outputs)}
    if "inputs" in document:
        return _dump({"outputs": columns if len(columns) > 1 else next(iter(columns.values()))})
    sizes = {name: array.shape[0] if array.ndim else None for name, array in outputs.items()}
    if None in sizes.values() or len(set(sizes.values())) != 1:
        raise invalid(
            f"Outputs differ in their batch size, so they have no rows: {sizes}. Use 'inputs' "
            "instead of 'instances'."
        )
    if len(columns) == 1:
        return _dump({"predictions": next(iter(columns.values()))})
    return _dump(
        {
            "predictions": [
                dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
            ]
        }
    )


def _dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode(**_BYTES)


def _columns(rows: Any, expected: Mapping[str, Any]) -> dict[str, list[Any]]:
    if not isinstance(rows, list) or not rows:
        raise invalid(f"'instances' must be a list of at least one row. Received: {_short(rows)}")
    named = [isinstance(row, dict) and not _is_bytes(row) for row in rows]
    if any(named) != all(named):
        raise invalid("'instances' mixes objects with plain values")
    if not named[0]:
        if len(expected) > 1:
            raise invalid(f"'instances' must be a list of objects with the keys {_keys(expected)}")
        return dict.fromkeys(expected, rows)
    for number, row in enumerate(rows):
        if row.keys() != set(expected):
            raise invalid(
                f"Element {number} of 'instances': keys must be equal to {_keys(expected)}. "
                f"Received: {_keys(row)}"
            )
    return {name: [row[name] for row in rows] for name in expected}


def _array(name: str, value: Any, info: Any) -> np.ndarray:
    dtype = tf.dtypes.as_dtype(info.dtype)
    dims = [dim.size for dim in info.tensor_shape.dim]
    if value == [] and dims:
        return np.empty([0, *(max(size, 0) for size in dims[1:])], dtype.as_numpy_dtype)
    deepest = _DEEPEST if info.tensor_shape.unknown_rank else len(dims)
    shape: list[int] = []
    first = value
    while isinstance(first, list) and len(shape) < deepest:
        shape.append(len(first))
        first = first[0] if first else None
    items = [value]
    for size in shape:
        for item in items:
            if not isinstance(item, list) or len(item) != size:
                raise invalid(
                    f"Input {name}: rows of different sizes, expecting lists of {size}. Received: "
                    f"{_short(item)}"
                )
        items = list(chain.from_iterable(items))
    try:
        return np.array([_scalar(item, dtype) for item in items], dtype.as_numpy_dtype).reshape(
            shape
        )
    except RefusedError as refusal:
        raise RefusedError(refusal.status, f"Input {name}: {refusal}") from refusal


def _scalar(value: Any, dtype: tf.DType) -> Any:
    if dtype == tf.string and isinstance(value, str | dict):
        return _bytes(value)
    if dtype == tf.bool and isinstance(value, bool):
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and dtype in (tf.float32, tf.float64):
        return _decimal(value, np.dtype(dtype.as_numpy_dtype))
    if number and dtype.is_integer and isinstance(value, int) and dtype.min <= value <= dtype.max:
        return value
    if dtype in (tf.string, tf.bool, tf.float32, tf.float64) or dtype.is_integer:
        raise invalid(f"JSON Value: {_short(value)} is not of expected type: {dtype.name}")
    raise RefusedError(
        "UNIMPLEMENTED", f"Conversion of JSON Value: {_short(value)} to type: {dtype.name}"
    )


def _decimal(value: int | float, dtype: np.dtype) -> float:
    # integers that need more than 64 bits are decimals to TensorFlow Serving's parser
    inexact = (
        isinstance(value, int) and -(2**63) <= value < 2**64 and abs(value) > _EXACT_INTEGERS[dtype]
    )
    if inexact or float(np.finfo(dtype).max) < abs(value) != math.inf:
        raise invalid(
            f"Cannot convert JSON value: {_short(value)} to {dtype.name} without loss of precision."
        )
    return float(value)


def _bytes(value: str | dict[str, Any]) -> bytes:
    try:
        if isinstance(value, str):
            return value.encode(**_BYTES)
        if _is_bytes(value):
            text = "".join(value["b64"].split())
            return base64.b64decode(
                text + "=" * (-len(text) % 4 if "=" not in text else 0), validate=True
            )
    except (ValueError, binascii.Error) as error:
        raise invalid(f"Unable to decode the string {_short(value)}: {error}") from error
    raise invalid(f"JSON Value: {_short(value)} not formatted correctly for base64 data")


def _is_bytes(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def _values(name: str, array: np.ndarray) -> Any:
    # the fewest digits that give the same float32, where `tolist` would give those of a double
    if array.dtype == np.float32:
        return array.astype("U32").astype(np.float64).tolist()
    if array.dtype == np.object_:
        return _texts(array.tolist(), name.endswith("_bytes"))
    if array.dtype.kind in "fiub" and array.dtype.name not in ("float16", "bfloat16"):
        return array.tolist()
    raise invalid(f"Failed to write JSON value for output {name} of type {array.dtype.name}")


def _texts(values: Any, as_base64: bool) -> Any:
    if isinstance(values, list):
        return [_texts(value, as_base64) for value in values]
    return {"b64": base64.b64encode(values).decode()} if as_base64 else values.decode(**_BYTES)


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"number too big: {text[:20]}")
    return value


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key appears twice in an object")
    return values


def _keys(mapping: Mapping[str, Any]) -> str:
    return _short(", ".join(sorted(mapping)))


def _short(value: Any) -> str:
    """A value as an error message shows it: cut before it is written out, for it may be
    megabytes."""
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    if isinstance(value, str):
        return repr(value[:80])
    if isinstance(value, int) and abs(value) >= 10**20:
        return "an integer of more than 20 digits"
    return json.dumps(value)
