"""What the export's tolerance of bad pictures costs: images per second through `decode_rows`
against plain decoding.

`python benchmarks/decoding.py [--json F]` prints a table; `FULL=1` takes more repetitions.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from _common import FULL, Figures, photos, side_by_side

import ctl_keras as ctl
from ctl_keras.data.images import decode_image, resize_image
from ctl_keras.servable.signatures import decode_rows

SIZE, BATCH = 224, 32
MOST = 0.05  # of a backbone pass: decoding must not be what a server waits for


def main() -> None:
    figures = Figures(__doc__)
    data = tf.constant(photos(BATCH))
    backbone = ctl.Backbone("ResNet50", SIZE)

    spec = tf.TensorSpec([SIZE, SIZE, 3], tf.float32)
    plain = tf.function(
        lambda rows: tf.map_fn(
            lambda row: resize_image(decode_image(row), SIZE),
            rows,
            fn_output_signature=spec,
            parallel_iterations=8,
        )
    )
    tolerant = tf.function(lambda rows: decode_rows(rows, SIZE)[0])
    images = plain(data)
    with backbone.running(None):
        passes = tf.function(lambda: backbone(images)[0])
        passes()
    runs = {
        "plain": lambda: plain(data).numpy(),
        "tolerant": lambda: tolerant(data).numpy(),
        "backbone": lambda: passes().numpy(),
    }
    seconds = side_by_side(runs, 30 if FULL else 8)
    figures.add(
        "tolerant decoding, speed against plain decoding", seconds["plain"] / seconds["tolerant"]
    )
    figures.add(
        "tolerant decoding, share of a ResNet50 pass",
        seconds["tolerant"] / seconds["backbone"],
        at_most=MOST,
    )
    figures.write()


if __name__ == "__main__":
    main()
