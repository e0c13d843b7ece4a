"""The Complete-the-Look model."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import keras

from ctl_keras.config import ModelConfig
from ctl_keras.errors import InputError
from ctl_keras.layers.hybrid_distance import HybridDistance
from ctl_keras.models.backbone import Backbone
from ctl_keras.models.parts import Parts
from ctl_keras.models.trainers import in_batch_trainer, triplet_trainer
from ctl_keras.settings import from_dict, to_dict


@keras.saving.register_keras_serializable(package="ctl_keras")
class CompleteTheLook(keras.Model):
    """A functional model of how well a product completes a scene.

    Its inputs are a dict: `scene`, `positive` and `negative`, float32 `[batch, image_size,
    image_size, 3]`, RGB 0..255, and `category`, int32 `[batch]`, an index into `categories`. Its
    output is float32 `[batch, 2]`, the distances from the scene to the positive and to the
    negative. All images of a batch go through the backbone and the projections in one call, so that
    BatchNorm normalises scenes and products by the same statistics in training as in inference.

    Args:
        categories: the category paths, in the order of their indices.
        image_size: int, pixels. Defaults to 224.
        config: `ModelConfig`. Defaults to its defaults.
        load_weights: bool. False leaves `config.weights` alone, for a model whose saved weights
            follow. Defaults to True.
        initial_backbone: `Backbone.weights_hash` of the network before any training. Defaults to
            that of this model as it is made.
        **settings: single fields of `ModelConfig`, such as `backbone="ResNet50V2"` or
            `attention="product"`; they override `config`.

    Attributes:
        categories: tuple of str.
        image_size: int.
        config: `ModelConfig`.
        backbone: the `Backbone` layer.
        distance: the `HybridDistance` layer.
        scene_tower: functional model, `{"scene", "category"}` -> dict of `query` `[batch, dim]`,
            `global_embedding` `[batch, dim]`, `region_embeddings` `[batch, regions, dim]`,
            `attention_embeddings` `[batch, regions, dim]` and `attention` `[batch, rows, columns]`.
            `2 - query . embedding` is the distance where `config.has_inner_product`; with product
            attention, `query` and `attention` weigh the regions equally.
        product_tower: functional model, `product` image -> embedding `[batch, dim]`.

    Raises:
        InputError: no category, a category named twice, an unknown setting or a wrong value.

    Example:
        >>> model = CompleteTheLook(["Shoes", "Hats"], weights="none", image_size=64)
        >>> model.compile("adam", loss=TripletLoss(margin=0.2), metrics=[TripletAccuracy()])

    Reference:
        Kang et al., Complete the Look, CVPR 2019 (arXiv 1812.01748).
    """

    def __init__(
        self,
        categories: Sequence[str],
        image_size: int = 224,
        config: ModelConfig | None = None,
        load_weights: bool = True,
        initial_backbone: str | None = None,
        name: str = "complete_the_look",
        **settings: Any,
    ):
        categories = tuple(categories)
        if not categories or len(set(categories)) < len(categories):
            raise InputError(
                f"`categories` must be one or more different names. Received: {categories}"
            )
        trainable = settings.pop("trainable", True)  # the base class's config has these two
        settings.pop("dtype", None)
        base = to_dict(config or ModelConfig())
        config = from_dict(ModelConfig, {**base, **settings}, prefix="model.")
        parts = Parts(config, len(categories), image_size, load_weights)

        shape = (image_size, image_size, 3)
        images = {role: keras.Input(shape, name=role) for role in ("scene", "positive", "negative")}
        category = keras.Input((), dtype="int32", name="category")
        scene, products = parts.embed(
            parts.features(images["scene"], [images["positive"], images["negative"]])
        )
        distances = parts.distances(scene, category, products)
        super().__init__(
            inputs={**images, "category": category},
            outputs=distances["hybrid_distance"],
            name=name,
            trainable=trainable,
        )
        self.categories, self.image_size, self.config = categories, image_size, config
        self.initial_backbone = initial_backbone or parts.backbone.weights_hash()
        # a namespace, because Keras would list models that are attributes as layers of this one
        self._parts = parts
        self._towers = SimpleNamespace(
            scene=parts.scene_tower(shape), product=parts.product_tower(shape)
        )

    @property
    def scene_tower(self) -> keras.Model:
        """Functional model of a scene and a category, see above: the query that ranks products."""
        return self._towers.scene

    @property
    def product_tower(self) -> keras.Model:
        """Functional model of a product: its embedding `[batch, dim]`."""
        return self._towers.product

    @property
    def backbone(self) -> Backbone:
        """The layer that runs the network."""
        return self._parts.backbone

    @property
    def distance(self) -> HybridDistance:
        """The layer that compares a scene with products."""
        return self._parts.distance

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of regions."""
        rows, columns = self._parts.grid
        return rows, columns

    def score(self, scene: dict[str, Any], products: Any) -> dict[str, Any]:
        """Distances from scenes, each for one category, to many products each.

        Args:
            scene: what `scene_tower` returned for a batch of scenes and categories.
            products: embeddings from `product_tower`, `[batch, products, dim]`.

        Returns:
            A dict of `hybrid_distance`, `global_distance` and `local_distance`, float32 `[batch,
            products]`.
        """
        return self._parts.score(scene, products)

    def for_category(self, scene: dict[str, Any], category: Any) -> dict[str, Any]:
        """What the scene tower returns of scenes for other categories, without another pass of the
        network.

        Args:
            scene: what `scene_tower` returned for any categories, `[batch, …]`.
            category: int32 `[batch]`.

        Returns:
            A dict as `scene_tower` returns it.
        """
        return self._parts.for_category(scene, category)

    def copy(self, precision: str = "float32") -> "CompleteTheLook":
        """The same model with variables of its own, not compiled, outside of any strategy.

        Args:
            precision: the Keras policy that its layers are made under: `"float32"`,
                `"mixed_bfloat16"` or `"mixed_float16"`; weights are float32 in all of them.
                Defaults to `"float32"`.

        Returns:
            A `CompleteTheLook` with equal weights.
        """
        usual = keras.mixed_precision.global_policy()
        keras.mixed_precision.set_global_policy(precision)
        try:
            copied = type(self).from_config(self.get_config())
        finally:
            keras.mixed_precision.set_global_policy(usual)
        for copy, own in zip(copied.plain_layers, self.plain_layers, strict=True):
            copy.set_weights(own.get_weights())
        return copied

    @property
    def plain_layers(self) -> list[keras.layers.Layer]:
        """The layers of the network and then those on top of it, always in the same order."""
        above = [layer for layer in self.layers if layer is not self.backbone]
        return [*self.backbone.trunk.layers, *above]

    def feature_towers(self) -> tuple[keras.Model, keras.Model]:
        """The backbone's part: what a feature cache holds.

        Returns:
            Two functional models: of a scene picture, a dict of `scene` `[batch, channels]` and
            `regions` `[batch, regions, channels]`, and of a product picture, a dict of `product`
            `[batch, channels]`.
        """
        return self._parts.feature_towers((self.image_size, self.image_size, 3))

    def feature_trainer(self) -> keras.Model:
        """A functional model with the same layers that takes features in place of pictures.

        Its inputs are a dict of `scene`, `positive` and `negative`, `[batch, channels]`, `regions`,
        `[batch, regions, channels]`, and `category`; its output is that of the model itself.

        Returns:
            A `keras.Model`, not compiled, that shares the weights.
        """
        return triplet_trainer(self._parts)

    def in_batch_trainer(
        self, from_features: bool = False, memory: int = 0, gather: bool = False
    ) -> keras.Model:
        """A functional model with the same layers that compares each scene with all products of the
        batch.

        Its inputs are those of `pair_batches`; its output is `[batch, 1 + products]`, the distance
        to the scene's own product and to each product that is one of its negatives (infinite for
        the others): what `TripletLoss` mines.

        Args:
            from_features: bool. Features in place of pictures, see `feature_trainer`. Defaults to
                False.
            memory: int. Product embeddings of former batches that are negatives too. Defaults to 0.
            gather: bool. Whether the products of all replicas of a `tf.distribute` strategy are
                negatives. Defaults to False.

        Returns:
            A `keras.Model`, not compiled, that shares the weights.
        """
        return in_batch_trainer(self._parts, self.image_size, from_features, memory, gather)

    def get_config(self):
        return {
            "categories": list(self.categories),
            "image_size": self.image_size,
            "config": to_dict(self.config),
            "initial_backbone": self.initial_backbone,
            "name": self.name,
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        settings = from_dict(ModelConfig, config.pop("config"), prefix="model.")
        # the saved weights follow: neither download nor look for a file that is long gone
        return cls(**config, config=settings, load_weights=False)
