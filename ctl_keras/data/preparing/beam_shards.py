"""The pictures of `prepare` as an Apache Beam pipeline, for more than one machine reads. Needs
`ctl-keras[beam]`."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from ctl_keras.data.preparing.image_shards import ImageShard, RunShards
from ctl_keras.errors import InputError

try:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
except ImportError:
    raise InputError(
        "Apache Beam is not installed. Install it with: pip install ctl-keras[beam]"
    ) from None


def run_with_beam(arguments: Sequence[str] = ()) -> RunShards:
    """A function that `prepare` writes shards with: each is an element, so that a runner spreads
    them over its workers.

    Workers read the pictures and write the records by the paths that they are given, so these must
    be on storage that all share. A restart keeps the shards that are complete.

    Args:
        arguments: Beam's pipeline options, such as `["--runner=FlinkRunner", "--parallelism=8"]`.
            Defaults to none: the DirectRunner, in this process.
    """

    def run(write: Callable[[ImageShard], int], shards: Iterable[ImageShard]) -> Iterator[int]:
        shards = list(shards)
        with beam.Pipeline(options=PipelineOptions(list(arguments))) as pipeline:
            _ = pipeline | beam.Create(shards) | beam.Reshuffle() | beam.Map(write)
        yield from (len(shard.ids) for shard in shards)

    return run
