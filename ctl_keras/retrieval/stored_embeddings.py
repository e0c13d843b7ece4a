"""Embeddings that are there already, by the fingerprint of the picture: those of a catalog and of
an unfinished run."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from ctl_keras.catalog.catalog import FINGERPRINT, PICTURE_HASH, Catalog
from ctl_keras.files import new_file

_PROBLEM = "problem"
_EMBEDDING = "embedding"
_BLOCK = 65536  # rows


def part_schema(dim: int) -> pa.Schema:
    """Of a part: `fingerprint`, `embedding` of `dim` numbers, `picture_hash`, and `problem`: why
    there is no embedding, or null."""
    fields = [
        (FINGERPRINT, pa.string()),
        (_EMBEDDING, pa.list_(pa.float32(), dim)),
        (PICTURE_HASH, pa.int64()),
        (_PROBLEM, pa.string()),
    ]
    return pa.schema(fields)


def write_part(
    path: Path,
    fingerprints: Any,
    embeddings: np.ndarray,
    hashes: list[int | None],
    problems: list[str | None],
) -> None:
    """Writes what `embed_pictures` gave of some pictures to a Parquet file, atomically."""
    dim = embeddings.shape[1]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.reshape(-1)), dim)
    columns = [fingerprints, vectors, hashes, problems]
    with new_file(path) as temporary:
        pa.parquet.write_table(pa.table(columns, schema=part_schema(dim)), temporary)


class StoredEmbeddings:
    """What need not be embedded again. The embeddings stay on disk.

    Args:
        before: the catalog as it is, or None.
        parts: folder of parts, `*.parquet`; hidden files are none.
        dim: int. Size of the embeddings.
    """

    def __init__(self, before: Catalog | None, parts: Path, dim: int):
        self.dim = dim
        self._sources: list[Catalog | Path] = [before] if before else []
        self._sources += sorted(parts.glob("[!.]*.parquet"))  # a killed writer leaves `.tmp-…`
        tables = [_without_embeddings(source) for source in self._sources]
        self._starts = np.cumsum([0, *map(len, tables)])
        self._table = pa.concat_tables([part_schema(dim).remove(1).empty_table(), *tables])

    def rows(self, table: pa.Table) -> pa.Array:
        """For each picture of a table with `fingerprint` the row here, int32 `[pictures]`, null if
        there is none."""
        return pc.index_in(table[FINGERPRINT], value_set=self._table[FINGERPRINT])

    def problems(self, rows: pa.Array) -> np.ndarray:
        """Why there is no embedding, object `[rows]` of str or None."""
        problems: np.ndarray = self._table[_PROBLEM].take(rows).to_numpy()
        return problems

    def picture_hashes(self, rows: pa.Array) -> pa.ChunkedArray:
        """Of the pixels, int64 `[rows]`."""
        return self._table[PICTURE_HASH].take(rows)

    def fill(self, target: np.ndarray, rows: pa.Array) -> None:
        """Writes the embeddings of `rows` to `target`, float32 `[rows, dim]`, source by source.

        Rows that have the same picture get the embedding of the first one: rounding depends on what
        else was in the batch.
        """
        hashes = self._table[PICTURE_HASH]
        wanted = np.asarray(pc.index_in(hashes.take(rows), value_set=hashes))
        order = np.argsort(wanted, kind="stable")
        bounds = np.searchsorted(wanted[order], self._starts)
        for number, source in enumerate(self._sources):
            vectors = source.embeddings if isinstance(source, Catalog) else _vectors(source)
            places = order[bounds[number] : bounds[number + 1]]
            for start in range(0, len(places), _BLOCK):
                block = places[start : start + _BLOCK]
                target[block] = vectors[wanted[block] - self._starts[number]]


def _without_embeddings(source: Catalog | Path) -> pa.Table:
    names = [FINGERPRINT, PICTURE_HASH]
    if isinstance(source, Path):
        return pa.parquet.read_table(source, columns=[*names, _PROBLEM])
    return source.table.select(names).append_column(_PROBLEM, pa.nulls(len(source), pa.string()))


def _vectors(path: Path) -> np.ndarray:
    column = pa.parquet.read_table(path, columns=[_EMBEDDING])[_EMBEDDING].combine_chunks()
    vectors: np.ndarray = column.flatten().to_numpy().reshape(len(column), -1)
    return vectors
