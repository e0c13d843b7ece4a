import sys

import numpy as np
import pytest
from PIL import Image

import ctl_keras as ctl
from ctl_keras.pictures.boards import draw_attention, new_figure, save
from ctl_keras.pictures.report import write_report


def test_report_folder(run, records, tmp_path):
    files = write_report(run, records, "test", tmp_path / "report")
    assert {path.name for path in files} == {"loss_curve.png", "ranked_products.png", "attention.png", "calibration.png"}
    for path in files:
        with Image.open(path) as image:
            assert min(image.size) > 200
            assert np.asarray(image.convert("L")).std() > 10  # something is drawn
    with pytest.raises(ctl.InputError, match="already exists"):
        write_report(run, records, "test", tmp_path / "report")


def test_attention_is_bright_where_it_is_large(tmp_path):
    attention = np.zeros((4, 4))
    attention[0, 3] = 1
    figure, axes = new_figure(1, 1, (2, 2))
    draw_attention(axes[0, 0], np.full((32, 32, 3), 128.0), attention)
    with Image.open(save(figure, tmp_path / "a.png")) as image:
        grey = np.asarray(image.convert("L"), float)
    height, width = grey.shape
    right_top, left_bottom = grey[height // 5, int(width * 0.85)], grey[int(height * 0.85), width // 5]
    assert right_top > left_bottom + 50


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'ctl-keras\[pictures\]'"):
        new_figure(1, 1, (1, 1))
