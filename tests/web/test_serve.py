"""The command that shows the page: how it starts, what it refuses, how it ends."""

import json
import shutil
import signal
import socket
import urllib.request

import pytest

from ctl_keras.web import serve as module
from tests.web.conftest import start


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_when_it_is_told(exported, shop, tmp_path, number):
    pytest.importorskip("gradio")
    process, address = start(exported, shop, tmp_path / "log")
    with urllib.request.urlopen(address) as answer:
        assert "Complete the look" in answer.read().decode()
    process.send_signal(number)
    assert process.wait(30) == 0
    assert (tmp_path / "log").read_text().splitlines()[
        -1
    ] == f"The page is on {address} (Ctrl-C ends it)"


def refuses(here, *arguments):
    (line,) = here("web", *arguments, code=2).err.splitlines()
    assert line.startswith("ctl-keras: ")
    return line


def test_a_busy_port(exported, shop, here):
    pytest.importorskip("gradio")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refuses(here, "--model", exported, "--catalog", shop, "--port", port)
    assert line.endswith(
        f"The page cannot listen on 127.0.0.1:{port}: Address already in use. Choose another with "
        "--port."
    )


def test_wrong_input(exported, shop, here, tmp_path, monkeypatch):
    pytest.importorskip("gradio")
    port = ("--port", 17861)
    assert "holds no export" in refuses(here, "--model", tmp_path, "--catalog", shop, *port)
    assert "holds no catalog" in refuses(here, "--model", exported, "--catalog", tmp_path, *port)
    assert "cannot listen on 192.0.2.1:17861" in refuses(
        here, "--model", exported, "--catalog", shop, "--host", "192.0.2.1", *port
    )
    shutil.copytree(exported, tmp_path / "other")
    manifest = tmp_path / "other" / "1" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "weights_hash": "0" * 64}))
    assert "was embedded by another model" in refuses(
        here, "--model", tmp_path / "other", "--catalog", shop, *port
    )
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    assert "pip install 'ctl-keras[web]'" in refuses(
        here, "--model", exported, "--catalog", shop, *port
    )
