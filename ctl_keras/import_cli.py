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


@app.command(name="clothing-co-parsing", cls=Command)
def clothing_co_parsing(
    source: Annotated[Path, Argument(metavar="DIR", help="A copy of the data set's repository.")],
    out: Out,
    workers: options.Workers = None,
    as_json: options.AsJson = False,
) -> None:
    """Street photos with a label for each pixel, 2014. Needs the extra import."""
    from ctl_keras.data.importers.clothing_co_parsing import import_clothing_co_parsing

    _show(import_clothing_co_parsing(source, out, _processes(workers)), out, as_json)


@app.command(cls=Command)
def coco(
    annotations: Annotated[Path, Argument(help="JSON file in COCO's format.")],
    photos: Photos,
    out: Out,
    product: Annotated[
        list[str] | None,
        Option(
            help="A category that is a product, or NAME=CATEGORY to rename it; repeatable. All by "
            "default, without persons, parts of the body and parts of garments."
        ),
    ] = None,
    merge: Annotated[
        list[str] | None,
        Option(
            help="A category of which a photo shows one product, however often it is marked; "
            "repeatable; none for none. What is worn in pairs by default."
        ),
    ] = None,
    smallest: Annotated[int, Option(help="Least pixels of an item's shorter side.", min=1)] = 16,
    crowd: Annotated[bool, Option("--crowd", help="Take annotations with iscrowd, too.")] = False,
    workers: options.Workers = None,
    as_json: options.AsJson = False,
) -> None:
    """Photos annotated in COCO's format, such as Fashionpedia, or an export of CVAT or Label
    Studio. Needs the extra import."""
    from ctl_keras.data.importers.coco import import_coco

    given = product or (), merge or (), smallest, crowd, _processes(workers)
    _show(import_coco(annotations, photos, out, *given), out, as_json)


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
