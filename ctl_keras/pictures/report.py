"""A folder that shows what a run has learned: one page with everything, and its pictures one by
one."""

from pathlib import Path
from typing import Any

import numpy as np

from ctl_keras.data.pairs import Pairs
from ctl_keras.data.preparing.records import read_manifest
from ctl_keras.errors import InputError
from ctl_keras.evaluation.compare import compare_evaluations
from ctl_keras.evaluation.rankers import model_rankers
from ctl_keras.evaluation.ranking import Ranker
from ctl_keras.files import new_folder, require_new
from ctl_keras.models.complete_the_look import CompleteTheLook
from ctl_keras.pictures.boards import (
    attention_board,
    calibration_curve,
    loss_curve,
    new_figure,
    ranking_board,
    save,
    short_name,
)
from ctl_keras.pictures.report_attention import attention_maps, pictures
from ctl_keras.pictures.report_images import page_style
from ctl_keras.pictures.report_page import render, template
from ctl_keras.pictures.report_run import read_evaluated_run

SCENES, RANKED = 6, 6
PAGE = "report.html"


def write_report(
    run: str | Path, data: str | Path, split: str, out: str | Path, beside: str | Path | None = None
) -> list[Path]:
    """Writes what a finished run has learned: a page that needs no other file, and some of its
    pictures as PNG.

    The figures are those of the run's stored evaluation; a run without one of this data and its
    present model is evaluated first.

    Args:
        run: run folder.
        data: prepared data.
        split: the split that it is evaluated on.
        out: folder to make; it gets `report.html`, `loss_curve.png`, `ranked_products.png`,
            `attention.png` and `calibration.png`.
        beside: another run to lay beside this one, the reference of the differences. Defaults to
            None: none.

    Returns:
        The files.

    Raises:
        InputError: no run or data, `out` exists, or `beside` is the same run or one that ranks
            other pairs.
        ImportError: matplotlib or Jinja2 is not installed.
    """
    out = Path(out)
    check_report(run, out, beside)
    first = read_evaluated_run(run, data, split)
    second = None if beside is None else read_evaluated_run(beside, data, split)
    comparison = None if second is None else compare_evaluations([second.stored, first.stored])
    rows = _spread(first.pairs, SCENES)
    with page_style():
        figures = {
            "loss_curve.png": loss_curve(first.history, first.config.training.margin),
            "ranked_products.png": ranking_board(
                ranked_rows(first.model, first.pairs, rows, ranker=first.ranker)
            ),
            "attention.png": attention_figure(first.model, first.pairs, rows),
            "calibration.png": calibration_curve(first.stored.result["calibration"]),
        }
    page = render(first, second, comparison, str(data), read_manifest(data)["hash"], rows)
    with new_folder(out) as folder:
        (folder / PAGE).write_text(page, encoding="utf-8")
        for name, figure in figures.items():
            save(figure, folder / name)
    return [out / name for name in (PAGE, *figures)]


def check_report(run: str | Path, out: str | Path | None, beside: str | Path | None = None) -> None:
    """Refuses a report that could not be written, before the evaluation takes its time.

    Raises:
        InputError: `out` exists, or `beside` without `out`, the same run or no finished run.
        ImportError: matplotlib or Jinja2 is not installed.
    """
    if out is None:
        if beside is not None:
            raise InputError(
                "Another run is laid beside this one in the report: name a folder for it with "
                "--report."
            )
        return
    require_new(Path(out))
    if beside is not None:
        if Path(beside).resolve() == Path(run).resolve():
            raise InputError(f"The run {run} cannot be laid beside itself. Name another one.")
        if not (Path(beside) / "model.keras").is_file():
            raise InputError(
                f"{beside} holds no trained model to lay beside {run}. Name a run that has ended."
            )
    template()
    new_figure(1, 1, (1, 1))


def ranked_rows(
    model: CompleteTheLook,
    pairs: Pairs,
    rows: np.ndarray,
    count: int = RANKED,
    ranker: Ranker | None = None,
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
    scenes = pictures(pairs, pairs.scene[rows], pairs.window[rows], model.image_size)
    own = pictures(pairs, pairs.product[rows], None, model.image_size)
    result = []
    for number, row in enumerate(rows):
        candidates = pairs.category_products[pairs.category[row]]
        distances = rank(np.array([row]), candidates)[0]
        nearest = np.argsort(distances, kind="stable")[:count]
        drawn = pictures(pairs, candidates[nearest], None, model.image_size)
        is_own = pairs.is_positive(pairs.scene[row], candidates[nearest])
        own_distance = distances[np.searchsorted(candidates, pairs.product[row])]
        others = distances[~pairs.is_positive(pairs.scene[row], candidates)]
        nearer = (others < own_distance).sum() + (others == own_distance).sum() / 2
        result.append(
            {
                "scene": scenes[number],
                "product": own[number],
                "title": short_name(pairs.categories[pairs.category[row]]),
                "rank": f"{1 + nearer:g} of {1 + len(others)}",
                "ranked": list(
                    zip(drawn, distances[nearest].tolist(), is_own.tolist(), strict=True)
                ),
            }
        )
    return result


def attention_figure(model: CompleteTheLook, pairs: Pairs, rows: np.ndarray) -> Any:
    """Draws what `attention_maps` gives over some scenes.

    Args:
        model: the trained model.
        pairs: the table.
        rows: int array, the pairs whose scenes are drawn.

    Returns:
        A matplotlib figure.
    """
    maps = attention_maps(model, pairs, rows)
    scenes = pictures(pairs, pairs.scene[rows], pairs.window[rows], model.image_size)
    titles = [f"{short_name(pairs.categories[pairs.category[row]])} cut out" for row in rows]
    return attention_board(scenes, np.stack([*maps.values()], axis=1), [*maps], titles)


def _spread(pairs: Pairs, count: int) -> np.ndarray:
    """Rows of different scenes, the categories in turn."""
    scenes: set[int] = set()
    chosen: list[int] = []
    usable = pairs.has_negative()
    by_category = [
        list(np.flatnonzero(usable & (pairs.category == index)))
        for index in range(len(pairs.categories))
    ]
    while any(by_category) and len(chosen) < count:
        for rows in by_category:
            row = next((row for row in rows if pairs.scene[row] not in scenes), None)
            rows[:] = [] if row is None else rows[rows.index(row) + 1 :]
            if row is not None and len(chosen) < count:
                chosen.append(int(row))
                scenes.add(pairs.scene[row])
    return np.array(chosen, int)
