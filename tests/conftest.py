"""Shared data: one drawn folder, its records, one small trained model and its export, made once a session."""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest
from PIL import Image

import ctl_keras as ctl

SHARED = Path(os.environ.get("CTL_SHARED", Path(__file__).resolve().parents[2] / "shared"))
# taps early in the network: quick, and its random features are far from zero, as those of deep plain networks are not
TAPS = {"global_tap": "conv3_block1_out", "local_tap": "conv2_block2_out"}
SMALL = {"backbone": "ResNet50", "weights": "none", "hidden": 32, "dim": 16, **TAPS}


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "data"
    ctl.synthesize(folder, scenes=30, styles=4)
    return folder


@pytest.fixture(scope="session")
def drawn_pairs(drawn) -> ctl.Pairs:
    return ctl.read_shop_the_look(drawn / "fashion.json", drawn / "fashion-cat.json", drawn / "images")


@pytest.fixture(scope="session")
def records(drawn, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("records") / "records"
    ctl.prepare(drawn / "fashion.json", drawn / "fashion-cat.json", drawn / "images", out, fractions=(0.5, 0.25, 0.25))
    return out


@pytest.fixture(scope="session")
def config() -> ctl.Config:
    return ctl.Config(
        ctl.ModelConfig(**SMALL), ctl.DataConfig(image_size=32), ctl.TrainingConfig(epochs=2, batch_size=16, patience=0)
    )


@pytest.fixture(scope="session")
def run(records, config, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    ctl.train(records, out, config)
    return out


@pytest.fixture(scope="session")
def exported(run, tmp_path_factory) -> Path:
    from ctl_keras.export.export import export_run

    return export_run(run, tmp_path_factory.mktemp("saved_models") / "looks").parent


@pytest.fixture(scope="session")
def street() -> Path:
    folder = SHARED / "data" / "street"
    if not folder.is_dir():
        pytest.skip("the street photos are not here")
    return folder


@pytest.fixture(scope="session")
def trunk_weights() -> Path:
    path = SHARED / "weights" / "resnet50v2_imagenet_conv4_notop.h5"
    if not path.is_file():
        pytest.skip("the pretrained trunk is not here")
    return path


@pytest.fixture
def photo() -> Image.Image:
    """A smooth colour picture, 90 x 60, that JPEG keeps nearly as it is."""
    y, x = np.mgrid[0:60, 0:90]
    return Image.fromarray(np.stack([x * 255 // 89, y * 255 // 59, (x + y) * 255 // 148], axis=-1).astype(np.uint8))
