"""Run folders of models that were not trained, and one report with everything that a report can
hold."""

import json
import shutil
from pathlib import Path

import keras
import pytest

import ctl_keras as ctl
from ctl_keras.data.preparing.records import read_manifest
from ctl_keras.pictures.report import write_report
from ctl_keras.pictures.report_run import EvaluatedRun, read_evaluated_run
from ctl_keras.settings import to_dict
from tests.conftest import SMALL

COLUMNS = "epoch,stage,loss,val_loss,triplet_accuracy,val_triplet_accuracy,seconds\n"


def make_run(
    folder: Path,
    records: Path,
    categories=None,
    seed=0,
    history="0,0,0.2,0.19,0.5,0.6,1\n",
    **settings,
) -> Path:
    """A run folder as `train` leaves it, of a model with random weights."""
    folder.mkdir(parents=True)
    config = ctl.Config(
        ctl.ModelConfig(**{**SMALL, **settings}),
        ctl.DataConfig(image_size=32),
        ctl.TrainingConfig(seed=seed),
    )
    keras.utils.set_random_seed(seed)
    manifest = read_manifest(records)
    ctl.CompleteTheLook(categories or manifest["categories"], 32, config.model).save(
        folder / "model.keras"
    )
    (folder / "config.json").write_text(json.dumps(to_dict(config)))
    record = {
        "data": str(records),
        "data_hash": manifest["hash"],
        "epochs": 1,
        "best": {"epoch": 1},
        "seconds": 1.0,
    }
    (folder / "run.json").write_text(
        json.dumps(record | {"versions": {"keras": "3"}, "command": ["ctl-keras", "train"]})
    )
    (folder / "calibration.json").write_text(
        json.dumps({"slope": 5.0, "intercept": 9.0, "pairs": 9})
    )
    (folder / "history.csv").write_text(COLUMNS + history)
    return folder


@pytest.fixture(scope="session")
def several(records, once) -> Path:
    """The records with scenes that have two more products of a category."""

    def make(folder: Path) -> None:
        shutil.copytree(records, folder)
        pairs = ctl.read_records(folder, "test")
        manifest = read_manifest(folder)
        for scene, product, category in zip(
            pairs.scene, pairs.product, pairs.category, strict=True
        ):
            others = pairs.category_products[category]
            manifest["other_positives"] += [
                [int(scene), int(image)] for image in others[others != product][:2]
            ]
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return once("several", make)


@pytest.fixture(scope="session")
def two_runs(several, once) -> tuple[Path, Path]:
    """A run, and one of other weights and another attention."""

    def make(folder: Path) -> None:
        make_run(folder / "first", several)
        make_run(folder / "second", several, seed=1, attention="uniform")

    folder = once("two-runs", make)
    return folder / "first", folder / "second"


@pytest.fixture(scope="session")
def report(two_runs, several, once) -> Path:
    return once(
        "report", lambda folder: write_report(two_runs[0], several, "test", folder, two_runs[1])
    )


@pytest.fixture(scope="session")
def evaluated(two_runs, several, report) -> EvaluatedRun:
    return read_evaluated_run(two_runs[0], several, "test")
