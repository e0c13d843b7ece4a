"""The layers of the Complete-the-Look model and how they are wired: image -> features -> embeddings
-> distances."""

from typing import Any, NamedTuple

import keras

from ctl_keras.config import ModelConfig
from ctl_keras.errors import InputError
from ctl_keras.layers.category_attention import CategoryAttention
from ctl_keras.layers.hybrid_distance import HybridDistance
from ctl_keras.layers.query_distance import QueryDistance
from ctl_keras.layers.region_cropping import RegionCropping
from ctl_keras.layers.scene_query import SceneQuery
from ctl_keras.layers.style_projection import StyleProjection
from ctl_keras.layers.uniform_attention import UniformAttention
from ctl_keras.models.backbone import Backbone

IMAGE_CROPS = (3, 3)


class Scene(NamedTuple):
    """A scene's embeddings: `[batch, dim]`, `[batch, regions, dim]` and, unless the attention is
    uniform, the same again."""

    embedding: Any
    regions: Any
    attention_regions: Any


class Features(NamedTuple):
    """What the backbone gives of a batch: pooled `[batch, 1 + products, channels]`, the scene
    first, and its regions `[batch, regions, channels]`."""

    pooled: Any
    regions: Any


class Parts:
    """The layers; the model, its two towers and its trainers share them."""

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
        if from_map and any(
            cells > size for cells, size in zip(self.grid, self.backbone.map_size, strict=True)
        ):
            raise InputError(
                f"`model.regions` asks for {self.grid} regions of a local map of "
                f"{self.backbone.map_size}. Take fewer, a finer `model.local_tap` than "
                f"{self.backbone.local_tap}, or a larger `data.image_size` than {image_size}."
            )
        self.crop = RegionCropping(self.grid, None if from_map else image_size, name="regions")

        def projection(name: str) -> StyleProjection:
            return StyleProjection(config.dim, config.hidden, config.dropout, name=name)

        self.project = projection("style")
        self.project_regions = projection("region_style")
        self.uniform = UniformAttention(
            name="attention" if config.attention == "uniform" else "uniform_attention"
        )
        if config.attention != "uniform":
            self.project_attention = projection("attention_style")
            self.attention = CategoryAttention(
                categories if config.attention == "category" else None,
                config.temperature,
                name="attention",
            )
        self.distance = HybridDistance(config.distance, config.squared, name="distance")
        self.query = SceneQuery(config.distance, name="query")
        # computed all the same, but nothing that could be learned depends on them
        if config.distance == "global":
            self.project_regions.trainable = False
            if config.attention != "uniform":
                self.project_attention.trainable = self.attention.trainable = False

    @property
    def region_count(self) -> int:
        """Rows times columns of the grid."""
        return self.grid[0] * self.grid[1]

    @property
    def channels(self) -> tuple[int, int]:
        """Channels of the global and of the local features."""
        pooled, local = self.backbone.trunk.outputs
        return pooled.shape[-1], local.shape[-1]

    def features(self, scene: Any, products: list[Any]) -> Features:
        """From one backbone pass of all images of the batch."""
        stack = [keras.layers.Reshape((1, *image.shape[1:]))(image) for image in (scene, *products)]
        images = len(stack)
        if self.config.region_source == "image":
            stack.append(self.crop(scene))
        pooled, local = self.backbone(
            keras.layers.Concatenate(axis=1, name="images")(stack) if stack[1:] else stack[0]
        )
        if self.config.region_source == "image":
            rows, columns, channels = local.shape[2:]
            local = keras.layers.AveragePooling3D((1, rows, columns))(local[:, images:])
            regions = keras.layers.Reshape((self.region_count, channels))(local)
        else:
            regions = self.crop(local[:, 0])
        return Features(pooled[:, :images], regions)

    def embed(self, features: Features) -> tuple[Scene, Any]:
        """Scene parts, and product embeddings `[batch, products, dim]`; scenes and products in one
        call of the projection."""
        embeddings = self.project(features.pooled)
        attention_regions = (
            None if self.config.attention == "uniform" else self.project_attention(features.regions)
        )
        return (
            Scene(embeddings[:, 0], self.project_regions(features.regions), attention_regions),
            embeddings[:, 1:],
        )

    def distances(self, scene: Scene, category: Any, products: Any) -> dict[str, Any]:
        """The three distances, each `[batch, products]`."""
        if self.config.attention == "product":
            attention = self.attention(scene.attention_regions, products)
        else:
            attention = self.region_weights(scene, category)
        return self.distance(scene.embedding, scene.regions, attention, products)

    def all_distances(self, scene: Scene, category: Any, products: Any) -> Any:
        """The model's distance from each scene to each of `products` `[n, dim]`: `[batch, n]`."""
        if self.config.has_inner_product:
            query = self.query(scene.embedding, scene.regions, self.region_weights(scene, category))
            return QueryDistance(name="query_distance")(query, products)
        return self.distances(scene, category, products[None, :])["hybrid_distance"]

    def region_weights(self, scene: Scene, category: Any) -> Any:
        """The attention that needs no product, `[batch, regions]`; equal weights where it does."""
        if self.config.attention == "category":
            return self.attention(scene.attention_regions, category)
        return self.uniform(scene.regions)

    def score(self, scene: dict[str, Any], products: Any) -> dict[str, Any]:
        """`distances` from what the scene tower returned."""
        if self.config.attention == "product":
            attention = self.attention(scene["attention_embeddings"], products)
        else:
            attention = keras.layers.Flatten()(scene["attention"])
        return self.distance(
            scene["global_embedding"], scene["region_embeddings"], attention, products
        )

    def for_category(self, scene: dict[str, Any], category: Any) -> dict[str, Any]:
        """What the scene tower returns, with attention and query for other categories."""
        parts = Scene(
            scene["global_embedding"], scene["region_embeddings"], scene.get("attention_embeddings")
        )
        return {**scene, **self._of_category(parts, category)}

    def _of_category(self, scene: Scene, category: Any) -> dict[str, Any]:
        attention = self.region_weights(scene, category)
        return {
            "query": self.query(scene.embedding, scene.regions, attention),
            "attention": keras.layers.Reshape(self.grid, dtype="float32")(attention),
        }

    def feature_towers(self, shape: tuple[int, ...]) -> tuple[keras.Model, keras.Model]:
        """Functional models, picture -> features: of a scene `{"scene", "regions"}`, of a product
        `{"product"}`."""
        scene, product = keras.Input(shape, name="scene"), keras.Input(shape, name="product")
        features = self.features(scene, [])
        return (
            keras.Model(
                scene,
                {"scene": features.pooled[:, 0], "regions": features.regions},
                name="scene_features",
            ),
            keras.Model(product, {"product": self.backbone(product)[0]}, name="product_features"),
        )

    def scene_tower(self, shape: tuple[int, ...]) -> keras.Model:
        """A functional model from a scene `shape` and its category to its query and embeddings, see
        `CompleteTheLook`."""
        image, category = (
            keras.Input(shape, name="scene"),
            keras.Input((), dtype="int32", name="category"),
        )
        scene, _ = self.embed(self.features(image, []))
        outputs = {
            **self._of_category(scene, category),
            "global_embedding": scene.embedding,
            "region_embeddings": scene.regions,
        }
        if scene.attention_regions is not None:
            outputs["attention_embeddings"] = scene.attention_regions
        return keras.Model({"scene": image, "category": category}, outputs, name="scene_tower")

    def product_tower(self, shape: tuple[int, ...]) -> keras.Model:
        """A functional model from a product's picture of `shape` to its embedding, float32 `[batch,
        dim]`."""
        image = keras.Input(shape, name="product")
        pooled, _ = self.backbone(image)
        return keras.Model(image, self.project(pooled), name="product_tower")
