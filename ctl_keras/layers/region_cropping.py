import keras
import numpy as np
import tensorflow as tf


@keras.saving.register_keras_serializable(package="ctl_keras")
class RegionCropping(keras.layers.Layer):
    """Cuts a map or an image into a grid of regions: the cropping layer of the article.

    Without `crop_size` a region is the mean of the map over its cell. A grid that does not divide
    the map gets overlapping cells (from `floor(i * size / n)` to `ceil((i + 1) * size / n)`, as in
    adaptive average pooling); a grid of the map's own size returns the map's cells as they are.
    With `crop_size` a region is its cell of the image, resized; it then goes through the backbone
    on its own.

    Args:
        grid: (rows, columns).
        crop_size: int or None. Side, in pixels, that each cell is resized to. Defaults to None: the
            cells' means.

    Call arguments:
        inputs: float tensor `[batch, height, width, channels]` with known height and width.

    Returns:
        `[batch, rows * columns, channels]`, or `[batch, rows * columns, crop_size, crop_size,
        channels]`, row by row.

    Raises:
        ValueError: `grid` is not two positive numbers, `crop_size` is not positive, or the grid is
            finer than the input.

    Reference:
        The article "What are the secret ingredients of Pinterest's fashion recommendations? Part
        1"; without crops, the regions of Kang et al., CVPR 2019 (arXiv 1812.01748), section 4.2.
    """

    def __init__(self, grid, crop_size=None, **kwargs):
        super().__init__(**kwargs)
        if len(grid) != 2 or min(grid) < 1:
            raise ValueError(
                f"`grid` must be two positive numbers, rows and columns. Received: grid={grid}"
            )
        if crop_size is not None and crop_size < 1:
            raise ValueError(f"`crop_size` must be positive. Received: crop_size={crop_size}")
        self.grid, self.crop_size = tuple(grid), crop_size

    def build(self, input_shape):
        for axis, size, cells in zip(("rows", "columns"), input_shape[1:3], self.grid, strict=True):
            if size is None or size < cells:
                raise ValueError(
                    f"`grid` asks for {cells} {axis} of an input that has {size}. Received: "
                    f"grid={self.grid}, input_shape={tuple(input_shape)}"
                )
        super().build(input_shape)

    def call(self, inputs):
        height, width = inputs.shape[1:3]
        rows, columns = cell_bounds(height, self.grid[0]), cell_bounds(width, self.grid[1])
        # what the product below would copy
        if self.crop_size is None and self.grid == (height, width):
            return tf.reshape(inputs, [-1, height * width, inputs.shape[-1]])
        if self.crop_size is None:
            by_row = tf.constant(_means(height, rows), inputs.dtype)
            by_column = tf.constant(_means(width, columns), inputs.dtype)
            cells = tf.einsum("rh,bhwc,kw->brkc", by_row, inputs, by_column)
            return tf.reshape(cells, [-1, self.grid[0] * self.grid[1], inputs.shape[-1]])
        size = [self.crop_size, self.crop_size]
        crops = [
            tf.cast(
                tf.image.resize(inputs[:, top:bottom, left:right], size, antialias=True),
                inputs.dtype,
            )
            for top, bottom in rows
            for left, right in columns
        ]
        return tf.stack(crops, axis=1)

    def compute_output_shape(self, input_shape):
        inner = () if self.crop_size is None else (self.crop_size, self.crop_size)
        return (input_shape[0], self.grid[0] * self.grid[1], *inner, input_shape[-1])

    def get_config(self):
        return {**super().get_config(), "grid": self.grid, "crop_size": self.crop_size}


def cell_bounds(size: int, cells: int) -> list[tuple[int, int]]:
    """First and past-the-last index of each of `cells` cells along an axis of `size`; together they
    cover it."""
    return [(index * size // cells, -(-(index + 1) * size // cells)) for index in range(cells)]


def _means(size: int, bounds: list[tuple[int, int]]) -> np.ndarray:
    """Matrix `[cells, size]` that averages each cell."""
    weights = np.zeros((len(bounds), size))
    for row, (start, stop) in zip(weights, bounds, strict=True):
        row[start:stop] = 1 / (stop - start)
    return weights
