"""A shop whose products are awkward, its page as a process of the command line, and a browser."""

import csv
import json
import re
import shutil
import socket
import time
from pathlib import Path

import pytest

import ctl_keras as ctl
from tests.warm import WarmProcess, command_line

# neither the browser nor Gradio's templates may take it for anything else
STRANGE = "<b>{{id}}</b> ${1+1} `\\"
_SECONDS = 60


def _make_shop(exported, records, folder):
    folder.mkdir()
    with open(records / "products.csv", newline="") as file:
        rows = [
            {**row, "image": records / row["image"], "price": price}
            for price, row in enumerate(csv.DictReader(file))
        ]
    hats = [row for row in rows if row["category"].endswith("Hats")]
    gone = folder / "gone.jpg"
    shutil.copyfile(hats[0]["image"], gone)
    hats[0]["image"], hats[1]["id"] = gone, STRANGE
    rows = [row for row in rows if not row["category"].endswith("Hats")] + hats[:2]
    with open(folder / "products.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    ctl.build_catalog(exported, folder / "products.csv", folder / "catalog")
    gone.unlink()


@pytest.fixture(scope="session")
def shop(exported, records, once) -> Path:
    """A catalog with prices and two hats: the picture of one is gone, the other has a strange
    id."""
    return once("web-shop", lambda folder: _make_shop(exported, records, folder)) / "catalog"


@pytest.fixture(scope="session")
def scenes(drawn) -> list[Path]:
    names = [
        json.loads(line)["scene"] for line in (drawn / "fashion.json").read_text().splitlines()
    ]
    return [drawn / "images" / f"{name}.jpg" for name in dict.fromkeys(names)][:3]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def start(exported: Path, shop: Path, log: Path) -> tuple[WarmProcess, str]:
    """`ctl-keras web` as a process, and its address, when it is there."""
    log.touch()
    arguments = ["web", "--model", exported, "--catalog", shop, "--port", free_port()]
    nowhere = {"http_proxy": "http://127.0.0.1:9"}  # the page must not need it
    process = WarmProcess(command_line, *arguments, log=log, environment=nowhere)
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        if match := re.search(r"The page is on (http://127\.0\.0\.1:\d+) ", log.read_text()):
            return process, match[1]
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    process.kill()
    raise AssertionError("the page did not start:\n" + log.read_text())


@pytest.fixture(scope="module")
def page_log(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("page") / "log"


@pytest.fixture(scope="module")
def address(exported, shop, page_log):
    pytest.importorskip("gradio")
    process, address = start(exported, shop, page_log)
    yield address
    process.kill()


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    program = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if program is None:
        pytest.skip("no Chromium is here")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()
