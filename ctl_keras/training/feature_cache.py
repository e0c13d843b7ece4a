"""The features of a frozen backbone, computed once and kept in files that training reads at random.

```
DIR/<key>/features.json                what they are of; written last
DIR/<key>/scene-v0-00000.npy           float16 [rows, channels], view 0 of the first pairs' scenes
DIR/<key>/regions-v0-00000.npy         float16 [rows, regions, channels]
DIR/<key>/product-v0-00000.npy         float16 [rows, channels], view 0 of the first products
```
View 0 is the picture itself, view 1 its mirror image, further ones are random crops, mirrored at
random.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ctl_keras.data.batches import image_batches
from ctl_keras.data.pairs import Pairs
from ctl_keras.errors import InputError
from ctl_keras.files import json_hash, new_file, write_json
from ctl_keras.models.complete_the_look import CompleteTheLook
from ctl_keras.progress import console, track

FORMAT = 2
SHARD = 256  # pictures a file: about 100 MB of 14x14 regions with 1024 channels
_BATCH = 32


class CachedFeatures:
    """A `Source` of cached features, for `triplets` and `pair_batches`.

    Args:
        folder: what `cache_features` returned.
        pairs: the table that it was made for.

    Raises:
        InputError: the cache is incomplete or was made for another table.
    """

    def __init__(self, folder: str | Path, pairs: Pairs):
        folder = Path(folder)
        self._row_of = np.full(len(pairs.images.ids), -1)
        products = np.unique(pairs.product)
        self._row_of[products] = np.arange(len(products))
        counts = {"scene": len(pairs), "regions": len(pairs), "product": len(products)}
        self._views = _views(folder)
        self._arrays = {
            name: [_open(folder, name, view, count) for view in range(self._views)]
            for name, count in counts.items()
        }
        self._shapes = {name: views[0][0].shape[1:] for name, views in self._arrays.items()}

    def batches(
        self, examples: tf.data.Dataset, roles: tuple[str, ...], batch_size: int
    ) -> tf.data.Dataset:
        """See `Source.batches`; inputs are features in place of pictures."""
        names = ["scene", "regions", *roles]
        kinds = ["scene", "regions", *["product"] * len(roles)]

        def gather(rows: np.ndarray, seeds: np.ndarray) -> list[np.ndarray]:
            # of the same view
            scenes = [self._gather(kind, rows[:, -1], seeds[:, 0]) for kind in ("scene", "regions")]
            draws = [seeds[:, 1] // self._views**number for number in range(len(roles))]
            products = [self._row_of[rows[:, 1 + number]] for number in range(len(roles))]
            return scenes + [
                self._gather("product", *each) for each in zip(products, draws, strict=True)
            ]

        def load(rows: tf.Tensor, seeds: tf.Tensor) -> dict[str, tf.Tensor]:
            arrays = tf.numpy_function(
                gather, [rows, seeds], [tf.float16] * len(names), stateful=False
            )
            inputs = {
                name: tf.cast(tf.ensure_shape(array, [None, *self._shapes[kind]]), tf.float32)
                for name, kind, array in zip(names, kinds, arrays, strict=True)
            }
            return {**inputs, "category": tf.cast(rows[:, -2], tf.int32), "pair": rows[:, -1]}

        return examples.batch(batch_size).map(load, num_parallel_calls=tf.data.AUTOTUNE)

    def _gather(self, kind: str, places: np.ndarray, draw: np.ndarray) -> np.ndarray:
        out = np.empty((len(places), *self._shapes[kind]), np.float16)
        for number, (place, view) in enumerate(zip(places, draw % self._views, strict=True)):
            out[number] = self._arrays[kind][view][place // SHARD][place % SHARD]
        return out


def cache_features(
    model: CompleteTheLook,
    pairs: Pairs,
    pictures_hash: str,
    to: str | Path,
    views: int = 1,
    seed: int = 0,
) -> Path:
    """Runs the backbone over all pictures of a table, or goes on where a killed one has stopped.

    Runs, and the workers of one training, may do so side by side in one folder: each makes what is
    missing when it begins.

    Args:
        model: its backbone, its regions and its picture size decide the features.
        pairs: the table.
        pictures_hash: str. What stands for its pictures: `hash_of_pictures` of prepared data.
        to: folder that holds caches; each has a folder of its own, named by a hash of all that it
            depends on.
        views: int. Variants of each picture: 1 for the picture itself, 2 with its mirror image,
            more with random crops. Defaults to 1.
        seed: int. Of the random crops. Defaults to 0.

    Returns:
        The cache's folder, for `CachedFeatures`.

    Raises:
        InputError: `views` is not positive, or the features are too large for float16.
    """
    if views < 1:
        raise InputError(f"`views` must be positive. Received: {views}")
    origin = _origin(model, pairs, pictures_hash, views, seed)
    folder = Path(to) / json_hash(origin)[:16]
    if (folder / "features.json").is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    products = np.unique(pairs.product)
    towers = model.feature_towers()
    jobs = [
        (view, is_scene, start)
        for view in range(views)
        for is_scene, count in ((True, len(pairs)), (False, len(products)))
        for start in range(0, count, SHARD)
    ]
    missing = [
        job
        for job in jobs
        if not _shard(folder, "regions" if job[1] else "product", job[0], job[2]).is_file()
    ]
    size = views * (len(pairs) * _values(towers[0]) + len(products) * _values(towers[1])) * 2 / 1e9
    console.print(
        f"Caching the features of {views * (len(pairs) + len(products))} pictures in {folder}: "
        f"{size:.1f} GB",
        highlight=False,
    )
    runs = [tf.function(tower, reduce_retracing=True) for tower in towers]
    for view, is_scene, start in track(missing, "Caching features", total=len(missing)):
        part = slice(start, start + SHARD)
        rows, windows = (
            (pairs.scene[part], pairs.window[part]) if is_scene else (products[part], None)
        )
        crop_seed = None if view < 2 else (seed, view, start, is_scene)
        images = image_batches(pairs.images, rows, windows, _BATCH, model.image_size, crop_seed)
        if view == 1:
            images = images.map(lambda batch: tf.reverse(batch, [2]))
        features = _run(runs[0 if is_scene else 1], images)
        # regions last: they stand for both
        for name in ("scene", "regions") if is_scene else ("product",):
            _save(_shard(folder, name, view, start), features[name])
    with new_file(folder / "features.json") as temporary:
        write_json(temporary, origin)
    return folder


def _origin(
    model: CompleteTheLook, pairs: Pairs, pictures_hash: str, views: int, seed: int
) -> dict[str, Any]:
    """All that the features depend on. Whatever makes them other numbers must stand here: the
    network, the table, the precision, the libraries that compute them."""
    rows = hashlib.sha256()
    for column in (pairs.scene, pairs.product, pairs.window):
        rows.update(np.ascontiguousarray(column).data)
    return {
        "format": FORMAT,
        "pictures": pictures_hash,
        "pairs": rows.hexdigest(),
        "backbone": {
            name: model.backbone.get_config()[name]
            for name in ("network", "image_size", "global_tap", "local_tap", "inference")
        },
        "precision": model.backbone.compute_dtype,
        "weights": model.backbone.weights_hash(),
        "regions": [model.config.region_source, *model.grid],
        "views": views,
        "seed": seed if views > 2 else None,  # only crops are random
        "versions": [tf.__version__, keras.__version__],
    }


def _views(folder: Path) -> int:
    try:
        return json.loads((folder / "features.json").read_text(encoding="utf-8"))["views"]
    except FileNotFoundError:
        raise InputError(
            f"{folder} holds no complete feature cache. Make it with `cache_features`."
        ) from None


def _shard(folder: Path, name: str, view: int, start: int) -> Path:
    return folder / f"{name}-v{view}-{start // SHARD:05d}.npy"


def _open(folder: Path, name: str, view: int, count: int) -> list[np.ndarray]:
    arrays = []
    for start in range(0, count, SHARD):
        path = _shard(folder, name, view, start)
        try:
            arrays.append(np.load(path, mmap_mode="r"))
        except (OSError, ValueError):
            raise InputError(
                f"The feature file {path} is missing or damaged. Remove {folder} to compute it "
                "anew."
            ) from None
    if sum(map(len, arrays)) != count:
        raise InputError(
            f"The features in {folder} are of {sum(map(len, arrays))} pictures; the table has "
            f"{count}."
        )
    return arrays


def _save(path: Path, values: np.ndarray) -> None:
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        raise InputError(
            f"The backbone's features reach {np.abs(values).max():g}, which float16 cannot hold. "
            "Train without data.feature_cache, or take another tap."
        )
    with new_file(path) as temporary:
        np.save(temporary, half)


def _run(
    tower: Callable[[tf.Tensor], dict[str, tf.Tensor]], images: tf.data.Dataset
) -> dict[str, np.ndarray]:
    """The tower's outputs for all batches, joined."""
    parts = [tower(batch) for batch in images]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _values(tower: Any) -> int:
    """Numbers that it gives for one picture."""
    return sum(int(np.prod(output.shape[1:])) for output in tower.outputs)
