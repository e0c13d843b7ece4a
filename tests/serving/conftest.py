"""Servers that several tests share."""

import json
import shutil

import pytest

from tests.serving.servers import NAME, start


@pytest.fixture(scope="session")
def category(exported) -> str:
    return json.loads((exported / "1" / "manifest.json").read_text())["categories"][0]


@pytest.fixture
def base_path(exported, tmp_path):
    """A base path of its own with version 1, to add versions to."""
    shutil.copytree(exported / "1", tmp_path / NAME / "1")
    return tmp_path / NAME


@pytest.fixture(scope="session")
def two_versions(exported, tmp_path_factory):
    """A base path with the versions 1 and 2 of one export."""
    base = tmp_path_factory.mktemp("served") / NAME
    for version in ("1", "2"):
        shutil.copytree(exported / "1", base / version)
    return base


@pytest.fixture(scope="session")
def server(two_versions, tmp_path_factory):
    """TensorFlow Serving itself, with the versions 1, labelled `stable`, and 2."""
    folder = tmp_path_factory.mktemp("real")
    running = start("real", two_versions, folder, labels={"stable": 1})
    yield running
    running.stop()


@pytest.fixture(scope="session")
def development(two_versions, tmp_path_factory):
    """The development server, with the same."""
    folder = tmp_path_factory.mktemp("development")
    running = start("development", two_versions, folder, labels={"stable": 1})
    yield running
    running.stop()
