"""What the first bytes of a picture file say, read with stock TensorFlow ops: its format, its size,
and which way up it is."""

import tensorflow as tf

JPEG, PNG, GIF, BMP = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM"
NO_PICTURE = "not a JPEG, PNG, GIF or BMP picture"
PALETTE = "a BMP with a palette (save it as PNG)"
TRANSPARENT = "a GIF with transparency (save it as PNG)"

_HEAD = 4096  # bytes in which orientation and a GIF's first frame are looked for
_APP0, _APP1, _ORIENTATION = 0xFFE0, 0xFFE1, 0x0112
_EXTENSION, _CONTROL = 0x21, 0xF9


def starts_with(data: tf.Tensor, header: bytes) -> tf.Tensor:
    """Whether a file begins so, scalar bool."""
    return tf.equal(tf.strings.substr(data, 0, len(header)), header)


def stored_size(data: tf.Tensor) -> tf.Tensor:
    """Height and width of a picture as it is stored, int32 `[2]`, before anything is decoded.

    Args:
        data: scalar string tensor, the file's bytes.

    Raises:
        tf.errors.InvalidArgumentError: not a JPEG, PNG, GIF or BMP, or one that TensorFlow's
            decoders would read wrong.
    """

    def png() -> tf.Tensor:
        numbers = tf.io.decode_raw(tf.strings.substr(data, 16, 8), tf.int32, little_endian=False)
        return tf.reverse(numbers, [0])

    def bmp() -> tf.Tensor:
        head = _Bytes(data, 30)
        with _require(head.number(28, 2) >= 24, PALETTE):
            return tf.abs(tf.stack([head.number(22, 4), head.number(18, 4)]))

    def unknown() -> tf.Tensor:
        with _require(tf.constant(False), NO_PICTURE):
            return tf.zeros([2], tf.int32)

    kinds = [
        (starts_with(data, JPEG), lambda: tf.image.extract_jpeg_shape(data)[:2]),
        (starts_with(data, PNG), png),
        (starts_with(data, GIF), lambda: _gif_size(data)),
        (starts_with(data, BMP), bmp),
    ]
    return tf.case(kinds, default=unknown)


def orientation(data: tf.Tensor) -> tf.Tensor:
    """How a JPEG has to be turned to be upright: EXIF's number, int32, 1 to 8; 1 for all others.

    Only a file with an APP1 segment is looked at, so that others pay nothing.
    """
    marker = tf.io.decode_raw(tf.strings.substr(data, 2, 4), tf.uint8)
    marker = tf.pad(tf.cast(marker, tf.int32), [[0, 4 - tf.minimum(4, tf.size(marker))]])
    first = marker[0] * 256 + marker[1]
    after = tf.where(first == _APP0, 4 + marker[2] * 256 + marker[3], 2)
    second = tf.strings.substr(data, tf.minimum(after, tf.strings.length(data)), 2)
    is_turned = starts_with(data, JPEG) & tf.equal(second, b"\xff\xe1")
    return tf.cond(is_turned, lambda: _exif_orientation(data, after), lambda: tf.constant(1))


def _exif_orientation(data: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    head = _Bytes(data, _HEAD)
    base = start + 10  # marker, length, "Exif" and two zeros
    little = head.number(base, 1) == ord("I")
    directory = base + head.number(base + 4, 4, little)
    count = tf.minimum(head.number(directory, 2, little), _HEAD // 12)
    entries = directory + 2 + 12 * tf.range(count)
    found = tf.boolean_mask(entries, head.number(entries, 2, little) == _ORIENTATION)
    value = head.number(tf.concat([found, [_HEAD]], 0)[0] + 8, 2, little)
    is_exif = head.number(start + 4, 4, tf.constant(False)) == int.from_bytes(b"Exif", "big")
    return tf.where(is_exif & (value >= 1) & (value <= 8), value, 1)


def _gif_size(data: tf.Tensor) -> tf.Tensor:
    """The larger of a GIF's screen and its first frame: headers may name a smaller screen."""
    head = _Bytes(data, _HEAD)
    flags = head.number(10, 1)
    colours = tf.where(flags >= 128, 3 * tf.bitwise.left_shift(2, flags % 8), 0)

    def step(at: tf.Tensor, inside: tf.Tensor, clear: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Over the next block of an extension, or the head of the next extension."""
        length = head.number(at, 1)
        control = ~inside & (head.number(at + 1, 1) == _CONTROL)
        clear |= control & (head.number(at + 3, 1) % 2 == 1)
        return tf.where(inside, at + length + 1, at + 2), ~inside | (length > 0), clear

    at, _, clear = tf.while_loop(
        lambda at, inside, _: (at < _HEAD) & (inside | (head.number(at, 1) == _EXTENSION)),
        step,
        (13 + colours, tf.constant(False), tf.constant(False)),
    )
    with _require(~clear, TRANSPARENT):
        frame = tf.stack([head.number(at + 7, 2), head.number(at + 5, 2)])
    return tf.maximum(frame, tf.stack([head.number(8, 2), head.number(6, 2)]))


class _Bytes:
    """The first bytes of a file as numbers; zeros behind its end."""

    def __init__(self, data: tf.Tensor, count: int):
        head = tf.cast(tf.io.decode_raw(tf.strings.substr(data, 0, count), tf.uint8), tf.int32)
        self._bytes, self._last = tf.pad(head, [[0, count + 1 - tf.size(head)]]), count

    def number(self, at: int | tf.Tensor, size: int, little: tf.Tensor | bool = True) -> tf.Tensor:
        """The number of `size` bytes at each position, int32."""
        places = tf.clip_by_value(tf.expand_dims(at, -1) + tf.range(size), 0, self._last)
        digits = tf.gather(self._bytes, places)
        digits = tf.where(little, tf.reverse(digits, [-1]), digits)
        return tf.reduce_sum(digits * 256 ** tf.range(size - 1, -1, -1), axis=-1)


def _require(condition: tf.Tensor, message: str) -> tf.control_dependencies:
    return tf.control_dependencies([tf.debugging.Assert(condition, [message])])
