"""The server that benchmarks ask: TensorFlow Serving with the files of `server-files`, where
`CTL_TF_SERVING` names one or the shared folder has one; else the development server."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import ctl_keras as ctl
from ctl_keras.serving.server_files import write_server_files

SHARED = Path(os.environ.get("CTL_SHARED", Path(__file__).resolve().parents[2] / "shared"))
BINARY = Path(
    os.environ.get("CTL_TF_SERVING", SHARED / "server" / "tensorflow_model_server")
).resolve()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """The server as a process, and the samples of its memory."""

    def __init__(self, base: Path, log: Path):
        self.name, rest, grpc = base.name, free_port(), free_port()
        self.rest, self.grpc = f"http://127.0.0.1:{rest}", f"grpc://127.0.0.1:{grpc}"
        self.memory: list[tuple[float, int]] = []
        ports = {"rest_api_port": rest, "port": grpc} if BINARY.exists() else {}
        if ports:
            files = write_server_files(
                base, log.parent / "files", base.name, threads=os.cpu_count() or 1
            )
            models = (files / "models.config").read_text()
            (files / "models.config").write_text(
                models.replace(f"/models/{base.name}", str(base.resolve()))
            )
            compose = (files / "docker-compose.yml").read_text().replace("/config/", f"{files}/")
            flags = re.findall(r"^ +- (--(?!port|rest_api_port)\S+)$", compose, re.MULTILINE)
            command = [str(BINARY), *flags, *(f"--{name}={port}" for name, port in ports.items())]
        else:
            command = [sys.executable, "-m", "ctl_keras.cli", "serve", "--model", str(base)]
            command += ["--rest-port", str(rest), "--grpc-port", str(grpc)]
        print("against", "TensorFlow Serving" if ports else "the development server")
        self._log = log
        environment = {"TF_PYTHON": sys.executable} | os.environ
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env=environment
            )

    def wait(self, version: int, seconds: float) -> bool:
        """Whether a version became available in time."""
        end = time.monotonic() + seconds
        with ctl.Client(self.rest, self.name, retries=0) as client:
            while time.monotonic() < end and self.process.poll() is None:
                try:
                    if {"version": version, "state": "AVAILABLE", "error": ""} in client.status():
                        return True
                except ctl.ServingError:
                    pass
                time.sleep(0.2)
        return False

    def sample(self) -> None:
        """Notes the resident memory."""
        status = Path(f"/proc/{self.process.pid}/status")
        size = re.search(r"VmRSS:\s+(\d+)", status.read_text() if status.exists() else "")
        if size:  # a process that has ended has none
            self.memory.append((time.monotonic(), int(size[1])))

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def last_words(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]
