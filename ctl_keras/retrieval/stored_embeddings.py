"""Embeddings that are there already, by the fingerprint of the picture: those of a catalog and of
an unfinished run."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from ctl_keras.files import new_file
from ctl_keras.retrieval.catalog import FINGERPRINT, Catalog

_PROBLEM = "problem"
_EMBEDDING = "embedding"
_BLOCK = 65536  # rows


def part_schema(dim: int) -> pa.Schema:
    """Of a part: `fingerprint`, `embedding` of `dim` numbers, and `problem`: why there is no
    embedding, or null."""
    fields = [
        (FINGERPRINT, pa.string()),
        (_EMBEDDING, pa.list_(pa.float32(), dim)),
        (_PROBLEM, pa.string()),
    ]
    return pa.schema(fields)


def write_part(
    path: Path, fingerprints: Any, embeddings: np.ndarray, problems: list[str | None]
) -> None:
    """Writes the embeddings, float32 `[pictures, dim]`, of some pictures to a Parquet file,
    atomically."""
    vectors = pa.FixedSizeListArray.from_arrays(
        pa.array(embeddings.reshape(-1)), embeddings.shape[1]
    )
    columns = [pa.array(fingerprints, pa.string()), vectors, pa.array(problems, pa.string())]
    with new_file(path) as temporary:
        pa.parquet.write_table(
            pa.table(columns, schema=part_schema(embeddings.shape[1])), temporary
        )


class StoredEmbeddings:
    """What need not be embedded again. Only the fingerprints are in memory.

    Args:
        before: the catalog as it is, or None.
        parts: folder of parts, `*.parquet`; hidden files are none.
        dim: int. Size of the embeddings.
    """

    def __init__(self, before: Catalog | None, parts: Path, dim: int):
        self.dim = dim
        self._sources: list[Catalog | Path] = [before] if before else []
        fingerprints = [before.table[FINGERPRINT].combine_chunks()] if before else []
        problems = [pa.nulls(len(before), pa.string())] if before else []
        for path in sorted(parts.glob("[!.]*.parquet")):  # a killed writer leaves `.tmp-…`
            part = pa.parquet.read_table(path, columns=[FINGERPRINT, _PROBLEM])
            self._sources.append(path)
            fingerprints.append(part[FINGERPRINT].combine_chunks())
            problems.append(part[_PROBLEM].combine_chunks())
        self._starts = np.cumsum([0, *map(len, fingerprints)])
        self._fingerprints = pa.chunked_array(fingerprints, pa.string())
        self._problems = pa.chunked_array(problems, pa.string())

    def rows(self, table: pa.Table) -> pa.Array:
        """For each picture of a table with `fingerprint` the row here, int32 `[pictures]`, null if
        there is none."""
        return pc.index_in(table[FINGERPRINT], value_set=self._fingerprints)

    def problems(self, rows: pa.Array) -> np.ndarray:
        """Why there is no embedding, object `[rows]` of str or None."""
        problems: np.ndarray = self._problems.take(rows).to_numpy()
        return problems

    def fill(self, target: np.ndarray, rows: pa.Array) -> None:
        """Writes the embeddings of `rows` to `target`, float32 `[rows, dim]`, source by source."""
        wanted = np.asarray(rows)
        order = np.argsort(wanted, kind="stable")
        bounds = np.searchsorted(wanted[order], self._starts)
        for number, source in enumerate(self._sources):
            vectors = source.embeddings if isinstance(source, Catalog) else _vectors(source)
            places = order[bounds[number] : bounds[number + 1]]
            for start in range(0, len(places), _BLOCK):
                block = places[start : start + _BLOCK]
                target[block] = vectors[wanted[block] - self._starts[number]]


def _vectors(path: Path) -> np.ndarray:
    column = pa.parquet.read_table(path, columns=[_EMBEDDING])[_EMBEDDING].combine_chunks()
    vectors: np.ndarray = column.flatten().to_numpy().reshape(len(column), -1)
    return vectors
