"""The model as a `tf.Module` whose signatures take picture files, and nothing but stock ops."""

from collections import Counter
from typing import Any

import tensorflow as tf

from ctl_keras.data.images import decode_image, resize_image
from ctl_keras.errors import InputError
from ctl_keras.models.complete_the_look import CompleteTheLook
from ctl_keras.models.folding import FoldedTrunk, can_fold
from ctl_keras.training.calibration import Calibration

_PARALLEL_ROWS = 4


def decode_rows(data: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes and resizes a batch of pictures such that a bad one flags its own row and fails no other.

    A `tf.data` pipeline drops what cannot be decoded, the one way to catch an error with stock ops (serving notes); what is
    left goes to its rows. One pipeline for the batch took 0.7 of the time of one for each row.

    Args:
        data: string tensor `[batch]`, the files' bytes.
        size: int, pixels.

    Returns:
        float32 `[batch, size, size, 3]`, RGB 0..255, black where there is no picture, and bool `[batch]`, whether the row's
        picture could be decoded.
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
    """Every string that names a category: its whole path, and its last part where that is unambiguous."""
    names = {category.rsplit("|", 1)[-1]: index for index, category in enumerate(categories)}
    counts = Counter(category.rsplit("|", 1)[-1] for category in categories)
    unique = {name: index for name, index in names.items() if counts[name] == 1}
    return {**unique, **{category: index for index, category in enumerate(categories)}}


class Servable(tf.Module):
    """The signatures of an export that need no catalogue; see design notes and `docs/serving.md`.

    Args:
        model: the trained model.
        calibration: map from the distance to `compatibility`.
        optimize: bool. Runs the network with its BatchNorms folded into copies of the convolutions' kernels.

    Raises:
        InputError: `optimize`, and the network's layers do not allow it.
    """

    def __init__(self, model: CompleteTheLook, calibration: Calibration, optimize: bool = False):
        super().__init__(name="complete_the_look")
        trunk = model.backbone.trunk
        if optimize and not can_fold(trunk):
            raise InputError(f"{model.config.backbone} has layers that cannot be folded. Export it without `--optimize`.")
        self._model, self._calibration = _Untracked(model), calibration
        names = category_names(model.categories)
        initializer = tf.lookup.KeyValueTensorInitializer(tf.constant(list(names)), tf.constant(list(names.values()), tf.int64))
        self.category_index = tf.lookup.StaticHashTable(initializer, default_value=-1)
        folded = FoldedTrunk(trunk, copy=True) if optimize else None
        with model.backbone.running(folded):
            functions = {name: function.get_concrete_function() for name, function in self._functions().items()}
        self._signatures = _Untracked(functions)
        # the variables that are read, alone: tracked Keras models would bring functions along, and each variable twice
        read = {id(variable): variable for function in functions.values() for variable in function.variables}
        self.weights = list(read.values())

    def signatures(self) -> dict[str, Any]:
        """Name -> concrete function. `score_embeddings` needs a distance with an inner-product form."""
        return self._signatures.value

    def _functions(self) -> dict[str, Any]:
        def strings(name: str) -> tf.TensorSpec:
            return tf.TensorSpec([None], tf.string, name=name)

        def vectors(name: str) -> tf.TensorSpec:
            return tf.TensorSpec([None, self._model.value.config.dim], tf.float32, name=name)

        scene, product, category = strings("scene_bytes"), strings("product_bytes"), strings("category")
        functions = {
            "serving_default": tf.function(self.score, [scene, product, category]),
            "embed_scene": tf.function(self.embed_scene, [scene, category]),
            "embed_product": tf.function(self.embed_product, [product]),
        }
        if self._model.value.config.has_inner_product:
            functions["score_embeddings"] = tf.function(self.score_embeddings, [vectors("query"), vectors("embedding")])
        return functions

    def score(self, scene_bytes: tf.Tensor, product_bytes: tf.Tensor, category: tf.Tensor) -> dict[str, tf.Tensor]:
        """Distances and compatibility, float32 `[batch]`, and `valid`, bool `[batch]`, of pairs of picture files."""
        model = self._model.value
        scene, scene_valid = self._scene(scene_bytes, category)
        embedding, product_valid = self._product(product_bytes)
        count = tf.shape(scene_bytes)[0]
        valid = scene_valid & product_valid
        distances = {
            name: tf.where(valid, value[:, 0], model.distance.largest)
            for name, value in model.score(scene, embedding[:, None]).items()
        }
        logit = self._calibration.intercept - self._calibration.slope * distances["hybrid_distance"]
        outputs = {**distances, "compatibility": tf.where(valid, tf.sigmoid(logit), 0.0), "valid": valid}
        return {name: value[:count] for name, value in outputs.items()}

    def embed_scene(self, scene_bytes: tf.Tensor, category: tf.Tensor) -> dict[str, tf.Tensor]:
        """Query and global embedding, float32 `[batch, dim]`, attention `[batch, rows, columns]` and `valid` of scenes."""
        scene, valid = self._scene(scene_bytes, category)
        outputs = {name: _or_zero(scene[name], valid) for name in ("query", "global_embedding", "attention")}
        count = tf.shape(scene_bytes)[0]
        return {name: value[:count] for name, value in {**outputs, "valid": valid}.items()}

    def embed_product(self, product_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Embedding, float32 `[batch, dim]`, and `valid` of products."""
        embedding, valid = self._product(product_bytes)
        count = tf.shape(product_bytes)[0]
        return {"embedding": _or_zero(embedding, valid)[:count], "valid": valid[:count]}

    def score_embeddings(self, query: tf.Tensor, embedding: tf.Tensor) -> dict[str, tf.Tensor]:
        """Distances, float32 `[batch]`, of stored vectors `[batch, dim]`, row by row."""
        return {"hybrid_distance": 2 - tf.reduce_sum(query * embedding, axis=-1)}

    def _scene(self, scene_bytes: tf.Tensor, category: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        model = self._model.value
        image, decoded = decode_rows(_at_least_one(scene_bytes), model.image_size)
        index = self.category_index.lookup(_at_least_one(category))
        inputs = {"scene": image, "category": tf.cast(tf.maximum(index, 0), tf.int32)}
        return model.scene_tower(inputs, training=False), decoded & (index >= 0)

    def _product(self, product_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        model = self._model.value
        image, valid = decode_rows(_at_least_one(product_bytes), model.image_size)
        return model.product_tower(image, training=False), valid


class _Untracked:
    """Hides a Keras model, or functions, from `tf.Module`'s tracking."""

    def __init__(self, value: Any):
        self.value = value


def _at_least_one(rows: tf.Tensor) -> tf.Tensor:
    """The strings, or one empty string if there is none: optimised graphs of convolutions fail on an empty batch."""
    return tf.concat([rows, tf.fill([tf.maximum(1 - tf.shape(rows)[0], 0)], "")], axis=0)


def _or_zero(value: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    shape = tf.concat([tf.shape(valid), tf.ones([value.shape.rank - 1], tf.int32)], 0)
    return tf.where(tf.reshape(valid, shape), value, 0.0)
