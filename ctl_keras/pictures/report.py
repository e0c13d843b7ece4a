"""A folder of pictures of what a run has learned."""

from pathlib import Path
from typing import Any

import numpy as np

from ctl_keras.config import Config, from_dict
from ctl_keras.data.batches import image_batches
from ctl_keras.data.pairs import Pairs
from ctl_keras.data.records import read_records
from ctl_keras.evaluation.evaluate import with_model_categories
from ctl_keras.evaluation.rankers import model_rankers
from ctl_keras.evaluation.ranking import Ranker
from ctl_keras.evaluation.reliability import reliability
from ctl_keras.files import new_folder, read_json
from ctl_keras.models.complete_the_look import CompleteTheLook
from ctl_keras.pictures.boards import attention_board, calibration_curve, loss_curve, ranking_board, save, short_name
from ctl_keras.training.calibration import Calibration
from ctl_keras.training.callbacks import read_history
from ctl_keras.training.run import load_run

SCENES, RANKED, CATEGORIES = 6, 6, 6


def write_report(run: str | Path, data: str | Path, split: str, out: str | Path) -> list[Path]:
    """Draws loss curve, ranked products, attention and calibration of a finished run.

    Args:
        run: run folder.
        data: prepared data.
        split: the split that the scenes are taken from.
        out: folder to make; it gets `loss_curve.png`, `ranked_products.png`, `attention.png` and
            `calibration.png`.

    Returns:
        The files.

    Raises:
        InputError: no run or data, or `out` exists.
        ImportError: matplotlib is not installed.
    """
    run, out = Path(run), Path(out)
    model, _ = load_run(run)
    config = from_dict(Config, read_json(run / "config.json", "The settings of the run"))
    pairs, _ = with_model_categories(model, read_records(data, split))
    rows = _spread(pairs, SCENES)
    calibration = from_dict(Calibration, read_json(run / "calibration.json", "The run's calibration"))
    ranker = model_rankers(model, pairs, 32)["model"]
    figures = {
        "loss_curve.png": loss_curve(read_history(run / "history.csv"), config.training.margin),
        "ranked_products.png": ranking_board(ranked_rows(model, pairs, rows, ranker=ranker)),
        "attention.png": attention_figure(model, pairs, rows),
        "calibration.png": calibration_curve(reliability(pairs, ranker, calibration)),
    }
    with new_folder(out) as folder:
        for name, figure in figures.items():
            save(figure, folder / name)
    return [out / name for name in figures]


def ranked_rows(
    model: CompleteTheLook, pairs: Pairs, rows: np.ndarray, count: int = RANKED, ranker: Ranker | None = None
) -> list[dict[str, Any]]:
    """What `ranking_board` draws, for some rows of the table.

    Args:
        model: the trained model, whose categories `pairs.category` indexes.
        pairs: the table; its `category_products` are the candidates.
        rows: int array.
        count: int. Ranked products a scene. Defaults to 6.
        ranker: the model's, where there is one already. Defaults to a new one.
    """
    rank = ranker or model_rankers(model, pairs, 32)["model"]
    scenes = _pictures(pairs, pairs.scene[rows], pairs.window[rows], model.image_size)
    own = _pictures(pairs, pairs.product[rows], None, model.image_size)
    result = []
    for number, row in enumerate(rows):
        candidates = pairs.category_products[pairs.category[row]]
        distances = rank(np.array([row]), candidates)[0]
        nearest = np.argsort(distances, kind="stable")[:count]
        pictures = _pictures(pairs, candidates[nearest], None, model.image_size)
        is_own = pairs.is_positive(pairs.scene[row], candidates[nearest])
        position = np.searchsorted(candidates, pairs.product[row])
        result.append(
            {
                "scene": scenes[number],
                "product": own[number],
                "title": short_name(pairs.categories[pairs.category[row]]),
                "rank": f"{1 + int((distances < distances[position]).sum())} of {len(candidates)}",
                "ranked": list(zip(pictures, distances[nearest].tolist(), is_own.tolist(), strict=True)),
            }
        )
    return result


def attention_figure(model: CompleteTheLook, pairs: Pairs, rows: np.ndarray) -> Any:
    """Attention of the model over some scenes, for up to six categories; without a category vector one map a scene.

    Args:
        model: the trained model.
        pairs: the table.
        rows: int array, the pairs whose scenes are drawn.

    Returns:
        A matplotlib figure.
    """
    by_category = model.config.attention == "category"
    shown = range(min(CATEGORIES, len(model.categories))) if by_category else range(1)
    scenes = _pictures(pairs, pairs.scene[rows], pairs.window[rows], model.image_size)
    maps = [
        model.scene_tower.predict({"scene": scenes, "category": np.full(len(rows), index, np.int32)}, verbose=0)["attention"]
        for index in shown
    ]
    names = [model.categories[index] for index in shown] if by_category else [model.config.attention]
    titles = [f"{short_name(pairs.categories[pairs.category[row]])} cut out" for row in rows]
    return attention_board(scenes, np.stack(maps, axis=1), names, titles)


def _spread(pairs: Pairs, count: int) -> np.ndarray:
    """Rows of different scenes, the categories in turn."""
    scenes: set[int] = set()
    chosen: list[int] = []
    usable = pairs.has_negative()
    by_category = [list(np.flatnonzero(usable & (pairs.category == index))) for index in range(len(pairs.categories))]
    while any(by_category) and len(chosen) < count:
        for rows in by_category:
            row = next((row for row in rows if pairs.scene[row] not in scenes), None)
            rows[:] = [] if row is None else rows[rows.index(row) + 1 :]
            if row is not None and len(chosen) < count:
                chosen.append(int(row))
                scenes.add(pairs.scene[row])
    return np.array(chosen, int)


def _pictures(pairs: Pairs, rows: np.ndarray, windows: np.ndarray | None, size: int) -> np.ndarray:
    return np.concatenate(list(image_batches(pairs.images, rows, windows, 32, size).as_numpy_iterator()))
