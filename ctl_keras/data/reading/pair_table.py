"""The one table that every reader of annotations makes: a row for each annotated pair, in
columns."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

LINE, SCENE, PRODUCT, CATEGORY, SPLIT = "line", "scene", "product", "category", "split"
BOX = ("left", "top", "right", "bottom")
REASON, DETAIL = "reason", "detail"
TYPES = {
    LINE: pa.int64(),
    **dict.fromkeys((SCENE, PRODUCT, CATEGORY, SPLIT), pa.string()),
    **dict.fromkeys(BOX, pa.float64()),
}
_REJECTED = pa.schema(
    [(LINE, pa.int64()), *((name, pa.string()) for name in (SCENE, PRODUCT, REASON, DETAIL))]
)


class PairTable:
    """Annotated pairs on their way to training: what is kept, and what was left out and why.

    Args:
        rows: the columns `line` (int64, where the row comes from, counted from 1), `scene` and
            `product` (ids) and, as far as they are known, `category`, `left`, `top`, `right`,
            `bottom` (float64, the product's box in the scene as shares of the image; all null: not
            boxed) and `split`.
        read: int. Number of rows of the source.

    Attributes:
        rows, read: the same.
        annotated: table of `scene` and `product` of all pairs, also those that are left out: none
            is a negative.
    """

    def __init__(self, rows: pa.Table, read: int):
        self.rows, self.read = rows, read
        self.annotated = rows.select([SCENE, PRODUCT])
        self._rejected: list[pa.Table] = []

    def __len__(self) -> int:
        return self.rows.num_rows

    def numbers(self, name: str) -> np.ndarray:
        """A number column as a numpy array; nulls are NaN."""
        return np.asarray(self.rows[name].to_numpy())

    def drop(self, bad: Any, reason: str | pa.Array, detail: Any = None) -> np.ndarray:
        """Leaves rows out.

        Args:
            bad: bool array `[rows]`.
            reason: str, or one for each row.
            detail: array of str or None, one for each row. Defaults to none.

        Returns:
            Bool array: the rows that are kept.
        """
        bad = mask(bad)
        if bad.any():
            chosen = pa.array(bad)
            columns = self.rows.select([LINE, SCENE, PRODUCT]).filter(chosen)
            many = columns.num_rows
            reasons = (
                pa.array([reason] * many) if isinstance(reason, str) else pc.filter(reason, chosen)
            )
            details = pa.nulls(many, pa.string()) if detail is None else pc.filter(detail, chosen)
            self.reject(columns.append_column(REASON, reasons).append_column(DETAIL, details))
            self.rows = self.rows.filter(pa.array(~bad))
        return ~bad

    def reject(self, rows: pa.Table | list[dict[str, Any]]) -> None:
        """Adds rows that never came into the table: `line`, `reason` and, if known, `scene`,
        `product`, `detail`."""
        if isinstance(rows, list):
            rows = pa.Table.from_pylist(rows, _REJECTED)
        self._rejected.append(rows.cast(_REJECTED))

    @property
    def rejected(self) -> pa.Table:
        """`line`, `scene`, `product`, `reason` and `detail` of all rows that were left out, by
        line."""
        return pa.concat_tables([_REJECTED.empty_table(), *self._rejected]).sort_by(LINE)


def mask(values: Any) -> np.ndarray:
    """A bool array of an Arrow or numpy one; null is False."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        values = pc.fill_null(values, False)
    return np.asarray(values).astype(bool, copy=False)


def box_text(rows: pa.Table, names: Iterable[str] = BOX) -> Any:
    """The boxes for people: `"[0.1, 0.2, null, 0.4]"`, from columns of numbers or text."""
    shares = [pc.coalesce(rows[name].cast(pa.string()), "null") for name in names]
    return pc.binary_join_element_wise("[", pc.binary_join_element_wise(*shares, ", "), "]", "")


def first_of_each(values: pa.ChunkedArray) -> np.ndarray:
    """Bool array: whether a value is there for the first time."""
    first = np.zeros(len(values), bool)
    codes = values.combine_chunks().dictionary_encode().indices.to_numpy()
    first[np.unique(codes, return_index=True)[1]] = True
    return first


def reject_rows(rejected: pa.Table) -> list[dict[str, Any]]:
    """Rejects as dicts, without `detail` where there is none."""
    return [
        {name: value for name, value in row.items() if name != DETAIL or value is not None}
        for row in rejected.to_pylist()
    ]


def explain(rejected: pa.Table) -> str:
    """The rejects counted by reason: `"12 x scene: picture missing, 3 x box outside 0..1"`."""
    return in_words(reasons(rejected))


def in_words(counts: Mapping[str, int]) -> str:
    """Counts by reason as text: `"12 x scene: picture missing, 3 x box outside 0..1"`."""
    return ", ".join(f"{count} x {reason}" for reason, count in counts.items())


def reasons(rejected: pa.Table) -> dict[str, int]:
    """Reason -> number of rejects, the most frequent first."""
    return counted(rejected[REASON].to_pylist())


def counted(values: Iterable[str]) -> dict[str, int]:
    """Value -> how often, the most frequent first."""
    return dict(Counter(values).most_common())
