"""The catalog's embedder as an Apache Beam transform, for catalogs that outgrow one machine. Needs
`ctl-keras[beam]`."""

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ctl_keras.catalog.catalog import FINGERPRINT, PICTURE_HASH
from ctl_keras.errors import InputError
from ctl_keras.retrieval.embedding import Embed, bytes_or_empty, embed_pictures
from ctl_keras.retrieval.stored_embeddings import part_schema
from ctl_keras.servable.local_model import LocalModel

try:
    import apache_beam as beam
    from apache_beam.ml.inference.base import ModelHandler, PredictionResult, RunInference
    from apache_beam.options.pipeline_options import PipelineOptions
except ImportError:
    raise InputError(
        "Apache Beam is not installed. Install it with: pip install ctl-keras[beam]"
    ) from None

Picture = tuple[str, str]


class EmbedPictures(beam.PTransform):  # type: ignore[misc]
    """Embeds pictures: a `PCollection` of pairs `(fingerprint, image)` -> one of dicts of
    `fingerprint`, `embedding` (list of floats), `picture_hash` (int or None) and `problem` (str or
    None): what a part of an unfinished catalog holds.

    Each worker process loads the export once. Workers read the export and the pictures by the paths
    they are given.

    Args:
        model: an export's folder.
    """

    def __init__(self, model: str | Path):
        super().__init__()
        self._model = str(model)

    def expand(self, pictures: Any) -> Any:
        return (
            pictures
            | RunInference(_Handler(self._model))
            | beam.Map(lambda result: result.inference)
        )


class _Handler(ModelHandler):  # type: ignore[misc]
    """Beam's own handlers for TensorFlow call `keras.models.load_model`, which cannot read a
    SavedModel under Keras 3."""

    def __init__(self, model: str):
        super().__init__(max_batch_size=32)
        self._model = model

    def load_model(self) -> LocalModel:
        return LocalModel(self._model)

    def run_inference(
        self, batch: Sequence[Picture], model: LocalModel, inference_args: Any = None
    ) -> list[Any]:
        files = [bytes_or_empty(image) for _, image in batch]
        rows = zip(batch, *embed_pictures(model, files), strict=True)
        names = FINGERPRINT, "embedding", PICTURE_HASH, "problem"
        return [
            PredictionResult(
                picture, dict(zip(names, (picture[0], vector.tolist(), *rest), strict=True))
            )
            for picture, vector, *rest in rows
        ]


def embed_with_beam(arguments: Sequence[str] = ()) -> Embed:
    """A function that `build_catalog` embeds with.

    Args:
        arguments: Beam's pipeline options, such as `["--runner=FlinkRunner", "--parallelism=8"]`.
            Defaults to none: the DirectRunner, in this process.
    """

    def embed(model: LocalModel, pictures: pa.Table, parts: Path) -> None:
        schema = part_schema(model.manifest["settings"]["dim"])
        pairs = list(
            zip(pictures[FINGERPRINT].to_pylist(), pictures["image"].to_pylist(), strict=True)
        )
        with beam.Pipeline(options=PipelineOptions(list(arguments))) as pipeline:
            _ = (
                pipeline
                | beam.Create(pairs)
                | EmbedPictures(model.folder)
                | beam.io.WriteToParquet(
                    str(parts / uuid.uuid4().hex), schema, file_name_suffix=".parquet"
                )
            )

    return embed
