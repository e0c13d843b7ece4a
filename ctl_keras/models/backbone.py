"""The backbone: any `keras.applications` network, with two taps and its own preprocessing."""

import contextlib
import difflib
import hashlib
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import tensorflow as tf

from ctl_keras.errors import InputError
from ctl_keras.layers.precision import at_least_float32
from ctl_keras.models.folding import FoldedTrunk, can_fold


@keras.saving.register_keras_serializable(package="ctl_keras")
class Backbone(keras.layers.Layer):
    """Runs each image once through a `keras.applications` network and returns its global and its
    local features.

    Args:
        network: str. Name of the network, such as `"ResNet50"`.
        image_size: int. Height and width of the images in pixels.
        global_tap: str or None. Name of the layer for the global features; a 4-D map is
            average-pooled. Defaults to the network's last layer.
        local_tap: str or None. Name of the layer, with a 4-D map, for the local features. Defaults
            to the last block before the network's last reduction: `conv4_block6_out` of a ResNet50.
        inference: bool. Whether BatchNorm and dropout always run in inference mode, as a frozen or
            fine-tuned pretrained network needs. Defaults to True.
        weights: `"imagenet"`, the path of an h5 file that is loaded by layer name, or `"none"`. Not
            part of the config: a saved model brings its weights along. Defaults to `"none"`.

    Call arguments:
        images: float tensor `[batch, image_size, image_size, 3]` or `[batch, images, image_size,
            image_size, 3]`, RGB 0..255; the network's own `preprocess_input` is applied here.

    Returns:
        Global features, float32 `[batch, channels]` or `[batch, images, channels]`, and local
        features, in the compute dtype, `[batch, height, width, channels]` or `[batch, images,
        height, width, channels]`.

    Raises:
        InputError: no such network or tap, or a weight file that does not fit.
    """

    def __init__(
        self,
        network: str = "ResNet50",
        image_size: int = 224,
        global_tap: str | None = None,
        local_tap: str | None = None,
        inference: bool = True,
        weights: str = "none",
        **kwargs: Any,
    ):
        # preprocessing subtracts means from 0..255: cast to half only what comes out of it
        super().__init__(autocast=False, **kwargs)
        self.network, self.image_size, self.inference = network, image_size, inference
        # Keras 3 turns XLA on by itself; on CPUs its convolutions ran six times slower than
        # TensorFlow's own
        self.supports_jit = bool(tf.config.list_physical_devices("GPU"))
        full = _make_network(network, image_size, weights)
        self.global_tap = global_tap or full.layers[-1].name
        self.local_tap = local_tap or default_local_tap(full)
        taps = [_tap(full, self.global_tap, (2, 4)), _tap(full, self.local_tap, (4,))]
        self.trunk = keras.Model(full.input, taps, name=f"{network.lower()}_trunk")
        self._folded = FoldedTrunk(self.trunk) if inference and can_fold(self.trunk) else None
        self._colours, self._offset = _affine_preprocessing(network)
        if weights not in ("none", "imagenet"):
            load_by_layer_name(self.trunk, full, Path(weights))

    @property
    def map_size(self) -> tuple[int, int]:
        """Rows and columns of the local map."""
        return tuple(self.trunk.outputs[1].shape[1:3])

    def unfreeze(self, first: str) -> None:
        """Trains the layers from one on and freezes those before it.

        Args:
            first: str. How the first layer's name begins, such as `"conv5"`; `"all"` and `"none"`
                mean what they say.

        Raises:
            InputError: no layer's name begins so.
        """
        if first in ("all", "none"):
            self.trunk.trainable = self.trainable = first == "all"
            return
        names = [layer.name for layer in self.trunk.layers]
        start = next((i for i, name in enumerate(names) if name.startswith(first)), None)
        if start is None:
            blocks = sorted({name.split("_")[0] for name in names if "_" in name})
            raise InputError(
                f"No layer of {self.network} begins with `{first}`. There are: {', '.join(blocks)}"
            )
        self.trainable = True
        for number, layer in enumerate(self.trunk.layers):
            layer.trainable = number >= start

    def weights_hash(self) -> str:
        """What tells the network's weights from others.

        Returns:
            str. SHA-256 in hex, the same whichever weights are trained.
        """
        return layers_hash(self.trunk.layers)

    @contextlib.contextmanager
    def running(self, trunk: FoldedTrunk | None) -> Iterator[None]:
        """A context in which what is traced runs another network.

        By default, a network in inference mode has its BatchNorms folded into the convolutions.

        Args:
            trunk: `FoldedTrunk` to run; None is the network as it is.

        Yields:
            Nothing.
        """
        usual, self._folded = self._folded, trunk
        try:
            yield
        finally:
            self._folded = usual

    def call(self, images, training=None):
        stacked = images.shape.rank == 5
        x = tf.reshape(images, [-1, self.image_size, self.image_size, 3]) if stacked else images
        # one small convolution took a quarter of the time of reversing channels and subtracting
        # means
        x = tf.nn.bias_add(
            tf.nn.conv2d(tf.cast(x, tf.float32), self._colours, 1, "VALID"), self._offset
        )
        if self._folded is not None:
            pooled, local = self._folded(x)
        else:
            pooled, local = self.trunk(x, training=False if self.inference else training)
        pooled = tf.cast(pooled, at_least_float32(pooled.dtype))
        if pooled.shape.rank == 4:
            pooled = tf.reduce_mean(pooled, axis=[1, 2])
        if not stacked:
            return pooled, local
        leading = tf.shape(images)[:2]
        return tuple(
            tf.ensure_shape(
                tf.reshape(y, tf.concat([leading, tf.shape(y)[1:]], 0)),
                [None, images.shape[1], *y.shape[1:]],
            )
            for y in (pooled, local)
        )

    def compute_output_shape(self, input_shape):
        leading = tuple(input_shape[:-3])
        pooled, local = (tuple(output.shape) for output in self.trunk.outputs)
        return (*leading, pooled[-1]), (*leading, *local[1:])

    def get_config(self):
        return {
            **super().get_config(),
            "network": self.network,
            "image_size": self.image_size,
            "global_tap": self.global_tap,
            "local_tap": self.local_tap,
            "inference": self.inference,
        }


