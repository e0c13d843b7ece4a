"""A catalog on disk: products with their embeddings, in open formats, tied to the model that
embedded them.

```
CATALOG/<n>/                the newest number counts; it is there whole or not at all
    embeddings.npy          float32 [products, dim], memory-mapped; the model's unit vectors
    products.arrow          Arrow IPC file, memory-mapped: id, image, category, …, fingerprint,
                            picture_hash
    rejected.jsonl          {id, image, category, reason} of each product that was left out
    manifest.json           format, weights_hash, dim, count, counts of the last update, hash
```
Rows are sorted by category, so that a search in one category reads only its part; in a category
those that have the same picture follow each other.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ctl_keras.catalog.ids import ids_mask
from ctl_keras.catalog.where import where
from ctl_keras.errors import InputError
from ctl_keras.files import (
    json_hash,
    new_generation,
    newest_generation,
    read_json,
    sha256,
    write_json,
)

FORMAT = 2
COLUMNS = ("id", "image", "category")
FINGERPRINT = "fingerprint"  # of the picture's file: path, size and time of change
PICTURE_HASH = "picture_hash"  # of the picture's pixels: the same in another file or format
_OURS = [FINGERPRINT, PICTURE_HASH]
_MAKE = "`ctl-keras catalog --model DIR --products {} --out {}`"


class Catalog:
    """An embedded catalog, memory-mapped: opening one of millions takes milliseconds.

    Args:
        folder: made by `build_catalog`, or by `ctl-keras catalog`.

    Attributes:
        folder: `Path`.
        manifest: dict, its `manifest.json`.
        embeddings: float32 `[products, dim]`, `np.memmap`.
        table: `pyarrow.Table` of `id`, `image`, `category` and the further columns of the products,
            row by row as `embeddings`.

    Raises:
        InputError: there is no catalog, or its files do not belong together.

    Example:
        >>> catalog = Catalog("catalogs/shop")
        >>> index = ExactIndex().build(catalog.embeddings, catalog.ids, catalog.categories)
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        if self.folder.is_file():
            raise InputError(
                f"{folder} is a file; a catalog is a folder. Make one with "
                f"{_MAKE.format(folder, 'DIR')}."
            )
        newest = newest_generation(self.folder)
        while True:
            try:
                return self._open(newest)
            except InputError:  # a renewal may have removed it meanwhile
                before, newest = newest, newest_generation(self.folder)
                if newest == before:
                    raise

    def _open(self, newest: Path | None) -> None:
        folder = self.folder
        if newest is None or not (newest / "manifest.json").is_file():
            raise InputError(
                f"{folder} holds no catalog. Make one with {_MAKE.format('F', folder)}."
            )
        file, what = newest / "manifest.json", "The manifest of the catalog"
        self.manifest: dict[str, Any] = read_json(file, what)
        if (found := self.manifest.get("format")) != FORMAT:
            raise InputError(
                f"The catalog {folder} has the format {found}; {FORMAT} is "
                "needed. Remove it and make it anew."
            )
        try:
            self.table = pa.ipc.open_file(pa.memory_map(str(newest / "products.arrow"))).read_all()
            # numpy cannot map a file without rows
            self.embeddings: np.ndarray = np.load(
                newest / "embeddings.npy", mmap_mode="r" if self.table.num_rows else None
            )
        except (OSError, ValueError, EOFError, pa.ArrowInvalid) as error:
            raise InputError(f"The catalog {folder} is damaged: {error}. Make it anew.") from None
        expected = (self.manifest["count"], self.manifest["dim"])
        if self.embeddings.shape != expected or self.table.num_rows != expected[0]:
            raise InputError(
                f"The catalog {folder} is damaged: {self.table.num_rows} products, embeddings "
                f"{list(self.embeddings.shape)}, and its manifest says {list(expected)}. Make it "
                "anew."
            )

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def ids(self) -> pa.ChunkedArray:
        """String array `[products]`."""
        return self.table["id"]

    @property
    def categories(self) -> pa.ChunkedArray:
        """Dictionary array `[products]` of category paths."""
        return self.table["category"]

    @cached_property
    def pictures(self) -> np.ndarray:
        """Which products count as one, int64 `[products]`: those of a category that have the same
        picture have the same number, which grows from row to row. With `keep_duplicates` each has
        its own."""
        if self.manifest["keep_duplicates"]:
            return np.arange(len(self))
        columns = self.categories.combine_chunks().indices, self.table[PICTURE_HASH]
        category, picture = (np.diff(column, prepend=column[:1]) != 0 for column in columns)
        return np.cumsum(category | picture)

    def require_model(self, manifest: dict[str, Any], model: str | Path) -> None:
        """Checks that an export's embeddings can be compared with this catalog's.

        Args:
            manifest: dict, the export's.
            model: the export's folder, for the message.

        Raises:
            InputError: another model made the catalog.
        """
        if manifest.get("weights_hash") != self.manifest["weights_hash"]:
            raise InputError(
                f"The catalog {self.folder} was embedded by another model "
                f"({self.manifest['weights_hash'][:12]}) than {model} "
                f"({str(manifest.get('weights_hash'))[:12]}): their vectors cannot be compared. "
                "Embed it with this model."
            )

    def where(self, expression: str) -> np.ndarray:
        """Which products an expression over their columns is true for.

        Args:
            expression: str, see `ctl_keras.catalog.where.where`.

        Returns:
            bool `[products]`.

        Raises:
            InputError: an unknown column, a wrong type, or no expression.
        """
        return where(self.table.drop_columns(_OURS), expression)

    def mask(self, ids: Sequence[str]) -> np.ndarray:
        """Which products have one of some ids.

        Args:
            ids: the ids.

        Returns:
            Bool array `[products]`.

        Raises:
            InputError: an id that no product has.
        """
        return ids_mask(self.ids, ids)

    def products(self, rows: Iterable[int]) -> list[dict[str, Any]]:
        """The columns of some products.

        Args:
            rows: their rows.

        Returns:
            A dict for each, in the order of `rows`.
        """
        chosen = self.table.drop_columns(_OURS).take(pa.array(rows, pa.int64()))
        products: list[dict[str, Any]] = chosen.to_pylist()
        return products


