"""The command line as a process: exit codes, streams, one-line errors."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from ctl_keras import commands
from ctl_keras.cli import app
from tests.conftest import SMALL

INTERRUPTED = f"ctl-keras: Interrupted. {commands._GO_ON}"
COMMAND = Path(sys.executable).with_name("ctl-keras")


# as people have it
ENV = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}


def cli(*arguments, code=0):
    done = subprocess.run(
        [str(COMMAND), *map(str, arguments)], capture_output=True, text=True, check=False, env=ENV
    )
    assert done.returncode == code, done.stderr
    return done


def error(*arguments, code=2):
    done = cli(*arguments, code=code)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]


def test_every_verb_has_help_and_there_is_a_version():
    listed = cli("--help").stdout
    for verb in (
        "synthesize",
        "prepare",
        "train",
        "evaluate",
        "compare",
        "export",
        "score",
        "catalog",
        "recommend",
    ):
        assert verb in listed
    assert cli("--version").stdout == "ctl-keras 0.1.0\n"


@pytest.mark.parametrize(
    "verb", ["download", "prepare", "inspect", "evaluate", "catalog", "web", "serve"]
)
def test_help_names_the_extra(verb, here):
    assert re.search(r"[Nn]eeds\s+[│\s]*the\s+[│\s]*extra\s+[│\s]*[a-z]+", here(verb, "--help").out)


def test_warnings_are_one_line_without_our_source():
    program = """
import sys, typer, warnings
from ctl_keras.commands import run_app
app = typer.Typer()
@app.command()
def warn():
    warnings.warn("few pairs")
sys.argv = ["ctl-keras", "--"]
run_app(app)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=ENV
    )
    assert done.stderr == "ctl-keras: warning: few pairs\n"


def test_every_verb_that_answers_can_answer_in_json():
    verbs = dict(typer.main.get_command(app).commands)
    verbs |= verbs.pop("import").commands
    plain = [
        name
        for name, verb in verbs.items()
        if not any("--json" in option.opts for option in verb.params)
    ]
    # these run until they are stopped
    assert plain in (["serve"], ["serve", "web"], ["web", "serve"])


