"""Fill-in-the-blank questions: which of some products completes an outfit of which items are
given?"""

from pathlib import Path
from typing import Any

import numpy as np

from ctl_keras.data.cropping import WHOLE
from ctl_keras.data.pairs import Pairs
from ctl_keras.data.picture_stores import Images
from ctl_keras.errors import InputError
from ctl_keras.evaluation.rankers import model_rankers
from ctl_keras.evaluation.ranking import Ranker, SceneBootstrap
from ctl_keras.files import read_json
from ctl_keras.models.complete_the_look import CompleteTheLook

FILE = "questions.json"


def answer_questions(
    model: CompleteTheLook,
    data: str | Path,
    images: Images,
    batch_size: int = 32,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Answers the questions of prepared data: the answer whose mean distance from the outfit's
    items is the smallest.

    Args:
        model: the trained model.
        data: folder that `prepare` made.
        images: its pictures, `Pairs.images` of any split.
        batch_size: int. Defaults to 32.
        resamples: int. Of the bootstrap over questions. Defaults to 1000.
        seed: int. Of the bootstrap. Defaults to 0.

    Returns:
        `{"questions", "left_out", "chance", "model": {"value", "low", "high", "n"}, …}`: the share
        of right answers, ties counting as a guess among them, of the model and of its parts, see
        `model_rankers`; None if the data has no questions of categories that the model knows.

    Raises:
        InputError: the questions name pictures that the data does not hold.
    """
    path = Path(data) / FILE
    if not path.exists():
        return None
    asked = read_json(path, "The questions")["questions"]
    known = [question for question in asked if question["category"] in model.categories]
    if not known:
        return None
    row_of = {id_: row for row, id_ in enumerate(images.ids)}
    try:
        items = [[row_of[id_] for id_ in question["items"]] for question in known]
        answers = [[row_of[id_] for id_ in question["answers"]] for question in known]
    except KeyError as error:
        raise InputError(
            f"{path} names the picture {error}, which the data does not hold. Run `prepare` again."
        ) from None
    category = np.array([model.categories.index(question["category"]) for question in known])
    pairs = _as_pairs(items, answers, category, model.categories, images)
    question_of = np.repeat(np.arange(len(known)), [len(rows) for rows in items])
    bootstrap = SceneBootstrap(np.arange(len(known)), resamples, seed)
    figures = {
        name: bootstrap.mean(_right(question_of, answers, ranker), np.arange(len(known)))
        for name, ranker in model_rankers(model, pairs, batch_size).items()
    }
    chance = float(np.mean([1 / len(rows) for rows in answers]))
    return {
        "questions": len(known),
        "left_out": len(asked) - len(known),
        "chance": chance,
        **figures,
    }


def _as_pairs(
    items: list[list[int]],
    answers: list[list[int]],
    category: np.ndarray,
    categories: tuple[str, ...],
    images: Images,
) -> Pairs:
    """A row for each item of a question, to be ranked among all answers of the question's
    category."""
    counts = [len(rows) for rows in items]
    scene = np.concatenate([np.array(rows, int) for rows in items])
    flat = np.concatenate([np.array(rows, int) for rows in answers])
    of_answer = np.repeat(category, [len(rows) for rows in answers])
    return Pairs(
        scene=scene,
        product=np.repeat([rows[0] for rows in answers], counts),
        category=np.repeat(category, counts),
        window=np.tile(WHOLE, (len(scene), 1)),
        popularity=np.zeros(len(scene), int),
        categories=categories,
        images=images,
        candidates=tuple(np.unique(flat[of_answer == number]) for number in range(len(categories))),
    )


def _right(question_of: np.ndarray, answers: list[list[int]], ranker: Ranker) -> np.ndarray:
    """1 for a right answer, less for one that is as near as others, 0 for a wrong one; float64
    `[questions]`."""
    starts = np.searchsorted(question_of, np.arange(len(answers) + 1))
    right = np.zeros(len(answers))
    for number, rows in enumerate(answers):
        candidates, places = np.unique(rows, return_inverse=True)
        distances = ranker(np.arange(starts[number], starts[number + 1]), candidates).mean(axis=0)[
            places
        ]
        right[number] = (distances[0] <= distances.min()) / np.sum(distances == distances.min())
    return right
