"""Pictures to tensors: the one way in which training, evaluation and the exported model decode and resize."""

import tensorflow as tf

from ctl_keras.data.picture_files import MAX_PIXELS

MIN_SIDE = 8
CROP_FROM = 256 / 224  # the usual ImageNet augmentation: resize to 256, crop 224 (method notes)

_JPEG, _PNG, _GIF, _BMP = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM"


def decode_image(data: tf.Tensor) -> tf.Tensor:
    """Decodes one picture with stock TensorFlow ops.

    JPEG (also grey and CMYK) with the accurate DCT, PNG (grey, palette, 16 bits; transparency is laid on white), the first
    frame of a GIF, and BMP.

    Args:
        data: scalar string tensor, the file's bytes.

    Returns:
        uint8 tensor `[height, width, 3]`, RGB.

    Raises:
        tf.errors.InvalidArgumentError: not such a picture, cut off, larger than `MAX_PIXELS` or with a side below
            `MIN_SIDE` pixels.
    """
    is_jpeg, is_png = _starts_with(data, _JPEG), _starts_with(data, _PNG)
    shape = tf.cond(is_jpeg, lambda: tf.image.extract_jpeg_shape(data)[:2], lambda: _header_shape(data, is_png))
    checks = [
        tf.debugging.assert_less_equal(
            tf.cast(shape[0], tf.int64) * tf.cast(shape[1], tf.int64),
            tf.constant(MAX_PIXELS, tf.int64),
            f"more than {MAX_PIXELS} pixels",
        ),
        tf.debugging.assert_greater_equal(tf.reduce_min(shape), MIN_SIDE, f"a side below {MIN_SIDE} pixels"),
    ]
    with tf.control_dependencies([check for check in checks if check is not None]):
        data = tf.identity(data)
    image = tf.cond(
        is_jpeg,
        lambda: tf.image.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.cond(
            is_png,
            lambda: _on_white(tf.image.decode_png(data, channels=4), _png_filler(data)),
            lambda: tf.image.decode_image(data, channels=3, expand_animations=False),
        ),
    )
    return tf.ensure_shape(image, [None, None, 3])


def _starts_with(data: tf.Tensor, header: bytes) -> tf.Tensor:
    return tf.equal(tf.strings.substr(data, 0, len(header)), header)


def _header_shape(data: tf.Tensor, is_png: tf.Tensor) -> tf.Tensor:
    """Height and width, int32 `[2]`, as the header of a PNG, GIF or BMP gives them."""

    def png() -> tf.Tensor:
        return tf.reverse(tf.io.decode_raw(tf.strings.substr(data, 16, 8), tf.int32, little_endian=False), [0])

    def gif() -> tf.Tensor:
        return tf.reverse(tf.cast(tf.io.decode_raw(tf.strings.substr(data, 6, 4), tf.uint16), tf.int32), [0])

    def bmp() -> tf.Tensor:
        return tf.abs(tf.reverse(tf.io.decode_raw(tf.strings.substr(data, 18, 8), tf.int32), [0]))

    def unknown() -> tf.Tensor:
        failed = tf.debugging.Assert(False, ["not a JPEG, PNG, GIF or BMP picture"])
        with tf.control_dependencies([failed] if failed is not None else []):
            return tf.zeros([2], tf.int32)

    return tf.case([(is_png, png), (_starts_with(data, _GIF), gif), (_starts_with(data, _BMP), bmp)], default=unknown)


def _png_filler(data: tf.Tensor) -> tf.Tensor:
    """What TensorFlow takes as the alpha of a PNG without one: all ones in the file's bit depth, so 1 for black and white."""
    depth = tf.cast(tf.io.decode_raw(tf.strings.substr(data, 24, 1), tf.uint8)[0], tf.int32)
    return tf.bitwise.left_shift(1, tf.minimum(depth, 8)) - 1


def _on_white(image: tf.Tensor, filler: tf.Tensor) -> tf.Tensor:
    colour, alpha = tf.cast(image[..., :3], tf.int32), tf.cast(image[..., 3:], tf.int32)
    alpha = tf.where(tf.reduce_all(tf.equal(alpha, filler)), 255, alpha)
    return tf.cast((colour * alpha + 255 * (255 - alpha) + 127) // 255, tf.uint8)


def cut_window(image: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    """Cuts a window out of a picture; no pixel that is partly outside of it is kept.

    Args:
        image: `[height, width, 3]`.
        window: float32 `[4]`: left, top, right, bottom as shares of the image.

    Returns:
        `[window height, window width, 3]`, at least one pixel each way.
    """
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    start = tf.cast(tf.math.ceil(tf.stack([window[1], window[0]]) * size - 1e-3), tf.int32)
    stop = tf.cast(tf.math.floor(tf.stack([window[3], window[2]]) * size + 1e-3), tf.int32)
    start = tf.minimum(start, tf.cast(size, tf.int32) - 1)
    stop = tf.maximum(stop, start + 1)
    return image[start[0] : stop[0], start[1] : stop[1]]


def resize_image(image: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes to a square, without keeping the aspect ratio, bilinear with antialiasing.

    Args:
        image: `[height, width, 3]`, any number type, 0..255.
        size: int, pixels.

    Returns:
        float32 `[size, size, 3]`, RGB 0..255: what the model takes. Its own first layer does the network's preprocessing.
    """
    image = tf.image.resize(image, [size, size], antialias=True)
    return tf.ensure_shape(tf.clip_by_value(image, 0.0, 255.0), [size, size, 3])


def augmented(image: tf.Tensor, size: int, seeds: tf.Tensor) -> tf.Tensor:
    """A random crop, mirrored at random.

    Args:
        image: uint8 `[height, width, 3]`.
        size: int, pixels.
        seeds: int64 `[2]`; the same seeds give the same picture.

    Returns:
        float32 `[size, size, 3]`, RGB 0..255.
    """
    image = resize_image(image, round(size * CROP_FROM))
    image = tf.image.stateless_random_crop(image, [size, size, 3], seeds)
    return tf.image.stateless_random_flip_left_right(image, seeds[::-1])


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
            "not a JPEG, PNG, GIF or BMP picture",
        ):
            if known in message:
                return known
        return "cut off or damaged"
    return None