def layers_hash(layers: Iterable[keras.layers.Layer]) -> str:
    """The SHA-256, in hex, of the weights of layers without layers of their own.

    Layer by layer, because Keras 2 orders the weights of a whole model by whether they are trained.
    """
    digest = hashlib.sha256()
    for layer in layers:
        for weight in layer.get_weights():
            digest.update(np.ascontiguousarray(weight).data)
    return digest.hexdigest()


def _affine_preprocessing(network: str) -> tuple[np.ndarray, np.ndarray]:
    """The network's `preprocess_input` as what it is for all of `keras.applications`: a matrix of
    the channels, as a kernel `[1, 1, 3, 3]`, and an offset `[3]`."""
    # of the file that defines the network
    module = getattr(
        keras.applications, getattr(keras.applications, network).__module__.rsplit(".", 1)[-1]
    )
    black, *primaries = module.preprocess_input(
        np.concatenate([np.zeros((1, 3)), 255 * np.eye(3)])[:, None, None]
    )[:, 0, 0]
    colours = (np.stack(primaries) - black) / 255
    return colours.astype(np.float32)[None, None], black.astype(np.float32)


def _make_network(network: str, image_size: int, weights: str) -> keras.Model:
    names = [name for name, value in vars(keras.applications).items() if callable(value)]
    if network not in names:
        near = difflib.get_close_matches(network, names, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(sorted(names))}"
        raise InputError(f"There is no network `{network}` in keras.applications. {hint}")
    arguments = {"include_top": False, "input_shape": (image_size, image_size, 3)}
    make = getattr(keras.applications, network)
    try:
        model = make(weights=None, **arguments)
    except ValueError as error:
        raise InputError(
            f"{network} cannot be built for pictures of {image_size} pixels: {error}"
        ) from None
    if weights == "imagenet":
        try:
            # the download's progress; stdout is for data
            with contextlib.redirect_stdout(sys.stderr):
                model = make(weights="imagenet", **arguments)
        except Exception as error:  # Keras raises a bare Exception when a download fails
            raise RuntimeError(
                f"The ImageNet weights of {network} could not be had: {error}. Name a weight file "
                "with model.weights=FILE, or start from random weights with model.weights=none."
            ) from error
    return model


def default_local_tap(model: keras.Model) -> str:
    """The last layer before the network's last reduction, an output of a block (`…_out`) where
    blocks are named so."""
    final_height = model.layers[-1].output.shape[1]
    finer = [
        layer.name
        for layer in model.layers
        if not isinstance(layer, keras.layers.InputLayer | keras.layers.ZeroPadding2D)
        and len(layer.output.shape) == 4
        and layer.output.shape[1] > final_height
    ]
    if not finer:
        return model.layers[-1].name
    return next((name for name in reversed(finer) if name.endswith("_out")), finer[-1])


def _tap(model: keras.Model, name: str, ranks: tuple[int, ...]) -> Any:
    names = [layer.name for layer in model.layers]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3)
        raise InputError(
            f"{model.name} has no layer `{name}`. Close: {', '.join(near) or ', '.join(names[-5:])}"
        )
    output = model.get_layer(name).output
    if len(output.shape) not in ranks:
        raise InputError(
            f"The tap `{name}` must be a map [batch, height, width, channels]. Its shape is "
            f"{tuple(output.shape)}"
        )
    return output


def load_by_layer_name(trunk: keras.Model, network: keras.Model, path: Path) -> None:
    """Loads an h5 weight file (Keras's layout) into the layers that it names.

    Args:
        trunk: the layers that are used; those that the file lacks keep their initialisation and are
            named in a warning.
        network: the whole network that the trunk is cut from.
        path: the file.

    Raises:
        InputError: the file is missing, is not in that layout, names none of the layers, or has
            other shapes.
    """
    try:
        with h5py.File(path, "r") as file:
            group = (
                file["model_weights"]
                if "layer_names" not in file.attrs and "model_weights" in file
                else file
            )
            if "layer_names" not in group.attrs:
                raise InputError(
                    f"The weight file {path} is not in Keras's h5 layout: it has no `layer_names`."
                )
            stored = {
                name.decode() if isinstance(name, bytes) else name
                for name in group.attrs["layer_names"]
            }
            stored = {name for name in stored if len(group[name].attrs["weight_names"])}
    except FileNotFoundError:
        raise InputError(f"The weight file {path} does not exist.") from None
    except OSError as error:
        raise InputError(f"The weight file {path} is not an h5 file: {error}") from None
    wanted = [layer.name for layer in trunk.layers if layer.weights]
    missing = [name for name in wanted if name not in stored]
    if len(missing) == len(wanted):
        raise InputError(
            f"The weight file {path} has none of the layers of {trunk.name}, such as {wanted[0]}."
        )
    try:
        network.load_weights(str(path), by_name=True)
    except ValueError as error:
        raise InputError(
            f"The weight file {path} does not fit {network.name} (`model.backbone`): {error}"
        ) from None
    if missing:
        warnings.warn(
            f"{path} lacks {len(missing)} of the {len(wanted)} layers of {trunk.name} that have "
            "weights; they keep their initialisation, so take taps before them "
            f"(`model.global_tap`, `model.local_tap`): {', '.join(missing)}",
            stacklevel=2,
        )
