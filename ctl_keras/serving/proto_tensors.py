"""`TensorProto`s to arrays and back, in the fields that TensorFlow Serving uses."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from ctl_keras.serving.refused_error import invalid

_MOST_REPEATED = 4096
_FIELDS = {
    **{
        tf.float32: "float_val",
        tf.float64: "double_val",
        tf.string: "string_val",
        tf.bool: "bool_val",
    },
    **{
        tf.int8: "int_val",
        tf.int16: "int_val",
        tf.int32: "int_val",
        tf.uint8: "int_val",
        tf.uint16: "int_val",
    },
    **{
        tf.int64: "int64_val",
        tf.uint32: "uint32_val",
        tf.uint64: "uint64_val",
        tf.float16: "half_val",
        tf.bfloat16: "half_val",
    },
}


def array_of(name: str, proto: Any) -> np.ndarray:
    """The array of a `TensorProto`.

    A tensor may leave out values, and the last one is then repeated: a few bytes can ask for any
    amount of memory. Here they may ask for 4,096 values, and for no more than they hold otherwise.

    Args:
        name: of the input, for messages.
        proto: `TensorProto`.

    Returns:
        An array; strings are `bytes` in an object array.

    Raises:
        RefusedError: INVALID_ARGUMENT, unknown type, a shape that is unknown or negative, or values
            that do not fit it.
    """
    try:
        dtype = tf.dtypes.as_dtype(proto.dtype)
    except TypeError as error:
        raise invalid(f"tensor parsing error: {name} has no type that TensorFlow knows") from error
    if dtype not in _FIELDS:
        raise invalid(
            f"tensor parsing error: {name} is of type {dtype.name}, which is not supported"
        )
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or min(shape, default=0) < 0:
        raise invalid(
            f"tensor parsing error: {name} has the shape {shape if shape else '<unknown>'}"
        )
    count = math.prod(shape)
    if proto.tensor_content:
        if dtype == tf.string or len(proto.tensor_content) != count * dtype.size:
            raise invalid(
                f"tensor parsing error: the content of {name} does not fit {dtype.name} {shape}"
            )
    else:
        held = len(getattr(proto, _FIELDS[dtype]))
        if held > count or (held < count and count > _MOST_REPEATED):
            raise invalid(
                f"tensor parsing error: {name} holds {held} values for {dtype.name} {shape}"
            )
    try:
        array = tf.make_ndarray(proto)
    except (ValueError, OverflowError) as error:  # an integer that its type cannot hold
        raise invalid(f"tensor parsing error: {name}: {error}") from error
    if dtype == tf.string and array.size:  # make_ndarray fills up with str, not bytes
        array = np.array([value or b"" for value in array.flat], np.object_).reshape(shape)
    return array


def write_array(proto: Any, array: np.ndarray) -> None:
    """Writes an array into an empty `TensorProto`, its values in the typed fields as TensorFlow
    Serving answers by default: clients that read `float_val` work on both."""
    dtype = tf.dtypes.as_dtype(array.dtype)
    proto.dtype = dtype.as_datatype_enum
    proto.tensor_shape.CopyFrom(tf.TensorShape(array.shape).as_proto())
    values = array.view(np.uint16) if dtype in (tf.float16, tf.bfloat16) else array
    getattr(proto, _FIELDS[dtype]).extend(values.ravel().tolist())
