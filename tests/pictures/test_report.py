import dataclasses
import itertools
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ctl_keras as ctl
from ctl_keras.evaluation.compare import compare
from ctl_keras.evaluation.ranking import METRICS
from ctl_keras.pictures import report as module
from ctl_keras.pictures.boards import calibration_curve, draw_attention, new_figure, save
from ctl_keras.pictures.report import write_report
from ctl_keras.pictures.report_page import render
from ctl_keras.pictures.report_run import read_evaluated_run, settings
from tests.pictures.conftest import make_run
from tests.pictures.pages import Page

FILES = {"report.html", "loss_curve.png", "ranked_products.png", "attention.png", "calibration.png"}


@pytest.fixture(scope="module")
def page(report):
    return Page(report / "report.html")


def result_of(run, split="test"):
    return json.loads((run / "evaluation" / f"{split}.json").read_text())


def cells(figures, sign=""):
    texts = [
        [f"{figures[metric][edge]:{sign}.3f}" for edge in ("value", "low", "high")]
        for metric in METRICS
    ]
    return [f"{value} [{low}, {high}]" for value, low, high in texts]


def named(category, figures):
    count = figures["candidates"]
    return category if count >= 10 else f"{category} (few candidates: {count})"


def test_report_folder(report):
    assert {path.name for path in report.iterdir()} == FILES
    for path in report.glob("*.png"):
        with Image.open(path) as image:
            assert min(image.size) > 200
            assert np.asarray(image.convert("L")).std() > 10  # something is drawn
    assert (report / "report.html").stat().st_size < 5e6


def test_the_page_needs_no_other_file_and_no_script(report, page):
    named = [
        attributes[name]
        for _, attributes in page.tags
        for name in ("src", "srcset", "href")
        if name in attributes
    ]
    assert len(named) > 50
    assert {
        re.match(r"data:(image/(jpeg|svg\+xml);base64)?,|#", name) is not None for name in named
    } == {True}
    assert "script" not in {tag for tag, _ in page.tags}
    style = (report / "report.html").read_text().split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    links = [attributes["href"][1:] for tag, attributes in page.tags if tag == "a"]
    assert len(links) == 7
    assert set(links) <= set(ids)


def test_headings_are_in_order_and_pictures_have_words(page):
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    spoken = [
        attributes["alt"]
        for tag, attributes in page.tags
        if tag == "img" and "title" not in attributes
    ]
    assert all(len(alt) > 10 for alt in spoken)
    labels = [
        attributes["aria-label"]
        for _, attributes in page.tags
        if attributes.get("role") == "region"
    ]
    assert len(set(labels)) == len(labels)
    assert all(
        attributes["tabindex"] == "0"
        for _, attributes in page.tags
        if attributes.get("role") == "region"
    )


def test_the_figures_are_those_of_the_evaluation(page, two_runs):
    result = result_of(two_runs[0])
    model, baselines = result["model"], result["baselines"]
    shown = {
        row[0]: row[1:6] for row in page.tables["Model and baselines, with 95 % intervals"][1:]
    }
    assert shown == {
        name: [str(result["pairs"]), *cells(row)]
        for name, row in {"model": model, **baselines}.items()
    }
    shown = {
        row[0]: row[2:6] for row in page.tables["Model minus baseline, with 95 % intervals"][1:]
    }
    assert shown == {
        name: cells(row["model_minus_baseline"], "+") for name, row in baselines.items()
    }
    shown = {
        row[0]: row[1:6] for row in page.tables["The model by category, with 95 % intervals"][1:]
    }
    assert shown == {
        named(name, row): [str(row["mrr"]["n"]), *cells(row)]
        for name, row in model["by_category"].items()
    }
    calibration = result["calibration"]
    assert f"calibration error is {calibration['expected_calibration_error']:.3f}" in page.text
    bins = page.tables["By bins of probability; the weights add up to twice the pairs"][1:]
    assert [row[1:] for row in bins] == [
        ["none", "none", "0.0"]
        if part["probability"] is None
        else [f"{part['probability']:.3f}", f"{part['positives']:.3f}", f"{part['count']:.1f}"]
        for part in calibration["bins"]
    ]
    for name in ("data_hash", "run_hash", "candidates"):
        assert result[name] in page.text


