"""`ctl-keras`: one function a command, no logic. Data goes to stdout, progress and messages to
stderr."""

import json
import os
import shlex
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from ctl_keras.commands import Command, run_app

app = typer.Typer(
    name="ctl-keras",
    help="Complete the Look: which products complete a scene. Train, evaluate, export and serve.",
    pretty_exceptions_enable=False,
    add_completion=True,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Model = Annotated[
    Path, typer.Option("--model", help="An export: saved_models/NAME, or one of its versions.")
]
Scene = Annotated[Path, typer.Option("--scene", help="Picture of the scene.")]
Category = Annotated[
    str, typer.Option("--category", help="The product's category: whole path or last part.")
]


def _show(value: Any, as_json: bool, text: str) -> None:
    typer.echo(json.dumps(value) if as_json else text)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ctl-keras {metadata.version('ctl-keras')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


@app.command(cls=Command)
def synthesize(
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    scenes: Annotated[int, typer.Option(help="Number of scenes.")] = 360,
    styles: Annotated[int, typer.Option(help="Number of styles.")] = 8,
    seed: Annotated[int, typer.Option(help="The same seed draws the same pictures.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Draw a Shop-The-Look folder: scenes and products that share a style."""
    from ctl_keras.data.synthesize import synthesize as draw

    counts = draw(out, scenes, styles, seed)
    _show(
        counts,
        as_json,
        f"{out}: " + ", ".join(f"{count} {name}" for name, count in counts.items()),
    )


@app.command(cls=Command)
def download(
    annotations: Annotated[
        list[Path], typer.Option(help="Whose pictures are wanted: as for prepare; repeatable.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the pictures, or one to go on with.")],
    template: Annotated[
        str | None,
        typer.Option(
            help=(
                "Address with {id}, and {aa}, {bb}, {cc}: its first characters. Pinterest's by "
                "default."
            )
        ),
    ] = None,
    concurrency: Annotated[int, typer.Option(help="Requests at once.")] = 8,
    rate: Annotated[float, typer.Option(help="Requests a second.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Fetch the pictures that annotations name; what is missing, and why, goes to missing.jsonl.
    Needs the extra download."""
    from ctl_keras.data.annotations import picture_names
    from ctl_keras.data.download import PINTEREST, describe
    from ctl_keras.data.download import download as fetch

    counts = fetch(picture_names(annotations), out, template or PINTEREST, concurrency, rate)
    _show(counts, as_json, describe(counts, out))


@app.command(cls=Command)
def prepare(
    annotations: Annotated[
        Path,
        typer.Option(help="Shop-The-Look JSON lines; a table (.csv, .parquet); outfits (.tsv)."),
    ],
    images: Annotated[Path, typer.Option(help="Folder of pictures.")],
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    categories: Annotated[
        Path | None, typer.Option(help="For JSON lines: JSON object, product -> category path.")
    ] = None,
    fractions: Annotated[
        str, typer.Option(help="Shares of the scenes: train,validation,test.")
    ] = "0.8,0.1,0.1",
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    min_strip: Annotated[
        float, typer.Option(help="Least share of the scene that is left beside the product.")
    ] = 0.2,
    split_by: Annotated[
        str, typer.Option(help="scene, scene-product, or a column with train, validation or test.")
    ] = "scene",
    questions: Annotated[
        Path | None, typer.Option(help="Fill-in-the-blank questions of outfits, for evaluate.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that read pictures; all processors by default.")
    ] = None,
    beam: Annotated[
        str | None,
        typer.Option(
            help="Read pictures with Apache Beam and these pipeline options; needs the extra beam."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Crop, check and split pairs, and write records with a manifest; rejects go to rejected.jsonl.
    A killed run goes on."""
    from ctl_keras.data.prepare import describe
    from ctl_keras.data.prepare import prepare as write
    from ctl_keras.data.splits import parse_fractions

    run = None
    if beam is not None:
        from ctl_keras.data.beam_shards import run_with_beam

        run = run_with_beam(shlex.split(beam))
    shares, count = parse_fractions(fractions), os.cpu_count() or 1
    processes = count if workers is None else workers
    manifest = write(
        annotations,
        categories,
        images,
        out,
        shares,
        seed,
        min_strip,
        split_by,
        questions,
        processes,
        run,
    )
    _show({"out": str(out), **manifest}, as_json, f"{out}: {describe(manifest)}")


@app.command(cls=Command)
def inspect(
    data: Annotated[Path, typer.Argument(metavar="DIR", help="Folder made by prepare.")],
    board: Annotated[
        Path | None,
        typer.Option(help="PNG to write: samples of each split. Needs the extra pictures."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What is in a prepared folder: counts by category and split, boxes, crops, rejects by reason,
    leakage."""
    from ctl_keras.data.inspection import format_inspection
    from ctl_keras.data.inspection import inspect as look
    from ctl_keras.pictures.sample_board import write_sample_board

    result = look(data)
    if board is not None:
        write_sample_board(data, board)
    _show(result, as_json, format_inspection(result))


@app.command(cls=Command)
def train(
    data: Annotated[Path, typer.Option(help="Folder made by prepare.")],
    out: Annotated[Path, typer.Option(help="Run folder to make, or to go on with.")],
    config: Annotated[Path | None, typer.Option(help="TOML file of settings.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting, such as training.epochs=3.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on after the last complete epoch.")
    ] = False,
    strategy: Annotated[
        str, typer.Option(help="none, mirrored or multi-worker (TF_CONFIG).")
    ] = "none",
    as_json: AsJson = False,
) -> None:
    """Fit a model: a run folder with settings, history, checkpoints and logs."""
    from ctl_keras.settings import load_config
    from ctl_keras.training.run import describe
    from ctl_keras.training.run import train as fit

    given = load_config(config, settings or ()) if config or settings or not resume else None
    record = fit(data, out, given, resume, strategy)
    _show(record, as_json, describe(record, out))


@app.command(cls=Command)
def evaluate(
    run: Annotated[Path, typer.Option(help="Run folder.")],
    data: Annotated[Path, typer.Option(help="Folder made by prepare.")],
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this file; - prints them.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Folder to make, with report.html. Needs the extra pictures."),
    ] = None,
    beside: Annotated[
        Path | None, typer.Option(help="With --report: another run to lay beside this one.")
    ] = None,
) -> None:
    """Rank the products of each pair's category; with baselines, calibration and 95 % intervals.
    Stored in the run, too."""
    from ctl_keras.evaluation.evaluate import evaluate_run
    from ctl_keras.evaluation.tables import format_table
    from ctl_keras.pictures.report import check_report, write_report

    check_report(run, report, beside)
    result = evaluate_run(run, data, split, json_file if json_file != Path("-") else None)
    _show(result, json_file == Path("-"), format_table(result))
    if report is not None:
        write_report(run, data, split, report, beside)


@app.command(cls=Command)
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN RUN...", help="Run folders; the first is the reference."),
    ],
    data: Annotated[Path, typer.Option(help="Folder made by prepare.")],
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    as_json: AsJson = False,
) -> None:
    """How much better runs are than the first, with paired 95 % intervals; evaluates those that
    need it."""
    from ctl_keras.evaluation.compare import compare as compare_runs
    from ctl_keras.evaluation.tables import format_comparison

    result = compare_runs(runs, data, split)
    _show(result, as_json, format_comparison(result))


@app.command(cls=Command)
def export(
    to: Annotated[Path, typer.Option(help="saved_models/NAME, the server's base path.")],
    run: Annotated[Path | None, typer.Option(help="Run folder.")] = None,
    model: Annotated[
        Path | None, typer.Option(help="In place of a run: an export whose catalog is renewed.")
    ] = None,
    version: Annotated[
        int | None, typer.Option(help="Version number; the next free one by default.")
    ] = None,
    catalog: Annotated[
        Path | None, typer.Option(help="Catalog for the signatures `recommend` and `rerank`.")
    ] = None,
    vectors: Annotated[
        str, typer.Option(help="The catalog's embeddings: float32, bfloat16 or int8.")
    ] = "float32",
    optimize: Annotated[
        bool, typer.Option("--optimize", help="Fold BatchNorms into the convolutions: faster.")
    ] = False,
    precision: Annotated[
        str, typer.Option(help="float32, or bfloat16 for processors that have it.")
    ] = "float32",
    as_json: AsJson = False,
) -> None:
    """Write a version that TensorFlow Serving can load."""
    from ctl_keras.retrieval.publish import publish

    folder = publish(to, run, model, version, catalog, vectors, optimize, precision)
    _show({"version": int(folder.name), "path": str(folder)}, as_json, f"{folder}")


@app.command(name="server-files", cls=Command)
def server_files(
    model: Annotated[Path, typer.Option(help="saved_models/NAME, the server's base path.")],
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    name: Annotated[
        str | None, typer.Option(help="The model's name in requests; the folder's by default.")
    ] = None,
    stable: Annotated[
        int | None,
        typer.Option(help="Version that the label `stable` names; the newest by default."),
    ] = None,
    canary: Annotated[
        int | None, typer.Option(help="Version that the label `canary` names; none by default.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Batches that run at once: the server's cores.")] = 4,
    max_batch_size: Annotated[
        int | None,
        typer.Option(help="Most rows of a batch, and of a request; 32, or the export's warm-up."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write what TensorFlow Serving is started with: models.config, batching, monitoring,
    docker-compose.yml, kserve.yaml."""
    from ctl_keras.serving.server_files import FILES, write_server_files

    folder = write_server_files(model, out, name, stable, canary, threads, max_batch_size)
    files = [str(folder / file) for file in FILES]
    _show(files, as_json, "\n".join(files))


@app.command(cls=Command)
def score(
    model: Model,
    scene: Scene,
    product: Annotated[
        list[Path], typer.Option("--product", help="Picture of a product; may be repeated.")
    ],
    category: Category,
    more: Annotated[
        list[Path] | None, typer.Argument(help="Further products.", metavar="[PRODUCT]...")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Distances from a scene to products, nearest first."""
    from ctl_keras.serving.local import LocalModel, format_scores

    rows = LocalModel(model).score(scene, [*product, *(more or [])], category)
    _show(rows, as_json, format_scores(rows))


@app.command(cls=Command)
def catalog(
    model: Model,
    products: Annotated[
        Path, typer.Option(help="CSV or Parquet: id, image, category, and any further columns.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to make, or to bring up to date.")],
    beam: Annotated[
        str | None,
        typer.Option(
            help="Embed with Apache Beam and these pipeline options; needs the extra beam."
        ),
    ] = None,
    keep_duplicates: Annotated[
        bool,
        typer.Option("--keep-duplicates", help="Recommend each product of those with one picture."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Embed a table of products; what an older state or a killed run has embedded is taken over."""
    from ctl_keras.retrieval.embedding import build_catalog, describe

    embed = None
    if beam is not None:
        from ctl_keras.retrieval.beam_embedding import embed_with_beam

        embed = embed_with_beam(shlex.split(beam))
    made = build_catalog(model, products, out, embed, keep_duplicates)
    _show({"out": str(out), **made.manifest}, as_json, describe(made))


@app.command(cls=Command)
def recommend(
    model: Model,
    catalog: Annotated[Path, typer.Option(help="Folder made by catalog.")],
    scene: Scene,
    categories: Annotated[
        list[str],
        typer.Option("--category", help="Whole path or last part; repeat it for a whole look."),
    ],
    k: Annotated[int, typer.Option("-k", help="Products of each category.")] = 10,
    where: Annotated[
        str | None,
        typer.Option(help="Filter on columns, such as: price < 50 and brand in ['Acme']"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The k products of a catalog that complete a scene, for each category."""
    from ctl_keras.retrieval.recommender import Recommender, format_products

    found = Recommender(model, catalog).recommend(scene, categories, k, where)
    _show([row for rows in found.values() for row in rows], as_json, format_products(found, k))


@app.command(cls=Command)
def web(
    model: Model,
    catalog: Annotated[Path, typer.Option(help="Folder made by catalog.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Of the page.", min=1, max=65535)] = 7860,
) -> None:
    """The page: a scene, the products that complete it, and why. Needs the extra web."""
    from ctl_keras.web.serve import serve as show

    show(model, catalog, host, port)


@app.command(cls=Command)
def serve(
    model: Model,
    name: Annotated[
        str | None, typer.Option(help="Of the model in requests; the folder's name by default.")
    ] = None,
    rest_port: Annotated[int, typer.Option(help="0 is any free one.", min=0, max=65535)] = 8501,
    grpc_port: Annotated[int, typer.Option(help="0 is any free one.", min=0, max=65535)] = 8500,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    label: Annotated[
        list[str] | None,
        typer.Option("--label", help="A version label, such as stable=1; repeatable."),
    ] = None,
) -> None:
    """Serve an export with TensorFlow Serving's protocol, for development. Needs the extra
    serving."""
    from ctl_keras.serving.server import serve as run

    run(model, name, rest_port, grpc_port, host, label or ())


def main() -> None:
    """Runs the command line: exit 0 done, 1 failed, 2 wrong input."""
    run_app(app)


if __name__ == "__main__":
    main()
