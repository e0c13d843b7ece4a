"""The rules of the house that a machine can check."""

import ast
import re
from pathlib import Path

import pytest

import ctl_keras as ctl

ROOT = Path(ctl.__file__).parent
FLOW = [
    "data",
    "layers",
    "models",
    "losses",
    "metrics",
    "training",
    "evaluation",
    "catalog",
    "client",
    "servable",
    "retrieval",
    "serving",
    "pictures",
    "web",
]
FILES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_data_flows_one_way(path):
    room = path.relative_to(ROOT).parts[0]
    if room not in FLOW:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.startswith("ctl_keras.")
        ):
            other = node.module.split(".")[1]
            assert other not in FLOW or FLOW.index(other) <= FLOW.index(room), (
                f"{path} imports {node.module}"
            )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_holds_two_ideas(path):
    assert len(path.read_text().splitlines()) <= 320


def test_everything_public_has_a_docstring_and_is_listed():
    assert ctl.__all__ == sorted(ctl.__all__)
    for name in ctl.__all__:
        assert getattr(ctl, name).__doc__, name


def test_no_private_keras_no_lambda_no_pickle():
    for path in FILES:
        text = path.read_text()
        assert not re.search(
            r"keras\.src|keras\.ops|layers\.Lambda|import pickle|tensorflow\.python", text
        ), path
