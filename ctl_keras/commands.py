"""How commands run and how they end: exit 0 done, 1 failed, 2 wrong input, one line on stderr that
says why."""

import json
import os
import sys
import warnings
from typing import Any

import typer
from typer.core import TyperCommand

from ctl_keras import quiet
from ctl_keras.errors import InputError

_INTERRUPTED = 130  # what typer returns for Ctrl-C
_GO_ON = (
    "A training goes on with `ctl-keras train --resume`; a download, a preparation and a catalog "
    "when they are started again."
)


class Command(TyperCommand):
    """Imports TensorFlow when the command line has been read: a wrong option is told at once."""

    def invoke(self, ctx: Any) -> Any:
        quiet.import_tensorflow_quietly()
        return super().invoke(ctx)


def show(value: Any, as_json: bool, text: str) -> None:
    """Prints a result: as JSON, or as text for people."""
    typer.echo(json.dumps(value) if as_json else text)


def run_app(app: typer.Typer) -> None:
    """Runs the command that `sys.argv` names, and exits."""
    # without our source's lines
    warnings.formatwarning = lambda message, *_, **__: f"ctl-keras: warning: {message}\n"
    try:
        code = app(args=sys.argv[1:] or ["--help"], prog_name="ctl-keras", standalone_mode=False)
    except InputError as error:
        _fail(error, 2)
    except typer.Abort:
        code = _INTERRUPTED
    except Exception as error:
        # an option that does not exist, a missing or wrong value
        if hasattr(error, "format_message"):
            _fail(
                f"{error.format_message()} `ctl-keras --help` lists the commands, `ctl-keras VERB "
                "--help` the options.",
                2,
            )
        if os.environ.get("CTL_DEBUG"):
            raise
        _fail(f"{type(error).__name__}: {error} (CTL_DEBUG=1 shows where)", 1)
    if code == _INTERRUPTED:
        _fail(f"Interrupted. {_GO_ON}", 1)
    sys.exit(code or 0)


def _fail(message: object, code: int) -> None:
    typer.echo(f"ctl-keras: {' '.join(str(message).split())}", err=True)
    sys.exit(code)
