import importlib
import sys

import pytest

import ctl_keras as ctl
from ctl_keras.data.preparing import image_shards
from tests.data.test_prepare import content, prepare


def test_beam_writes_the_same(drawn, tmp_path, monkeypatch):
    pytest.importorskip("apache_beam")
    from ctl_keras.data.preparing.beam_shards import run_with_beam

    monkeypatch.setattr(image_shards, "PICTURES", 30)
    prepare(drawn, tmp_path / "here")
    prepare(drawn, tmp_path / "beam", run=run_with_beam())
    assert content(tmp_path / "here") == content(tmp_path / "beam")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["beam", "here"]


def test_the_command(drawn, tmp_path, here):
    pytest.importorskip("apache_beam")
    folder = [
        "--annotations",
        drawn / "fashion.json",
        "--categories",
        drawn / "fashion-cat.json",
        "--images",
        drawn / "images",
    ]
    for name, options in (
        ("beam", ["--beam", "--runner=DirectRunner"]),
        ("here", ["--workers", 1]),
    ):
        said = here("prepare", *folder, "--out", tmp_path / name, *options).out
        assert "150 pairs of 5 categories" in said
    assert content(tmp_path / "here") == content(tmp_path / "beam")


def test_without_beam(monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.delitem(sys.modules, "ctl_keras.data.preparing.beam_shards", raising=False)
    with pytest.raises(ctl.InputError, match=r"Install it with: pip install ctl-keras\[beam\]"):
        importlib.import_module("ctl_keras.data.preparing.beam_shards")
