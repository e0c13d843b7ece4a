"""From a table of products to a catalog: what is new or changed is embedded, the rest is taken
over.

What was embedded waits in parts, `CATALOG/.parts-<model>/*.parquet`, until the catalog is written:
a killed run goes on there.
"""

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from ctl_keras.catalog.catalog import FINGERPRINT, FORMAT, PICTURE_HASH, Catalog, write_catalog
from ctl_keras.data.images import decode_image, picture_problem
from ctl_keras.data.picture_files import read_image_bytes
from ctl_keras.errors import InputError
from ctl_keras.files import newest_generation
from ctl_keras.progress import track
from ctl_keras.retrieval.products import Rejected, read_products
from ctl_keras.retrieval.stored_embeddings import StoredEmbeddings, write_part
from ctl_keras.servable.local_model import LocalModel

_PART = 256  # pictures: what a killed process loses, some 5 seconds
_READERS = 4
_NOT_FINITE = "the model gives no finite embedding"
_NO_BYTES = "the picture is empty or cannot be read"
_decode = tf.function(decode_image, [tf.TensorSpec([], tf.string)])  # a third of the time

Embed = Callable[[LocalModel, pa.Table, Path], None]


def build_catalog(
    model: str | Path,
    products: str | Path,
    out: str | Path,
    embed: Embed | None = None,
    keep_duplicates: bool = False,
) -> Catalog:
    """Embeds a table of products, or brings a catalog up to date with it.

    A product whose picture's file is as it was (path, size, time of change) keeps its embedding,
    whatever else has changed; pictures that several products share are embedded once. Products that
    the table no longer has are removed. A killed run goes on when it is started again; a catalog
    that is there stays in use until the new state is complete.

    Args:
        model: an export, see `LocalModel`.
        products: CSV or Parquet, see `read_products`.
        out: the catalog's folder.
        embed: takes the model, a table of `image` and `fingerprint`, and the folder where it writes
            parts. Defaults to `embed_here`, this process; `embed_with_beam` has a cluster do it.
        keep_duplicates: bool. Whether each of several products of a category that have the same
            picture is recommended, and not the first alone. Defaults to False.

    Returns:
        The catalog. Its `manifest["update"]` counts what was added, changed, removed, unchanged and
        rejected, and why.

    Raises:
        InputError: no export, no such table, or a catalog of another model.
    """
    out, local = Path(out), LocalModel(model)
    before = Catalog(out) if newest_generation(out) else None
    if before:
        before.require_model(local.manifest, model)
    rejected = Rejected()
    table = read_products(products, tuple(local.manifest["categories"]), rejected)
    table = _with_fingerprints(table, rejected)

    weights_hash, dim = local.manifest["weights_hash"], local.manifest["settings"]["dim"]
    parts = out / f".parts-{FORMAT}-{weights_hash[:16]}"
    parts.mkdir(parents=True, exist_ok=True)
    missing = _missing(table, StoredEmbeddings(before, parts, dim))
    if missing.num_rows:
        (embed or embed_here)(local, missing, parts)
    stored = StoredEmbeddings(before, parts, dim)
    if left := _missing(table, stored).num_rows:
        raise RuntimeError(
            f"{left} of {missing.num_rows} pictures were not embedded. Start it again to go on."
        )

    problems = stored.problems(stored.rows(table))
    for reason in dict.fromkeys(problem for problem in problems if problem):
        bad = problems == reason
        table, problems = rejected.drop(table, bad, reason), problems[~bad]
    hashes = stored.picture_hashes(stored.rows(table))
    codes = np.asarray(table["category"].combine_chunks().indices)
    order = np.lexsort((pc.index_in(hashes, value_set=hashes), codes))
    table = table.append_column(PICTURE_HASH, hashes).take(pa.array(order))
    rows, changes = stored.rows(table), _changes(before, table)
    update = {**changes, "embedded": missing.num_rows, "rejected": rejected.counts()}

    def fill(target: np.ndarray) -> None:
        stored.fill(target, rows)

    catalog = write_catalog(
        out, fill, table, dim, weights_hash, update, rejected.rows, keep_duplicates
    )
    for folder in out.glob(".parts-*"):
        shutil.rmtree(folder)
    return catalog


