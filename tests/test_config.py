import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctl_keras.config import Config, ModelConfig
from ctl_keras.errors import InputError
from ctl_keras.settings import from_dict, load_config, to_dict


def test_round_trip_through_json():
    config = load_config(
        overrides=[
            "model.regions=[7, 7]",
            "model.weights=none",
            "training.epochs=3",
            "data.augment=false",
        ]
    )
    assert from_dict(Config, json.loads(json.dumps(to_dict(config)))) == config
    assert (config.model.regions, config.training.epochs, config.data.augment) == ((7, 7), 3, False)


def test_file_and_overrides(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text(
        '[model]\nbackbone = "VGG16"\nglobal_tap = "block5_pool"\n[training]\nmargin = 1\nepochs'
        " = 5\n"
    )
    config = load_config(path, ["training.epochs=7", "model.global_tap=none"])
    assert config.model == ModelConfig(backbone="VGG16")
    assert config.training.epochs == 7
    assert config.training.margin == 1.0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "training.epoch=3",
            r"There is no setting `training.epoch`. Did you mean `training.epochs`\?",
        ),
        ("trainng.epochs=3", r"There is no setting `trainng`. Did you mean `training`\?"),
        ("training.epochs", "A setting is written section.field=value"),
        ("epochs=3", "A setting is written section.field=value"),
        ("training.epochs=2.5", "`training.epochs` must be of type int. Received: 2.5"),
        ("training.epochs=true", "`training.epochs` must be of type int. Received: True"),
        ("training.epochs=0", "`training.epochs` must be positive. Received: 0"),
        ("training.margin=-1", "`training.margin` must be positive. Received: -1.0"),
        ("training.margin=Infinity", "`training.margin` must be positive. Received: inf"),
        ("training.seed=-1", "`seed` must be a whole number from 0 to 4294967295. Received: -1"),
        ("training.patience=-1", "`training.patience` must not be negative. Received: -1"),
        ("model.dropout=1.5", "`model.dropout` must be at least 0 and below 1. Received: 1.5"),
        (
            "model.regions=7",
            r"`model.regions` must be a list of whole numbers such as \[7, 7\]. Received: 7",
        ),
        ("model.regions=[0, 3]", "`model.regions` must be two positive numbers"),
        (
            "model.distance=euclid",
            "`model.distance` must be one of hybrid, global, local. Received: 'euclid'",
        ),
        ("data.image_size=-4", "`data.image_size` must be positive. Received: -4"),
    ],
)
def test_wrong_settings_are_explained(override, message):
    with pytest.raises(InputError, match=message):
        load_config(overrides=[override])


@given(st.text(max_size=30))
def test_no_override_can_crash(text):
    with contextlib.suppress(InputError):
        assert isinstance(load_config(overrides=[text]), Config)


def test_wrong_files(tmp_path):
    with pytest.raises(InputError, match=r"The settings file .*nothing.toml does not exist."):
        load_config(tmp_path / "nothing.toml")
    (tmp_path / "notepad.toml").write_text("\ufeff[model]\ndim = 8\n", encoding="utf-8")
    assert load_config(tmp_path / "notepad.toml").model.dim == 8
    (tmp_path / "latin1.toml").write_bytes("# für uns\n".encode("latin-1"))
    with pytest.raises(InputError, match="is not TOML: .*utf-8"):
        load_config(tmp_path / "latin1.toml")
    (tmp_path / "bad.toml").write_text("[model")
    with pytest.raises(InputError, match="is not TOML"):
        load_config(tmp_path / "bad.toml")
    (tmp_path / "flat.toml").write_text("model = 3")
    with pytest.raises(InputError, match="`model` must be a table of settings. Received: 3"):
        load_config(tmp_path / "flat.toml")
    with pytest.raises(InputError, match="`model` must be a table of settings. Received: 3"):
        load_config(tmp_path / "flat.toml", ["model.dim=3"])


def test_which_distances_have_an_inner_product():
    assert ModelConfig().has_inner_product
    assert ModelConfig(attention="uniform").has_inner_product
    assert ModelConfig(attention="product", distance="global").has_inner_product
    assert not ModelConfig(attention="product").has_inner_product
    assert not ModelConfig(squared=False).has_inner_product