@pytest.mark.parametrize("asked_for_none", [True, False])
def test_colours_can_be_turned_off(asked_for_none):
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in ENV.items() if name != "NO_COLOR"} | {
        "TERM": "xterm-256color"
    }
    environment |= {"NO_COLOR": "1"} if asked_for_none else {}
    with subprocess.Popen(
        [str(COMMAND), "--help"], stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # how a pty's end is told
            while part := os.read(ours, 65536):
                shown += part
    os.close(ours)
    assert process.returncode == 0
    assert b"synthesize" in shown
    assert (re.search(rb"\x1b\[[\d;]*3\d", shown) is None) == asked_for_none


def test_shells_can_complete():
    completed = subprocess.run(
        [str(COMMAND)],
        env={
            **ENV,
            "_CTL_KERAS_COMPLETE": "complete_bash",
            "COMP_WORDS": "ctl-keras pre",
            "COMP_CWORD": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.stdout.split() == ["prepare"]


@pytest.mark.slow
def test_the_main_job(tmp_path, here):
    data, records, run, saved = (
        tmp_path / name for name in ("data", "records", "run", "saved_models/looks")
    )
    counts = json.loads(here("synthesize", data, "--scenes", 20, "--styles", 2, "--json").out)
    assert counts == {"scenes": 20, "products": 100, "pairs": 100}

    folder = [
        "--annotations",
        data / "fashion.json",
        "--categories",
        data / "fashion-cat.json",
        "--images",
        data / "images",
    ]
    said = here("prepare", *folder, "--out", records, "--fractions", "0.6,0.2,0.2").out
    assert "100 pairs of 5 categories" in said
    assert "train: 60 pairs, 12 scenes" in said

    settings = [
        part for name, value in SMALL.items() for part in ("--set", f"model.{name}={value}")
    ]
    quick = ["--set", "data.image_size=32", "--set", "training.epochs=1"]
    done = cli("train", "--data", records, "--out", run, *settings, *quick, "--json")
    assert json.loads(done.stdout)["epochs"] == 1
    assert "val_loss" in done.stderr

    assert (
        "untrained_cosine"
        in here("evaluate", "--run", run, "--data", records, "--json", tmp_path / "e.json").out
    )
    assert json.loads((tmp_path / "e.json").read_text())["split"] == "test"
    printed = here(
        "evaluate", "--run", run, "--data", records, "--split", "validation", "--json", "-"
    ).out
    assert json.loads(printed)["split"] == "validation"

    assert here("export", "--run", run, "--to", saved).out.strip() == str(saved / "1")

    pictures = sorted((data / "images").iterdir())[:3]
    asked = ["--model", saved, "--scene", pictures[0], "--category", "Shoes"]
    rows = json.loads(here("score", *asked, "--product", pictures[1], pictures[2], "--json").out)
    assert {row["product"] for row in rows} == {str(path) for path in pictures[1:]}
    assert (
        "compatibility"
        in here("score", *asked, "--product", pictures[1], "--product", pictures[2]).out
    )
    said = here(
        "catalog",
        "--model",
        saved,
        "--products",
        records / "products.csv",
        "--out",
        tmp_path / "catalog",
    ).out
    assert (
        "64 products, 5 categories (64 added, 0 changed, 0 removed; 64 pictures embedded)" in said
    )
    asked += ["--catalog", tmp_path / "catalog"]
    found = json.loads(
        here(
            "recommend", *asked, "--category", "Hats", "-k", 2, "--where", "id != 'x'", "--json"
        ).out
    )
    assert [row["category"].rsplit("|", 1)[-1] for row in found] == [
        "Shoes",
        "Shoes",
        "Hats",
        "Hats",
    ]
    again = json.loads(
        here(
            "export", "--model", saved, "--to", saved, "--catalog", tmp_path / "catalog", "--json"
        ).out
    )
    assert (again["version"], again["path"]) == (2, str(saved / "2"))
    assert json.loads((saved / "2" / "manifest.json").read_text())["catalog"]["count"] == 64

    assert "already exists" in here("train", "--data", records, "--out", run, code=2).err
    assert "does not know the category 'Socks'" in error(
        "score", *asked[:4], "--category", "Socks", "--product", pictures[1]
    )


@pytest.fixture
def error_here(here):
    """As `error`, in this process."""

    def get(*arguments, code=2):
        (line,) = here(*arguments, code=code).err.strip().splitlines()
        return line

    return get


def test_wrong_input_is_one_line_and_exit_2(tmp_path, error_here):
    folder = ["--annotations", "a", "--categories", "b", "--images", "c", "--out", tmp_path / "out"]
    assert error("prepare", *folder) == "ctl-keras: The annotation file a does not exist."
    assert "three numbers such as 0.8,0.1,0.1" in error_here(
        "prepare", *folder, "--fractions", "all"
    )
    assert "Did you mean `training.epochs`?" in error_here(
        "train", "--data", "x", "--out", "y", "--set", "training.epoch=3"
    )
    assert "x holds no prepared data" in error_here("train", "--data", "x", "--out", "y")
    assert "holds no trained model" in error_here("export", "--run", "x", "--to", "y")
    assert "Name a run to export, `--run RUN`, or an export" in error_here("export", "--to", "y")
    assert "holds no export" in error_here(
        "score", "--model", "x", "--scene", "s", "--product", "p", "--category", "c"
    )
    assert "holds no export" in error_here(
        "catalog", "--model", "x", "--products", "p.csv", "--out", tmp_path / "out"
    )
    assert not (tmp_path / "out").exists()


def test_a_failure_is_one_line_and_exit_1(tmp_path, error_here):
    (tmp_path / "file").touch()
    said = error_here("synthesize", tmp_path / "file" / "below", code=1)
    assert "FileExistsError" in said or "NotADirectoryError" in said
    assert "CTL_DEBUG=1 shows where" in said


def test_unknown_options_exit_2(error_here):
    assert "No such option: --dat" in error_here("train", "--dat", "x")
    assert "Missing option '--out'" in error_here("train", "--data", "x")
    assert "lists the commands" in error_here("trian")
    assert "Invalid value for '-k'" in error_here("recommend", "-k", "few")


def test_ctrl_c_says_how_to_go_on(tmp_path):
    process = subprocess.Popen(
        [str(COMMAND), "synthesize", str(tmp_path / "data"), "--scenes", "20000"],
        stderr=subprocess.PIPE,
        text=True,
        # tests that run in the background inherit that Ctrl-C is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    try:
        said = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 1
    assert said.strip().splitlines() == [INTERRUPTED]
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_all_processes_of_a_preparation(drawn, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    photo = next((drawn / "images").iterdir())
    for number in range(3000):
        os.link(photo, images / f"{number}.jpg")
    rows = "".join(f"{number},{number + 1},Shoes\n" for number in range(2999))
    (tmp_path / "pairs.csv").write_text("scene,product,category\n" + rows)
    folder = [
        "--annotations",
        tmp_path / "pairs.csv",
        "--images",
        images,
        "--out",
        tmp_path / "out",
        "--workers",
        2,
    ]
    process = subprocess.Popen(
        [str(COMMAND), "prepare", *map(str, folder)],
        stderr=subprocess.PIPE,
        text=True,
        env=ENV,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".tmp-out/.images-*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    try:
        said = process.communicate(timeout=60)[1]  # when the last of them has closed its stderr
    finally:
        process.kill()
    assert said.strip().splitlines() == [INTERRUPTED]
    assert process.returncode == 1
    assert not (tmp_path / "out").exists()
