"""Warm-up requests for TensorFlow Serving: without them a broken version would replace a good one
(serving notes)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ctl_keras.data.images import MIN_SIDE

Request = tuple[str, dict[str, tf.Tensor]]


def warmup_requests(
    categories: tuple[str, ...], dim: int, signatures: list[str], batch_size: int
) -> list[Request]:
    """Requests of 1, 2, 4 … rows up to `batch_size` for each signature.

    Args:
        categories: the model's categories.
        dim: int. Size of the embeddings.
        signatures: names of those that the export has.
        batch_size: int. Rows of the largest request.

    Returns:
        Pairs of signature name and inputs.
    """
    powers = [2**power for power in range(batch_size.bit_length()) if 2**power < batch_size]
    noise = np.random.default_rng(0).integers(
        256, size=(8 * MIN_SIDE, 8 * MIN_SIDE, 3), dtype=np.uint8
    )
    picture = tf.io.encode_jpeg(noise)[None]
    vector = tf.fill([1, dim], np.float32(dim**-0.5))
    scene = {"scene_bytes": picture, "category": tf.constant(categories[:1])}
    inputs = {
        "serving_default": {**scene, "product_bytes": picture},
        "embed_scene": scene,
        "embed_product": {"product_bytes": picture},
        "score_embeddings": {"query": vector, "embedding": vector},
        "recommend": scene,
        "recommend_excluding": {**scene, "exclude": tf.constant([["", "?"]])},
        "rerank": {**scene, "product_id": tf.constant([["", "?"]])},
    }
    return [
        (name, {key: tf.repeat(row, size, axis=0) for key, row in inputs[name].items()})
        for name in signatures
        for size in [*powers, batch_size]
    ]


def replay(signatures: Mapping[str, Any], requests: list[Request]) -> None:
    """Lets a loaded SavedModel answer each request: one that fails here would keep the server from
    loading the version.

    Raises:
        RuntimeError: a signature fails, calls its own warm-up picture invalid or returns a number
            that is not finite.
    """
    for name, inputs in requests:
        outputs = signatures[name](**inputs)
        for output, value in outputs.items():
            bad = value.dtype.is_floating and not np.isfinite(value.numpy()).all()
            if bad or (output == "valid" and not value.numpy().all()):
                raise RuntimeError(
                    f"The export fails its own warm-up: `{name}` answers `{output}` = "
                    f"{value.numpy()}."
                )


def write_warmup(folder: Path, requests: list[Request]) -> None:
    """Writes the requests where TensorFlow Serving looks for them."""
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, inputs in requests:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "complete_the_look"  # ignored by the server
            request.model_spec.signature_name = name
            for key, value in inputs.items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
            log = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(request=request)
            )
            writer.write(log.SerializeToString())
