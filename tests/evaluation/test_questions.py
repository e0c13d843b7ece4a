import functools
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

import ctl_keras as ctl
from ctl_keras.data.batches import image_batches
from ctl_keras.evaluation.evaluate import evaluate_run
from ctl_keras.evaluation.questions import _right, answer_questions
from ctl_keras.evaluation.tables import format_table


@pytest.fixture(scope="module")
def asked(records, tmp_path_factory):
    """The records with questions about their pictures: which product of a category completes two
    scenes?"""
    folder = tmp_path_factory.mktemp("asked") / "records"
    shutil.copytree(records, folder)
    pairs, random = ctl.read_records(folder, "test"), np.random.default_rng(0)
    ids, questions = pairs.images.ids, []
    for row in range(0, len(pairs), 3):
        category = pairs.category[row]
        others = np.setdiff1d(pairs.category_products[category], pairs.product[row])
        answers = [pairs.product[row], *random.permutation(others)[:3]]
        items = [pairs.scene[row], random.choice(pairs.scene)][: 1 + row % 2]
        name = pairs.categories[category]
        questions.append(
            {"items": ids[items].tolist(), "answers": ids[answers].tolist(), "category": name}
        )
    questions.append({**questions[0], "category": "Socks"})
    (folder / "questions.json").write_text(
        json.dumps({"questions": questions, "rejected_because": {}})
    )
    return folder


def test_the_nearest_answer_by_a_loop(run, asked):
    model, _ = ctl.load_run(run)
    images = ctl.read_records(asked, "test").images
    found = answer_questions(model, asked, images)
    questions = json.loads((asked / "questions.json").read_text())["questions"][:-1]
    row_of = {id_: row for row, id_ in enumerate(images.ids)}

    def picture(id_):
        return next(iter(image_batches(images, np.array([row_of[id_]]), None, 1, model.image_size)))

    @functools.cache
    def product(id_):
        return model.product_tower(picture(id_))[:, None]

    @functools.cache
    def scene(id_, category):
        return model.scene_tower(
            {"scene": picture(id_), "category": tf.constant([model.categories.index(category)])}
        )

    right = []
    for question in questions:
        distances = [
            np.mean(
                [
                    float(
                        model.score(scene(item, question["category"]), product(answer))[
                            "hybrid_distance"
                        ][0, 0]
                    )
                    for item in question["items"]
                ]
            )
            for answer in question["answers"]
        ]
        right.append(distances[0] == min(distances))
    assert found["model"]["value"] == pytest.approx(np.mean(right), abs=1e-9)
    assert (found["questions"], found["left_out"], found["chance"]) == (len(questions), 1, 0.25)
    assert found["model"]["low"] < found["model"]["value"] < found["model"]["high"]
    assert {"global_only", "local_only"} < set(found)


def test_ties_are_guesses():
    distances = np.array([[0.2, 0.2, 0.5], [0.4, 0.4, 0.4], [0.9, 0.1, 0.2]])
    # rows of pictures: answers 7, 8, 9 of each question, the second question has two items
    answers = [[7, 8, 9], [9, 7, 8], [7, 9, 8]]
    table = {0: distances[0], 1: distances[1] + 0.1, 2: distances[1] - 0.1, 3: distances[2]}
    right = _right(
        np.array([0, 1, 1, 2]),
        answers,
        lambda rows, candidates: np.stack([table[row] for row in rows]),
    )
    np.testing.assert_allclose(right, [1 / 2, 1 / 3, 0])


def test_evaluate_answers_them(run, asked, records, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    result = evaluate_run(copy, asked)
    assert (
        result["questions"]["questions"]
        == len(json.loads((asked / "questions.json").read_text())["questions"]) - 1
    )
    said = format_table(result)
    assert "fill-in-the-blank questions, chance 0.250, 1 of unknown categories left out" in said
    assert f"{result['questions']['model']['value']:.3f}" in said.splitlines()[-4]
    assert "questions" not in evaluate_run(copy, records)


def test_questions_of_other_pictures(run, records, asked, tmp_path):
    model, _ = ctl.load_run(run)
    shutil.copytree(asked, tmp_path / "data")
    stored = json.loads((asked / "questions.json").read_text())
    stored["questions"][0]["items"] = ["gone"]
    (tmp_path / "data" / "questions.json").write_text(json.dumps(stored))
    images = ctl.read_records(asked, "test").images
    with pytest.raises(
        ctl.InputError,
        match=r"names the picture 'gone', which the data does not hold. Run `prepare` again",
    ):
        answer_questions(model, tmp_path / "data", images)
    assert answer_questions(model, records, images) is None
