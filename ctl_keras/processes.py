"""Work that several processes share."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from multiprocessing import forkserver
from typing import Any, TypeVar

from ctl_keras.errors import InputError
from ctl_keras.quiet import import_tensorflow_quietly

T = TypeVar("T")
R = TypeVar("R")
_AHEAD = 2  # items that wait for each process


def run_in_processes(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Yields `function(item)` of each item, in the order in which they are done.

    Only some items are taken ahead, so that they may be many. The processes end with this one, also
    when it is killed.

    Args:
        function: of a module, not a closure.
        items: picklable.
        workers: int. Processes; 1 works in this one.

    Raises:
        InputError: `workers` is below 1.
    """
    if workers < 1:
        raise InputError(f"`workers` must be positive. Received: {workers}")
    if workers == 1:
        yield from map(function, items)
        return
    with ProcessPoolExecutor(workers, _context(), initializer=_begin) as pool:
        yield from _run_ahead(pool, function, items, workers * (1 + _AHEAD))


def _context() -> Any:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ctl_keras.preload"])
    with _without_ctrl_c():
        forkserver.ensure_running()
    return context


@contextlib.contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Ctrl-C in a terminal goes to every process; those that are started here leave it to this one
    to end them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _run_ahead(
    pool: Executor, function: Callable[[T], R], items: Iterable[T], most: int
) -> Iterator[R]:
    """As `map` of a pool, but in the order in which they are done, and with at most `most` items in
    the pool."""
    running: set[Future] = set()
    try:
        for item in items:
            running.add(pool.submit(function, item))
            if len(running) >= most:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    finally:
        for future in running:
            future.cancel()


def _begin() -> None:
    """A pool's process waits for work for ever; that of a killed parent would stay."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import_tensorflow_quietly()  # where processes are not forked
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a child

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
