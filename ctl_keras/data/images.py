"""Pictures to tensors: the one way in which training, evaluation and the exported model decode and
resize."""

import tensorflow as tf

from ctl_keras.data.picture_files import MAX_PIXELS, foreign_format
from ctl_keras.data.picture_headers import (
    JPEG,
    NO_PICTURE,
    PALETTE,
    PNG,
    TRANSPARENT,
    orientation,
    starts_with,
    stored_size,
)

MIN_SIDE = 8
_BLOCK = 32  # pixels: a JPEG's largest unit is 32 wide or high
_CROP_FROM = 256 / 224  # the usual ImageNet augmentation: resize to 256, crop 224 (method notes)

_JPEG_END = b"\xff\xd9"


def decode_image(
    data: tf.Tensor, window: tf.Tensor | None = None, is_checked_jpeg: bool = False
) -> tf.Tensor:
    """Decodes one picture, or a part of it, with stock TensorFlow ops.

    JPEG (also grey and CMYK) with the accurate DCT, turned upright as its EXIF orientation says;
    PNG (grey, palette, 16 bits; transparency is laid on white); the first frame of a GIF without
    transparency; BMP without a palette.

    Args:
        data: scalar string tensor, the file's bytes.
        window: float32 `[4]`: the part to return, left, top, right, bottom as shares of the
            upright picture; no pixel that is partly outside of it is kept. Of a JPEG little else is
            decoded. Defaults to None: all of it.
        is_checked_jpeg: bool. Whether the file is known to be a JPEG within the limits, as in
            prepared data that hold no other, and upright. Finding out took a quarter of the time.
            Defaults to False.

    Returns:
        uint8 tensor `[height, width, 3]`, RGB, at least one pixel each way.

    Raises:
        tf.errors.InvalidArgumentError: not such a picture, cut off, larger than `MAX_PIXELS` or
            with a side below `MIN_SIDE` pixels.
    """
    if is_checked_jpeg:
        image = _decode_jpeg(data, window)
    else:
        image = _decode_whole(data) if window is None else _decode_window(data, window)
    return tf.ensure_shape(image, [None, None, 3])


def _decode_checked(data: tf.Tensor, window: tf.Tensor | None = None) -> tf.Tensor:
    shape = stored_size(data)
    pixels = tf.cast(shape[0], tf.int64) * tf.cast(shape[1], tf.int64)
    limit, shortest = tf.constant(MAX_PIXELS, tf.int64), tf.reduce_min(shape)
    checks = [
        tf.debugging.assert_less_equal(pixels, limit, f"more than {MAX_PIXELS} pixels"),
        tf.debugging.assert_greater_equal(shortest, MIN_SIDE, f"a side below {MIN_SIDE} pixels"),
    ]
    with tf.control_dependencies(checks):
        data = tf.identity(data)
    turned = orientation(data)
    if window is not None:
        window = _stored_window(window, turned)

    def other() -> tf.Tensor:
        image = tf.cond(
            starts_with(data, PNG),
            lambda: _on_white(tf.image.decode_png(data, channels=4), _png_filler(data)),
            lambda: tf.image.decode_image(data, channels=3, expand_animations=False),
        )
        # not `shape`: a GIF's screen may be larger than its first frame
        return image if window is None else _cut(image, *_pixels(tf.shape(image)[:2], window))

    image = tf.cond(starts_with(data, JPEG), lambda: _decode_jpeg(data, window), other)
    return _upright(image, turned)


# Functions of their own, so that a process traces them once: in each graph that decodes anew, that
# took half a second, and there is one for each dataset, and several for each export.
_FILE, _WINDOW = tf.TensorSpec([], tf.string), tf.TensorSpec([4], tf.float32)
_decode_whole = tf.function(_decode_checked, [_FILE], autograph=False)
_decode_window = tf.function(_decode_checked, [_FILE, _WINDOW], autograph=False)


