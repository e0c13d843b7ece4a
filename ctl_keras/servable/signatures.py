"""The model as a `tf.Module` whose signatures take picture files, and nothing but stock ops."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ctl_keras.data.images import decode_image, resize_image
from ctl_keras.errors import InputError
from ctl_keras.models.complete_the_look import CompleteTheLook
from ctl_keras.models.folding import FoldedTrunk, can_fold
from ctl_keras.training.calibration import Calibration

_PARALLEL_ROWS = 4


def decode_rows(data: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes and resizes a batch of pictures such that a bad one flags its own row and fails no
     other.

     A `tf.data` pipeline drops what cannot be decoded, the one way to catch an error with stock ops
    ; what is left goes to its rows. One pipeline for the batch took 0.7 of the time
     of one for each row.

     Args:
         data: string tensor `[batch]`, the files' bytes.
         size: int, pixels.

     Returns:
         float32 `[batch, size, size, 3]`, RGB 0..255, black where there is no picture, and bool
         `[batch]`, whether the row's picture could be decoded.
    """
    count = tf.shape(data, tf.int64)[0]

    def decode(row: tf.Tensor, file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return row, resize_image(decode_image(file), size)

    files = tf.data.Dataset.from_tensor_slices((tf.range(count), data))
    decoded = files.map(decode, num_parallel_calls=_PARALLEL_ROWS).ignore_errors()
    # a row more, so that there is one even where nothing could be decoded
    more = tf.data.Dataset.from_tensors((count, tf.zeros([size, size, 3])))
    rows, images = decoded.concatenate(more).batch(count + 1).get_single_element()
    images = tf.scatter_nd(rows[:, None], images, tf.stack([count + 1, size, size, 3]))[:-1]
    valid = tf.scatter_nd(rows[:, None], tf.ones_like(rows), [count + 1])[:-1] > 0
    return tf.ensure_shape(images, [None, size, size, 3]), valid


def category_names(categories: tuple[str, ...]) -> dict[str, int]:
    """Every string that names a category: its whole path, and its last part where that is
    unambiguous."""
    names = {category.rsplit("|", 1)[-1]: index for index, category in enumerate(categories)}
    counts = Counter(category.rsplit("|", 1)[-1] for category in categories)
    unique = {name: index for name, index in names.items() if counts[name] == 1}
    return {**unique, **{category: index for index, category in enumerate(categories)}}


def traced(function: Callable[..., Any], signature: list[Any]) -> Any:
    """The concrete function of a signature. As an attribute, `saved_model.save` takes it as it is,
    and traces nothing anew."""
    return tf.function(function, signature).get_concrete_function()


class Signatures(tf.Module):
    """The signatures of an export that need no catalogue, see `docs/serving.md`.

    Args:
        model: the trained model.
        calibration: map from the distance to `compatibility`.
        optimize: bool. Runs the network with its BatchNorms folded into copies of the convolutions'
            kernels.

    Raises:
        InputError: `optimize`, and the network's layers do not allow it.
    """

    def __init__(self, model: CompleteTheLook, calibration: Calibration, optimize: bool = False):
        super().__init__(name="complete_the_look")
        trunk = model.backbone.trunk
        if optimize and not can_fold(trunk):
            raise InputError(
                f"{model.config.backbone} has layers that cannot be folded. Export it without "
                "`--optimize`."
            )
        self._model, self._calibration = Untracked(model), calibration
        folded = FoldedTrunk(trunk, copy=True) if optimize else None
        with model.backbone.running(folded):
            # Attributes: what `retrieval` builds on when it adds a catalog to the loaded export.
            # The network is in the first two alone, the others call them.
            self.describe_scene = traced(
                self._scene, [_strings("scene_bytes"), _strings("category")]
            )
            self.describe_product = traced(self._product, [_strings("product_bytes")])
            scene = {
                name: tf.TensorSpec([None, *value.shape[1:]], value.dtype, name=name)
                for name, value in self.describe_scene.structured_outputs.items()
            }
            vectors = tf.TensorSpec([None, None, model.config.dim], tf.float32, name="products")
            self.distances = traced(self._distances, [scene, vectors])
            self.functions = self._functions()
        functions = [
            self.describe_scene,
            self.describe_product,
            self.distances,
            *self.functions.values(),
        ]
        # the variables that are read, alone: tracked Keras models would bring functions along, and
        # each variable twice
        self.weights = list(
            {
                id(variable): variable for function in functions for variable in function.variables
            }.values()
        )

    def signatures(self) -> dict[str, Any]:
        """Name -> concrete function. `score_embeddings` needs a distance with an inner-product
        form."""
        return dict(self.functions)

    def _functions(self) -> dict[str, Any]:
        scene, product, category = (
            _strings(name) for name in ("scene_bytes", "product_bytes", "category")
        )
        functions = {
            "serving_default": traced(self.score, [scene, product, category]),
            "embed_scene": traced(self.embed_scene, [scene, category]),
            "embed_product": traced(self.embed_product, [product]),
        }
        config = self._model.value.config
        if config.has_inner_product:
            vectors = [
                tf.TensorSpec([None, config.dim], tf.float32, name=name)
                for name in ("query", "embedding")
            ]
            functions["score_embeddings"] = traced(self.score_embeddings, vectors)
        return functions

    def score(
        self, scene_bytes: tf.Tensor, product_bytes: tf.Tensor, category: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Distances and compatibility, float32 `[batch]`, and `valid`, bool `[batch]`, of pairs of
        picture files."""
        model = self._model.value
        scene = self.describe_scene(scene_bytes, category)
        embedding, product_valid = self.describe_product(product_bytes)
        count = tf.shape(scene_bytes)[0]
        valid = scene["valid"] & product_valid
        distances = {
            name: tf.where(valid, value[:, 0], model.distance.largest)
            for name, value in model.score(scene, embedding[:, None]).items()
        }
        logit = self._calibration.intercept - self._calibration.slope * distances["hybrid_distance"]
        outputs = {
            **distances,
            "compatibility": tf.where(valid, tf.sigmoid(logit), 0.0),
            "valid": valid,
        }
        return {name: value[:count] for name, value in outputs.items()}

    def embed_scene(self, scene_bytes: tf.Tensor, category: tf.Tensor) -> dict[str, tf.Tensor]:
        """Query and global embedding, float32 `[batch, dim]`, attention `[batch, rows, columns]`
        and `valid` of scenes."""
        scene = self.describe_scene(scene_bytes, category)
        outputs = {
            name: _or_zero(scene[name], scene["valid"])
            for name in ("query", "global_embedding", "attention")
        }
        count = tf.shape(scene_bytes)[0]
        return {name: value[:count] for name, value in {**outputs, "valid": scene["valid"]}.items()}

    def embed_product(self, product_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Embedding, float32 `[batch, dim]`, and `valid` of products."""
        embedding, valid = self.describe_product(product_bytes)
        count = tf.shape(product_bytes)[0]
        return {"embedding": _or_zero(embedding, valid)[:count], "valid": valid[:count]}

    def score_embeddings(self, query: tf.Tensor, embedding: tf.Tensor) -> dict[str, tf.Tensor]:
        """Distances, float32 `[batch]`, of stored vectors `[batch, dim]`, row by row."""
        return {"hybrid_distance": 2 - tf.reduce_sum(query * embedding, axis=-1)}

    def _scene(self, scene_bytes: tf.Tensor, category: tf.Tensor) -> dict[str, tf.Tensor]:
        """What the scene tower gives for each row, `category_index` `[batch]`, -1 if unknown, and
        `valid`; one row for none.

        A picture that several rows have, for several categories or because the server pads a batch,
        is seen once.
        """
        model = self._model.value
        files, row = tf.unique(_at_least_one(scene_bytes))
        image, decoded = decode_rows(files, model.image_size)
        index = self._category_index(_at_least_one(category))
        scene = model.scene_tower(
            {"scene": image, "category": tf.zeros(tf.shape(files), tf.int32)}, training=False
        )
        scene = {name: tf.gather(value, row) for name, value in scene.items()}
        scene = model.for_category(scene, tf.maximum(index, 0))
        return {**scene, "category_index": index, "valid": tf.gather(decoded, row) & (index >= 0)}

    def _category_index(self, category: tf.Tensor) -> tf.Tensor:
        """int32 `[batch]`, -1 where no category has the name."""
        names = category_names(self._model.value.categories)
        # no lookup table: its initializer would be wrapped once more whenever a loaded export gets
        # a new catalog
        same = category[:, None] == tf.constant(list(names))
        index = tf.gather(
            tf.constant(list(names.values())), tf.argmax(tf.cast(same, tf.int32), axis=1)
        )
        return tf.where(tf.reduce_any(same, axis=1), index, -1)

    def _product(self, product_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Embeddings `[batch, dim]` and whether the picture could be decoded `[batch]`; each
        picture is seen once."""
        model = self._model.value
        files, row = tf.unique(_at_least_one(product_bytes))
        image, valid = decode_rows(files, model.image_size)
        return tf.gather(model.product_tower(image, training=False), row), tf.gather(valid, row)

    def _distances(self, scene: dict[str, tf.Tensor], products: tf.Tensor) -> tf.Tensor:
        return self._model.value.score(scene, products)["hybrid_distance"]


class Untracked:
    """Hides a Keras model from `tf.Module`'s tracking."""

    def __init__(self, value: Any):
        self.value = value


def _strings(name: str) -> tf.TensorSpec:
    return tf.TensorSpec([None], tf.string, name=name)


def _at_least_one(rows: tf.Tensor) -> tf.Tensor:
    """The strings, or one empty string if there is none: optimised graphs of convolutions fail on
    an empty batch."""
    return tf.concat([rows, tf.fill([tf.maximum(1 - tf.shape(rows)[0], 0)], "")], axis=0)


def _or_zero(value: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    shape = tf.concat([tf.shape(valid), tf.ones([value.shape.rank - 1], tf.int32)], 0)
    return tf.where(tf.reshape(valid, shape), value, 0.0)
