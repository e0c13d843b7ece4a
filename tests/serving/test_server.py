"""The development server while it runs: start, swap, limits, draining, stop."""

import shutil
import signal
import socket
import subprocess
import sys
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from tensorflow_serving.apis.model_pb2 import ModelSpec

from ctl_keras.errors import InputError
from ctl_keras.serving import server as module
from ctl_keras.serving.server import DevelopmentServer
from ctl_keras.serving.versions import VersionStore
from tests.serving import scenarios
from tests.serving.payloads import PRODUCT, different, pair_request, row
from tests.serving.servers import NAME, start

pytestmark = pytest.mark.slow


@pytest.fixture
def running(base_path, tmp_path):
    server = start("development", base_path, tmp_path)
    yield server
    server.stop(signal.SIGKILL)


def free_ports(model, **settings):
    return DevelopmentServer(model, rest_port=0, grpc_port=0, **settings)


def test_hot_swap(running, base_path, category):
    scenarios.hot_swap(running, base_path, category)
    shutil.rmtree(base_path / "2")
    assert running.wait_for(1, "AVAILABLE") == "OK"
    assert running.stop() == 0
    assert "looks: version 2 is AVAILABLE" in running.log


def test_broken_versions(running, base_path, category):
    """And good and bad requests at once."""
    scenarios.broken_versions(running, base_path, category)
    assert not any("Traceback" in line for line in running.log)
    scenarios.good_and_bad_together(running, category)


def is_up(server):
    try:
        return bool(httpx.get(server.rest))
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGINT])
def test_running_requests_end_before_the_server_does(running, category, with_signal):
    scenes = different(1200)
    with ThreadPoolExecutor(2) as clients:
        over_grpc = clients.submit(
            running.prediction.Predict, pair_request(category, scenes), timeout=60
        )
        rows = {"instances": [row(category, scene) for scene in scenes]}
        over_rest = clients.submit(httpx.post, running.rest + ":predict", json=rows, timeout=60)
        time.sleep(0.4)
        assert not over_grpc.done()
        assert not over_rest.done()
        running.process.send_signal(with_signal)
        while is_up(running):  # a new request is refused before the running ones end
            assert not over_rest.done()
            time.sleep(0.05)
        assert len(over_grpc.result().outputs["valid"].bool_val) == len(scenes)
        assert len(over_rest.result().json()["predictions"]) == len(scenes)
    assert running.process.wait(30) == 0


def test_the_command_says_what_it_is(exported):
    command = [
        sys.executable,
        "-m",
        "ctl_keras.cli",
        "serve",
        "--model",
        str(exported),
        "--rest-port",
        "0",
        "--grpc-port",
        "0",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        lines = iter(process.stderr)
        line = next(line for line in lines if line.startswith("Development server for looks"))
        assert "TensorFlow Serving" in line
        assert "REST on http://127.0.0.1:" in line
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_names(exported):
    with free_ports(exported, name="other name") as server:
        assert httpx.get(f"http://{server.rest_address}/v1/models/other%20name").status_code == 200
        assert httpx.get(f"http://{server.rest_address}/v1/models/{NAME}").status_code == 404


def test_an_old_version_is_freed_when_its_last_request_ends(base_path, category):
    store = VersionStore(base_path, NAME, {}, print)
    held = store.get(ModelSpec(name=NAME))
    shutil.copytree(base_path / "1", base_path / "2")
    store.poll()
    assert store.get(ModelSpec(name=NAME)).number == 2
    inputs = {"product_bytes": np.array([PRODUCT], object)}
    assert held.predict("embed_product", inputs)["valid"].all()
    freed = weakref.ref(held)
    del held
    assert freed() is None


def test_wrong_input(exported, tmp_path):
    for folder in (tmp_path / "nothing", tmp_path):
        with pytest.raises(InputError, match="holds no version. Make one with `export --run RUN"):
            free_ports(folder)
    with pytest.raises(InputError, match="holds no version 7"):
        free_ports(exported, labels={"stable": 7})
    with pytest.raises(InputError, match="stable=1. Received: stable"):
        module.serve(exported, None, 0, 0, "127.0.0.1", ["stable"])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for protocol in ("rest", "grpc"):
            with pytest.raises(InputError, match=f"--{protocol}-port"):
                DevelopmentServer(
                    exported, **{"rest_port": 0, "grpc_port": 0, f"{protocol}_port": port}
                )
    shutil.copytree(exported / "1", tmp_path / "1")
    shutil.rmtree(tmp_path / "1" / "variables")
    with pytest.raises(InputError, match="Version 1 of .* cannot be served"):
        free_ports(tmp_path)


def test_the_command_refuses_wrong_input(tmp_path, here):
    (line,) = here("serve", "--model", tmp_path, code=2).err.splitlines()
    assert line.startswith("ctl-keras: ")
