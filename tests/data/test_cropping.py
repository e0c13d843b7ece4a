import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctl_keras.data.cropping import box_problems, is_four_numbers, scene_windows

share = st.floats(0, 1, width=32)


@st.composite
def boxes(draw):
    left, right = sorted(draw(st.lists(share, min_size=2, max_size=2, unique=True)))
    top, bottom = sorted(draw(st.lists(share, min_size=2, max_size=2, unique=True)))
    return [left, top, right, bottom]


def test_keeps_the_largest_of_the_four_strips():
    cases = {
        (0.3, 0.6, 0.7, 1.0): (0, 0, 1, 0.6),  # above
        (0.3, 0.0, 0.7, 0.4): (0, 0.4, 1, 1),  # below
        (0.8, 0.3, 1.0, 0.7): (0, 0, 0.8, 1),  # left
        (0.0, 0.3, 0.2, 0.7): (0.2, 0, 1, 1),  # right
    }
    windows, areas = scene_windows(np.array(list(cases)))
    np.testing.assert_allclose(windows, list(cases.values()), atol=1e-6)
    np.testing.assert_allclose(areas, [0.6, 0.6, 0.8, 0.8], atol=1e-6)


@given(st.lists(boxes(), min_size=1, max_size=8))
def test_no_window_touches_its_box(drawn):
    windows, areas = scene_windows(np.array(drawn))
    for (left, top, right, bottom), window, area in zip(
        drawn, windows.tolist(), areas.tolist(), strict=True
    ):
        inside_x = min(right, window[2]) - max(left, window[0])
        inside_y = min(bottom, window[3]) - max(top, window[1])
        assert inside_x <= 0 or inside_y <= 0 or area == 0
        assert area == pytest.approx((window[2] - window[0]) * (window[3] - window[1]), abs=1e-6)
        assert area >= max(left, top, 1 - right, 1 - bottom) - 1e-6


def test_without_a_box_the_scene_is_kept():
    windows, areas = scene_windows(np.full((1, 4), np.nan))
    assert windows.tolist() == [[0, 0, 1, 1]]
    assert areas.tolist() == [1]


@given(boxes())
def test_a_good_box_has_no_problem(box):
    assert is_four_numbers(box)
    assert box_problems(np.array([box])).tolist() == [None]


@pytest.mark.parametrize(
    "box",
    [
        [0.1, 0.2, 0.3],
        "0.1 0.2 0.3 0.4",
        [0.1, 0.2, None, 0.4],
        [0.1, 0.2, float("nan"), 0.4],
        [True, 0.2, 0.3, 0.4],
    ],
)
def test_what_is_no_box(box):
    assert not is_four_numbers(box)


@pytest.mark.parametrize(
    ("box", "problem"),
    [
        ([-0.1, 0.2, 0.3, 0.4], "outside 0..1"),
        ([10, 20, 30, 40], "outside 0..1"),
        ([0.1, 0.2, float("inf"), 0.4], "outside 0..1"),
        ([0.3, 0.2, 0.1, 0.4], "inverted or empty"),
        ([0.1, 0.4, 0.3, 0.4], "inverted or empty"),
        ([0.1, float("nan"), 0.3, 0.4], "not four numbers"),
    ],
)
def test_a_wrong_box_is_named(box, problem):
    none = [float("nan")] * 4
    first, second, third = box_problems(np.array([none, box, [0.1, 0.2, 0.3, 0.4]]))
    assert (first, third) == (None, None)
    assert second.startswith(problem)
