"""Filters on the columns of a catalog, such as `price < 50 and brand in ["Acme", "Zen"]`.

Python's own grammar, parsed and never run: names are columns, and nothing but the listed operators
is allowed.
"""

import ast
import difflib
import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ctl_keras.errors import InputError

_HELP = (
    "Write comparisons of columns with values, such as: price < 50 and brand in ['Acme', 'Zen'] "
    "and not sold"
)
_COMPARE: dict[type, Callable[..., Any]] = {
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
}
_MIRRORED: dict[type, type] = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}


def where(table: pa.Table, expression: str) -> np.ndarray:
    """The rows for which an expression is true.

    Args:
        table: its columns are the names that the expression may use.
        expression: str. Comparisons (`<`, `<=`, `>`, `>=`, `==`, `!=`, `in`, `not in`) of a column
            with a number, a text, `True`, `False` or a list of them, joined by `and`, `or`, `not`
            and parentheses; a column of true and false may stand alone. Dates are compared with a
            text such as `"2026-01-31"`. A missing value makes its comparison false.

    Returns:
        bool `[rows]`.

    Raises:
        InputError: the expression cannot be read, names no column, or compares a column with
            another type.
    """
    try:
        return _Reader(table, expression).mask(ast.parse(expression.strip(), mode="eval").body)
    except InputError:
        raise
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        reason = getattr(error, "msg", None) or str(error)
        raise InputError(
            f"`where` cannot be read: {reason}. {_HELP}. Received: {expression[:200]}"
        ) from None


class _Reader:
    def __init__(self, table: pa.Table, expression: str):
        self.table, self.expression = table, expression

    def mask(self, node: ast.expr) -> np.ndarray:
        if isinstance(node, ast.BoolOp):
            join = operator.and_ if isinstance(node.op, ast.And) else operator.or_
            return reduce(join, (self.mask(value) for value in node.values))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self.mask(node.operand)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            parts = zip(sides, node.ops, sides[1:], strict=False)
            return reduce(operator.and_, (self.comparison(*part) for part in parts))
        if isinstance(node, ast.Name):
            column = self.column(node)
            if not pa.types.is_boolean(column.type):
                raise self.error(
                    f"the column {node.id} holds {column.type}; compare it with a value"
                )
            return _bools(column)
        raise self.error(f"{ast.unparse(node)!r} is no comparison")

    def comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> np.ndarray:
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(left, ast.Name):
                raise self.error(f"{ast.unparse(left)!r} is no column")
            column, values = self.column(left), self.value(right)
            if not isinstance(values, list | tuple):
                raise self.error(f"`in` needs a list, such as ['Acme', 'Zen'], not {values!r}")
            has_float = any(isinstance(value, float) for value in values)
            if pa.types.is_integer(column.type) and has_float:
                column = column.cast(pa.float64())
            allowed = [self.scalar(left, column, value) for value in values]
            found = self.run(lambda: pc.is_in(column, value_set=pa.array(allowed, column.type)))
            if isinstance(op, ast.NotIn):
                found = pc.and_(pc.invert(found), column.is_valid())
            return _bools(found)
        if not isinstance(left, ast.Name):
            left, op, right = right, _MIRRORED.get(type(op), type(op))(), left
        if not isinstance(left, ast.Name) or type(op) not in _COMPARE:
            text = ast.unparse(ast.Compare(left, [op], [right]))
            raise self.error(f"{text!r} compares no column with a value")
        column = self.column(left)
        value = self.scalar(left, column, self.value(right))
        return _bools(self.run(lambda: _COMPARE[type(op)](column, value)))

    def column(self, node: ast.Name) -> Any:
        if node.id not in self.table.column_names:
            near = difflib.get_close_matches(node.id, self.table.column_names, 1)
            columns = f"Columns: {', '.join(self.table.column_names)}."
            hint = f"Did you mean {near[0]}?" if near else columns
            raise self.error(f"there is no column {node.id}. {hint} Texts need quotes")
        column = self.table[node.id]
        is_coded = pa.types.is_dictionary(column.type)
        return column.cast(column.type.value_type) if is_coded else column

    def value(self, node: ast.expr) -> Any:
        try:
            return ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            raise self.error(f"{ast.unparse(node)!r} is no number, text or list of them") from None

    def scalar(self, node: ast.Name, column: Any, value: Any) -> Any:
        """The value as the column's type; a fraction is not cut to a whole number, nor a number
        read as a text."""
        kind, types = column.type, pa.types
        is_text = types.is_string(kind) or types.is_large_string(kind) or types.is_temporal(kind)
        is_number = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
        if isinstance(value, bool):
            fits = types.is_boolean(kind)
        else:
            fits = is_text if isinstance(value, str) else is_number
        if not fits or not isinstance(value, str | int | float):
            raise self.error(
                f"the column {node.id} holds {kind} and cannot be compared with {value!r}"
            )
        if types.is_temporal(kind):
            return self.run(lambda: pa.scalar(value).cast(kind).as_py())
        return value

    def run(self, compute: Callable[[], Any]) -> Any:
        try:
            return compute()
        except (
            pa.ArrowInvalid,
            pa.ArrowNotImplementedError,
            pa.ArrowTypeError,
            OverflowError,
            TypeError,
        ) as error:
            raise self.error(str(error).splitlines()[0]) from None

    def error(self, problem: str) -> InputError:
        return InputError(f"`where`: {problem}. {_HELP}. Received: {self.expression[:200]}")


def _bools(values: Any) -> np.ndarray:
    return np.asarray(pc.fill_null(values, False)).astype(bool, copy=False)
