import warnings

import h5py
import keras
import numpy as np
import pytest

import ctl_keras as ctl
from ctl_keras.models.backbone import _affine_preprocessing, default_local_tap
from tests.conftest import TAPS


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")


def build(**options):
    return ctl.Backbone("ResNet50", 32, **TAPS, **options)


@pytest.fixture(scope="module")
def backbone():
    return build()


@pytest.mark.parametrize(
    ("network", "local", "last"),
    [
        ("ResNet50", "conv4_block6_out", "conv5_block3_out"),
        ("ResNet50V2", "conv4_block5_out", "post_relu"),
        ("VGG16", "block5_conv3", "block5_pool"),
        ("MobileNetV2", "block_13_expand_relu", "out_relu"),
    ],
)
def test_default_taps(network, local, last):
    model = getattr(keras.applications, network)(
        include_top=False, weights=None, input_shape=(224, 224, 3)
    )
    assert default_local_tap(model) == local
    assert model.layers[-1].name == last
    size = model.get_layer(local).output.shape[1:3]
    assert tuple(size) == (14, 14)


def test_one_pass_gives_both_taps_of_the_plain_network(backbone, images):
    plain = keras.Model(
        backbone.trunk.input,
        [
            backbone.trunk.get_layer(name).output
            for name in (backbone.global_tap, backbone.local_tap)
        ],
    )
    expected_global, expected_local = plain(
        keras.applications.resnet.preprocess_input(images.copy()), training=False
    )
    with backbone.running(None):
        pooled, local = backbone(images)
    np.testing.assert_allclose(pooled, np.mean(expected_global, axis=(1, 2)), rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(local, expected_local, atol=1e-5)


def test_preprocessing_is_the_networks_own():
    """Caffe mode: a white picture enters a ResNet50 as 255 minus the ImageNet means, blue first."""
    backbone = ctl.Backbone("ResNet50", 32, global_tap="conv1_pad", local_tap="conv1_pad")
    white = np.full((1, 32, 32, 3), 255, "float32")
    centre = np.asarray(backbone(white)[1])[0, 16, 16]
    np.testing.assert_allclose(centre, 255 - np.array([103.939, 116.779, 123.68]), atol=1e-3)


def test_stacked_images_equal_single_ones(backbone, images):
    stacked = backbone(np.stack([images, images[::-1]], axis=1))
    single = backbone(images)
    for many, one in zip(stacked, single, strict=True):
        np.testing.assert_allclose(many[:, 0], one, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(many[0, 1], one[1], rtol=1e-5, atol=1e-5)


def test_inference_mode_leaves_batch_norm_alone(images):
    frozen, training = build(), build(inference=False)
    before = [weight.copy() for weight in frozen.get_weights()]
    np.testing.assert_allclose(frozen(images, training=True)[0], frozen(images)[0], atol=1e-6)
    for old, new in zip(before, frozen.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    before = [weight.copy() for weight in training.get_weights()]
    training(images, training=True)
    assert any((old != new).any() for old, new in zip(before, training.get_weights(), strict=True))


def test_config_round_trip(backbone, images):
    again = ctl.Backbone.from_config(backbone.get_config())
    again.set_weights(backbone.get_weights())
    np.testing.assert_allclose(again(images)[0], backbone(images)[0], atol=1e-6)


def save_legacy_h5(model, path, leave_out=(), dtype="float32"):
    """Keras's h5 layout: `layer_names`, and in each layer's group `weight_names` and the arrays."""
    with h5py.File(path, "w") as file:
        layers = [layer for layer in model.layers if layer.name not in leave_out]
        file.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        for layer in layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/w{number}:0" for number in range(len(layer.weights))]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, value in zip(names, layer.get_weights(), strict=True):
                group.create_dataset(name, data=value.astype(dtype))


def test_weights_are_loaded_by_layer_name(tmp_path, backbone, images):
    save_legacy_h5(backbone.trunk, tmp_path / "w.h5")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        loaded = build(weights=str(tmp_path / "w.h5"))
    np.testing.assert_allclose(loaded(images)[0], backbone(images)[0], atol=1e-5)


def test_layers_that_the_file_lacks_are_named(tmp_path, backbone):
    save_legacy_h5(
        backbone.trunk,
        tmp_path / "w.h5",
        leave_out=("conv2_block1_3_conv", "conv2_block1_3_bn"),
        dtype="float16",
    )
    with pytest.warns(
        UserWarning,
        match=r"lacks 2 of the .* keep their initialisation, .*: conv2_block1_3_conv,"
        r" conv2_block1_3_bn",
    ):
        loaded = build(weights=str(tmp_path / "w.h5"))
    theirs, ours = (
        b.trunk.get_layer("conv2_block1_1_conv").get_weights()[0] for b in (backbone, loaded)
    )
    np.testing.assert_allclose(theirs, ours, atol=1e-3)
    theirs, ours = (
        b.trunk.get_layer("conv2_block1_3_conv").get_weights()[0] for b in (backbone, loaded)
    )
    assert np.abs(theirs - ours).max() > 1e-3


def test_wrong_weight_files(tmp_path, backbone):
    def load(path):
        return build(weights=str(path))

    with pytest.raises(ctl.InputError, match="does not exist"):
        load(tmp_path / "nothing.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(ctl.InputError, match="is not an h5 file"):
        load(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(ctl.InputError, match="is not in Keras's h5 layout"):
        load(tmp_path / "other.h5")
    save_legacy_h5(
        keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="head")]),
        tmp_path / "alien.h5",
    )
    with pytest.raises(
        ctl.InputError, match="has none of the layers of resnet50_trunk, such as conv1_conv"
    ):
        load(tmp_path / "alien.h5")
    kernel = keras.Sequential(
        [keras.Input((4, 4, 3)), keras.layers.Conv2D(5, 3, name="conv1_conv")]
    )
    save_legacy_h5(kernel, tmp_path / "shape.h5")
    with pytest.raises(ctl.InputError, match="does not fit"):
        load(tmp_path / "shape.h5")


def test_unknown_names():
    with pytest.raises(
        ctl.InputError,
        match=r"There is no network `ResNet5` in keras.applications. Did you mean ResNet50\?",
    ):
        ctl.Backbone("ResNet5", 32)
    with pytest.raises(ctl.InputError, match=r"has no layer `conv_pw_99`. Close: conv_pw_9"):
        ctl.Backbone("MobileNet", 32, local_tap="conv_pw_99")
    with pytest.raises(ctl.InputError, match="cannot be built for pictures of 8 pixels"):
        ctl.Backbone("ResNet50", 8)


def test_the_pretrained_trunk(trunk_weights):
    """Every layer up to conv4 is loaded, in half precision or not; the taps have the sizes of the
    file's README."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        backbone = ctl.Backbone(
            "ResNet50V2", 224, global_tap="conv4_block6_out", weights=str(trunk_weights)
        )
    assert backbone.map_size == (14, 14)
    with h5py.File(trunk_weights) as file:
        stored = file["conv4_block6_3_conv"][file["conv4_block6_3_conv"].attrs["weight_names"][0]][
            ()
        ]
    np.testing.assert_allclose(
        backbone.trunk.get_layer("conv4_block6_3_conv").get_weights()[0], stored, atol=1e-6
    )


@pytest.mark.parametrize(
    ("network", "module"),
    [
        ("ResNet50", "resnet"),
        ("ResNet50V2", "resnet_v2"),
        ("DenseNet121", "densenet"),
        ("EfficientNetB0", "efficientnet"),
        ("MobileNetV3Small", "mobilenet_v3"),
        ("ConvNeXtTiny", "convnext"),
    ],
)
def test_each_kind_of_preprocessing_is_affine(network, module):
    colours, offset = _affine_preprocessing(network)
    images = np.random.default_rng(0).uniform(0, 255, (2, 5, 4, 3)).astype("float32")
    expected = getattr(keras.applications, module).preprocess_input(images.copy())
    np.testing.assert_allclose(images @ colours[0, 0] + offset, expected, atol=1e-4)
