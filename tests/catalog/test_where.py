import datetime
import operator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ctl_keras as ctl
from ctl_keras.catalog.where import where

TABLE = pa.table(
    {
        "price": [1, 50, None, 70],
        "weight": [0.5, 1.5, 2.5, float("nan")],
        "brand": ["Acme", "Zen", None, "Acme"],
        "sold": [True, False, None, True],
        "category": pa.array(["Shoes", "Hats", "Shoes", "Hats"]).dictionary_encode(),
        "day": [datetime.date(2026, 1, day) for day in (1, 2, 3, 4)],
    }
)


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        ("price < 50", [0]),
        ("price < 50.5", [0, 1]),
        ("50 <= price < 80", [1, 3]),
        ("50 > price", [0]),
        ("price != 50", [0, 3]),
        ("price in [1.0, 70]", [0, 3]),
        ("weight > 1", [1, 2]),
        ("weight in (0.5, 1)", [0]),
        ("brand == 'Acme' and price > 1", [3]),
        ("brand in ['Acme', 'Zen']", [0, 1, 3]),
        ("brand not in ['Acme']", [1]),
        ("not brand == 'Acme'", [1, 2]),
        ("sold", [0, 3]),
        ("not sold", [1, 2]),
        ("sold == False", [1]),
        ("category == 'Shoes' or price == 70", [0, 2, 3]),
        ("category in ['Hats']", [1, 3]),
        ("day >= '2026-01-03'", [2, 3]),
        ("day in ['2026-01-02']", [1]),
        ("  price == 1 # the cheap one", [0]),
        ("brand in []", []),
    ],
)
def test_expressions(expression, rows):
    assert np.flatnonzero(where(TABLE, expression)).tolist() == rows


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("prise < 3", "there is no column prise. Did you mean price?"),
        (
            "zzz < 3",
            "there is no column zzz. Columns: price, weight, brand, sold, category, day. Texts "
            "need quotes",
        ),
        ("price < 'a'", "the column price holds int64 and cannot be compared with 'a'"),
        ("brand < 5", "the column brand holds string and cannot be compared with 5"),
        ("price == True", "the column price holds int64 and cannot be compared with True"),
        ("sold == 1", "the column sold holds bool and cannot be compared with 1"),
        ("price", "the column price holds int64; compare it with a value"),
        ("brand == Acme", "'Acme' is no number, text or list of them"),
        ("price < weight", "'weight' is no number"),
        ("3 < 4", "compares no column with a value"),
        ("'A' in brand", "\"'A'\" is no column"),
        ("price in 3", r"`in` needs a list, such as \['Acme', 'Zen'\], not 3"),
        ("day > 'soon'", "soon"),
        ("price < 10000000000000000000000", "Received: price"),
        ("price in [10000000000000000000000]", "Received: price"),
        ("brand = 'Acme'", "`where` cannot be read: invalid syntax"),
        ("", "`where` cannot be read"),
        ("__import__('os').system('true')", "is no comparison"),
        ("[price for price in [1]]", "is no comparison"),
        ("not " * 3000 + "sold", "`where` cannot be read"),
        ("price < " + "(" * 300 + "1" + ")" * 300, "`where` cannot be read"),
    ],
)
def test_errors(expression, message):
    with pytest.raises(ctl.InputError, match=message) as error:
        where(TABLE, expression)
    assert len(str(error.value)) < 600


NUMBERS = [3, 1, 4, 1, 5, 9, 2, 6]
OPERATORS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
COMPARISONS = st.tuples(st.sampled_from(sorted(OPERATORS)), st.integers(0, 10))


@given(
    st.recursive(
        COMPARISONS,
        lambda inner: st.tuples(st.sampled_from(["and", "or"]), inner, inner),
        max_leaves=6,
    )
)
def test_equals_python(tree):
    def text(node):
        return (
            f"x {node[0]} {node[1]}"
            if len(node) == 2
            else f"({text(node[1])}) {node[0]} not ({text(node[2])})"
        )

    expected = [bool(eval(text(tree), {"x": x})) for x in NUMBERS]
    assert where(pa.table({"x": NUMBERS}), text(tree)).tolist() == expected
