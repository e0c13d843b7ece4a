import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ctl_keras.data.splits import keep_products_apart, leakage

numbered = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 6)), min_size=1, max_size=40)


@given(numbered)
def test_no_product_is_in_two_splits_and_no_pair_is_left_out_for_nothing(rows):
    split, product = np.array(rows).T
    apart = keep_products_apart(split, product)
    assert set(apart[apart >= 0].tolist()) <= {0, 1, 2}
    for number in np.unique(product):
        mine = product == number
        homes = set(apart[mine & (apart >= 0)].tolist())
        assert len(homes) == 1
        (home,) = homes
        counts = np.bincount(split[mine], minlength=3)
        assert counts[home] == counts.max()
        assert (apart[mine] >= 0).tolist() == (split[mine] == home).tolist()


def test_of_equal_splits_the_smallest_gets_the_product():
    split = np.array([0, 0, 0, 0, 1, 2, 2])
    product = np.array([0, 0, 1, 2, 2, 1, 0])
    assert keep_products_apart(split, product).tolist() == [0, 0, -1, -1, 1, 2, -1]


@given(numbered)
def test_leakage_is_what_a_loop_counts(rows):
    split, thing = np.array(rows).T
    found = leakage(split, {"thing": thing})
    for number, name in ((1, "validation"), (2, "test")):
        mine = [value for part, value in rows if part == number]
        known = {value for part, value in rows if part == 0}
        expected = sum(value in known for value in mine) / len(mine) if mine else 0
        assert found[name]["thing"] == expected


def test_what_is_left_out_leaks_nothing():
    assert leakage(np.array([-1, 1, 0]), {"thing": np.array([5, 5, 6])})["validation"]["thing"] == 0
