"""Processes that need not import TensorFlow, which takes seconds: they are forked from one that
has, and has done no more."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import ctl_keras.serving.server
import ctl_keras.training.run  # noqa: F401 (for the processes)
from ctl_keras.cli import main

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


class WarmProcess:
    """A function in a process of its own, which is started at once and ends with the tests; with
    the methods of `Popen`.

    Args:
        function: of a module; its exit code is that of `sys.exit`, or 0, or 1 after an exception.
        arguments: the function's.
        log: Path or None. File for what it writes to stderr. Defaults to the tests' own stderr.
        environment: variables that it has beside the tests' own.
    """

    def __init__(
        self,
        function: Callable,
        *arguments,
        log: Path | None = None,
        environment: dict[str, str] | None = None,
    ):
        self._process = _CONTEXT.Process(
            target=_run, args=(function, arguments, log, environment or {}), daemon=True
        )
        self._process.start()
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float = 300) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self._process), timeout)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()


def command_line(*arguments: object) -> None:
    """`ctl-keras` with these arguments, for a `WarmProcess`."""
    sys.argv = ["ctl-keras", *map(str, arguments)]
    main()


def _run(
    function: Callable, arguments: tuple, log: Path | None, environment: dict[str, str]
) -> None:
    os.environ |= environment
    # a shell without a terminal has what it starts in the background ignore Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if log is not None:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, sys.stderr.fileno())
    function(*arguments)
