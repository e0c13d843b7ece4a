"""What MkDocs makes beside the pages of this folder: the home page and others from the root's
files, the command reference from the command line itself, the API reference from
`ctl_keras/__init__.pyi`. Nothing of it is written into the repository.
"""

import ast
import re
from pathlib import Path
from typing import Any

import typer
from mkdocs.structure.files import File, Files
from typer.cli import get_docs_for_click

from ctl_keras.cli import app

ROOT = Path(__file__).parents[1]
FROM_ROOT = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
ROOMS = {"config": "settings", "errors": "settings"}  # modules that are no folder


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that are made here, and the notebooks as files to download."""
    made = {
        page: _relinked((ROOT / file).read_text(encoding="utf-8"), "docs/")
        for file, page in FROM_ROOT.items()
    }
    made |= {"commands.md": _commands(), **_api()}
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        files.append(
            File.generated(config, f"notebooks/{notebook.name}", abs_src_path=str(notebook))
        )
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links out of this folder, which are right on GitHub, lead to the pages that are made from
    their targets."""
    return _relinked(markdown, "../") if page.file.abs_src_path else markdown


def _relinked(text: str, prefix: str) -> str:
    text = re.sub(rf"\]\({re.escape(prefix)}", "](", text)
    for file, page in FROM_ROOT.items():
        text = text.replace(f"]({file}", f"]({page}")
    return text.replace("](LICENSE)", "](https://www.apache.org/licenses/LICENSE-2.0)")


def _commands() -> str:
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="ctl-keras")
    text = get_docs_for_click(obj=command, ctx=context, name="ctl-keras", title="Commands")
    # each has its section, with the whole of its help
    return re.sub(r"\*\*Commands\*\*:\n\n(\* .*\n)+", "", text)


def _api() -> dict[str, str]:
    """Room -> a page with all its public names."""
    pages: dict[str, str] = {}
    for node in ast.parse((ROOT / "ctl_keras" / "__init__.pyi").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            room = node.module.split(".")[0]
            room = ROOMS.get(room, room)
            page = f"api/{room}.md"
            pages.setdefault(
                page, f"# {room.capitalize()}\n\nAll of them are names of `ctl_keras`, too.\n"
            )
            pages[page] += "".join(
                f"\n::: ctl_keras.{node.module}.{alias.name}\n" for alias in node.names
            )
    return pages
