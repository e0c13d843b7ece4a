"""What a training step costs: in-batch against triplets, the heads against the backbone, cached
features against pictures.

`python benchmarks/training.py [--json F]` prints a table of ratios, each measured side by side in
one run; `FULL=1` takes pictures of 224 pixels, the size of the targets.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from _common import FULL, Figures, side_by_side

import ctl_keras as ctl
from ctl_keras.config import Config
from ctl_keras.settings import from_dict
from ctl_keras.training.fitting import Fitting

SIZE = 224 if FULL else 112
LOCAL_TAP = "conv4_block6_out" if FULL else "conv3_block4_out"  # 14x14 at 224 and at 112 pixels
BATCH, REPETITIONS = 16, 7 if FULL else 5


def fitting(records: Path, **settings: Any) -> Fitting:
    """A training of a ResNet50 with random weights; `settings` are `section__field=value`."""
    values: dict[str, dict[str, Any]] = {
        "model": {"weights": "none", "local_tap": LOCAL_TAP},
        "data": {"image_size": SIZE},
        "training": {"batch_size": BATCH, "group": 8},
    }
    for name, value in settings.items():
        section, field = name.split("__")
        values[section][field] = value
    train, validation = ctl.read_records(records, "train"), ctl.read_records(records, "validation")
    config = from_dict(Config, values)
    made = Fitting(
        ctl.CompleteTheLook(train.categories, SIZE, config.model),
        config,
        train,
        validation,
        str(records),
    )
    made.begin_stage(0)
    return made


def step(made: Fitting) -> Callable[[], Any]:
    """One training step on a batch that is in memory."""
    inputs, labels = next(iter(made.datasets(0)[0]))
    return lambda: made.trainer.train_on_batch(inputs, labels)


def backbone_pass(made: Fitting, backward: bool) -> Callable[[], Any]:
    """The same images through the bare network, with the gradients of its weights if it trains."""
    inputs, _ = next(iter(made.datasets(0)[0]))
    images = tf.concat([inputs["scene"], inputs["product"]], 0)
    trunk = made.model.backbone.trunk
    variables = [
        tf.convert_to_tensor(v) if not hasattr(v, "value") else v.value
        for v in trunk.trainable_variables
    ]

    @tf.function(jit_compile=False)
    def run() -> Any:
        if not backward:
            return [tf.reduce_sum(output) for output in trunk(images, training=False)]
        with tf.GradientTape() as tape:
            loss = tf.add_n([tf.reduce_mean(output) for output in trunk(images, training=True)])
        return [tf.reduce_sum(gradient) for gradient in tape.gradient(loss, variables)]

    return lambda: [value.numpy() for value in run()]


def epoch(made: Fitting, steps: int) -> Callable[[], Any]:
    """Steps of `fit`, with reading and decoding; the time of a step is what counts."""
    dataset, _ = made.datasets(0)
    batches = iter(dataset)

    def run() -> None:
        for _ in range(steps):
            made.trainer.train_on_batch(*next(batches))

    return run


def main() -> None:
    figures = Figures(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        data, records = Path(folder, "data"), Path(folder, "records")
        ctl.synthesize(data, scenes=40)
        ctl.prepare(
            data / "fashion.json",
            data / "fashion-cat.json",
            data / "images",
            records,
            fractions=(0.6, 0.2, 0.2),
        )

        triplets, in_batch = fitting(records), fitting(records, training__in_batch=True)
        runs = {
            "triplets": step(triplets),
            "in-batch": step(in_batch),
            "backbone": backbone_pass(in_batch, False),
        }
        seconds = side_by_side(runs, REPETITIONS)
        figures.add(
            "scenes a second, in-batch against triplets",
            seconds["triplets"] / seconds["in-batch"],
            at_least=1.4,
        )
        figures.add(
            "step against the bare backbone, frozen",
            seconds["in-batch"] / seconds["backbone"],
            at_most=1.1,
        )

        trained = fitting(records, training__in_batch=True, model__train_backbone=True)
        seconds = side_by_side(
            {"step": step(trained), "backbone": backbone_pass(trained, True)}, REPETITIONS
        )
        figures.add(
            "step against the bare backbone, trained",
            seconds["step"] / seconds["backbone"],
            at_most=1.1,
        )

        for regions, target in (([7, 7], 20), ([14, 14], 10)):
            shared = {"model__regions": regions, "training__in_batch": True}
            pictures = fitting(records, **shared)
            cached = fitting(records, **shared, data__feature_cache=str(Path(folder, "features")))
            seconds = side_by_side(
                {"pictures": epoch(pictures, 1), "cached": epoch(cached, 4)}, REPETITIONS
            )
            name = (
                f"training from cached features against pictures, {regions[0]}x{regions[1]} regions"
            )
            figures.add(name, 4 * seconds["pictures"] / seconds["cached"], at_least=target)
    figures.write()


if __name__ == "__main__":
    main()