def embed_here(model: LocalModel, pictures: pa.Table, parts: Path) -> None:
    """Embeds pictures in this process.

    Args:
        model: the export, loaded.
        pictures: table of `image` and `fingerprint`.
        parts: folder for the parts.
    """
    with ThreadPoolExecutor(_READERS) as readers:
        starts = range(0, pictures.num_rows, _PART)
        for start in track(starts, "embedding", len(starts)):
            part = pictures.slice(start, _PART)
            data = list(readers.map(bytes_or_empty, part["image"].to_pylist()))
            path, fingerprints = parts / f"{uuid.uuid4().hex}.parquet", part[FINGERPRINT]
            write_part(path, fingerprints.combine_chunks(), *embed_pictures(model, data))


def embed_pictures(
    model: LocalModel, data: list[bytes]
) -> tuple[np.ndarray, list[int | None], list[str | None]]:
    """Embeddings of picture files, float32 `[pictures, dim]`, and for each the hash of its pixels
    or else what is wrong with it; the other is None."""
    answer = model.embed_product(data)
    embeddings = answer["embedding"]
    finite = np.isfinite(embeddings.sum(axis=1))
    hashes: list[int | None] = []
    problems: list[str | None] = []
    for file, good in zip(data, answer["valid"] & finite, strict=True):
        hashes.append(_pixels_hash(file) if good else None)
        problems.append(
            None if good else (picture_problem(file) or _NOT_FINITE) if file else _NO_BYTES
        )
    return np.where(finite[:, None], embeddings, 0), hashes, problems


def _pixels_hash(file: bytes) -> int:
    """64 bits that stand for the decoded picture. Of 10 million pictures, the chance that any two
    others share them is 3 in a million."""
    pixels = _decode(tf.constant(file)).numpy()
    digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=8)
    digest.update(pixels)
    return int.from_bytes(digest.digest(), "big", signed=True)


def bytes_or_empty(path: str) -> bytes:
    """A picture file's bytes, or none if it cannot be read."""
    try:
        return read_image_bytes(path)
    except InputError:
        return b""


def describe(catalog: Catalog) -> str:
    """What the last update did, for people."""
    update = catalog.manifest["update"]
    changes = ", ".join(f"{update[name]} {name}" for name in ("added", "changed", "removed"))
    categories = len(catalog.manifest["categories"])
    counts = f"{len(catalog)} products, {categories} categories"
    lines = [f"{catalog.folder}: {counts} ({changes}; {update['embedded']} pictures embedded)"]
    lines += [f"  {count} left out: {reason}" for reason, count in update["rejected"].items()]
    if same := len(catalog) - len(np.unique(catalog.pictures)):
        lines.append(
            f"  {same} have the same picture as an earlier one, which is recommended in their "
            "place (--keep-duplicates: each is recommended)"
        )
    return "\n".join(lines)


def _with_fingerprints(table: pa.Table, rejected: Rejected) -> pa.Table:
    prints = [_fingerprint(image) for image in table["image"].to_pylist()]
    table = table.append_column(FINGERPRINT, pa.array(prints, pa.string()))
    return rejected.drop(
        table, np.asarray([value is None for value in prints], bool), "the picture does not exist"
    )


def _fingerprint(path: str) -> str | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return f"{status.st_size}-{status.st_mtime_ns}-{path}"


def _missing(table: pa.Table, stored: StoredEmbeddings) -> pa.Table:
    """The pictures that have no embedding yet, each once."""
    pictures = table.select(["image", FINGERPRINT]).filter(stored.rows(table).is_null())
    return (
        pictures.group_by(FINGERPRINT, use_threads=False)
        .aggregate([("image", "first")])
        .rename_columns([FINGERPRINT, "image"])
    )


def _changes(before: Catalog | None, table: pa.Table) -> dict[str, int]:
    if before is None:
        return {"added": table.num_rows, "changed": 0, "removed": 0, "unchanged": 0}
    row = pc.index_in(table["id"], value_set=before.ids)
    found = pc.is_valid(row)
    old, new = before.table.take(row.drop_null()), table.filter(found)
    same = np.asarray(pc.equal(old[FINGERPRINT], new[FINGERPRINT])).sum() if old.num_rows else 0
    return {
        "added": table.num_rows - new.num_rows,
        "changed": int(new.num_rows - same),
        "removed": len(before) - old.num_rows,
        "unchanged": int(same),
    }
