import numpy as np
import pytest

import ctl_keras as ctl
from ctl_keras.files import read_json
from ctl_keras.servable.export import weights_hash
from tests.conftest import SMALL


@pytest.fixture(scope="module")
def model():
    return ctl.CompleteTheLook(["Shoes", "Hats"], 32, **SMALL)


def test_all_exports_of_a_model_share_it(exported, run, tmp_path):
    model, _ = ctl.load_run(run)
    folder = ctl.export(model, tmp_path / "looks", optimize=True, precision="bfloat16")
    hashes = [
        read_json(path / "manifest.json", "manifest")["weights_hash"]
        for path in (folder, exported / "1")
    ]
    assert hashes == [weights_hash(model)] * 2
    assert len(hashes[0]) == 64
    assert weights_hash(model.copy("mixed_bfloat16")) == hashes[0]


def test_a_weight_changes_it(model):
    changed = model.copy()
    assert weights_hash(changed) == weights_hash(model)
    weights = changed.get_weights()
    weights[-1].flat[0] = np.nextafter(weights[-1].flat[0], np.float32(9))
    changed.set_weights(weights)
    assert weights_hash(changed) != weights_hash(model)


def test_what_else_embeds_otherwise_changes_it(model):
    def other(image_size=32, **settings):
        made = ctl.CompleteTheLook(["Shoes", "Hats"], image_size, **{**SMALL, **settings})
        made.set_weights(model.get_weights())
        return weights_hash(made)

    assert other() == weights_hash(model)
    changed = [other(image_size=40), other(temperature=2.0), other(squared=False)]
    assert len({weights_hash(model), *changed}) == 4
