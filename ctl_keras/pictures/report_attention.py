"""Where the model looks in some scenes, as a report shows it."""

from dataclasses import dataclass

import numpy as np

from ctl_keras.data.batches import image_batches
from ctl_keras.data.pairs import Pairs
from ctl_keras.models.complete_the_look import CompleteTheLook
from ctl_keras.pictures.boards import short_name
from ctl_keras.pictures.report_images import Picture, scene_picture
from ctl_keras.pictures.report_run import EvaluatedRun

CATEGORIES = 6


@dataclass(frozen=True)
class AttendedScene:
    """A scene and its overlays: (what for, how many times the mean the largest weight is, the
    picture)."""

    scene_id: str
    category: str
    scene: Picture
    overlays: tuple[tuple[str, float, Picture], ...]


def attention_maps(model: CompleteTheLook, pairs: Pairs, rows: np.ndarray) -> dict[str, np.ndarray]:
    """The attention over the scenes of some pairs: for the table's six largest categories; where
    the product is the key, for the scene's own product; else one map a scene.

    Args:
        model: the trained model, whose categories `pairs.category` indexes.
        pairs: the table.
        rows: int array `[rows]`.

    Returns:
        What for -> float `[rows, height, width]`.
    """
    categories = pairs.category.astype(np.int32)
    scenes = pictures(pairs, pairs.scene[rows], pairs.window[rows], model.image_size)
    towers = model.scene_tower.predict({"scene": scenes, "category": categories[rows]}, verbose=0)
    if model.config.attention == "category":
        counts = np.bincount(categories)
        largest = np.argsort(-counts, kind="stable")[: min(CATEGORIES, np.count_nonzero(counts))]
        asked = {index: np.full(len(rows), index, np.int32) for index in np.sort(largest)}
        return {
            short_name(pairs.categories[index]): np.asarray(
                model.for_category(towers, category)["attention"]
            )
            for index, category in asked.items()
        }
    if model.config.attention == "product" and model.config.distance != "global":
        own = pictures(pairs, pairs.product[rows], None, model.image_size)
        products = model.product_tower.predict(own, verbose=0)[:, None]
        weights = model.get_layer("attention")(towers["attention_embeddings"], products)
        return {"its own product": np.asarray(weights).reshape(len(rows), *model.grid)}
    return {model.config.attention: towers["attention"]}


def attended_scenes(run: EvaluatedRun, rows: np.ndarray) -> list[AttendedScene]:
    """The attention over the scenes of some rows of the run's pairs, as `attention_maps` gives it.
    Nothing where all regions weigh the same."""
    if run.model.config.attention == "uniform" or run.model.config.distance == "global":
        return []
    maps = attention_maps(run.model, run.pairs, rows)
    return [
        _attended(run, row, {name: values[number] for name, values in maps.items()})
        for number, row in enumerate(rows)
    ]


def pictures(pairs: Pairs, rows: np.ndarray, windows: np.ndarray | None, size: int) -> np.ndarray:
    """Pictures as the model sees them, float32 `[rows, size, size, 3]`."""
    return np.concatenate(
        list(image_batches(pairs.images, rows, windows, 32, size).as_numpy_iterator())
    )


def _attended(run: EvaluatedRun, row: int, maps: dict[str, np.ndarray]) -> AttendedScene:
    pairs = run.pairs
    scene, window = pairs.scene[row], pairs.window[row]
    id_, category = pairs.images.ids[scene], short_name(pairs.categories[pairs.category[row]])
    overlays = [
        (
            name,
            float(weights.max() * weights.size),
            scene_picture(
                pairs.images,
                scene,
                f"Attention for {name} over scene {id_}: highest {where_highest(weights)}",
                window,
                weights,
            ),
        )
        for name, weights in maps.items()
    ]
    alone = scene_picture(
        pairs.images, scene, f"Scene {id_}; the part with its {category} is pale", window
    )
    return AttendedScene(id_, category, alone, tuple(overlays))


def where_highest(attention: np.ndarray) -> str:
    """In which ninth of the picture the highest of the weights `[rows, columns]` lies, in words."""
    row, column = np.unravel_index(attention.argmax(), attention.shape)
    height = ("at the top", "in the middle", "at the bottom")[
        int(3 * (row + 0.5) / attention.shape[0])
    ]
    side = (" on the left", "", " on the right")[int(3 * (column + 0.5) / attention.shape[1])]
    return height + side
