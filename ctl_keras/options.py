"""The options of the commands, with what `--help` says of each."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

AsJson = Annotated[bool, Option("--json", help="Print JSON.")]
Model = Annotated[
    Path, Option("--model", help="An export: saved_models/NAME, or one of its versions.")
]
Scene = Annotated[Path, Option("--scene", help="Picture of the scene.")]
Category = Annotated[
    str, Option("--category", help="The product's category: whole path or last part.")
]
Out = Annotated[Path, Argument(help="Folder to make.")]
Scenes = Annotated[int, Option(help="Number of scenes.")]
Styles = Annotated[int, Option(help="Number of styles.")]
Seed = Annotated[int, Option(help="The same seed draws the same pictures.")]
Annotations = Annotated[
    list[Path], Option(help="Whose pictures are wanted: as for prepare; repeatable.")
]
DownloadOut = Annotated[Path, Option(help="Folder for the pictures, or one to go on with.")]
Template = Annotated[
    str | None,
    Option(
        help="Address with {id}, and {aa}, {bb}, {cc}, its first letters. Pinterest's by default."
    ),
]
Concurrency = Annotated[int, Option(help="Requests at once.")]
Rate = Annotated[float, Option(help="Requests a second.")]
PrepareAnnotations = Annotated[
    Path, Option(help="Shop-The-Look JSON lines, or a table (.csv, .parquet).")
]
Images = Annotated[Path, Option(help="Folder of pictures.")]
PrepareOut = Annotated[Path, Option(help="Folder to make.")]
Categories = Annotated[
    Path | None, Option(help="For JSON lines: JSON object, product -> category path.")
]
Fractions = Annotated[str, Option(help="Shares of the scenes: train,validation,test.")]
PrepareSeed = Annotated[int, Option(help="Seed of the split.")]
MinStrip = Annotated[
    float, Option(help="Least share of the scene that is left beside the product.")
]
SplitBy = Annotated[
    str, Option(help="scene, scene-product, or a column with train, validation or test.")
]
Workers = Annotated[
    int | None, Option(help="Processes that read pictures; all processors by default.")
]
Beam = Annotated[
    str | None,
    Option(help="Read pictures with Apache Beam and these pipeline options; needs the extra beam."),
]
Data = Annotated[Path, Argument(metavar="DIR", help="Folder made by prepare.")]
Board = Annotated[
    Path | None, Option(help="PNG to write: samples of each split. Needs the extra pictures.")
]
TrainData = Annotated[Path, Option(help="Folder made by prepare.")]
TrainOut = Annotated[Path, Option(help="Run folder to make, or to go on with.")]
Config = Annotated[Path | None, Option(help="TOML file of settings.")]
Settings = Annotated[
    list[str] | None, Option("--set", help="A setting, such as training.epochs=3.")
]
Resume = Annotated[bool, Option("--resume", help="Go on after the last complete epoch.")]
Strategy = Annotated[str, Option(help="none, mirrored or multi-worker (TF_CONFIG).")]
Run = Annotated[Path, Option(help="Run folder.")]
EvaluateData = Annotated[Path, Option(help="Folder made by prepare.")]
Split = Annotated[str, Option(help="train, validation or test.")]
JsonFile = Annotated[
    Path | None, Option("--json", help="Write the figures to this file; - prints them.")
]
Report = Annotated[
    Path | None, Option(help="Folder to make, with report.html. Needs the extra pictures.")
]
Beside = Annotated[Path | None, Option(help="With --report: another run to lay beside this one.")]
Runs = Annotated[
    list[Path], Argument(metavar="RUN RUN...", help="Run folders; the first is the reference.")
]
CompareData = Annotated[Path, Option(help="Folder made by prepare.")]
To = Annotated[Path, Option(help="saved_models/NAME, the server's base path.")]
ExportRun = Annotated[Path | None, Option(help="Run folder.")]
ExportModel = Annotated[
    Path | None, Option(help="In place of a run: an export whose catalog is renewed.")
]
ExportVersion = Annotated[int | None, Option(help="Version number; the next free one by default.")]
Catalog = Annotated[
    Path | None, Option(help="Catalog for the signatures `recommend` and `rerank`.")
]
Vectors = Annotated[str, Option(help="The catalog's embeddings: float32, bfloat16 or int8.")]
Optimize = Annotated[
    bool, Option("--optimize", help="Fold BatchNorms into the convolutions: faster.")
]
Precision = Annotated[str, Option(help="float32, or bfloat16 for processors that have it.")]
Warmup = Annotated[
    int | None,
    Option(help="Rows of the largest warm-up request; a server must allow such batches."),
]
ServerFilesModel = Annotated[Path, Option(help="saved_models/NAME, the server's base path.")]
ServerFilesOut = Annotated[Path, Option(help="Folder to make.")]
Name = Annotated[str | None, Option(help="The model's name in requests; the folder's by default.")]
Stable = Annotated[
    int | None, Option(help="Version that the label `stable` names; the newest by default.")
]
Canary = Annotated[
    int | None, Option(help="Version that the label `canary` names; none by default.")
]
Threads = Annotated[int, Option(help="Batches that run at once: the server's cores.")]
MaxBatchSize = Annotated[
    int | None, Option(help="Most rows of a batch, and of a request; 32, or the export's warm-up.")
]
Product = Annotated[list[Path], Option("--product", help="Picture of a product; may be repeated.")]
More = Annotated[list[Path] | None, Argument(help="Further products.", metavar="[PRODUCT]...")]
Products = Annotated[
    Path, Option(help="CSV or Parquet: id, image, category, and any further columns.")
]
CatalogOut = Annotated[Path, Option(help="Folder to make, or to bring up to date.")]
CatalogBeam = Annotated[
    str | None,
    Option(help="Embed with Apache Beam and these pipeline options; needs the extra beam."),
]
KeepDuplicates = Annotated[
    bool, Option("--keep-duplicates", help="Recommend each product of those with one picture.")
]
AllowShrinking = Annotated[
    bool,
    Option("--allow-shrinking", help="Remove products even if they are more than half of all."),
]
RecommendCatalog = Annotated[Path, Option(help="Folder made by catalog.")]
RecommendCategories = Annotated[
    list[str], Option("--category", help="Whole path or last part; repeat it for a whole look.")
]
K = Annotated[int, Option("-k", help="Products of each category.")]
Where = Annotated[
    str | None, Option(help="Filter on columns, such as: price < 50 and brand in ['Acme']")
]
WebCatalog = Annotated[Path, Option(help="Folder made by catalog.")]
Host = Annotated[str, Option(help="Address to listen on.")]
Port = Annotated[int, Option(help="Of the page.", min=1, max=65535)]
ServeName = Annotated[
    str | None, Option(help="Of the model in requests; the folder's name by default.")
]
RestPort = Annotated[int, Option(help="0 is any free one.", min=0, max=65535)]
GrpcPort = Annotated[int, Option(help="0 is any free one.", min=0, max=65535)]
Label = Annotated[
    list[str] | None, Option("--label", help="A version label, such as stable=1; repeatable.")
]
