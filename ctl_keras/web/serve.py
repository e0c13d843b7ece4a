"""The page's server: starts, says where it is, and ends with Ctrl-C."""

import importlib.util
import os
import queue
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from ctl_keras.errors import InputError
from ctl_keras.web.app import build_page
from ctl_keras.web.looks import Looks
from ctl_keras.web.style import CSS, theme

_MAX_FILE = "64mb"  # as the development server
_WAITING = 64  # questions; more are told to come back


def serve(
    model: str | Path, catalog: str | Path, host: str = "127.0.0.1", port: int = 7860
) -> None:
    """Shows the page until SIGINT or SIGTERM.

    Args:
        model: an export, see `LocalModel`.
        catalog: a catalog that this model embedded.
        host: str. Address to listen on. Defaults to "127.0.0.1", which other machines cannot reach.
        port: int. Defaults to 7860.

    Raises:
        InputError: Gradio is not installed, the port is taken, or as `Looks`.
    """
    if importlib.util.find_spec("gradio") is None:
        raise InputError("The page needs Gradio: pip install 'ctl-keras[web]'")
    _require_free(host, port)
    looks = Looks(model, catalog)
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    page = launch(looks, host, port)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: signals.put(received))
    print(
        f"The page is on http://{_in_address(host)}:{port} (Ctrl-C ends it)",
        file=sys.stderr,
        flush=True,
    )
    received = signals.get()
    signal.signal(received, signal.SIG_DFL)  # the second one ends at once
    page.close(verbose=False)


def launch(looks: Looks, host: str, port: int) -> Any:
    """Starts the page in threads of this process: nothing is shared, counted or fetched from
    elsewhere.

    Raises:
        InputError: the address cannot be listened on.
    """
    # Gradio asks itself whether it is there, by way of a proxy if there is one
    os.environ["no_proxy"] = "*"
    page = build_page(looks).queue(max_size=_WAITING)
    try:
        page.launch(
            server_name=_in_address(host),
            server_port=port,
            share=False,
            prevent_thread_lock=True,
            quiet=True,
            footer_links=[],
            max_file_size=_MAX_FILE,
            ssr_mode=False,
            theme=theme(),
            css=CSS,
        )
    except OSError as error:
        raise _cannot_listen(host, port, error) from None
    return page


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _require_free(host: str, port: int) -> None:
    """Tells at once, before a model is loaded, that the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise _cannot_listen(host, port, error) from None


def _cannot_listen(host: str, port: int, error: OSError) -> InputError:
    return InputError(
        f"The page cannot listen on {host}:{port}: {error.strerror or error}. Choose another with "
        "--port."
    )
