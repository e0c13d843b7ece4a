import io

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from ctl_keras.data import images as module
from ctl_keras.data.images import (
    at_size,
    cropped,
    decode_image,
    draw_crops,
    picture_problem,
    resize_before_crop,
    resize_image,
    side_before_crop,
)
from ctl_keras.data.picture_files import MAX_PIXELS, read_image_bytes
from ctl_keras.errors import InputError


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(data: bytes) -> np.ndarray:
    return decode_image(tf.constant(data)).numpy()


def test_jpeg_png_bmp_and_gif(photo):
    expected = np.asarray(photo).astype(int)
    np.testing.assert_array_equal(decoded(encoded(photo, "PNG")), expected)
    np.testing.assert_array_equal(decoded(encoded(photo, "BMP")), expected)
    assert np.abs(decoded(encoded(photo, "JPEG", quality=95)) - expected).mean() < 3
    assert np.abs(decoded(encoded(photo, "GIF")) - expected).mean() < 12


def test_jpeg_is_decoded_with_the_accurate_dct(photo):
    data = encoded(photo, "JPEG", quality=80)
    np.testing.assert_array_equal(
        decoded(data), tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
    )
    np.testing.assert_allclose(
        decoded(data).astype(int), np.asarray(Image.open(io.BytesIO(data))).astype(int), atol=2
    )


def test_grey_cmyk_palette_and_progressive_become_rgb(photo):
    grey = photo.convert("L")
    for data in (encoded(grey, "JPEG", quality=95), encoded(grey, "PNG")):
        assert np.abs(decoded(data) - np.asarray(grey.convert("RGB")).astype(int)).mean() < 3
    cmyk = encoded(photo.convert("CMYK"), "JPEG", quality=95)
    assert (
        np.abs(
            decoded(cmyk) - np.asarray(Image.open(io.BytesIO(cmyk)).convert("RGB")).astype(int)
        ).mean()
        < 6
    )
    assert decoded(encoded(photo.convert("P"), "PNG")).shape == (60, 90, 3)
    assert (
        np.abs(
            decoded(encoded(photo, "JPEG", quality=95, progressive=True))
            - np.asarray(photo).astype(int)
        ).mean()
        < 3
    )


def test_sixteen_bit_png_keeps_its_upper_byte():
    values = np.linspace(0, 65535, 20 * 30).reshape(20, 30).astype(np.uint16)
    image = decoded(tf.io.encode_png(values[..., None]).numpy())
    assert np.abs(image[..., 0] - values / 257.0).max() <= 1


def test_transparency_is_laid_on_white(photo):
    clear = photo.convert("RGBA")
    clear.putalpha(
        Image.fromarray(np.repeat(np.arange(60, dtype=np.uint8)[:, None] * 4, 90, axis=1))
    )
    white = Image.new("RGBA", clear.size, "white")
    expected = np.asarray(Image.alpha_composite(white, clear).convert("RGB")).astype(int)
    assert np.abs(decoded(encoded(clear, "PNG")) - expected).max() <= 1


