"""Where the model looks in some scenes, as a report shows it."""

from dataclasses import dataclass

import numpy as np

from ctl_keras.data.batches import image_batches
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


def attended_scenes(run: EvaluatedRun, rows: np.ndarray) -> list[AttendedScene]:
    """The attention over some scenes: for the split's six largest categories, or, where the product
    is the key, for the scene's own product. Nothing where all regions weigh the same.

    Args:
        run: the run.
        rows: int array, rows of its pairs, whose scenes are shown.
    """
    model, pairs = run.model, run.pairs
    if model.config.attention == "uniform" or model.config.distance == "global":
        return []
    pictures = image_batches(
        pairs.images, pairs.scene[rows], pairs.window[rows], 32, model.image_size
    )
    pictures = np.concatenate(list(pictures.as_numpy_iterator()))
    asked = {"scene": pictures, "category": pairs.category[rows].astype(np.int32)}
    towers = model.scene_tower.predict(asked, verbose=0)
    if model.config.attention == "category":
        counts = np.bincount(pairs.category, minlength=len(pairs.categories))
        shown = np.sort(
            np.argsort(-counts, kind="stable")[: min(CATEGORIES, np.count_nonzero(counts))]
        )
        maps = {
            short_name(pairs.categories[index]): np.asarray(
                model.for_category(towers, np.full(len(rows), index, np.int32))["attention"]
            )
            for index in shown
        }
    else:
        products = model.product_tower.predict(
            image_batches(pairs.images, pairs.product[rows], None, 32, model.image_size), verbose=0
        )
        weights = model.get_layer("attention")(towers["attention_embeddings"], products[:, None])
        maps = {"its own product": np.asarray(weights).reshape(len(rows), *model.grid)}
    return [
        _attended(run, row, {name: values[number] for name, values in maps.items()})
        for number, row in enumerate(rows)
    ]


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
