"""Shared data: one drawn folder, its records, one small trained model and its export, made once a session."""

import fcntl
import os
import sys
from collections.abc import Callable
from pathlib import Path

# two workers on two cores: threads of their own would only wait for each other
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ |= dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"), "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest
from PIL import Image

import ctl_keras as ctl

SHARED = Path(os.environ.get("CTL_SHARED", Path(__file__).resolve().parents[2] / "shared"))
# taps early in the network: quick, and its random features are far from zero, as those of deep plain networks are not
TAPS = {"global_tap": "conv2_block1_out", "local_tap": "conv2_block1_1_relu"}
SMALL = {"backbone": "ResNet50", "weights": "none", "hidden": 32, "dim": 16, **TAPS}


@pytest.fixture(scope="session")
def once(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """`once(name, make)`: a folder that the first of the workers to ask for it makes, and all share. Nobody may change it."""
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


@pytest.fixture(scope="session")
def drawn(once) -> Path:
    return once("drawn", lambda folder: ctl.synthesize(folder, scenes=30, styles=4))


@pytest.fixture(scope="session")
def drawn_pairs(drawn) -> ctl.Pairs:
    return ctl.read_shop_the_look(drawn / "fashion.json", drawn / "fashion-cat.json", drawn / "images")


@pytest.fixture(scope="session")
def records(drawn, once) -> Path:
    files = drawn / "fashion.json", drawn / "fashion-cat.json", drawn / "images"
    return once("records", lambda folder: ctl.prepare(*files, folder, fractions=(0.5, 0.25, 0.25)))


@pytest.fixture(scope="session")
def config() -> ctl.Config:
    return ctl.Config(
        ctl.ModelConfig(**SMALL), ctl.DataConfig(image_size=32), ctl.TrainingConfig(epochs=2, batch_size=16, patience=0)
    )


@pytest.fixture(scope="session")
def run(records, config, once) -> Path:
    return once("run", lambda folder: ctl.train(records, folder, config))


@pytest.fixture(scope="session")
def exported(run, once) -> Path:
    from ctl_keras.export.export import export_run

    return once("looks", lambda folder: export_run(run, folder))


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
    """The command line in this process, which has TensorFlow already: for what a process would only repeat."""

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
    return Image.fromarray(np.stack([x * 255 // 89, y * 255 // 59, (x + y) * 255 // 148], axis=-1).astype(np.uint8))
