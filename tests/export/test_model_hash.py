import numpy as np
import pytest

import ctl_keras as ctl
from ctl_keras.export.export import model_hash
from ctl_keras.files import read_json
from tests.conftest import SMALL


@pytest.fixture(scope="module")
def model():
    return ctl.CompleteTheLook(["Shoes", "Hats"], 32, **SMALL)


def test_all_exports_of_a_model_share_it(exported, run, tmp_path):
    model, _ = ctl.load_run(run)
    folder = ctl.export(model, tmp_path / "looks", optimize=True, precision="bfloat16")
    hashes = [
        read_json(path / "manifest.json", "manifest")["model_hash"]
        for path in (folder, exported / "1")
    ]
    assert hashes == [model_hash(model)] * 2
    assert len(hashes[0]) == 64
    assert model_hash(model.copy("mixed_bfloat16")) == hashes[0]


def test_a_weight_changes_it(model):
    changed = model.copy()
    assert model_hash(changed) == model_hash(model)
    weights = changed.get_weights()
    weights[-1].flat[0] = np.nextafter(weights[-1].flat[0], np.float32(9))
    changed.set_weights(weights)
    assert model_hash(changed) != model_hash(model)


def test_what_else_embeds_otherwise_changes_it(model):
    def other(image_size=32, **settings):
        made = ctl.CompleteTheLook(["Shoes", "Hats"], image_size, **{**SMALL, **settings})
        made.set_weights(model.get_weights())
        return model_hash(made)

    assert other() == model_hash(model)
    assert (
        len({model_hash(model), other(image_size=40), other(temperature=2.0), other(squared=False)})
        == 4
    )
