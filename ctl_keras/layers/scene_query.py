import keras
import tensorflow as tf

from ctl_keras.config import DISTANCES
from ctl_keras.layers.precision import at_least_float32


@keras.saving.register_keras_serializable(package="ctl_keras")
class SceneQuery(keras.layers.Layer):
    """The one vector of a scene whose inner product ranks products: `hybrid_distance = 2 - query .
    product`.

    As all embeddings are unit vectors, the identity is exact for squared distances and an attention
    that does not depend on the product. Otherwise ranking by it is an approximation.

    Args:
        distance: `"hybrid"` (`scene + sum of attention_i * region_i`), `"global"` (`2 * scene`) or
            `"local"` (twice the attended regions). Defaults to `"hybrid"`.

    Call arguments:
        scene: float tensor `[batch, dim]` of unit vectors.
        regions: float tensor `[batch, regions, dim]` of unit vectors.
        attention: float tensor `[batch, regions]`.

    Returns:
        float32 (float64 for a float64 layer) `[batch, dim]`.

    Raises:
        ValueError: there is no such distance.

    Reference:
        The distance of Kang et al., CVPR 2019 (arXiv 1812.01748), section 4.2, multiplied out
        (docs/concepts.md).
    """

    def __init__(self, distance: str = "hybrid", **kwargs):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        if distance not in DISTANCES:
            raise ValueError(
                f"`distance` must be one of {', '.join(DISTANCES)}. Received: distance={distance!r}"
            )
        self.distance = distance

    def call(self, scene, regions, attention):
        dtype = at_least_float32(self.compute_dtype)
        scene, regions, attention = (tf.cast(x, dtype) for x in (scene, regions, attention))
        attended = tf.einsum("br,brd->bd", attention, regions)
        return {"hybrid": scene + attended, "global": 2 * scene, "local": 2 * attended}[
            self.distance
        ]

    def compute_output_shape(self, scene_shape, regions_shape, attention_shape):
        return tuple(scene_shape)

    def get_config(self):
        return {**super().get_config(), "distance": self.distance}
