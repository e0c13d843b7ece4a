"""`ctl-keras`: a function for each command. Data goes to stdout, all else to stderr."""

import os
import shlex
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from ctl_keras import options
from ctl_keras.commands import Command, run_app, show
from ctl_keras.errors import InputError
from ctl_keras.import_cli import app as import_app

app = typer.Typer(
    name="ctl-keras",
    help="Complete the Look: which products complete a scene. Train, evaluate, export and serve.",
    pretty_exceptions_enable=False,
    add_completion=True,
)


app.add_typer(import_app, name="import")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ctl-keras {metadata.version('ctl-keras')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(cls=Command)
def synthesize(
    out: options.Out,
    scenes: options.Scenes = 360,
    styles: options.Styles = 8,
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
) -> None:
    """Draw a Shop-The-Look folder: scenes and products that share a style."""
    from ctl_keras.data.importers.synthesize import synthesize as draw

    counts = draw(out, scenes, styles, seed)
    named = ", ".join(f"{count} {name}" for name, count in counts.items())
    show(counts, as_json, f"{out}: {named}")


@app.command(cls=Command)
def download(
    annotations: options.Annotations,
    out: options.DownloadOut,
    template: options.Template = None,
    concurrency: options.Concurrency = 8,
    rate: options.Rate = 20,
    as_json: options.AsJson = False,
) -> None:
    """Fetch the pictures that annotations name; what is missing, and why, goes to missing.jsonl.
    Needs the extra download."""
    from ctl_keras.data.importers.download import PINTEREST, describe
    from ctl_keras.data.importers.download import download as fetch
    from ctl_keras.data.reading.annotations import picture_names

    counts = fetch(picture_names(annotations), out, template or PINTEREST, concurrency, rate)
    show(counts, as_json, describe(counts, out))


@app.command(cls=Command)
def prepare(
    annotations: options.PrepareAnnotations,
    images: options.Images,
    out: options.PrepareOut,
    categories: options.Categories = None,
    fractions: options.Fractions = "0.8,0.1,0.1",
    seed: options.PrepareSeed = 0,
    min_strip: options.MinStrip = 0.2,
    split_by: options.SplitBy = "scene",
    workers: options.Workers = None,
    beam: options.Beam = None,
    as_json: options.AsJson = False,
) -> None:
    """Crop, check and split pairs, and write records with a manifest; rejects go to rejected.jsonl.
    A killed run goes on."""
    from ctl_keras.data.preparing.prepare import describe
    from ctl_keras.data.preparing.prepare import prepare as write
    from ctl_keras.data.splits import parse_fractions

    run = None
    if beam is not None:
        from ctl_keras.data.preparing.beam_shards import run_with_beam

        run = run_with_beam(shlex.split(beam))
    shares, files = parse_fractions(fractions), (annotations, categories, images, out)
    processes = (os.cpu_count() or 1) if workers is None else workers
    manifest = write(*files, shares, seed, min_strip, split_by, processes, run)
    show({"out": str(out), **manifest}, as_json, f"{out}: {describe(manifest)}")


@app.command(cls=Command)
def inspect(
    data: options.Data, board: options.Board = None, as_json: options.AsJson = False
) -> None:
    """What is in a prepared folder: counts by category and split, boxes, crops, rejects by reason,
    leakage."""
    from ctl_keras.data.preparing.inspection import format_inspection
    from ctl_keras.data.preparing.inspection import inspect as look
    from ctl_keras.pictures.sample_board import write_sample_board

    result = look(data)
    if board is not None:
        write_sample_board(data, board)
    show(result, as_json, format_inspection(result))


@app.command(cls=Command)
def train(
    data: options.TrainData,
    out: options.TrainOut,
    config: options.Config = None,
    settings: options.Settings = None,
    resume: options.Resume = False,
    strategy: options.Strategy = "none",
    as_json: options.AsJson = False,
) -> None:
    """Fit a model: a run folder with settings, history, checkpoints and logs."""
    from ctl_keras.settings import load_config
    from ctl_keras.training.run import describe
    from ctl_keras.training.run import train as fit

    given = load_config(config, settings or ()) if config or settings or not resume else None
    record = fit(data, out, given, resume, strategy)
    show(record, as_json, describe(record, out))


@app.command(cls=Command)
def evaluate(
    run: options.Run,
    data: options.EvaluateData,
    split: options.Split = "test",
    json_file: options.JsonFile = None,
    report: options.Report = None,
    beside: options.Beside = None,
) -> None:
    """Rank the products of each pair's category; with baselines, calibration and 95 % intervals.
    Stored in the run, too."""
    from ctl_keras.evaluation.evaluate import evaluate_run
    from ctl_keras.evaluation.tables import format_table
    from ctl_keras.pictures.report import check_report, write_report

    check_report(run, report, beside)
    result = evaluate_run(run, data, split, json_file if json_file != Path("-") else None)
    show(result, json_file == Path("-"), format_table(result))
    if report is not None:
        write_report(run, data, split, report, beside)


@app.command(cls=Command)
def compare(
    runs: options.Runs,
    data: options.CompareData,
    split: options.Split = "test",
    as_json: options.AsJson = False,
) -> None:
    """How much better runs are than the first, with paired 95 % intervals; evaluates those that
    need it."""
    from ctl_keras.evaluation.compare import compare as compare_runs
    from ctl_keras.evaluation.tables import format_comparison

    result = compare_runs(runs, data, split)
    show(result, as_json, format_comparison(result))


@app.command(cls=Command)
def export(
    to: options.To,
    run: options.ExportRun = None,
    model: options.ExportModel = None,
    version: options.ExportVersion = None,
    catalog: options.Catalog = None,
    vectors: options.Vectors = "float32",
    optimize: options.Optimize = False,
    precision: options.Precision = "float32",
    warmup: options.Warmup = None,
    as_json: options.AsJson = False,
) -> None:
    """Write a version that TensorFlow Serving can load."""
    from ctl_keras.servable.export import export as write

    source = run or model
    if source is None or (run and model):
        raise InputError(
            "Name a run to export, `--run RUN`, or an export whose catalog is replaced, `--model "
            "DIR`, and not both."
        )
    how: dict[str, Any] = {"version": version, "vectors": vectors, "warmup_batch_size": warmup}
    folder = write(source, to, catalog=catalog, optimize=optimize, precision=precision, **how)
    show({"version": int(folder.name), "path": str(folder)}, as_json, f"{folder}")


@app.command(name="server-files", cls=Command)
def server_files(
    model: options.ServerFilesModel,
    out: options.ServerFilesOut,
    name: options.Name = None,
    stable: options.Stable = None,
    canary: options.Canary = None,
    threads: options.Threads = 4,
    max_batch_size: options.MaxBatchSize = None,
    as_json: options.AsJson = False,
) -> None:
    """Write what TensorFlow Serving is started with: models.config, batching, monitoring,
    docker-compose.yml, kserve.yaml."""
    from ctl_keras.serving.server_files import FILES, write_server_files

    folder = write_server_files(model, out, name, stable, canary, threads, max_batch_size)
    files = [str(folder / file) for file in FILES]
    show(files, as_json, "\n".join(files))


@app.command(cls=Command)
def score(
    model: options.Model,
    scene: options.Scene,
    product: options.Product,
    category: options.Category,
    more: options.More = None,
    as_json: options.AsJson = False,
) -> None:
    """Distances from a scene to products, nearest first."""
    from ctl_keras.servable.local_model import LocalModel, format_scores, nearest_first

    rows = nearest_first(LocalModel(model), scene, [*product, *(more or [])], category)
    show(rows, as_json, format_scores(rows))


@app.command(cls=Command)
def catalog(
    model: options.Model,
    products: options.Products,
    out: options.CatalogOut,
    beam: options.CatalogBeam = None,
    keep_duplicates: options.KeepDuplicates = False,
    allow_shrinking: options.AllowShrinking = False,
    as_json: options.AsJson = False,
) -> None:
    """Embed a table of products; what an older state or a killed run has embedded is taken over."""
    from ctl_keras.retrieval.embedding import build_catalog, describe

    embed = None
    if beam is not None:
        from ctl_keras.retrieval.beam_embedding import embed_with_beam

        embed = embed_with_beam(shlex.split(beam))
    made = build_catalog(model, products, out, embed, keep_duplicates, allow_shrinking)
    show({"out": str(out), **made.manifest}, as_json, describe(made))


@app.command(cls=Command)
def recommend(
    model: options.Model,
    catalog: options.RecommendCatalog,
    scene: options.Scene,
    categories: options.RecommendCategories,
    k: options.K = 10,
    where: options.Where = None,
    as_json: options.AsJson = False,
) -> None:
    """The k products of a catalog that complete a scene, for each category."""
    from ctl_keras.retrieval.recommender import Recommender, format_products

    found = Recommender(model, catalog).recommend(scene, categories, k, where)
    show([row for rows in found.values() for row in rows], as_json, format_products(found, k))


@app.command(cls=Command)
def web(
    model: options.Model,
    catalog: options.WebCatalog,
    host: options.Host = "127.0.0.1",
    port: options.Port = 7860,
) -> None:
    """The page: a scene, the products that complete it, and why. Needs the extra web."""
    from ctl_keras.web.serve import serve as run

    run(model, catalog, host, port)


@app.command(cls=Command)
def serve(
    model: options.Model,
    name: options.ServeName = None,
    rest_port: options.RestPort = 8501,
    grpc_port: options.GrpcPort = 8500,
    host: options.Host = "127.0.0.1",
    label: options.Label = None,
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