def _turns(turned: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """What makes a picture of EXIF orientation `turned` upright, scalar bools: whether it is
    transposed, and then mirrored left to right, and top to bottom."""

    def among(*numbers: int) -> tf.Tensor:
        return tf.reduce_any(tf.equal(turned, numbers))

    return turned > 4, among(2, 3, 6, 7), among(3, 4, 7, 8)


def _upright(image: tf.Tensor, turned: tf.Tensor) -> tf.Tensor:
    transposed, across, down = _turns(turned)

    def turn() -> tf.Tensor:
        upright = tf.cond(transposed, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
        upright = tf.cond(across, lambda: tf.reverse(upright, [1]), lambda: upright)
        return tf.cond(down, lambda: tf.reverse(upright, [0]), lambda: upright)

    return tf.cond(turned == 1, lambda: image, turn)


def _stored_window(window: tf.Tensor, turned: tf.Tensor) -> tf.Tensor:
    """Where a window of the upright picture is in the picture as it is stored."""
    transposed, across, down = _turns(turned)
    left, top, right, bottom = tf.unstack(window)
    left, right = tf.where(across, 1 - right, left), tf.where(across, 1 - left, right)
    top, bottom = tf.where(down, 1 - bottom, top), tf.where(down, 1 - top, bottom)
    straight, swapped = [left, top, right, bottom], [top, left, bottom, right]
    return tf.where(transposed, tf.stack(swapped), tf.stack(straight))


def is_jpeg(data: bytes) -> bool:
    """Whether a file is a JPEG, by its first bytes."""
    return data.startswith(JPEG)


def _decode_jpeg(data: tf.Tensor, window: tf.Tensor | None) -> tf.Tensor:
    if window is None:
        return tf.image.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
    shape = tf.image.extract_jpeg_shape(data)[:2]
    start, stop = _pixels(shape, window)
    # a block more on each side: at the edges of what it decodes, libjpeg smooths colours in another
    # way
    first, last = tf.maximum(start - _BLOCK, 0), tf.minimum(stop + _BLOCK, shape)
    # libjpeg does not look below what it is asked for: where the end is missing, all is decoded,
    # which fails
    is_whole = tf.equal(tf.strings.substr(data, -len(_JPEG_END), len(_JPEG_END)), _JPEG_END)
    last = tf.where(is_whole, last, shape)
    around = tf.concat([first, last - first], axis=0)
    image = tf.image.decode_and_crop_jpeg(data, around, channels=3, dct_method="INTEGER_ACCURATE")
    return _cut(image, start - first, stop - first)


def _pixels(shape: tf.Tensor, window: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """First (row, column) of a window, and the one after its last, int32 `[2]` each."""
    size = tf.cast(shape, tf.float32)
    start = tf.cast(tf.math.ceil(tf.stack([window[1], window[0]]) * size - 1e-3), tf.int32)
    stop = tf.cast(tf.math.floor(tf.stack([window[3], window[2]]) * size + 1e-3), tf.int32)
    start = tf.minimum(start, shape - 1)
    return start, tf.maximum(stop, start + 1)


def _cut(image: tf.Tensor, start: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
    return image[start[0] : stop[0], start[1] : stop[1]]


def _png_filler(data: tf.Tensor) -> tf.Tensor:
    """What TensorFlow takes as the alpha of a PNG without one: all ones in the file's bit depth, so
    1 for black and white."""
    depth = tf.cast(tf.io.decode_raw(tf.strings.substr(data, 24, 1), tf.uint8)[0], tf.int32)
    return tf.bitwise.left_shift(1, tf.minimum(depth, 8)) - 1


def _on_white(image: tf.Tensor, filler: tf.Tensor) -> tf.Tensor:
    colour, alpha = tf.cast(image[..., :3], tf.int32), tf.cast(image[..., 3:], tf.int32)
    alpha = tf.where(tf.reduce_all(tf.equal(alpha, filler)), 255, alpha)
    return tf.cast((colour * alpha + 255 * (255 - alpha) + 127) // 255, tf.uint8)


def resize_image(image: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes to a square, without keeping the aspect ratio, bilinear with antialiasing.

    Args:
        image: `[height, width, 3]`, any number type, 0..255.
        size: int, pixels.

    Returns:
        float32 `[size, size, 3]`, RGB 0..255: what the model takes. Its own first layer does the
        network's preprocessing.
    """
    image = tf.image.resize(image, [size, size], antialias=True)
    return tf.ensure_shape(tf.clip_by_value(image, 0.0, 255.0), [size, size, 3])


def side_before_crop(size: int) -> int:
    """Pixels to which a picture is resized before `size` of them are cropped at random."""
    return round(size * _CROP_FROM)


def draw_crops(seeds: tf.Tensor, size: int, count: int) -> tf.Tensor:
    """Random crops and mirrors for the pictures of examples, all at once: a picture's own random
    ops take long.

    Args:
        seeds: int64 `[batch, 2]`, each below 2**31; the same seeds give the same crops.
        size: int, pixels.
        count: int. Pictures of an example.

    Returns:
        int32 `[batch, count, 3]`: first row and first column of the crop in the picture of
        `side_before_crop(size)` pixels, and 1 if it is mirrored.
    """
    places = side_before_crop(size) - size + 1
    choices = 2 * places * places
    number = seeds[:, :1] * 2**31 + seeds[:, 1:]  # its digits to the base `choices` are independent
    digit = number // tf.constant([choices**place for place in range(count)], tf.int64) % choices
    return tf.cast(
        tf.stack([digit // 2 // places, digit // 2 % places, digit % 2], axis=-1), tf.int32
    )


def resize_before_crop(image: tf.Tensor, size: int) -> tf.Tensor:
    """A picture as it is before `cropped` takes `size` pixels of it.

    Rounded to whole grey levels, because that is how it is kept where there is memory for it, and
    the memory of a machine must not decide what a training sees.

    Args:
        image: uint8 `[height, width, 3]`.
        size: int, pixels.

    Returns:
        uint8 `[side, side, 3]` with `side = side_before_crop(size)`.
    """
    return tf.cast(tf.round(resize_image(image, side_before_crop(size))), tf.uint8)


def at_size(image: tf.Tensor, size: int, crop: tf.Tensor | None) -> tf.Tensor:
    """A picture as the model takes it, float32 `[size, size, 3]`: all of it, or a random crop."""
    if crop is None:
        return resize_image(image, size)
    return cropped(resize_before_crop(image, size), size, crop)


def cropped(image: tf.Tensor, size: int, crop: tf.Tensor) -> tf.Tensor:
    """A part of a picture, perhaps mirrored.

    Args:
        image: uint8 `[side, side, 3]`, from `resize_before_crop`.
        size: int, pixels.
        crop: int32 `[3]`, see `draw_crops`.

    Returns:
        float32 `[size, size, 3]`, RGB 0..255.
    """
    part = tf.cast(_cut(image, crop[:2], crop[:2] + size), tf.float32)
    mirrored = tf.cond(crop[2] == 1, lambda: tf.reverse(part, [1]), lambda: part)
    return tf.ensure_shape(mirrored, [size, size, 3])


def picture_problem(data: bytes) -> str | None:
    """Why `decode_image` refuses a picture, in a few words, or None."""
    if not data:
        return "empty file"
    try:
        decode_image(tf.constant(data))
    except (tf.errors.OpError, ValueError) as error:
        message = str(getattr(error, "message", error)).replace("\n", " ")
        for known in (
            f"more than {MAX_PIXELS} pixels",
            f"a side below {MIN_SIDE} pixels",
            NO_PICTURE,
            PALETTE,
            TRANSPARENT,
        ):
            if known in message:
                kind = foreign_format(data) if known == NO_PICTURE else None
                return f"a {kind} that cannot be read (save it as JPEG or PNG)" if kind else known
        return "cut off or damaged"
    return None
