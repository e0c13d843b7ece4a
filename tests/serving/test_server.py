"""The development server while it runs: start, swap, limits, draining, stop."""

import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import pytest

from ctl_keras.errors import InputError
from ctl_keras.serving import server as module
from ctl_keras.serving.loaded_version import LoadedVersion, arrays_of
from ctl_keras.serving.refused_error import RefusedError
from ctl_keras.serving.server import DevelopmentServer
from tests.serving import scenarios
from tests.serving.payloads import different, pair_request, row
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
    assert running.stop() == 0
    assert any(
        re.match(r"looks: version 2 is available after [1-9]\d* warm-up requests", line)
        for line in running.log
    )


def test_broken_versions(running, base_path, category):
    scenarios.broken_versions(running, base_path, category)
    assert not any("Traceback" in line for line in running.log)


def test_rollback_and_other_names(running, base_path, category):
    # no plain integer either; what the real server makes of it is not known
    (base_path / "007").mkdir()
    scenarios.other_names(running, base_path)
    scenarios.rollback(running, base_path, category)


def test_good_and_bad_together(running, category):
    scenarios.good_and_bad_together(running, category)


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
        time.sleep(0.2)
        with pytest.raises(httpx.ConnectError):
            httpx.get(running.rest)
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


def test_oversized_requests(exported, category):
    with (
        free_ports(exported, max_request_mb=0.25) as server,
        grpc.insecure_channel(server.grpc_address) as channel,
    ):
        url = f"http://{server.rest_address}/v1/models/{NAME}:predict"
        large = {"instances": [{**row(category), "scene_bytes": "x" * 300_000}]}
        answer = httpx.post(url, json=large)
        assert answer.status_code == 413
        assert "error" in answer.json()
        predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        with pytest.raises(grpc.RpcError) as error:
            predict(pair_request(category, [b"x" * 300_000]).SerializeToString())
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert httpx.post(url, json={"instances": [row(category)]}).status_code == 200
        assert predict(pair_request(category).SerializeToString())


def test_one_version_by_itself_and_names(exported):
    with free_ports(exported / "1") as server:
        assert server.name == NAME
        assert (
            httpx.get(f"http://{server.rest_address}/v1/models/{NAME}/versions/1").status_code
            == 200
        )
    with free_ports(exported, name="other name") as server:
        assert httpx.get(f"http://{server.rest_address}/v1/models/other%20name").status_code == 200
        assert httpx.get(f"http://{server.rest_address}/v1/models/{NAME}").status_code == 404


def test_a_time_limit(exported, category):
    version = LoadedVersion(exported / "1")
    request = pair_request(category, different(600))
    version.warm_up()
    with pytest.raises(RefusedError) as error:
        version.predict("", lambda _: arrays_of(request.inputs), timeout=0.01)
    assert error.value.http == 504
    version.close()


def test_wrong_input(exported, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no folder"):
        free_ports(tmp_path / "nothing")
    with pytest.raises(InputError, match="holds no version"):
        free_ports(tmp_path)
    with pytest.raises(InputError, match="version 7"):
        free_ports(exported, labels={"stable": 7})
    with pytest.raises(InputError, match="max_request_mb"):
        free_ports(exported, max_request_mb=0)
    with pytest.raises(InputError, match="stable=1"):
        module.serve(exported, labels=["stable"])
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
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"ctl-keras\[serving\]"):
        free_ports(exported)


def test_the_command_refuses_wrong_input(tmp_path, here):
    (line,) = here("serve", "--model", tmp_path, code=2).err.splitlines()
    assert line.startswith("ctl-keras: ")