def test_animation_gives_its_first_frame(photo):
    frames = [photo, Image.new("RGB", photo.size, "red")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.abs(decoded(data) - np.asarray(photo).astype(int)).mean() < 12


def test_webp_files_are_converted(photo, tmp_path):
    # under a wrong name, as downloads have it
    photo.save(tmp_path / "a.jpg", "WEBP", lossless=True)
    np.testing.assert_array_equal(decoded(read_image_bytes(tmp_path / "a.jpg")), np.asarray(photo))


def test_what_cannot_be_decoded_says_why(photo):
    jpeg, png = encoded(photo, "JPEG"), encoded(photo, "PNG")
    assert picture_problem(jpeg) is None
    assert picture_problem(b"") == "empty file"
    assert picture_problem(b"<html>not found</html>") == "not a JPEG, PNG, GIF or BMP picture"
    assert picture_problem(jpeg[: len(jpeg) // 2]) == "cut off or damaged"
    assert picture_problem(png[: len(png) // 2]) == "cut off or damaged"
    assert picture_problem(png[:20]) == "cut off or damaged"
    assert picture_problem(b"\xff\xd8\xff" + bytes(100)) == "cut off or damaged"
    assert "a side below" in picture_problem(encoded(photo.resize((90, 3)), "PNG"))


def test_a_bomb_is_refused_before_it_is_decoded():
    side = int(MAX_PIXELS**0.5) + 1
    bomb = encoded(Image.new("1", (side, side)), "PNG")
    assert len(bomb) < 100_000
    assert "more than" in picture_problem(bomb)


@given(st.data())
def test_damaged_bytes_never_crash(data):
    jpeg = encoded(
        Image.new("RGB", (20, 20), "teal"),
        data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "BMP"])),
    )
    broken = bytearray(jpeg[: data.draw(st.integers(0, len(jpeg)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if broken:
            broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    assert picture_problem(bytes(broken)) is None or isinstance(picture_problem(bytes(broken)), str)


@given(
    st.integers(8, 300),
    st.integers(8, 300),
    st.lists(st.floats(0, 1, width=32), min_size=2, max_size=2, unique=True),
)
def test_a_cut_window_shows_no_pixel_of_the_other_side(height, width, cuts):
    low, high = sorted(cuts)
    image = np.arange(height)[:, None, None] * np.ones((1, width, 3))
    start, stop = (
        place.numpy()
        for place in module._pixels(
            tf.constant([height, width]), tf.constant([0.0, low, 1.0, high])
        )
    )
    rows = image[start[0] : stop[0], start[1] : stop[1]][:, 0, 0]
    assert len(rows) >= 1
    # a window of less than a pixel keeps the one that it lies in
    if high * height - low * height >= 2:
        assert rows.min() >= low * height - 0.01
        assert rows.max() + 1 <= high * height + 0.01


def noisy(width, height, seed=0):
    """A picture with detail up to its edges."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    return Image.fromarray(
        np.clip(np.asarray(coarse) + random.normal(0, 20, (height, width, 3)), 0, 255).astype(
            np.uint8
        )
    )


KINDS = {
    "4:2:0": {"format": "JPEG", "subsampling": 2},
    "4:4:4": {"format": "JPEG", "subsampling": 0},
    "progressive": {"format": "JPEG", "progressive": True},
    "grey": {"format": "JPEG"},
    "CMYK": {"format": "JPEG"},
    "PNG": {"format": "PNG"},
    "GIF": {"format": "GIF"},
}


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_a_decoded_window_is_cut_out_of_the_whole(kind, data):
    width, height = data.draw(st.tuples(st.integers(8, 150), st.integers(8, 150)))
    left, right = sorted(data.draw(st.tuples(*[st.floats(0, 1, width=32)] * 2)))
    top, bottom = sorted(data.draw(st.tuples(*[st.floats(0, 1, width=32)] * 2)))
    picture = noisy(width, height)
    picture = picture.convert({"grey": "L", "CMYK": "CMYK"}.get(kind, "RGB"))
    buffer = io.BytesIO()
    picture.save(buffer, **KINDS[kind])
    window = tf.constant([left, top, right, bottom])
    whole = decode_image(tf.constant(buffer.getvalue())).numpy()
    start, stop = (place.numpy() for place in module._pixels(tf.constant(whole.shape[:2]), window))
    part = decode_image(tf.constant(buffer.getvalue()), window).numpy()
    np.testing.assert_array_equal(part, whole[start[0] : stop[0], start[1] : stop[1]])


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_a_window_of_a_jpeg_that_is_cut_off_is_refused_wherever_it_lies(options):
    data = encoded(noisy(120, 150), "JPEG", **options)
    for window in ([0, 0, 1, 0.2], [0, 0.4, 1, 0.5], [0, 0.8, 1, 1], [0.8, 0, 1, 1]):
        part = decode_image(tf.constant(data), tf.constant(window, tf.float32))
        behind = decode_image(
            tf.constant(data + b"something behind its end"), tf.constant(window, tf.float32)
        )
        np.testing.assert_array_equal(behind, part)
        for kept in (*range(len(data) // 2, len(data), len(data) // 20), len(data) - 1):
            with pytest.raises(tf.errors.InvalidArgumentError):
                decode_image(tf.constant(data[:kept]), tf.constant(window, tf.float32))


@pytest.mark.parametrize("screen", [(180, 120), (50, 40)])
def test_a_window_is_one_of_the_frame_and_not_of_the_screen_of_a_gif(photo, screen):
    data = bytearray(encoded(photo, "GIF"))
    data[6:10] = np.array(screen, "<u2").tobytes()
    whole = decoded(bytes(data))
    assert whole.shape == (60, 90, 3)
    part = decode_image(tf.constant(bytes(data)), tf.constant([0, 0.6, 1, 1], tf.float32))
    np.testing.assert_array_equal(part, whole[36:])


def test_windows_of_street_photos(street):
    random = np.random.default_rng(0)
    for path in sorted((street / "images").glob("*.jpg"))[:40]:
        data = tf.constant(path.read_bytes())
        window = tf.constant(np.sort(random.uniform(0, 1, (2, 2)), axis=0).ravel(), tf.float32)
        whole = decode_image(data)
        start, stop = module._pixels(tf.shape(whole)[:2], window)
        np.testing.assert_array_equal(
            decode_image(data, window), whole[start[0] : stop[0], start[1] : stop[1]]
        )


def test_a_picture_is_rounded_before_it_is_cropped():
    """So that it does not matter whether it was kept or decoded anew."""
    image = tf.constant(np.asarray(noisy(90, 70)))
    whole = resize_image(image, side_before_crop(32)).numpy()
    kept = resize_before_crop(image, 32)
    np.testing.assert_array_equal(kept, np.rint(whole))
    crop = tf.constant([2, 1, 0])
    np.testing.assert_array_equal(at_size(image, 32, crop), np.rint(whole)[2:34, 1:33])
    np.testing.assert_array_equal(at_size(image, 32, None), resize_image(image, 32))


def test_a_crop_is_where_it_says():
    resized = tf.random.uniform([side_before_crop(32), side_before_crop(32), 3], seed=0)
    for top, left, mirrored in ((0, 0, 0), (3, 1, 0), (2, 5, 1)):
        expected = resized[top : top + 32, left : left + 32].numpy()
        found = cropped(resized, 32, tf.constant([top, left, mirrored]))
        np.testing.assert_array_equal(found, expected[:, ::-1] if mirrored else expected)


def test_crops_are_evenly_spread_and_those_of_an_example_independent():
    seeds = np.random.default_rng(0).integers(2**31, size=(40_000, 2))
    crops = draw_crops(tf.constant(seeds), 32, 3).numpy()
    places = side_before_crop(32) - 32 + 1
    for number in range(3):
        for part, count in zip(crops[:, number].T, (places, places, 2), strict=True):
            counts = np.bincount(part, minlength=count)
            assert len(counts) == count
            np.testing.assert_allclose(counts, len(seeds) / count, rtol=0.06)
    parts = crops.reshape(len(seeds), -1)
    correlations = np.corrcoef(parts.T) - np.eye(parts.shape[1])
    assert np.abs(correlations).max() < 0.03
    np.testing.assert_array_equal(draw_crops(tf.constant(seeds[7:9]), 32, 3), crops[7:9])


def test_resize_keeps_the_range_and_averages_when_it_shrinks():
    board = np.indices((64, 64)).sum(0) % 2 * 255.0
    small = resize_image(tf.constant(np.repeat(board[..., None], 3, -1), tf.float32), 8).numpy()
    assert small.shape == (8, 8, 3)
    # without antialiasing it would be all black or all white
    assert np.abs(small - 127.5).max() < 8


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(InputError, match=r"The picture .*nothing.jpg does not exist."):
        read_image_bytes(tmp_path / "nothing.jpg")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(InputError, match=r"The picture .*empty.jpg is empty."):
        read_image_bytes(tmp_path / "empty.jpg")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_pngs_of_few_bits_are_not_taken_for_transparent(photo, bits):
    palette = photo.quantize(2**bits)
    data = encoded(palette, "PNG", bits=bits)
    assert data[24] == bits
    np.testing.assert_array_equal(decoded(data), np.asarray(palette.convert("RGB")))


def test_black_and_white_png_and_transparency_in_a_palette(photo):
    binary = photo.convert("1")
    np.testing.assert_array_equal(
        decoded(encoded(binary, "PNG")), np.asarray(binary.convert("RGB"))
    )
    palette = photo.quantize(4)
    clear = Image.open(io.BytesIO(encoded(palette, "PNG", bits=2, transparency=0))).convert("RGBA")
    white = Image.new("RGBA", clear.size, "white")
    expected = np.asarray(Image.alpha_composite(white, clear).convert("RGB")).astype(int)
    assert (expected == 255).all(axis=-1).any()
    assert np.abs(decoded(encoded(palette, "PNG", bits=2, transparency=0)) - expected).max() <= 1


@pytest.mark.parametrize("window", [None, [0.2, 0.1, 0.7, 0.63]])
def test_a_checked_jpeg_is_decoded_as_any_other(photo, window):
    file = tf.constant(encoded(photo, "JPEG", quality=90))
    part = None if window is None else tf.constant(window)
    image = decode_image(file, part, is_checked_jpeg=True)
    assert image.shape == ((60, 90, 3) if window is None else (31, 45, 3))
    np.testing.assert_array_equal(image, decode_image(file, part))


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def turned(photo, number, order=None, **options):
    """A JPEG that is stored turned and says so; EXIF is little-endian unless `order` is `MM`."""
    exif = Image.Exif()
    exif.endian = ">" if order == "MM" else "<"
    exif[0x010F], exif[0x0112] = "a camera", number
    stored = photo.transpose(TURNS[number]) if number in TURNS else photo
    return encoded(stored, "JPEG", quality=95, exif=exif.tobytes(), **options)


@pytest.mark.parametrize("order", ["II", "MM"])
@pytest.mark.parametrize("number", range(1, 9))
def test_a_photo_is_upright_as_its_exif_says(photo, number, order):
    data = turned(photo, number, order)
    with Image.open(io.BytesIO(data)) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened))
    whole = decoded(data)
    np.testing.assert_array_equal(whole, expected)
    for box in ([0, 0, 1, 0.4], [0.3, 0.1, 0.9, 0.7], [0.5, 0, 1, 1]):
        window = tf.constant(box, tf.float32)
        start, stop = module._pixels(tf.shape(whole)[:2], window)
        np.testing.assert_array_equal(
            decode_image(tf.constant(data), window), whole[start[0] : stop[0], start[1] : stop[1]]
        )


def test_exif_without_a_direction_or_damaged_changes_nothing(photo):
    plain = decoded(encoded(photo, "JPEG", quality=95))
    for number in (0, 9, 65535):
        np.testing.assert_array_equal(decoded(turned(photo, number)), plain)
    exif = turned(photo, 6)
    start = exif.index(b"Exif")
    for place in range(start, start + 40):
        for value in (0, 255):
            damaged = exif[:place] + bytes([value]) + exif[place + 1 :]
            assert decoded(damaged).shape in (plain.shape, plain.transpose(1, 0, 2).shape)


def test_what_tensorflow_would_read_wrong_is_refused_by_name_and_read_by_pillow(photo, tmp_path):
    clear = photo.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(photo.size).point(lambda v: 255 * (v > 99)))
    for name, data in (
        ("a BMP with a palette (save it as PNG)", encoded(photo.quantize(64), "BMP")),
        ("a GIF with transparency (save it as PNG)", encoded(clear, "GIF")),
        ("a TIFF that cannot be read (save it as JPEG or PNG)", encoded(photo, "TIFF")),
        (
            "a WebP that cannot be read (save it as JPEG or PNG)",
            encoded(clear, "WEBP", lossless=True),
        ),
    ):
        assert picture_problem(data) == name
        (tmp_path / "picture").write_bytes(data)
        with Image.open(io.BytesIO(data)) as opened:
            layer = opened.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        expected = np.asarray(Image.alpha_composite(white, layer).convert("RGB")).astype(int)
        found = decoded(read_image_bytes(tmp_path / "picture")).astype(int)
        assert np.abs(found - expected).max() <= 1


def test_a_frame_that_is_larger_than_the_screen_is_not_decoded():
    """98 KB of GIF made the decoder allocate 144 megapixels."""
    data = bytearray(encoded(Image.new("P", (16, 16)), "GIF"))
    frame = data.index(b"\x2c", 13 + 6)
    data[frame + 5 : frame + 9] = np.array([12_000, 12_000], "<u2").tobytes()
    assert picture_problem(bytes(data)) == f"more than {MAX_PIXELS} pixels"
