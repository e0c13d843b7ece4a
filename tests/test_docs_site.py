"""The site that `make docs` builds: complete, and nothing in it comes from elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ctl_keras as ctl
from tests.test_docs import COMMANDS, ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    pytest.importorskip("mkdocs", reason="needs ctl-keras[docs]")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return folder


def text(site: Path, page: str) -> str:
    return (site / page / "index.html").read_text(encoding="utf-8")


def test_every_public_name_has_its_reference(site):
    pages = "".join(path.read_text(encoding="utf-8") for path in (site / "api").rglob("index.html"))
    for name in ctl.__all__:
        value = getattr(ctl, name)
        assert f'id="{value.__module__}.{name}"' in pages, name


def test_what_layers_are_called_with_is_listed(site):
    assert re.search(r"Call arguments:.*?<code>regions</code>", text(site, "api/layers"), re.DOTALL)


def test_every_command_has_its_reference(site):
    page = text(site, "commands")
    for name, command in COMMANDS.commands.items():
        assert f"<code>ctl-keras {name}</code>" in page
        for option in (
            option
            for parameter in command.params
            for option in parameter.opts
            if option.startswith("--")
        ):
            assert option in page, f"{name} {option}"


def test_nothing_is_fetched_from_elsewhere(site):
    for path in site.rglob("*.html"):
        fetched = re.findall(
            r"<(?:script|img|link|iframe)[^>]*?\s(?:src|href)=[\"']?(https?://[^\"'\s>]+)",
            path.read_text(),
        )
        assert not fetched, f"{path.relative_to(site)}: {fetched}"


def test_pictures_are_there(site):
    for path in site.rglob("*.html"):
        for source in re.findall(
            r"<img[^>]*?\ssrc=[\"']?([^\"'\s>]+)", path.read_text(encoding="utf-8")
        ):
            assert source.startswith("data:") or (path.parent / source).is_file(), (
                f"{path.relative_to(site)}: {source}"
            )
