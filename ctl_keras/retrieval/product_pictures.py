"""Which picture files products have, and what becomes of those whose file cannot be read now."""

import functools
import os

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ctl_keras.catalog.catalog import FINGERPRINT, Catalog
from ctl_keras.retrieval.products import Rejected

_PICTURE = ("image", FINGERPRINT)
_GONE = "the picture does not exist"
_AWAY = "the picture's folder is not there, or it is empty"
_NOT_NOW = "the picture cannot be read now"


def with_fingerprints(
    table: pa.Table, before: Catalog | None, rejected: Rejected
) -> tuple[pa.Table, int]:
    """Looks at the picture file of each product.

    A file that is missing in a folder that holds others has been deleted. Where the folder is not
    there or empty, or the disk has an error, a share is away: products that the catalog has keep
    the picture that they have there.

    Args:
        table: `id`, `image` and further columns.
        before: the catalog as it is, or None.
        rejected: gets the products whose picture is not there.

    Returns:
        The table with `fingerprint` (path, size and time of change), and how many products keep
        their old picture because the one that the table names cannot be read now.
    """
    is_away = functools.cache(_is_away)
    looks = [_look(image, is_away) for image in table["image"].to_pylist()]
    table = table.append_column(FINGERPRINT, pa.array([look[0] for look in looks], pa.string()))
    problems = np.asarray([look[1] for look in looks], object)
    table, keep = with_old_pictures(table, before, np.isin(problems, (_AWAY, _NOT_NOW)))
    problems[keep] = None
    for reason in (_GONE, _AWAY, _NOT_NOW):
        bad = problems == reason
        table, problems = rejected.drop(table, bad, reason), problems[~bad]
    return table, int(keep.sum())


def with_old_pictures(
    table: pa.Table, before: Catalog | None, wanted: np.ndarray
) -> tuple[pa.Table, np.ndarray]:
    """Gives products the picture that they have in the catalog.

    Args:
        table: `id`, `image`, `fingerprint` and further columns.
        before: the catalog as it is, or None.
        wanted: bool `[products]`.

    Returns:
        The table, and which of the `wanted` products the catalog has, bool `[products]`.
    """
    if before is None or not wanted.any():
        return table, np.zeros(table.num_rows, bool)
    rows = pc.if_else(pa.array(wanted), pc.index_in(table["id"], value_set=before.ids), None)
    known = np.asarray(pc.is_valid(rows))
    old = before.table.select(_PICTURE).take(rows)
    for name in _PICTURE:
        column = pc.if_else(pa.array(known), old[name], table[name])
        table = table.set_column(table.column_names.index(name), name, column)
    return table, known


def _look(
    path: str, is_away: "functools._lru_cache_wrapper[bool]"
) -> tuple[str | None, str | None]:
    """A file's fingerprint, or what is wrong."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None, _AWAY if is_away(os.path.dirname(path)) else _GONE
    except ValueError:  # a name that no file can have
        return None, _GONE
    except OSError:
        return None, _NOT_NOW
    return f"{status.st_size}-{status.st_mtime_ns}-{path}", None


def _is_away(folder: str) -> bool:
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is None
    except (OSError, ValueError):
        return True
