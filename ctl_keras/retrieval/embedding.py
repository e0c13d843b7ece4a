"""From a table of products to a catalog: what is new or changed is embedded, the rest is taken
over.

What was embedded waits in parts, `CATALOG/.parts-<model>/*.parquet`, until the catalog is written:
a killed run goes on there.
"""

import hashlib
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
from ctl_keras.data.reading.pair_table import in_words
from ctl_keras.errors import InputError
from ctl_keras.files import newest_generation
from ctl_keras.locks import changed_folder
from ctl_keras.progress import track
from ctl_keras.retrieval.product_pictures import with_fingerprints, with_old_pictures
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
    allow_shrinking: bool = False,
) -> Catalog:
    """Embeds a table of products, or brings a catalog up to date with it.

    A product whose picture's file is as it was (path, size, time of change) keeps its embedding,
    whatever else has changed; pictures that several products share are embedded once. Products that
    the table no longer has are removed; those whose picture cannot be read now, because a share is
    away, keep the one that the catalog has. A killed run goes on when it is started again; a
    catalog that is there stays in use until the new state is complete.

    Args:
        model: an export, see `LocalModel`.
        products: CSV or Parquet, see `read_products`.
        out: the catalog's folder.
        embed: takes the model, a table of `image` and `fingerprint`, and the folder where it writes
            parts. Defaults to `embed_here`, this process; `embed_with_beam` has a cluster do it.
        keep_duplicates: bool. Whether each of several products of a category that have the same
            picture is recommended, and not the first alone. Defaults to False.
        allow_shrinking: bool. Whether more than half of the catalog's products may be removed; a
            feed that was cut off would do so. Defaults to False.

    Returns:
        The catalog. Its `manifest["update"]` counts what was read, added, changed, removed,
        unchanged, kept though its picture cannot be read now, and rejected, and why.

    Raises:
        InputError: no export, no such table, no product that can be used, more than half of the
            products lost, a catalog of another model, or another process that is writing it. A
            catalog that is there stays as it is.
    """
    local, rejected = LocalModel(model), Rejected()
    table = read_products(products, tuple(local.manifest["categories"]), rejected)
    read = table.num_rows + len(rejected.rows)
    weights_hash, dim = local.manifest["weights_hash"], local.manifest["settings"]["dim"]
    with changed_folder(out) as out:
        before = Catalog(out) if newest_generation(out) else None
        if before:
            before.require_model(local.manifest, model)
        table, unreadable = with_fingerprints(table, before, rejected)
        _require_products(table, products, before, rejected, allow_shrinking)
        parts = out / f".parts-{FORMAT}-{weights_hash[:16]}"
        parts.mkdir(exist_ok=True)
        missing = _missing(table, StoredEmbeddings(before, parts, dim))
        if missing.num_rows:
            (embed or embed_here)(local, missing, parts)
        stored = StoredEmbeddings(before, parts, dim)
        if left := _missing(table, stored).num_rows:
            raise RuntimeError(
                f"{left} of {missing.num_rows} pictures were not embedded. Start it again to go on."
            )

        problems = stored.problems(stored.rows(table))
        table, kept = with_old_pictures(table, before, problems == _NO_BYTES)
        problems[kept] = None
        for reason in dict.fromkeys(problem for problem in problems if problem):
            bad = problems == reason
            table, problems = rejected.drop(table, bad, reason), problems[~bad]
        _require_products(table, products, before, rejected, allow_shrinking)
        hashes = stored.picture_hashes(stored.rows(table))
        codes = np.asarray(table["category"].combine_chunks().indices)
        order = np.lexsort((pc.index_in(hashes, value_set=hashes), codes))
        table = table.append_column(PICTURE_HASH, hashes).take(pa.array(order))
        rows = stored.rows(table)
        update = {
            "read": read,
            **_changes(before, table),
            "unreadable": unreadable + int(kept.sum()),
            "embedded": missing.num_rows,
            "rejected": rejected.counts(),
            "examples": rejected.examples(),
        }

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
    """What the last update did, for people, and what looks wrong."""
    update, count = catalog.manifest["update"], len(catalog)
    changes = ", ".join(f"{update[name]} {name}" for name in ("added", "changed", "removed"))
    categories = len(catalog.manifest["categories"])
    left_out = sum(update["rejected"].values())
    lines = [
        f"{catalog.folder}: {count} products, {categories} categories ({changes}; "
        f"{update['embedded']} pictures embedded)",
        f"  {update['read']} read, {count} kept, {left_out} left out",
    ]
    for reason, number in update["rejected"].items():
        lines.append(f"  {number} left out: {reason} ({update['examples'][reason]})")
    if unreadable := update["unreadable"]:
        lines.append(
            f"  {unreadable} keep the picture they had: the one in the table cannot be read now. "
            "Is a share away?"
        )
    if same := count - len(np.unique(catalog.pictures)):
        lines.append(
            f"  {same} have the same picture as an earlier one, which is recommended in their "
            "place (--keep-duplicates: each is recommended)"
        )
    if left_out > count:
        lines.append("  This looks wrong: more products are left out than kept.")
    if categories == 1 < count:
        lines.append("  This looks wrong: all products have one category.")
    return "\n".join(lines)


def _require_products(
    table: pa.Table,
    source: str | Path,
    before: Catalog | None,
    rejected: Rejected,
    allow_shrinking: bool,
) -> None:
    """Raises `InputError` if a table is rather a feed that was cut off, or names pictures of a
    share that is away, than what a shop sells."""
    why = in_words(rejected.counts())
    example = f" ({next(iter(rejected.examples().values()))})" if rejected.rows else ""
    unchanged = f" {before.folder} stays as it is." if before else ""
    if not table.num_rows:
        raise InputError(
            f"No product of {source} can be used: {why or 'it is empty'}{example}.{unchanged}"
        )
    if before is None or allow_shrinking:
        return
    lost = _changes(before, table)["removed"]
    if 2 * lost > len(before):
        raise InputError(
            f"{source} would remove {lost} of {len(before)} products: it has {table.num_rows} that "
            f"can be used{f', and left out are {why}{example}' if why else ''}. If this is meant, "
            f"say so with --allow-shrinking.{unchanged}"
        )


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
