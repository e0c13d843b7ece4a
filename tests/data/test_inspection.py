import json

import numpy as np
import pytest

import ctl_keras as ctl
from ctl_keras.data.cropping import scene_windows
from ctl_keras.data.preparing.inspection import format_inspection, inspect
from ctl_keras.pictures.sample_board import write_sample_board


def test_figures(drawn, records):
    lines = [json.loads(line) for line in (drawn / "fashion.json").read_text().splitlines()]
    boxes = np.array([line["bbox"] for line in lines])
    found = inspect(records)
    assert found["boxes"]["boxed"] == len(lines) == found["pairs"] == found["read"]
    assert (found["boxes"]["boxes"], found["boxes"]["with_several_products"]) == (len(lines), 0)
    windows, areas = scene_windows(boxes)
    assert found["crops"]["area"]["50%"] == pytest.approx(np.median(areas), abs=1e-3)
    shares = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert found["boxes"]["area"]["95%"] == pytest.approx(np.quantile(shares, 0.95), abs=1e-3)
    names = [
        "above" if window[3] < 1 else "below" if window[1] > 0 else "side"
        for window in windows.tolist()
    ]
    assert found["crops"]["strips"]["above"] == names.count("above")
    assert sum(found["crops"]["strips"].values()) == len(lines)
    assert found["pictures"]["count"] == len(ctl.read_records(records, "train").images.ids)
    said = format_inspection(found)
    assert "150 rows read, 150 pairs kept" in said
    for category, count in found["splits"]["train"]["by_category"].items():
        (line,) = [line for line in said.splitlines() if line.startswith(category)]
        assert line.split()[-3] == str(count)


def test_several_products_of_a_box_and_no_box(tmp_path, photo):
    (tmp_path / "images").mkdir()
    for name in ("s", "p1", "p2", "p3"):
        photo.save(tmp_path / "images" / f"{name}.jpg")
    rows = "s,p1,Shoes,0.1,0.6,0.9,0.9\ns,p2,Shoes,0.1,0.6,0.9,0.9\n"
    rows += "s,p3,Shoes,,,,\ngone,p1,Shoes,,,,\n"
    (tmp_path / "pairs.csv").write_text("scene,product,category,left,top,right,bottom\n" + rows)
    ctl.prepare(
        tmp_path / "pairs.csv", None, tmp_path / "images", tmp_path / "out", fractions=(0, 0, 1)
    )
    found = inspect(tmp_path / "out")
    assert found["boxes"] == {
        "boxed": 2,
        "boxes": 1,
        "with_several_products": 1,
        "area": dict.fromkeys(("5%", "25%", "50%", "75%", "95%"), 0.24),
    }
    assert found["crops"]["strips"] == {"whole": 1, "above": 2}
    assert found["rejected_because"] == {"scene: picture missing": 1}
    assert "  1 x scene: picture missing" in format_inspection(found)


def test_board(records, tmp_path):
    from PIL import Image

    to = write_sample_board(records, tmp_path / "board.png")
    pixels = np.asarray(Image.open(to).convert("RGB")).reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) > 1000
    with pytest.raises(
        ctl.InputError, match=r"The board is a PNG file: name it so. Received: .*board.jpg"
    ):
        write_sample_board(records, tmp_path / "board.jpg")
    assert [path.name for path in tmp_path.iterdir()] == ["board.png"]


def test_the_command(records, tmp_path, here):
    said = here("inspect", records, "--board", tmp_path / "board.png").out
    assert "pairs of test known from train: scene 0.0%" in said
    assert json.loads(here("inspect", records, "--json").out)["pairs"] == 150
    assert "holds no prepared data" in here("inspect", tmp_path, code=2).err
