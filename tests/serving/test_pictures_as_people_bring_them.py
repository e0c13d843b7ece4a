"""The pictures that the shared `cases/make.py` draws, through every door: the decoder of training,
`LocalModel`, a client of the real server (or else of the development server) and the page."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageOps

import ctl_keras as ctl
from ctl_keras.data.batches import image_batches
from ctl_keras.data.images import decode_image, picture_problem
from ctl_keras.data.picture_files import picture_bytes
from ctl_keras.web.scenes import open_picture
from tests.conftest import SHARED
from tests.serving.servers import has_a_real_one, start

pytestmark = pytest.mark.slow
LOSSLESS = 3  # grey levels between two decoders of one JPEG; other losses are the encoder's


@pytest.fixture(scope="module")
def cases(once):
    make = SHARED / "cases" / "make.py"
    if not make.is_file():
        pytest.skip("the shared cases are not here")
    return once("cases", lambda out: subprocess.run([sys.executable, make, out], check=True))


@pytest.fixture(scope="module")
def doors(exported, tmp_path_factory):
    """The same export in this process and behind a server."""
    folder = tmp_path_factory.mktemp("doors")
    server = start("real" if has_a_real_one() else "development", exported, folder)
    with ctl.Client(f"grpc://{server.grpc_address}", "looks") as client:
        yield ctl.LocalModel(exported), client
    server.stop()


def both(doors, files):
    """What both models answer for products: `valid` and the embeddings."""
    answers = [door.embed_product(files) for door in doors]
    for name, values in answers[0].items():
        np.testing.assert_allclose(answers[1][name], values, rtol=0, atol=1e-5)
    return answers[0]["valid"].tolist(), answers[0]["embedding"]


def colours(picture):
    return np.asarray(picture, np.int16)


def test_every_format(cases, doors):
    folder = cases / "pictures"
    promised = json.loads((folder / "pictures.json").read_text())
    names = sorted(promised)
    drawing = colours(Image.open(folder / "plain.png"))
    valid, embeddings = both(doors, [folder / name for name in names])
    for name, is_valid, embedding in zip(names, valid, embeddings, strict=True):
        file, right = picture_bytes(folder / name), promised[name]
        problem = picture_problem(file)
        assert is_valid == (problem is None), name
        if not is_valid:
            assert "refus" in right, f"{name}: {problem}"
            with pytest.raises(ctl.InputError):
                doors[0].scene_bytes(folder / name)
            if "too large" not in right and "damaged" not in right:
                assert name.rpartition(".")[2][:3] in problem.lower()  # by its own name
            continue
        assert right.startswith("the drawing"), name
        for seen in (decode_image(file), open_picture(folder / name)):
            assert np.abs(colours(seen) - drawing).mean() < LOSSLESS, name
        assert embedding @ embeddings[names.index("plain.png")] > 0.99, name
    for name in names:  # the page reads what the others read, and refuses what they refuse
        if "refused as" in promised[name]:
            with pytest.raises(ctl.InputError):
                open_picture(folder / name)


def test_photos_that_their_camera_turned(cases, doors):
    files = [cases / "turned" / f"scene-{number}.jpg" for number in range(1, 9)]
    upright = [ImageOps.exif_transpose(Image.open(file)) for file in files]
    for file, picture in zip(files, upright, strict=True):
        for seen in (decode_image(file.read_bytes()), open_picture(file)):
            assert np.abs(colours(seen) - colours(picture)).max() <= LOSSLESS, file.name
    valid, embeddings = both(doors, files)
    assert all(valid)
    of_upright = both(doors, upright)[1]
    assert np.einsum("rd,rd->r", embeddings, of_upright).min() > 0.999


def test_the_hidden_product_of_a_turned_photo_is_hidden(cases, doors, tmp_path):
    """The product is the only thing that is red; the box is that of the upright picture."""
    ctl.prepare(
        cases / "turned" / "pairs.csv",
        None,
        cases / "turned",
        tmp_path / "out",
        fractions=(1, 0, 0),
    )
    pairs = ctl.read_records(tmp_path / "out", "train")
    assert len(pairs) == 8
    for windows, count in ((pairs.window, 0), (None, 8)):
        pictures = next(iter(image_batches(pairs.images, pairs.scene, windows, 8, 128))).numpy()
        red = (pictures[..., 0] > 200) & (pictures[..., 1] < 60) & (pictures[..., 2] < 60)
        assert red.any(axis=(1, 2)).sum() == count
