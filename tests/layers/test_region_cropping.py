import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from ctl_keras import RegionCropping
from ctl_keras.layers.region_cropping import cell_bounds
from tests.layers.layer_checks import check_layer


def test_grid_of_the_maps_size_is_the_map():
    values = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype("float32")
    np.testing.assert_allclose(RegionCropping((3, 4))(values), values.reshape(2, 12, 5), atol=1e-6)


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_any_grid_equals_plain_means(height, width, data):
    rows, columns = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    values = np.random.default_rng(height).normal(size=(1, height, width, 2))
    cells = np.asarray(RegionCropping((rows, columns), dtype="float64")(values))
    for row in range(rows):
        for column in range(columns):
            top, bottom = row * height // rows, -(-(row + 1) * height // rows)
            left, right = column * width // columns, -(-(column + 1) * width // columns)
            expected = values[0, top:bottom, left:right].reshape(-1, 2).mean(axis=0)
            np.testing.assert_allclose(cells[0, row * columns + column], expected, atol=1e-12)


@given(st.integers(1, 60), st.data())
def test_cells_cover_the_axis_and_none_is_empty(size, data):
    cells = data.draw(st.integers(1, size))
    bounds = cell_bounds(size, cells)
    assert len(bounds) == cells
    assert {index for start, stop in bounds for index in range(start, stop)} == set(range(size))
    assert all(start < stop for start, stop in bounds)


def test_crops_of_the_image_are_its_cells_resized():
    image = np.random.default_rng(0).uniform(0, 255, size=(2, 8, 6, 3)).astype("float32")
    crops = RegionCropping((2, 3), crop_size=4)(image)
    assert crops.shape == (2, 6, 4, 4, 3)
    expected = tf.image.resize(image[:, 4:8, 2:4], [4, 4], antialias=True)
    np.testing.assert_allclose(crops[:, 4], expected, atol=1e-4)


def test_layer_manners():
    values = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype("float32")
    check_layer(RegionCropping((2, 3)), values)
    check_layer(RegionCropping((2, 2), crop_size=5), values, bounded=0.05)


def test_grid_finer_than_the_map():
    with pytest.raises(ValueError, match=r"`grid` asks for 5 columns of an input that has 4"):
        RegionCropping((3, 5))(np.zeros((1, 4, 4, 2), np.float32))


def test_wrong_arguments():
    with pytest.raises(
        ValueError,
        match=r"`grid` must be two positive numbers, rows and columns. Received: grid=\(0, 3\)",
    ):
        RegionCropping((0, 3))
    with pytest.raises(ValueError, match="`crop_size` must be positive. Received: crop_size=0"):
        RegionCropping((2, 2), crop_size=0)
