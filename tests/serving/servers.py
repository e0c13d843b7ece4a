"""Starts servers for the tests, each a process with free ports: the development server, or the real
TensorFlow Serving that `CTL_TF_SERVING` names or the shared folder has. Requests go through plain
httpx and the official stubs."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import tensorflow as tf
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from ctl_keras.serving import server as module
from tests.conftest import SHARED
from tests.warm import WarmProcess, command_line

NAME = "looks"
_SHARED_BINARY = SHARED / "server" / "tensorflow_model_server"
BINARY = os.environ.get("CTL_TF_SERVING") or (_SHARED_BINARY if _SHARED_BINARY.exists() else None)
# the shared one runs on the libraries of a TensorFlow 2.21
_HAS_2_21 = tf.__version__.startswith("2.21.")
_TF_PYTHON = sys.executable if _HAS_2_21 else os.environ.get("CTL_OTHER_PYTHON")
_SECONDS = 90
_POLL_SECONDS = 0.1


@dataclass
class Server:
    """A running server: `rest` is the model's URL, `log_file` has what it writes; it looks for
    versions each `poll_seconds`."""

    process: subprocess.Popen | WarmProcess
    rest: str
    grpc_address: str
    log_file: Path
    poll_seconds: float
    channel: grpc.Channel = field(init=False)

    def __post_init__(self):
        unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self.channel = grpc.insecure_channel(self.grpc_address, options=unlimited)

    @property
    def prediction(self) -> Any:
        return prediction_service_pb2_grpc.PredictionServiceStub(self.channel)

    @property
    def models(self) -> Any:
        return model_service_pb2_grpc.ModelServiceStub(self.channel)

    @property
    def log(self) -> list[str]:
        """All lines that it has written."""
        return self.log_file.read_text(errors="replace").splitlines()

    def states(self) -> dict[int, tuple[str, str]]:
        """Version -> state and error code, over REST."""
        answer = httpx.get(self.rest, timeout=_SECONDS)
        versions = (
            answer.json().get("model_version_status", []) if answer.status_code == 200 else []
        )
        return {
            int(entry["version"]): (entry["state"], entry["status"]["error_code"])
            for entry in versions
        }

    def wait_for(self, version: int, state: str) -> str:
        """Waits until a version is in a state; returns its error code."""
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            assert self.process.poll() is None, "\n".join(self.log)
            states = self.states()
            if states.get(version, ("", ""))[0] == state:
                return states[version][1]
            time.sleep(0.05)
        raise AssertionError(f"version {version} is not {state}: {states}\n" + "\n".join(self.log))

    def stop(self, with_signal: int = signal.SIGTERM) -> int:
        """Ends the process; returns its exit code."""
        self.channel.close()
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        return self.process.wait(_SECONDS)


def start(
    kind: str,
    base: Path,
    folder: Path,
    labels: dict[str, int] | None = None,
    options: tuple[str, ...] = (),
) -> Server:
    """Starts a server on a base path and waits until it answers.

    Args:
        kind: "development" or "real"; without a real one the test is skipped.
        base: saved_models/NAME.
        folder: for its log and the real server's configuration.
        labels: label -> version; the labelled versions are served beside the newest one.
        options: for the server's command line.
    """
    starts = _development if kind == "development" else _real
    return starts(base, folder, labels or {}, options)


def _development(
    base: Path, folder: Path, labels: dict[str, int], options: tuple[str, ...]
) -> Server:
    arguments = [
        "serve",
        "--model",
        base,
        "--name",
        NAME,
        "--rest-port",
        0,
        "--grpc-port",
        0,
        *options,
    ]
    arguments += [
        part for label, version in labels.items() for part in ("--label", f"{label}={version}")
    ]
    log = folder / "server.log"
    log.touch()
    process = WarmProcess(_serve, *arguments, log=log)
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        if match := re.search(r"REST on (\S+), gRPC on (\S+)\. ", log.read_text()):
            return Server(process, match[1], match[2], log, _POLL_SECONDS)
        assert process.poll() is None, log.read_text()
        time.sleep(0.02)
    process.kill()
    raise AssertionError("the development server did not start:\n" + log.read_text())


def _serve(*arguments) -> None:
    module._POLL_SECONDS = _POLL_SECONDS
    command_line(*arguments)


def start_with_files(base: Path, files: Path, folder: Path) -> Server:
    """The real server, started as `docker-compose.yml` of `write_server_files` starts it."""
    _skip_without_a_real_one()
    configured = shutil.copytree(files, folder / "config")
    models = (files / "models.config").read_text().replace(f"/models/{NAME}", str(base))
    (configured / "models.config").write_text(models)
    compose = (files / "docker-compose.yml").read_text().replace("/config/", f"{configured}/")
    flags = re.findall(r"^ +- (--\S+)$", compose, re.MULTILINE)
    ports = ("--port=", "--rest_api_port=")
    return _started([flag for flag in flags if not flag.startswith(ports)], base, folder)


def _real(base: Path, folder: Path, labels: dict[str, int], options: tuple[str, ...]) -> Server:
    _skip_without_a_real_one()
    flags = ["--grpc_max_threads=256", "--max_num_load_retries=0", *options]
    if not labels:
        flags += [f"--model_name={NAME}", f"--model_base_path={base}"]
        return _started(flags, base, folder)
    named = (
        f'version_labels {{ key: "{label}" value: {version} }}' for label, version in labels.items()
    )
    config = folder / "models.config"
    policy = "model_version_policy { latest { num_versions: 2 } }"
    config.write_text(
        f'model_config_list {{ config {{ name: "{NAME}" base_path: "{base}" model_platform: '
        f'"tensorflow" {policy} {" ".join(named)} }} }}'
    )
    flags += [f"--model_config_file={config}", "--allow_version_labels_for_unavailable_models=true"]
    return _started(flags, base, folder)


def _started(flags: list[str], base: Path, folder: Path) -> Server:
    rest, rpc, log = _free_port(), _free_port(), folder / "server.log"
    command = [str(BINARY), f"--rest_api_port={rest}", f"--port={rpc}", *flags]
    environment = os.environ | ({"TF_PYTHON": _TF_PYTHON} if _TF_PYTHON else {})
    with open(log, "wb") as file:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=file, env=environment)
    url = f"http://127.0.0.1:{rest}/v1/models/{NAME}"
    server = Server(process, url, f"127.0.0.1:{rpc}", log, 1)
    newest = max(int(path.name) for path in base.iterdir() if path.name.isdigit())
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, "\n".join(server.log)
        try:
            server.wait_for(newest, "AVAILABLE")
            return server
        except httpx.TransportError:
            time.sleep(0.1)
    process.kill()
    raise AssertionError("the real server did not start:\n" + "\n".join(server.log))


def has_a_real_one() -> bool:
    """Whether there is a TensorFlow Serving that runs here."""
    return bool(BINARY and (_TF_PYTHON or BINARY != _SHARED_BINARY))


def _skip_without_a_real_one() -> None:
    if not BINARY:
        pytest.skip("CTL_TF_SERVING names no TensorFlow Serving, and the shared folder has none")
    if not has_a_real_one():
        pytest.skip("the shared TensorFlow Serving needs a TensorFlow 2.21: CTL_OTHER_PYTHON")


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]
