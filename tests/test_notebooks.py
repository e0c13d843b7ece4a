"""The stored notebooks: as `make notebooks` would leave them. Nothing is executed here."""

import ast
import importlib
import re
from pathlib import Path

import pytest

import ctl_keras as ctl

nbformat = pytest.importorskip("nbformat")

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST = 1_500_000  # bytes: larger ones are slow to open and to review
MACHINE = re.compile(
    r"(?<![\w.:>])/(?:home|root|work|tmp|usr|opt|mnt|var|private|Users)/|site-packages|[A-Z]:\\\\Users"
)
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def outputs(path):
    return [output for cell in code_cells(path) for output in cell.outputs]


def texts(path):
    """All that is to be read: sources, streams, and the textual part of other outputs."""
    yield from (cell.source for cell in read(path).cells)
    for output in outputs(path):
        yield output.get("text", "")
        yield from (
            str(value)
            for kind, value in output.get("data", {}).items()
            if not kind.startswith("image/")
        )


def tree(path):
    """The code of a notebook, without its magics, as Python sees it."""
    lines = [
        line
        for cell in code_cells(path)
        for line in cell.source.splitlines()
        if not line.startswith("%")
    ]
    return ast.parse("\n".join(lines))


def test_they_are_numbered_one_after_the_other():
    numbered = [path.stem.partition("_")[0] for path in NOTEBOOKS if path.stem[0].isdigit()]
    assert numbered == ["1", "2", "3", "4", "5"]


@each
def test_it_is_a_notebook_of_the_plain_kernel(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert "widgets" not in notebook.metadata
    assert not any(cell.metadata for cell in notebook.cells), (
        "times of execution and the like: another diff each run"
    )


@each
def test_it_was_stored_as_it_ran_from_top_to_bottom(path):
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1))
    assert not any(output.output_type == "error" for output in outputs(path))


@each
def test_it_has_pictures_and_no_warnings_or_progress(path):
    shown = outputs(path)
    kinds = {kind for output in shown for kind in output.get("data", {})}
    assert any(kind.startswith("image/") for kind in kinds)
    assert kinds <= {"image/jpeg", "image/png", "text/plain"}, "a widget, or a progress bar"
    assert not any(output.get("name") == "stderr" for output in shown)


@each
def test_it_names_no_path_of_the_machine_that_ran_it(path):
    for text in texts(path):
        assert not (found := MACHINE.search(text)), text[
            max(found.start() - 80, 0) : found.end() + 80
        ]


@each
def test_it_is_small(path):
    assert path.stat().st_size < LARGEST


@each
def test_it_names_only_what_there_is(path):
    imported = {}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "ctl_keras":
            module = importlib.import_module(node.module)
            imported |= {
                f"{node.module}.{name.name}": hasattr(module, name.name) for name in node.names
            }
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "ctl"
        ):
            imported[f"ctl.{node.attr}"] = node.attr in ctl.__all__
    assert imported
    assert not [name for name, exists in imported.items() if not exists]


@each
def test_its_links_lead_somewhere(path):
    for cell in read(path).cells:
        for target in re.findall(
            r"\]\(([^)#\s]+)(?:#[^)]*)?\)", cell.source if cell.cell_type == "markdown" else ""
        ):
            assert "://" in target or (path.parent / target).exists(), target
