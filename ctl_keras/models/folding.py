"""BatchNorm in inference mode, folded into the convolutions before it: the same function with fewer
passes over its maps."""

import inspect
from typing import Any

import keras
import tensorflow as tf

from ctl_keras.layers.precision import at_least_float32

# layers without arguments of their own in a functional graph, of which the graph's edges say all
_PLAIN = (
    keras.layers.Activation,
    keras.layers.Add,
    keras.layers.AveragePooling2D,
    keras.layers.BatchNormalization,
    keras.layers.Concatenate,
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.Dropout,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.MaxPooling2D,
    keras.layers.ReLU,
    keras.layers.SeparableConv2D,
    keras.layers.ZeroPadding2D,
)


class FoldedTrunk:
    """Runs a network in inference mode with each `BatchNorm(Conv2D(x))` as one convolution.

    Args:
        trunk: a functional model with one input.
        copy: bool. True keeps the folded kernels and offsets in variables of its own, as they are
            now, for an export. False folds them in the graph, from the network's variables: nothing
            gets stale, and gradients reach kernels, gammas and betas. A ResNet50 took 0.88 of the
            time of the network as it is (docs/results.md). Defaults to False.

    Call arguments:
        images: float tensor, the model's input.

    Returns:
        The list of the model's outputs.

    Raises:
        ValueError: a layer whose call the graph's edges do not describe whole, see `can_fold`.
    """

    def __init__(self, trunk: keras.Model, copy: bool = False):
        if not can_fold(trunk):
            raise ValueError(f"The layers of {trunk.name} cannot be called one by one.")
        layers = [layer for layer in trunk.layers if not isinstance(layer, keras.layers.InputLayer)]
        self._input, self._outputs = id(trunk.inputs[0]), [id(output) for output in trunk.outputs]
        readers: dict[int, list[Any]] = {output: [None] for output in self._outputs}
        for layer in layers:
            for tensor in tf.nest.flatten(layer.input):
                readers.setdefault(id(tensor), []).append(layer)
        norm_of = {
            id(layer): readers[id(layer.output)][0]
            for layer in layers
            if _is_linear_convolution(layer)
            and len(readers[id(layer.output)]) == 1
            and isinstance(readers[id(layer.output)][0], keras.layers.BatchNormalization)
        }
        norms = {id(norm) for norm in norm_of.values()}
        # (what runs, what it reads, what it makes)
        self._steps = []
        for layer in layers:
            if id(layer) in norms:
                continue
            norm = norm_of.get(id(layer))
            run = _InferenceMode(layer) if norm is None else _FoldedConvolution(layer, norm, copy)
            made = layer if norm is None else norm
            self._steps.append((run, tf.nest.map_structure(id, layer.input), id(made.output)))

    @property
    def folds(self) -> int:
        """Number of BatchNorms that are folded."""
        return sum(isinstance(run, _FoldedConvolution) for run, _, _ in self._steps)

    def __call__(self, images: tf.Tensor) -> list[tf.Tensor]:
        made = {self._input: images}
        for run, reads, makes in self._steps:
            made[makes] = run(tf.nest.map_structure(made.__getitem__, reads))
        return [made[output] for output in self._outputs]


def can_fold(trunk: keras.Model) -> bool:
    """Whether all layers of a network are known to be functions of their inputs alone."""
    return all(type(layer) in (*_PLAIN, keras.layers.InputLayer) for layer in trunk.layers)


def _is_linear_convolution(layer: keras.layers.Layer) -> bool:
    return (
        type(layer) is keras.layers.Conv2D
        and layer.groups == 1
        and layer.activation is keras.activations.linear
    )


class _InferenceMode:
    def __init__(self, layer: keras.layers.Layer):
        self._layer = layer
        self._mode = (
            {"training": False} if "training" in inspect.signature(layer.call).parameters else {}
        )

    def __call__(self, x: Any) -> tf.Tensor:
        return self._layer(x, **self._mode)


class _FoldedConvolution:
    """`norm(conv(x))`: kernels are scaled in float32, the convolution is in the layer's compute
    dtype."""

    def __init__(self, conv: Any, norm: Any, copy: bool):
        self._conv, self._norm = conv, norm
        self._copied = (
            [tf.Variable(value, trainable=False) for value in self._folded()] if copy else None
        )

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        conv = self._conv
        kernel, offset = self._copied or self._folded()
        x = tf.cast(x, conv.compute_dtype)
        x = tf.nn.conv2d(
            x,
            tf.convert_to_tensor(kernel),
            conv.strides,
            conv.padding.upper(),
            dilations=conv.dilation_rate,
        )
        return tf.nn.bias_add(x, tf.convert_to_tensor(offset))

    def _folded(self) -> tuple[tf.Tensor, tf.Tensor]:
        conv, norm = self._conv, self._norm

        def value(variable: Any) -> tf.Tensor:
            return tf.cast(tf.convert_to_tensor(variable), at_least_float32(conv.compute_dtype))

        scale = tf.math.rsqrt(value(norm.moving_variance) + norm.epsilon)
        if norm.scale:
            scale *= value(norm.gamma)
        offset = -value(norm.moving_mean) * scale
        if norm.center:
            offset += value(norm.beta)
        if conv.use_bias:
            offset += value(conv.bias) * scale
        return tf.cast(value(conv.kernel) * scale, conv.compute_dtype), tf.cast(
            offset, conv.compute_dtype
        )
