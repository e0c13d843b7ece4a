"""A picture that several rows of a batch have goes through the network once."""

import numpy as np
import pytest
import tensorflow as tf

import ctl_keras as ctl
from ctl_keras.servable import signatures as servable
from ctl_keras.servable.signatures import Signatures
from ctl_keras.training.calibration import UNCALIBRATED
from tests.conftest import SMALL
from tests.serving.payloads import jpeg

A, B, C, BAD = jpeg(0), jpeg(1), jpeg(2), b"no picture"


@pytest.fixture(scope="module")
def seen():
    """How many pictures each pass of the network had."""
    return []


@pytest.fixture(scope="module", params=["category", "product"])
def signatures(request, seen):
    real = servable.decode_rows

    def counted(data, size):
        tf.py_function(lambda count: seen.append(int(count)), [tf.size(data)], [])
        return real(data, size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(servable, "decode_rows", counted)
        model = ctl.CompleteTheLook(["a|Shoes", "a|Hats"], 32, **SMALL, attention=request.param)
        module = Signatures(model, UNCALIBRATED)
    return lambda name, **inputs: module.signatures()[name](
        **{key: tf.constant(value) for key, value in inputs.items()}
    )


def assert_rows_are_those_alone(signatures, name, **inputs):
    together = signatures(name, **inputs)
    for row in range(len(next(iter(inputs.values())))):
        alone = signatures(name, **{key: value[row : row + 1] for key, value in inputs.items()})
        for output, value in together.items():
            np.testing.assert_allclose(
                value[row], alone[output][0], atol=1e-5, err_msg=f"{output} of row {row}"
            )


def test_categories_of_one_scene(signatures, seen):
    inputs = {
        "scene_bytes": [A, A, B, A, BAD, A, BAD],
        "category": ["Shoes", "Hats", "Hats", "Socks", "Hats", "a|Hats", "Socks"],
    }
    assert_rows_are_those_alone(signatures, "embed_scene", **inputs)
    seen.clear()
    answer = signatures("embed_scene", **inputs)
    assert seen == [3]
    assert answer["valid"].numpy().tolist() == [True, True, True, False, False, True, False]
    np.testing.assert_array_equal(answer["query"][1], answer["query"][5])


def test_products_of_one_scene(signatures, seen):
    inputs = {
        "scene_bytes": [A] * 5,
        "product_bytes": [B, C, B, BAD, A],
        "category": ["Shoes", "Shoes", "Hats", "Hats", "Hats"],
    }
    assert_rows_are_those_alone(signatures, "serving_default", **inputs)
    seen.clear()
    answer = signatures("serving_default", **inputs)
    assert sorted(seen) == [1, 4]
    assert answer["valid"].numpy().tolist() == [True, True, True, False, True]


def test_a_padded_batch(signatures, seen):
    seen.clear()
    answer = signatures("embed_product", product_bytes=[A] * 3 + [B] + [A] * 28)
    assert seen == [2]
    assert answer["embedding"].shape[0] == 32
    np.testing.assert_array_equal(answer["embedding"][0], answer["embedding"][31])
    assert np.abs(answer["embedding"][0] - answer["embedding"][3]).max() > 1e-4
