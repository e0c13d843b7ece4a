"""Shared data: one drawn folder, its records, one small trained model and its export, made once a
session."""

import fcntl
import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

# a worker for each core and one more: threads of their own would only wait for each other
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ |= dict.fromkeys(
        ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"), "1"
    )
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

import ctl_keras as ctl
from ctl_keras.models import backbone
from tests.counts import EXAMPLES

SHARED = Path(os.environ.get("CTL_SHARED", Path(__file__).resolve().parents[2] / "shared"))
# taps early in the network: quick, and its random features are far from zero, as those of deep
# plain networks are not
TAPS = {"global_tap": "conv2_block1_out", "local_tap": "conv2_block1_1_relu"}
settings.register_profile(
    "few",
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("few")
SMALL = {"backbone": "ResNet50", "weights": "none", "hidden": 32, "dim": 16, **TAPS}


@pytest.fixture(scope="session")
def once(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """`once(name, make)`: a folder that the first of the workers to ask for it makes, and all
    share. Nobody may change it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def get(name: str, make: Callable[[Path], object]) -> Path:
        with open(shared / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            done, folder = shared / f"{name}.done", shared / name
            if not done.exists():
                make(folder)
                done.touch()
        return folder

    return get


@pytest.fixture(scope="session", autouse=True)
def quick_networks():
    """The small network is cut from a ResNet50 that each worker builds once: building all of one
    each time, for its first block, was a third of the time of tests of models. Tests of other taps,
    and other processes, build the whole one.
    """
    make, start = backbone._make_network, backbone.Backbone.__init__

    @functools.cache
    def first_layers(size: int, policy: str) -> keras.Model:
        whole = make("ResNet50", size, "none")
        return keras.Model(whole.input, whole.get_layer(TAPS["global_tap"]).output, name=whole.name)

    def shortened(
        self,
        network="ResNet50",
        image_size=224,
        global_tap=None,
        local_tap=None,
        *arguments,
        **options,
    ):
        small = network == "ResNet50" and {"global_tap": global_tap, "local_tap": local_tap} == TAPS
        policy = keras.mixed_precision.global_policy().name  # a clone has that of its original
        with pytest.MonkeyPatch.context() as patch:
            if small:
                patch.setattr(
                    backbone,
                    "_make_network",
                    lambda *_: keras.models.clone_model(first_layers(image_size, policy)),
                )
            start(self, network, image_size, global_tap, local_tap, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbone.Backbone, "__init__", shortened)
        # now, or the first training would find another state of the random numbers than the next
        first_layers(32, "float32")
        yield


@pytest.fixture(scope="session")
def drawn(once) -> Path:
    return once("drawn", lambda folder: ctl.synthesize(folder, scenes=30, styles=4))


@pytest.fixture(scope="session")
def drawn_pairs(drawn) -> ctl.Pairs:
    return ctl.read_shop_the_look(
        drawn / "fashion.json", drawn / "fashion-cat.json", drawn / "images"
    )


@pytest.fixture(scope="session")
def records(drawn, once) -> Path:
    files = drawn / "fashion.json", drawn / "fashion-cat.json", drawn / "images"
    return once("records", lambda folder: ctl.prepare(*files, folder, fractions=(0.5, 0.25, 0.25)))


@pytest.fixture(scope="session")
def scenes(drawn):
    """Picture files of scenes."""
    names = [
        json.loads(line)["scene"] for line in (drawn / "fashion.json").read_text().splitlines()
    ]
    return [drawn / "images" / f"{name}.jpg" for name in dict.fromkeys(names)][:5]


@pytest.fixture(scope="session")
def config() -> ctl.Config:
    return ctl.Config(
        ctl.ModelConfig(**SMALL),
        ctl.DataConfig(image_size=32),
        ctl.TrainingConfig(epochs=2, batch_size=16, patience=0),
    )


@pytest.fixture(scope="session")
def run(records, config, once) -> Path:
    return once("run", lambda folder: ctl.train(records, folder, config))


@pytest.fixture(scope="session")
def exported(run, once) -> Path:
    return once("looks", lambda folder: ctl.export(run, folder))


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
def here(monkeypatch, capsys):
    """The command line in this process, which has TensorFlow already: for what a process would only
    repeat."""

    def run(*arguments, code=0):
        from ctl_keras.cli import main

        monkeypatch.setattr(sys, "argv", ["ctl-keras", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert ended.value.code == code, said.err
        return said

    return run


@pytest.fixture
def photo() -> Image.Image:
    """A smooth colour picture, 90 x 60, that JPEG keeps nearly as it is."""
    y, x = np.mgrid[0:60, 0:90]
    return Image.fromarray(
        np.stack([x * 255 // 89, y * 255 // 59, (x + y) * 255 // 148], axis=-1).astype(np.uint8)
    )