def write_catalog(
    folder: str | Path,
    fill: Callable[[np.ndarray], None],
    table: pa.Table,
    dim: int,
    weights_hash: str,
    counts: dict[str, Any],
    rejected: Iterable[dict[str, Any]] = (),
    keep_duplicates: bool = False,
) -> Catalog:
    """Writes the next state of a catalog; a process that is killed here leaves the state before.

    Args:
        folder: the catalog's.
        fill: writes the embeddings of `table`'s rows into an array `[products, dim]` that lies on
            disk.
        table: `id`, `image`, `category`, `fingerprint`, `picture_hash` and further columns, sorted
            by category, and in a category such that rows with the same picture follow each other.
        dim: int. Size of the embeddings.
        weights_hash: str. The model's, from its export's manifest.
        counts: dict of what the update did, kept in the manifest.
        rejected: dicts, one for each product that was left out.
        keep_duplicates: bool, see `build_catalog`. Defaults to False.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    with new_generation(folder) as new:
        shape, path = (table.num_rows, dim), new / "embeddings.npy"
        if table.num_rows:
            embeddings = np.lib.format.open_memmap(path, "w+", np.float32, shape)
            fill(embeddings)
            embeddings.flush()
        else:
            np.save(path, np.zeros(shape, np.float32))
        with (
            pa.OSFile(str(new / "products.arrow"), "wb") as file,
            pa.ipc.new_file(file, table.schema) as writer,
        ):
            writer.write_table(table.combine_chunks())
        with open(new / "rejected.jsonl", "w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rejected)
        files = {path.name: sha256(path) for path in sorted(new.iterdir())}
        manifest = {
            "format": FORMAT,
            "weights_hash": weights_hash,
            "dim": dim,
            "count": table.num_rows,
            "categories": {
                row["values"]: row["counts"] for row in table["category"].value_counts().to_pylist()
            },
            "columns": {
                field.name: str(field.type)
                for field in table.schema
                if field.name not in (*COLUMNS, *_OURS)
            },
            "keep_duplicates": keep_duplicates,
            "update": counts,
            "files": files,
            "hash": json_hash([files["embeddings.npy"], files["products.arrow"], keep_duplicates]),
        }
        write_json(new / "manifest.json", manifest)
    return Catalog(folder)
