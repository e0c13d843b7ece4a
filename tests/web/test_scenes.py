from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import ctl_keras as ctl
from ctl_keras.data.images import decode_image
from ctl_keras.web.scenes import SIDE, cut, look_around, open_picture, preview


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("a.jpg", "RGB"),
        ("a.jpg", "CMYK"),
        ("a.jpg", "L"),
        ("a.png", "RGBA"),
        ("a.png", "P"),
        ("a.png", "1"),
        ("a.bmp", "RGB"),
        ("a.gif", "P"),
        ("a.png", "LA"),
    ],
)
def test_kinds_of_pictures_look_as_the_model_sees_them(photo, tmp_path, name, mode):
    photo.convert(mode).save(tmp_path / name, **({"quality": 95} if name == "a.jpg" else {}))
    picture = open_picture(tmp_path / name)
    assert picture.mode == "RGB"
    expected = decode_image(tf.constant((tmp_path / name).read_bytes())).numpy()
    assert np.abs(np.asarray(picture, int) - expected).max() <= 2


def test_sixteen_bits_and_transparency_and_animation(photo, tmp_path):
    grey = np.asarray(photo.convert("L"), np.uint16) * 257
    Image.fromarray(grey).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(
        np.asarray(open_picture(tmp_path / "deep.png"))[..., 0], grey // 257
    )
    Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert open_picture(tmp_path / "clear.png").getpixel((5, 5)) == (255, 255, 255)
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert open_picture(tmp_path / "moving.gif").getpixel((5, 5)) == (255, 0, 0)
    assert open_picture(tmp_path / "moving.webp").getpixel((5, 5)) == (255, 0, 0)


def test_turned_as_its_camera_says(photo, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    photo.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    picture = open_picture(tmp_path / "turned.jpg")
    assert picture.size == (60, 90)
    upright = np.asarray(photo.transpose(Image.Transpose.ROTATE_270), int)
    assert np.abs(np.asarray(picture, int) - upright).max() <= 6


def test_a_40_megapixel_photo_takes_little_memory(tmp_path):
    Image.effect_noise((8000, 5000), 60).convert("RGB").save(tmp_path / "large.jpg", quality=60)

    def memory(name):
        return next(
            int(line.split()[1]) / 1024
            for line in open("/proc/self/status")
            if line.startswith(name)
        )

    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is measured from here
    except OSError:
        pytest.skip("the peak of memory cannot be measured here")
    before = memory("VmRSS")
    picture = open_picture(tmp_path / "large.jpg")
    assert picture.size == (SIDE, 640)
    # MB; all of it takes 114, and more while it is made smaller
    assert memory("VmHWM") - before < 80


def test_what_is_no_picture(photo, tmp_path):
    def refused(content):
        (tmp_path / "file.jpg").write_bytes(content)
        with pytest.raises(ctl.InputError) as error:
            open_picture(tmp_path / "file.jpg")
        return str(error.value)

    photo.save(tmp_path / "good.jpg")
    good = (tmp_path / "good.jpg").read_bytes()
    assert "not a JPEG, PNG, WebP, AVIF, TIFF, GIF or BMP picture" in refused(b"hello")
    assert "not a JPEG" in refused(b"")
    assert "not a JPEG" in refused(b"<svg xmlns='http://www.w3.org/2000/svg'></svg>")
    assert "cut off or damaged" in refused(good[: len(good) // 2])
    Image.new("1", (9000, 9000)).save(tmp_path / "wide.png")
    assert "at most 64 million" in refused((tmp_path / "wide.png").read_bytes())
    Image.new("1", (20000, 20000)).save(tmp_path / "wide.png")
    assert "at most 64 million" in refused((tmp_path / "wide.png").read_bytes())
    photo.resize((90, 7)).save(tmp_path / "thin.png")
    assert "90 x 7 pixels; each side needs 8" in refused((tmp_path / "thin.png").read_bytes())


@pytest.mark.parametrize(
    ("box", "window", "words"),
    [
        (None, (0, 0, 1, 1), "The model sees the whole scene."),
        (
            (30, 60, 70, 90),
            (0, 0, 1, 0.6),
            "The model sees the strip above the box: 60% of the scene.",
        ),
        (
            (30, 5, 70, 40),
            (0, 0.4, 1, 1),
            "The model sees the strip below the box: 60% of the scene.",
        ),
        (
            (70, 20, 90, 80),
            (0, 0, 0.7, 1),
            "The model sees the strip left of the box: 70% of the scene.",
        ),
        (
            (10, 20, 30, 80),
            (0.3, 0, 1, 1),
            "The model sees the strip right of the box: 70% of the scene.",
        ),
    ],
)
def test_the_largest_strip_is_seen(box, window, words):
    view = look_around(box)
    assert view.window.tolist() == pytest.approx(window)
    assert view.words == words


def test_little_is_seen_or_nothing():
    assert "scenes with less than 20% were left out" in look_around((10, 10, 90, 90)).words
    with pytest.raises(ctl.InputError, match="hides the whole scene"):
        look_around((0, 0, 100, 100))
    for box in ((50, 0, 50, 100), (60, 0, 40, 100), (0, 50, 100, 40)):
        with pytest.raises(ctl.InputError, match="left must be less than right"):
            look_around(box)


@pytest.mark.parametrize(
    "box", [(30, 61, 70, 90), (33, 7, 70, 41), (71, 20, 90, 80), (11, 20, 37, 80)]
)
def test_it_is_cut_as_in_preparation(box, photo, tmp_path):
    view = look_around(box)
    photo.save(tmp_path / "a.png")
    expected = decode_image(
        tf.constant((tmp_path / "a.png").read_bytes()), tf.constant(view.window)
    ).numpy()
    np.testing.assert_array_equal(np.asarray(cut(photo, view)), expected)


def test_a_thin_strip(photo):
    with pytest.raises(ctl.InputError, match="too thin"):
        cut(photo, look_around((4, 4, 95, 95)))


def test_the_preview_shows_box_and_strip():
    white = Image.new("RGB", (200, 100), "#303030")
    shown = preview(white, look_around((40, 50, 60, 90)), side=400)
    assert shown.size == (400, 200)
    assert shown.getpixel((200, 50)) == (0x30, 0x30, 0x30)  # is seen
    assert shown.getpixel((200, 140)) == (0x6B, 0x6B, 0x6B)  # is hidden
    assert min(shown.getpixel((20, 140))) > 150  # is not seen
    assert shown.getpixel((200, 0)) == (0x1A, 0x7F, 0x37)  # outlined
    assert preview(white, look_around(None), side=400).getpixel((0, 0)) == (0x30, 0x30, 0x30)