def test_it_begins_with_the_verdict_and_ends_with_the_hashes(page, two_runs):
    result = result_of(two_runs[0])
    said = page.text.split(f"Evaluation of {two_runs[0]}")[-1].strip()
    assert said.startswith(result["verdict"].replace("`", ""))
    begin = page.text.split("Best and worst cases")[0]
    rivals = {
        name: result["baselines"][name]["binary_accuracy"]
        for name in ("popularity", "untrained_cosine", "colour_histogram")
    }
    best = max(rivals, key=lambda name: rivals[name]["value"])
    for figure in (result["model"]["binary_accuracy"], rivals[best]):
        assert f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]" in begin
    assert f"best baseline: {best}" in begin
    sections = [text for level, text in page.headings if level == 2]
    assert sections[0] == "Best and worst cases"
    assert sections[-1] == "What was evaluated"
    last = page.text.rindex("What was evaluated")
    for name in ("data_hash", "run_hash", "candidates"):
        assert page.text.index(result[name]) > last


def test_pairs_without_a_box_stand_apart(evaluated, page, tmp_path):
    caption = "Pairs with and without a box, with 95 % intervals"
    assert caption not in page.tables
    model = evaluated.stored.result["model"]
    by_box = {name: {metric: model[metric] for metric in METRICS} for name in ("with", "without")}
    stored = dataclasses.replace(
        evaluated.stored, result={**evaluated.stored.result, "by_box": by_box}
    )
    run = dataclasses.replace(evaluated, stored=stored)
    rows = rendered(run, tmp_path / "report.html").tables[caption][1:]
    assert [row[0] for row in rows] == ["pairs with a box", "pairs without a box"]
    assert rows[0][2:6] == cells(model)


def test_bins_with_next_to_no_weight_are_no_part_of_the_curve():
    """Weights of 10 are those of five pairs; 1 % of the sum is 12."""

    def curve(counts):
        bins = [
            {"probability": None if not count else index / 10, "positives": 0.5, "count": count}
            for index, count in enumerate(counts)
        ]
        (axis,) = calibration_curve({"bins": bins, "expected_calibration_error": 0.1}).axes
        drawn = {one.get_label(): one for one in axis.lines}["model"].get_xdata().tolist()
        faint = [
            one.get_offsets()[:, 0].tolist()
            for one in axis.collections
            if one.get_label() == "next to no weight"
        ]
        return drawn, faint

    assert curve([0.0, 9.9, 20.0, 10.0]) == ([0.2, 0.3], [[0.1]])
    assert curve([0.0, 11.9, 20.0, 1168.1]) == ([0.2, 0.3], [[0.1]])
    assert curve([0.0, 10.0, 20.0, 0.0]) == ([0.1, 0.2], [])


def test_the_other_run_beside(page, two_runs, several):
    first, second = two_runs
    reference, figures = compare([second, first], several)["runs"]
    shown = {row[0]: row[2:6] for row in page.tables["Both runs, with 95 % intervals"][1:]}
    assert shown == {str(first): cells(figures), str(second): cells(reference)}
    title = f"{first} minus {second}"
    ((name, pairs, *difference, _),) = page.tables[f"{title}, paired, with 95 % intervals"][1:]
    assert (name, pairs) == (title, str(result_of(first)["pairs"]))
    assert difference == cells(figures["minus_reference"], "+")
    (rows,) = (rows for caption, rows in page.tables.items() if caption.startswith("Settings"))
    assert ["model.attention", "category", "uniform"] in rows


def rendered(run, path, data="data"):
    path.write_text(render(run, None, None, data, "0" * 64, run.rows[:2]))
    return Page(path)


def test_names_are_escaped(evaluated, tmp_path):
    evil = 'Shoes"><script>alert(1)</script>'

    def spoil(name):
        return evil if name == "Apparel & Accessories|Shoes" else name

    stored = json.loads(
        json.dumps(evaluated.stored.result),
        object_pairs_hook=lambda rows: {spoil(key): value for key, value in rows},
    )
    pairs = [
        (scene, f"<script>{product}", spoil(category))
        for scene, product, category in evaluated.stored.pairs
    ]
    run = dataclasses.replace(
        evaluated,
        run=Path("<script>run"),
        record={"command": ["<script>command"], "data": "<script>other"},
        pairs=dataclasses.replace(
            evaluated.pairs, categories=tuple(map(spoil, evaluated.pairs.categories))
        ),
        stored=dataclasses.replace(evaluated.stored, result=stored, pairs=pairs),
    )
    page = rendered(run, tmp_path / "report.html", "<script>data")
    assert "<script" not in (tmp_path / "report.html").read_text()
    assert "script" not in {tag for tag, _ in page.tags}
    shown = page.tables["The model by category, with 95 % intervals"]
    assert any(row[0].startswith(evil) for row in shown)
    assert any(evil in attributes.get("alt", "") for _, attributes in page.tags)
    for name in ("run", "command", "other", "data"):
        assert f"<script>{name}" in page.text


