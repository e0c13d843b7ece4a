import keras
import tensorflow as tf

from ctl_keras.config import DISTANCES
from ctl_keras.layers.precision import at_least_float32

_EPSILON = 1e-12


@keras.saving.register_keras_serializable(package="ctl_keras")
class HybridDistance(keras.layers.Layer):
    """The distance between a scene and products, from their embeddings.

    ```
    global = ||scene - product||^2
    local  = sum over i of attention_i * ||region_i - product||^2
    hybrid = (global + local) / 2
    ```

    Args:
        distance: `"hybrid"`, `"global"` or `"local"`: which of them is the model's distance.
            Defaults to `"hybrid"`.
        squared: bool. Squared Euclidean distances; False takes the plain norms. Defaults to True.

    Call arguments:
        scene: float tensor `[batch, dim]` of unit vectors.
        regions: float tensor `[batch, regions, dim]` of unit vectors.
        attention: float tensor `[batch, regions]`, or `[batch, products, regions]` for an attention
            of its own per product.
        products: float tensor `[batch, products, dim]` of unit vectors, or `[1, products, dim]`,
            the same for all scenes.

    Returns:
        A dict of `"hybrid_distance"` (the one that `distance` chooses), `"global_distance"` and
        `"local_distance"`, each float32 (float64 for a float64 layer) `[batch, products]`.

    Raises:
        ValueError: there is no such distance.

    Reference:
        Kang et al., CVPR 2019 (arXiv 1812.01748), section 4.2.
    """

    def __init__(self, distance: str = "hybrid", squared: bool = True, **kwargs):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        if distance not in DISTANCES:
            raise ValueError(
                f"`distance` must be one of {', '.join(DISTANCES)}. Received: distance={distance!r}"
            )
        self.distance, self.squared = distance, squared

    def call(self, scene, regions, attention, products):
        dtype = at_least_float32(self.compute_dtype)
        scene, regions, attention, products = (
            tf.cast(x, dtype) for x in (scene, regions, attention, products)
        )
        global_distance = self._between(scene[:, None], products)[:, 0]
        per_region = self._between(regions, products)
        equation = "br,brp->bp" if attention.shape.rank == 2 else "bpr,brp->bp"
        local_distance = tf.einsum(equation, attention, per_region)
        chosen = {
            "hybrid": (global_distance + local_distance) / 2,
            "global": global_distance,
            "local": local_distance,
        }[self.distance]
        return {
            "hybrid_distance": chosen,
            "global_distance": global_distance,
            "local_distance": local_distance,
        }

    def _between(self, points: tf.Tensor, products: tf.Tensor) -> tf.Tensor:
        """Distances `[batch, points, products]` by the expanded square, which needs no `[batch,
        points, products, dim]`."""
        squares = (
            tf.reduce_sum(tf.square(points), -1)[:, :, None]
            + tf.reduce_sum(tf.square(products), -1)[:, None, :]
        )
        distances = tf.maximum(squares - 2 * tf.matmul(points, products, transpose_b=True), 0.0)
        # the root's gradient is infinite at zero
        return distances if self.squared else tf.sqrt(tf.maximum(distances, _EPSILON))

    @property
    def largest(self) -> float:
        """The largest value that unit vectors can give: 4, or 2 for plain norms."""
        return 4.0 if self.squared else 2.0

    def compute_output_shape(self, scene_shape, regions_shape, attention_shape, products_shape):
        shape = (scene_shape[0], products_shape[1])
        return dict.fromkeys(("hybrid_distance", "global_distance", "local_distance"), shape)

    def get_config(self):
        return {**super().get_config(), "distance": self.distance, "squared": self.squared}
