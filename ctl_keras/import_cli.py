"""`ctl-keras import`: a function for each kind of public data set."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from ctl_keras import options
from ctl_keras.commands import Command, show

app = typer.Typer(help="Turn a public data set into the Shop-The-Look layout.")

Photos = Annotated[Path, Argument(metavar="DIR", help="Folder of the photos.")]
Out = Annotated[Path, Option(help="Folder to make.")]


def _show(counts: dict[str, Any], out: Path, as_json: bool) -> None:
    from ctl_keras.data.importers.photos import describe

    show({"out": str(out), **counts}, as_json, describe(counts, out))


def _processes(workers: int | None) -> int:
    return (os.cpu_count() or 1) if workers is None else workers


@app.command(cls=Command)
def outfits(
    table: Annotated[Path, Argument(help="Signature, x, y, width, height, label; tabs.")],
    photos: Photos,
    out: Out,
    workers: options.Workers = None,
    as_json: options.AsJson = False,
) -> None:
    """Pinterest's outfits of 2020: pictures with a box for each item."""
    from ctl_keras.data.importers.outfits import import_outfits

    _show(import_outfits(table, photos, out, _processes(workers)), out, as_json)