def test_a_run_of_which_little_is_recorded(two_runs, several, report, tmp_path):
    uniform = read_evaluated_run(two_runs[1], several, "test")
    page = rendered(dataclasses.replace(uniform, record={}, history=[]), tmp_path / "report.html")
    assert "The run has no history" in page.text
    assert "not recorded" in page.text
    assert "weighs all regions equally" in page.text
    assert not any("Attention" in attributes.get("alt", "") for _, attributes in page.tags)


@pytest.mark.slow
def test_product_attention_one_category_and_no_history(records, tmp_path):
    category = "Apparel & Accessories|Shoes"
    run = make_run(tmp_path / "run", records, [category], attention="product")
    (run / "history.csv").unlink()
    page = Page(write_report(run, records, "test", tmp_path / "report")[0])
    assert {path.name for path in (tmp_path / "report").iterdir()} == FILES
    ((name, *_),) = page.tables["The model by category, with 95 % intervals"][1:]
    assert name.startswith(category)
    assert "The run has no history" in page.text
    overlays = [
        attributes["alt"]
        for _, attributes in page.tags
        if attributes.get("alt", "").startswith("Attention for")
    ]
    assert {alt.split(" over ")[0] for alt in overlays} == {"Attention for its own product"}


@pytest.mark.slow
def test_what_is_refused(two_runs, records, several, tmp_path, report, monkeypatch):
    first, second = two_runs
    with pytest.raises(ctl.InputError, match="already exists"):
        write_report(first, several, "test", report)
    with pytest.raises(
        ctl.InputError, match=r"first cannot be laid beside itself. Name another one"
    ):
        write_report(first, several, "test", tmp_path / "report", first / ".." / "first")
    with pytest.raises(ctl.InputError, match=r"nowhere holds no trained model to lay beside"):
        write_report(first, several, "test", tmp_path / "report", tmp_path / "nowhere")
    other = make_run(tmp_path / "other", records, ["Apparel & Accessories|Shoes"])
    with pytest.raises(
        ctl.InputError, match=r"ranked different pairs .* trained on the same categories"
    ):
        write_report(first, several, "test", tmp_path / "report", other)

    def full(figure, path):
        path.write_text("half")
        raise OSError("No space left on device")

    monkeypatch.setattr(module, "save", full)
    with pytest.raises(OSError, match="No space left"):
        write_report(second, several, "test", tmp_path / "report")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


@pytest.mark.slow
def test_from_the_command_line(two_runs, several, tmp_path, here):
    first, second = two_runs
    run = tmp_path / "run"
    shutil.copytree(first, run)
    arguments = ["evaluate", "--run", run, "--data", several, "--beside", second]
    assert "name a folder for it with --report" in here(*arguments, code=2).err
    assert (
        "cannot be laid beside itself"
        in here(*arguments[:-1], run, "--report", tmp_path / "report", code=2).err
    )
    here(*arguments, "--report", tmp_path / "report", "--json", tmp_path / "evaluation.json")
    assert {path.name for path in (tmp_path / "report").iterdir()} == FILES
    result = json.loads((tmp_path / "evaluation.json").read_text())
    shown = Page(tmp_path / "report" / "report.html").tables[
        "Model and baselines, with 95 % intervals"
    ][1]
    assert shown[2:6] == cells(result["model"])


def test_the_settings_that_matter():
    one, other = (
        ctl.Config(),
        ctl.Config(training=dataclasses.replace(ctl.TrainingConfig(), accumulate=2)),
    )
    shown = dict(settings([one]))
    assert shown["model.backbone"] == ["ResNet50"]
    assert shown["model.global_tap"] == ["not set"]
    assert "training.accumulate" not in shown
    assert dict(settings([one, other]))["training.accumulate"] == ["1", "2"]


def test_attention_is_bright_where_it_is_large(tmp_path):
    attention = np.zeros((4, 4))
    attention[0, 3] = 1
    figure, axes = new_figure(1, 1, (2, 2))
    draw_attention(axes[0, 0], np.full((32, 32, 3), 128.0), attention)
    with Image.open(save(figure, tmp_path / "a.png")) as image:
        grey = np.asarray(image.convert("L"), float)
    height, width = grey.shape
    right_top, left_bottom = (
        grey[height // 5, int(width * 0.85)],
        grey[int(height * 0.85), width // 5],
    )
    assert right_top > left_bottom + 50


@pytest.mark.parametrize("missing", ["matplotlib.figure", "jinja2"])
def test_without_the_extra_the_error_names_it_before_the_evaluation(missing, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r"pip install 'ctl-keras\[pictures\]'"):
        write_report("run", "data", "test", tmp_path / "report")
