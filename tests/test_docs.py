"""What README and docs tell people to type."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from ctl_keras.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = typer.main.get_command(app)


def commands(page):
    """The `ctl-keras` lines of a page's shell blocks."""
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            if match := re.search(r"(?:^|\s)ctl-keras (.*)", line):
                yield shlex.split(match[1], comments=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_can_be_parsed(page):
    for verb, *arguments in commands(page):
        assert verb in COMMANDS.commands, verb
        COMMANDS.commands[verb].make_context(verb, list(arguments))


def test_there_are_some():
    assert sum(1 for page in PAGES for _ in commands(page)) > 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target
