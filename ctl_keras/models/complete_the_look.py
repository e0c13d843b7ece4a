"""The Complete-the-Look model."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import keras

from ctl_keras.config import ModelConfig, from_dict, to_dict
from ctl_keras.errors import InputError
from ctl_keras.layers.category_attention import CategoryAttention
from ctl_keras.layers.hybrid_distance import HybridDistance
from ctl_keras.layers.region_cropping import RegionCropping
from ctl_keras.layers.scene_query import SceneQuery
from ctl_keras.layers.style_projection import StyleProjection
from ctl_keras.layers.uniform_attention import UniformAttention
from ctl_keras.models.backbone import Backbone

IMAGE_CROPS = (3, 3)


class _Scene(NamedTuple):
    embedding: Any
    regions: Any
    attention_regions: Any


@keras.saving.register_keras_serializable(package="ctl_keras")
class CompleteTheLook(keras.Model):
    """A functional model of how well a product completes a scene.

    Its inputs are a dict: `scene`, `positive` and `negative`, float32 `[batch, image_size, image_size, 3]`, RGB 0..255, and
    `category`, int32 `[batch]`, an index into `categories`. Its output is float32 `[batch, 2]`, the distances from the scene
    to the positive and to the negative. All images of a batch go through the backbone and the projections in one call, so
    that BatchNorm normalises scenes and products by the same statistics in training as in inference.

    Args:
        categories: the category paths, in the order of their indices.
        image_size: int, pixels. Defaults to 224.
        config: `ModelConfig`. Defaults to its defaults.
        load_weights: bool. False leaves `config.weights` alone, for a model whose saved weights follow. Defaults to True.
        **settings: single fields of `ModelConfig`, such as `backbone="ResNet50V2"` or `attention="product"`; they override
            `config`.

    Attributes:
        categories: tuple of str.
        image_size: int.
        config: `ModelConfig`.
        backbone: the `Backbone` layer.
        distance: the `HybridDistance` layer.
        scene_tower: functional model, `{"scene", "category"}` -> dict of `query` `[batch, dim]`, `global_embedding`
            `[batch, dim]`, `region_embeddings` `[batch, regions, dim]`, `attention_embeddings` `[batch, regions, dim]` and
            `attention` `[batch, rows, columns]`. `2 - query . embedding` is the distance where `config.has_inner_product`;
            with product attention, `query` and `attention` weigh the regions equally.
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
        name: str = "complete_the_look",
        **settings: Any,
    ):
        categories = tuple(categories)
        if not categories or len(set(categories)) < len(categories):
            raise InputError(f"`categories` must be one or more different names. Received: {categories}")
        trainable = settings.pop("trainable", True)  # the base class's config has these two
        settings.pop("dtype", None)
        base = to_dict(config or ModelConfig())
        config = from_dict(ModelConfig, {**base, **settings}, prefix="model.")
        parts = _Parts(config, len(categories), image_size, load_weights)

        shape = (image_size, image_size, 3)
        images = {role: keras.Input(shape, name=role) for role in ("scene", "positive", "negative")}
        category = keras.Input((), dtype="int32", name="category")
        scene, products = parts.embed(images["scene"], [images["positive"], images["negative"]])
        distances = parts.distances(scene, category, products)
        super().__init__(
            inputs={**images, "category": category}, outputs=distances["hybrid_distance"], name=name, trainable=trainable
        )
        self.categories, self.image_size, self.config = categories, image_size, config
        # a namespace, because Keras would list models that are attributes as layers of this one
        self._parts = parts
        self._towers = SimpleNamespace(scene=parts.scene_tower(shape), product=parts.product_tower(shape))

    @property
    def scene_tower(self) -> keras.Model:
        return self._towers.scene

    @property
    def product_tower(self) -> keras.Model:
        return self._towers.product

    @property
    def backbone(self) -> Backbone:
        return self._parts.backbone

    @property
    def distance(self) -> HybridDistance:
        return self._parts.distance

    def score(self, scene: dict[str, Any], products: Any) -> dict[str, Any]:
        """Distances from scenes, each for one category, to many products each.

        Args:
            scene: what `scene_tower` returned for a batch of scenes and categories.
            products: embeddings from `product_tower`, `[batch, products, dim]`.

        Returns:
            A dict of `hybrid_distance`, `global_distance` and `local_distance`, float32 `[batch, products]`.
        """
        return self._parts.score(scene, products)

    def get_config(self):
        return {
            "categories": list(self.categories),
            "image_size": self.image_size,
            "config": to_dict(self.config),
            "name": self.name,
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        settings = from_dict(ModelConfig, config.pop("config"), prefix="model.")
        # the saved weights follow: neither download nor look for a file that is long gone
        return cls(**config, config=settings, load_weights=False)


class _Parts:
    """The layers of the model, and how they are wired; the model and its two towers share them."""

    def __init__(self, config: ModelConfig, categories: int, image_size: int, load_weights: bool):
        self.config = config
        pretrained = config.weights != "none"
        self.backbone = Backbone(
            config.backbone,
            image_size,
            config.global_tap,
            config.local_tap,
            inference=pretrained or not config.train_backbone,
            weights=config.weights if load_weights else "none",
            name="backbone",
        )
        self.backbone.trainable = config.train_backbone
        from_map = config.region_source == "map"
        self.grid = tuple(config.regions or (self.backbone.map_size if from_map else IMAGE_CROPS))
        if from_map and any(cells > size for cells, size in zip(self.grid, self.backbone.map_size, strict=True)):
            raise InputError(
                f"`model.regions` asks for {self.grid} regions of a local map of {self.backbone.map_size}. Take fewer, a finer "
                f"`model.local_tap` than {self.backbone.local_tap}, or a larger `data.image_size` than {image_size}."
            )
        self.crop = RegionCropping(self.grid, None if from_map else image_size, name="regions")

        def projection(name: str) -> StyleProjection:
            return StyleProjection(config.dim, config.hidden, config.dropout, name=name)

        self.project = projection("style")
        self.project_regions = projection("region_style")
        self.uniform = UniformAttention(name="attention" if config.attention == "uniform" else "uniform_attention")
        if config.attention != "uniform":
            self.project_attention = projection("attention_style")
            self.attention = CategoryAttention(
                categories if config.attention == "category" else None, config.temperature, name="attention"
            )
        self.distance = HybridDistance(config.distance, config.squared, name="distance")
        self.query = SceneQuery(config.distance, name="query")
        if config.distance == "global":  # computed all the same, but nothing that could be learned depends on them
            self.project_regions.trainable = False
            if config.attention != "uniform":
                self.project_attention.trainable = self.attention.trainable = False

    def embed(self, scene: Any, products: list[Any]) -> tuple[_Scene, Any]:
        """Scene parts, and product embeddings `[batch, products, dim]`, from one pass of all images of the batch."""
        stack = [keras.layers.Reshape((1, *image.shape[1:]))(image) for image in (scene, *products)]
        images = len(stack)
        if self.config.region_source == "image":
            stack.append(self.crop(scene))
        pooled, local = self.backbone(keras.layers.Concatenate(axis=1, name="images")(stack) if stack[1:] else stack[0])
        embeddings = self.project(pooled[:, :images])
        if self.config.region_source == "image":
            rows, columns, channels = local.shape[2:]
            local = keras.layers.AveragePooling3D((1, rows, columns))(local[:, images:])
            regions = keras.layers.Reshape((self.grid[0] * self.grid[1], channels))(local)
        else:
            regions = self.crop(local[:, 0])
        attention_regions = None if self.config.attention == "uniform" else self.project_attention(regions)
        return _Scene(embeddings[:, 0], self.project_regions(regions), attention_regions), embeddings[:, 1:]

    def distances(self, scene: _Scene, category: Any, products: Any) -> dict[str, Any]:
        if self.config.attention == "uniform":
            attention = self.uniform(scene.regions)
        else:
            attention = self.attention(scene.attention_regions, category if self.config.attention == "category" else products)
        return self.distance(scene.embedding, scene.regions, attention, products)

    def score(self, scene: dict[str, Any], products: Any) -> dict[str, Any]:
        if self.config.attention == "product":
            attention = self.attention(scene["attention_embeddings"], products)
        else:
            attention = keras.layers.Flatten()(scene["attention"])
        return self.distance(scene["global_embedding"], scene["region_embeddings"], attention, products)

    def scene_tower(self, shape: tuple[int, ...]) -> keras.Model:
        image, category = keras.Input(shape, name="scene"), keras.Input((), dtype="int32", name="category")
        scene, _ = self.embed(image, [])
        if self.config.attention == "category":
            attention = self.attention(scene.attention_regions, category)
        else:
            attention = self.uniform(scene.regions)
        outputs = {
            "query": self.query(scene.embedding, scene.regions, attention),
            "global_embedding": scene.embedding,
            "region_embeddings": scene.regions,
            "attention": keras.layers.Reshape(self.grid, dtype="float32")(attention),
        }
        if scene.attention_regions is not None:
            outputs["attention_embeddings"] = scene.attention_regions
        return keras.Model({"scene": image, "category": category}, outputs, name="scene_tower")

    def product_tower(self, shape: tuple[int, ...]) -> keras.Model:
        image = keras.Input(shape, name="product")
        pooled, _ = self.backbone(image)
        return keras.Model(image, self.project(pooled), name="product_tower")
