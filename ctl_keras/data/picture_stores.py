"""Where pictures are read from, by row number: files, parts of files, or records."""

import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from ctl_keras.data.picture_files import read_image_bytes
from ctl_keras.errors import InputError


class Images:
    """Pictures by row number.

    Args:
        ids: sequence of str.

    Attributes:
        ids: object array of str `[images]`.
        are_checked_jpegs: bool, whether `decode_image` may take them as such.
    """

    are_checked_jpegs = False

    def __init__(self, ids: Sequence[str] | np.ndarray):
        self.ids = np.array(ids, object)

    def load(self, row: int) -> bytes:
        """The file content of one picture, for `decode_image`."""
        raise NotImplementedError

    def path(self, row: int) -> Path:
        """The file of one picture, where it has one of its own."""
        raise NotImplementedError

    def read(self, rows: tf.Tensor) -> tf.Tensor:
        """`load` inside a tf.data pipeline: integer tensor `[n]` -> string tensor `[n]`."""
        return self._in_python(self.load, rows)

    @staticmethod
    def _in_python(load: Callable[[int], bytes], rows: tf.Tensor) -> tf.Tensor:
        # one call for many: each has to wait for Python's lock
        def load_all(rows: np.ndarray) -> np.ndarray:
            return np.array([*map(load, rows), None], object)[:-1]  # objects, even if there is none

        return tf.ensure_shape(
            tf.numpy_function(load_all, [rows], tf.string, stateful=False), [None]
        )


class ImageFolder(Images):
    """Pictures that are files.

    Args:
        ids: sequence of str.
        paths: their files, in the same order.
    """

    def __init__(self, ids: Sequence[str] | np.ndarray, paths: Sequence[Path]):
        super().__init__(ids)
        self._paths = list(paths)

    def path(self, row: int) -> Path:
        return self._paths[row]

    def load(self, row: int) -> bytes:
        return read_image_bytes(self._paths[row])


class ImageRecords(Images):
    """Pictures that are `tf.train.Example`s in TFRecord shards, read at random.

    The offsets are found by walking the shards' length fields, so there is no index file that could
    disagree.

    Args:
        ids: sequence of str, in the order of the records.
        shards: the TFRecord files, in order.
        are_checked_jpegs: bool. Whether all are JPEGs that were decoded before. Defaults to False.

    Raises:
        InputError: the shards do not hold one record for each id.
    """

    def __init__(
        self,
        ids: Sequence[str] | np.ndarray,
        shards: Sequence[Path],
        are_checked_jpegs: bool = False,
    ):
        super().__init__(ids)
        self.are_checked_jpegs = are_checked_jpegs
        self._shards = [str(shard) for shard in shards]
        places = [_record_places(shard) for shard in shards]
        self._shard = np.repeat(np.arange(len(places)), [len(each) for each in places])
        self._places = np.concatenate([np.zeros((0, 2), np.int64), *places])
        if len(self._places) != len(self.ids):
            raise InputError(
                f"The image records hold {len(self._places)} pictures where {len(self.ids)} are "
                "listed. Run `prepare` again."
            )

    def load(self, row: int) -> bytes:
        return (
            tf.train.Example.FromString(self._record(row))
            .features.feature["image"]
            .bytes_list.value[0]
        )

    def read(self, rows: tf.Tensor) -> tf.Tensor:
        features = {"image": tf.io.FixedLenFeature([], tf.string)}
        return tf.io.parse_example(self._in_python(self._record, rows), features)["image"]

    def _record(self, row: int) -> bytes:
        offset, length = self._places[row]
        file = os.open(self._shards[self._shard[row]], os.O_RDONLY)
        try:
            return os.pread(file, length, offset)
        finally:
            os.close(file)


def _record_places(shard: Path) -> np.ndarray:
    """Offset and length of each record, int64 `[records, 2]`."""
    places, size = [], shard.stat().st_size
    with open(shard, "rb") as file:
        position = 0
        while position < size:
            # TFRecord: length (uint64), its CRC (4 bytes), the data, its CRC (4 bytes)
            file.seek(position)
            (length,) = struct.unpack("<Q", file.read(8))
            places.append((position + 12, length))
            position += 12 + length + 4
    return np.array(places, np.int64).reshape(-1, 2)
