"""Servers that several tests share."""

import json
import shutil

import pytest

from tests.serving.servers import KINDS, NAME, start


@pytest.fixture(scope="session")
def category(exported) -> str:
    return json.loads((exported / "1" / "manifest.json").read_text())["categories"][0]


@pytest.fixture
def base_path(exported, tmp_path):
    """A base path of its own with version 1, to add versions to."""
    shutil.copytree(exported / "1", tmp_path / NAME / "1")
    return tmp_path / NAME


@pytest.fixture(scope="session", params=KINDS)
def server(request, exported, tmp_path_factory):
    """Each kind of server in turn, with versions 1, labelled `stable`, and 2."""
    folder = tmp_path_factory.mktemp(f"served_by_{request.param}")
    for version in ("1", "2"):
        shutil.copytree(exported / "1", folder / NAME / version)
    running = start(request.param, folder / NAME, folder, labels={"stable": 1})
    running.kind = request.param
    yield running
    running.stop()
