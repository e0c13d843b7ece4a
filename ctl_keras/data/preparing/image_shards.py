"""Pictures to TFRecord shards: what takes long in `prepare`, in pieces that processes share and a
restart keeps."""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf
from PIL import Image

from ctl_keras.data.images import MIN_SIDE, decode_image, is_jpeg
from ctl_keras.data.preparing.examples import example
from ctl_keras.data.preparing.records import FORMAT
from ctl_keras.data.source_pictures import as_jpeg, find_picture, try_picture
from ctl_keras.files import json_hash, new_file, read_json, sha256, write_json

PICTURES = 256  # a shard
MAX_SIDE = 1024  # larger pictures are made smaller: every epoch decodes them again
_ORIENTATION = 0x0112  # EXIF's tag


@dataclass(frozen=True)
class ImageShard:
    """The pictures of one shard, before they are read.

    Attributes:
        path: the TFRecord file to write.
        images: folder of the pictures.
        ids: their ids, see `find_picture`.
    """

    path: Path
    images: Path
    ids: list[str]

    @property
    def report(self) -> Path:
        """The JSON file that `write_shard` ends with."""
        return self.path.with_name(f".{self.path.name}.json")


# how shards are written: `run_in_processes`, or Beam
RunShards = Callable[[Callable[[ImageShard], int], Iterable[ImageShard]], Iterator[int]]


def write_shard(shard: ImageShard) -> int:
    """Writes the pictures that can be used, as `{id, image}`, in order, and what became of each in
    the shard's report.

    A shard whose report says that it was made of the same files is kept.

    Returns:
        Number of pictures.
    """
    paths = [find_picture(shard.images, id_) for id_ in shard.ids]
    key = _key(shard, paths)
    if _is_done(shard, key):
        return len(shard.ids)
    pictures, only_jpegs = [], True
    with new_file(shard.path) as temporary, tf.io.TFRecordWriter(str(temporary)) as writer:
        for id_, path in zip(shard.ids, paths, strict=True):
            data, problem = try_picture(path)
            pictures.append({"problem": problem, "digest": hashlib.sha256(data).hexdigest()[:15]})
            if problem is not None:
                continue
            data = _within(data, MAX_SIDE)
            only_jpegs &= is_jpeg(data)
            writer.write(example(id=id_, image=data))
    file = {"bytes": shard.path.stat().st_size, "sha256": sha256(shard.path)}
    write_json(
        shard.report, {"key": key, "file": file, "only_jpegs": only_jpegs, "pictures": pictures}
    )
    return len(shard.ids)


def read_report(shard: ImageShard) -> dict[str, Any]:
    """What `write_shard` reported: `file`, its bytes and hash, `only_jpegs`, and for each id
    `problem` and `digest`."""
    return read_json(shard.report, "The report of a shard")


def _key(shard: ImageShard, paths: list[Path | None]) -> str:
    """All that the shard's content depends on; of pictures, what the file system says of them."""
    files = []
    for path in paths:
        stat = None if path is None else path.stat()
        files.append(None if stat is None else [str(path), stat.st_size, stat.st_mtime_ns])
    return json_hash([FORMAT, MAX_SIDE, shard.ids, files])


def _is_done(shard: ImageShard, key: str) -> bool:
    try:
        report = json.loads(shard.report.read_bytes())
        return report["key"] == key and report["file"]["bytes"] == shard.path.stat().st_size
    except (OSError, ValueError, KeyError):
        return False


def _within(data: bytes, side: int) -> bytes:
    """The picture itself, or a JPEG of it where it is not upright, or where its longer side has to
    be reduced to `side` pixels."""
    try:
        with Image.open(io.BytesIO(data)) as picture:  # reads no more than the header
            size = picture.size
            turned = is_jpeg(data) and picture.getexif().get(_ORIENTATION, 1) != 1
    except (OSError, ValueError, SyntaxError):  # TensorFlow takes a few that Pillow does not
        return data
    small = max(size) <= side or min(size) * side < MIN_SIDE * max(size)
    if small and not turned:
        return data
    pixels = Image.fromarray(decode_image(tf.constant(data)).numpy())
    if not small:
        pixels.thumbnail((side, side), Image.Resampling.LANCZOS)
    return as_jpeg(pixels)
