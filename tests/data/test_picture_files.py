import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ctl_keras.data.images import decode_image
from ctl_keras.data.picture_files import picture_bytes
from ctl_keras.errors import InputError


def decoded(data: bytes) -> np.ndarray:
    return decode_image(tf.constant(data)).numpy()


def saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_files_and_bytes_are_taken_as_they_are(photo, tmp_path):
    jpeg = saved(photo, "JPEG")
    (tmp_path / "a.jpg").write_bytes(jpeg)
    for picture in (
        tmp_path / "a.jpg",
        str(tmp_path / "a.jpg"),
        jpeg,
        bytearray(jpeg),
        memoryview(jpeg),
    ):
        assert picture_bytes(picture) == jpeg
    assert picture_bytes(b"no picture") == b"no picture"
    assert picture_bytes(b"") == b""


def test_webp_is_converted(photo, tmp_path):
    webp = saved(photo, "WEBP", lossless=True)
    (tmp_path / "a.webp").write_bytes(webp)
    for picture in (webp, tmp_path / "a.webp"):
        np.testing.assert_array_equal(decoded(picture_bytes(picture)), np.asarray(photo))


def test_arrays_are_encoded_without_a_loss():
    random = np.random.default_rng(0)
    colour = random.integers(256, size=(12, 17, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decoded(picture_bytes(colour)), colour)
    np.testing.assert_array_equal(
        decoded(picture_bytes(colour[::-1, :, ::-1])), colour[::-1, :, ::-1]
    )
    grey = colour[..., 0]
    np.testing.assert_array_equal(decoded(picture_bytes(grey)), np.stack([grey] * 3, axis=-1))
    # [height, width, 3], not a stack of grey ones
    three_wide = random.integers(256, size=(9, 3, 3), dtype=np.uint8)
    assert Image.open(io.BytesIO(picture_bytes(three_wide))).size == (3, 9)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "PA", "RGBX"]
)
def test_pillow_pictures_of_every_mode(photo, mode):
    image = photo.convert(mode) if mode not in ("PA",) else photo.convert("P").convert("PA")
    expected = np.asarray(image.convert("RGB"), int)
    difference = np.abs(decoded(picture_bytes(image)) - expected)
    assert difference.max() <= (0 if mode != "YCbCr" else 2)


def test_transparency_is_kept_for_the_model(photo):
    image = photo.convert("RGBA")
    image.putalpha(0)
    assert (decoded(picture_bytes(image)) == 255).all()


@pytest.mark.parametrize(
    ("picture", "received"),
    [
        (np.zeros((9, 9, 3), np.float32), r"Received: float32 \[9, 9, 3\]"),
        (np.zeros((9, 9, 4), np.uint8), r"Received: uint8 \[9, 9, 4\]"),
        (np.zeros((1, 9, 9, 3), np.uint8), r"Received: uint8 \[1, 9, 9, 3\]"),
        (np.zeros((0, 9, 3), np.uint8), r"Received: uint8 \[0, 9, 3\]"),
        (np.zeros(9, np.uint8), r"Received: uint8 \[9\]"),
        (Image.new("F", (9, 9)), r"Received: F \(9, 9\)"),
        (Image.new("I", (9, 9)), r"Received: I \(9, 9\)"),
        (Image.new("RGB", (0, 9)), r"Received: RGB \(0, 9\)"),
        (None, "Received: NoneType"),
        (3, "Received: int"),
        (["a.jpg"], "Received: list"),
    ],
)
def test_what_is_no_picture(picture, received):
    with pytest.raises(InputError, match=received):
        picture_bytes(picture)


def test_a_pillow_picture_that_is_cut_off(photo):
    data = saved(photo, "JPEG")
    with pytest.raises(InputError, match="The Pillow picture cannot be read: .*[Tt]runcated"):
        picture_bytes(Image.open(io.BytesIO(data[:-40])))
