"""What each part of the model and of the training is worth, on prepared data with a frozen
pretrained trunk.

`python benchmarks/ablations.py --data RECORDS --weights FILE --cache DIR [--epochs 12] [--seeds 3]
[--json F]`

Each variant differs from the first in one setting. All train from the same cached features, for the
same number of epochs, and rank the same test pairs. A pair's accuracy is averaged over the seeds,
and differences are paired by scene. What is done is kept in the cache folder, so that a killed run
goes on. Without data it says so and ends well.
"""

import argparse
import gc
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import ctl_keras as ctl
from ctl_keras.config import Config
from ctl_keras.data.preparing.records import hash_of_pictures, read_manifest
from ctl_keras.evaluation.rankers import colour_ranker, popularity_ranker, untrained_ranker
from ctl_keras.evaluation.ranking import SceneBootstrap, rank_metrics
from ctl_keras.files import json_hash, new_file
from ctl_keras.settings import from_dict
from ctl_keras.training.fitting import Fitting

TRUNK = {
    "backbone": "ResNet50V2",
    "global_tap": "conv4_block6_out",
    "local_tap": "conv4_block6_out",
}
BASE = {"in_batch": True, "batch_size": 64, "learning_rate": 3e-4}
VARIANTS: dict[str, tuple[dict, dict]] = {
    "hybrid, category attention, squared, in-batch, all, mean": ({}, {}),
    "global only (Siamese)": ({"distance": "global"}, {}),
    "local only": ({"distance": "local"}, {}),
    "uniform attention": ({"attention": "uniform"}, {}),
    "product attention": ({"attention": "product"}, {}),
    "plain norms": ({"squared": False}, {}),
    "explicit triplets": ({}, {"in_batch": False, "batch_size": 32}),
    "semi-hard miner": ({}, {"miner": "semi_hard"}),
    "hard miner": ({}, {"miner": "hard"}),
    "mean of active": ({}, {"reducer": "mean_of_active"}),
    "soft margin": ({}, {"soft_margin": True}),
    "memory of 512": ({}, {"memory": 512}),
}


def accuracies(arguments: argparse.Namespace, variant: tuple[dict, dict], seed: int) -> np.ndarray:
    """Share of the negatives that are farther than the product, for each test pair, after
    training."""
    model_settings, training = variant
    config = from_dict(
        Config,
        {
            "model": {**TRUNK, "weights": arguments.weights, **model_settings},
            "data": {"image_size": arguments.image_size, "feature_cache": arguments.cache},
            "training": {**BASE, **training, "epochs": arguments.epochs, "seed": seed},
        },
    )
    train, validation, test = (
        ctl.read_records(arguments.data, split) for split in ("train", "validation", "test")
    )
    keras.utils.set_random_seed(seed)
    model = ctl.CompleteTheLook(train.categories, config.data.image_size, config.model)
    fitting = Fitting(model, config, train, validation, hash_of_pictures(arguments.data))
    fitting.begin_stage(0)
    fitted, _ = fitting.datasets(0)
    fitting.trainer.fit(
        fitted, steps_per_epoch=fitting.steps_per_epoch, epochs=arguments.epochs, verbose=0
    )
    # the whole split as one batch: its products are the candidates
    inputs, _ = next(
        iter(
            ctl.pair_batches(
                test, group_of(test), training=False, source=fitting.features(test), group=2
            )
        )
    )
    y_pred = np.asarray(model.in_batch_trainer(from_features=True)(inputs))
    positive, negatives = y_pred[:, :1], y_pred[:, 1:]
    wins = (negatives > positive) + (negatives == positive) / 2
    exists = np.isfinite(negatives)
    order = np.argsort(rows_of(test, inputs))
    return ((wins * exists).sum(axis=1) / exists.sum(axis=1))[order]


def kept_accuracies(
    arguments: argparse.Namespace, variant: tuple[dict, dict], seed: int
) -> np.ndarray:
    """`accuracies`, from the file that an earlier run has left if there is one."""
    data_hash = read_manifest(arguments.data)["hash"]
    key = json_hash(
        [TRUNK, BASE, variant, seed, arguments.epochs, arguments.image_size, data_hash]
    )[:16]
    path = Path(arguments.cache, "ablations", f"{key}.npy")
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        values = accuracies(arguments, variant, seed)
        keras.backend.clear_session()  # each model's graphs would stay in memory
        gc.collect()
        with new_file(path) as temporary:
            np.save(temporary, values)
    return np.load(path)


def group_of(pairs: ctl.Pairs) -> int:
    return len(pairs) + len(pairs) % 2


def rows_of(pairs: ctl.Pairs, inputs: dict[str, Any]) -> np.ndarray:
    """The pairs' rows: each product of the data belongs to one pair here."""
    row_of = {int(product): row for row, product in enumerate(pairs.product)}
    assert len(row_of) == len(pairs), (
        "a product of two pairs: this benchmark does not tell them apart"
    )
    return np.array([row_of[int(product)] for product in inputs["product_id"]])


def baselines(arguments: argparse.Namespace) -> dict[str, np.ndarray]:
    test = ctl.read_records(arguments.data, "test")
    test = test.take(test.has_negative())
    model = ctl.CompleteTheLook(
        test.categories, arguments.image_size, **TRUNK, weights=arguments.weights
    )
    rankers = {
        "popularity": popularity_ranker(test),
        "untrained backbone, cosine": untrained_ranker(model, test, 32),
        "colour histogram": colour_ranker(test),
    }
    return {name: rank_metrics(test, ranker)[:, 0] for name, ranker in rankers.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data")
    parser.add_argument("--weights")
    parser.add_argument("--cache")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    if not (arguments.data and arguments.weights and arguments.cache):
        print("ablations: needs --data, --weights and --cache, see --help; left out")
        return
    test = ctl.read_records(arguments.data, "test")
    test = test.take(test.has_negative())
    bootstrap = SceneBootstrap(test.scene)
    runs: dict[str, list[np.ndarray]] = {name: [] for name in VARIANTS}
    for seed in range(arguments.seeds):
        for name, variant in VARIANTS.items():
            runs[name].append(kept_accuracies(arguments, variant, seed))
            print(f"seed {seed}: {runs[name][-1].mean():.4f}  {name}", flush=True)
    values = {name: np.mean(found, axis=0) for name, found in runs.items()} | baselines(arguments)
    reference = values[next(iter(VARIANTS))]
    figures = {}
    print(f"\n{'':58}{'accuracy':>24}{'first minus this':>28}   seeds")
    for name, value in values.items():
        one, difference = (
            bootstrap.figures(np.tile(x[:, None], 4))["binary_accuracy"]
            for x in (value, reference - value)
        )
        each = " ".join(f"{found.mean():.3f}" for found in runs.get(name, []))
        cells = [f"{x['value']:8.3f} [{x['low']:.3f}, {x['high']:.3f}]" for x in (one, difference)]
        print(f"{name:58}{cells[0]:>24}{cells[1]:>28}   {each}")
        figures[name] = {
            "value": one["value"],
            "unit": "binary accuracy",
            "target": None,
            "met": None,
        }
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(figures, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
