"""What the pages tell people to type is typed here: page by page, in a folder that holds the files
that the page names.

The pages are the same for both stacks, and so is what they call; they are typed on the main one,
which has all that they name. What is small: the pictures, and through `small_defaults` the network.
What cannot run on any machine has a mark with its reason on the line before: `<!-- not run: needs
Docker -->`.
"""

import csv
import inspect
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

import ctl_keras as ctl
from ctl_keras.cli import main
from ctl_keras.compat import IS_KERAS_3
from ctl_keras.settings import load_config
from tests.conftest import SMALL
from tests.serving.servers import start
from tests.test_docs import PAGES

_FENCE = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]*?)-->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_LANGUAGES = ("sh", "python", "toml", "json", "")  # a block without a language is only looked at
_PROGRAMS = ("ctl-keras", "curl", "cp", "printf")  # none that installs or needs what is not here
_SIZE = 32


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; `reason` says why it is not run."""

    page: Path
    line: int
    language: str
    text: str
    reason: str | None


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = [
        Block(
            page,
            text.count("\n", 0, match.start("text")) + 1,
            match["language"],
            match["text"],
            match["reason"],
        )
        for match in _FENCE.finditer(text)
    ]
    assert 2 * len(found) == len(re.findall(r"^```", text, re.MULTILINE)), (
        f"{page.name}: a fence is not closed, or indented"
    )
    return found


def statements(text: str) -> list[str]:
    """A shell block's statements: lines are joined while a quote is open or a backslash ends
    them."""
    done, open_lines = [], ""
    for line in text.splitlines():
        open_lines += f"{line}\n"
        try:
            if not open_lines.endswith("\\\n") and shlex.split(open_lines, comments=True):
                done.append(open_lines)
                open_lines = ""
        except ValueError:  # a quote is open
            continue
    assert not open_lines.strip(), f"not a whole statement: {open_lines}"
    return done


@pytest.fixture
def small_defaults(monkeypatch):
    """Pages use the defaults: a ResNet50 with ImageNet's weights at 224 pixels. Here it has its
    first layers only, random weights, and pictures of 32 pixels: nothing is downloaded, and a page
    takes seconds."""

    def replace(function, **defaults):
        parameters = inspect.signature(function).parameters.values()
        values = [
            defaults.get(one.name, one.default)
            for one in parameters
            if one.default is not one.empty
        ]
        monkeypatch.setattr(function, "__defaults__", tuple(values))

    replace(ctl.ModelConfig.__init__, **SMALL)
    for function in (
        ctl.DataConfig.__init__,
        ctl.CompleteTheLook.__init__,
        ctl.triplets,
        ctl.pair_batches,
    ):
        replace(function, image_size=_SIZE)


@pytest.fixture(scope="session")
def shop(drawn, records, run, exported, once) -> Path:
    """All files that pages name."""

    def make(folder: Path) -> None:
        folder.mkdir()
        for name in ("fashion.json", "fashion-cat.json", "images"):
            (folder / name).symlink_to(drawn / name)
        pair = json.loads((drawn / "fashion.json").read_text().splitlines()[0])
        pictures = {
            "scene.jpg": "scene",
            "shoe.jpg": "product",
            "boot.png": "product",
            "product.jpg": "product",
        }
        for name, role in pictures.items():
            with Image.open(drawn / "images" / f"{pair[role]}.jpg") as image:
                image.save(folder / name)
        write_products(records / "products.csv", folder / "shop.csv")
        shutil.copytree(records, folder / "records")
        for name in ("run", "other-run", "better-run"):
            shutil.copytree(run, folder / name)
        shutil.copytree(exported, folder / "saved_models" / "looks")
        ctl.build_catalog(
            folder / "saved_models" / "looks", folder / "shop.csv", folder / "catalog"
        )

    return once("shop", make)


def write_products(source: Path, target: Path) -> None:
    """The drawn products, with the columns and some of the ids that pages name."""
    shoe_ids = iter([*(f"shoe-{number}" for number in range(18)), "sold-out-1"])
    with open(source, newline="") as read, open(target, "w", newline="") as write:
        writer = csv.writer(write)
        writer.writerow(["id", "image", "category", "price", "brand"])
        for number, row in enumerate(csv.DictReader(read)):
            id = next(shoe_ids, row["id"]) if row["category"].endswith("Shoes") else row["id"]
            writer.writerow(
                [
                    id,
                    row["image"],
                    row["category"],
                    number % 90,
                    ("Acme", "Zen", "Loud")[number % 3],
                ]
            )


def is_made_by(page: list[Block], name: str) -> bool:
    """Whether the first thing that a page does with a file is to make it."""
    text = re.sub(r"#.*", "", "".join(block.text for block in page if block.reason is None))
    first = re.search(
        rf"(--out |--to |export\(model, \")?(?<![\w/-])(?<!ctl-keras ){re.escape(name)}\b", text
    )
    return first is not None and first[1] is not None


@pytest.fixture
def folder(request, shop, tmp_path, monkeypatch) -> Path:
    """Where a page is run: the shop's files, without those that the page makes."""
    page = blocks(request.getfixturevalue("page"))
    for path in shop.iterdir():
        name = "saved_models/looks" if path.name == "saved_models" else path.name
        if is_made_by(page, name):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, tmp_path / path.name)
        else:
            shutil.copy(path, tmp_path / path.name, follow_symlinks=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Serving:
    """The server that a page's blocks ask: a development server of `saved_models/looks`, started
    when it is needed first."""

    def __init__(self, new_folder: Callable[[str], Path]):
        self._new_folder, self._server, self._labelled = new_folder, None, False

    def rewritten(self, text: str) -> str:
        """A block's text with the address of the server, which has taken up the newest version;
        curl fails when it refuses."""
        if "localhost:850" not in text:
            return text
        base = Path("saved_models/looks").resolve()
        numbers = sorted(int(path.name) for path in base.iterdir() if path.name.isdigit())
        if "label" in text and not self._labelled:
            self.stop()
        if self._server is None:
            self._labelled = "label" in text
            labels = {"stable": numbers[-2], "canary": numbers[-1]} if self._labelled else {}
            self._server = start("development", base, self._new_folder("served"), labels)
        self._server.wait_for(numbers[-1], "AVAILABLE")
        text = text.replace("localhost:8500", self._server.grpc_address).replace(
            "curl -s ", "curl -sS --fail-with-body "
        )
        return text.replace("localhost:8501", re.search(r"//([^/]*)", self._server.rest)[1])

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None


@pytest.fixture
def serving(tmp_path_factory):
    serving = Serving(tmp_path_factory.mktemp)
    yield serving
    serving.stop()


def run_shell(text: str, monkeypatch) -> None:
    """`ctl-keras` in this process, which has TensorFlow already; everything else by the shell."""
    for statement in statements(text):
        words = shlex.split(statement.replace("\\\n", " "), comments=True)
        assert words[0] in _PROGRAMS, (
            f"the block needs a mark that says why it is not run: {statement}"
        )
        if words[0] != "ctl-keras":
            subprocess.run(["bash", "-ec", statement], check=True, timeout=60)
            continue
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0, statement


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_not_run_says_why(page):
    for block in blocks(page):
        assert block.language in _LANGUAGES, f"{page.name}:{block.line}: {block.language}"
        assert block.reason is None or len(block.reason.split()) > 1, (
            f"{page.name}:{block.line}: not run, but why?"
        )


@pytest.mark.slow
@pytest.mark.skipif(not IS_KERAS_3, reason="the pages' blocks are run on the main stack")
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(b.language for b in blocks(page))],
    ids=lambda page: page.name,
)
def test_code_blocks_run(page, folder, small_defaults, serving, monkeypatch):
    names: dict[str, object] = {"__name__": page.stem}
    for block in blocks(page):
        if block.reason is not None:
            continue
        print(f"--- {page.name}:{block.line}")
        text = serving.rewritten(block.text)
        if block.language == "sh":
            run_shell(text, monkeypatch)
        elif block.language == "python":
            exec(compile("\n" * (block.line - 1) + text, str(page), "exec"), names)
        elif block.language == "toml":
            Path("settings.toml").write_text(text)
            load_config(Path("settings.toml"), ())
        elif block.language == "json":
            json.loads(text)
