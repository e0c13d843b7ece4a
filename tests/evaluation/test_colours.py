import numpy as np
import pytest

import ctl_keras as ctl
from ctl_keras.evaluation.colours import BINS, hellinger, histograms, rgb_to_lab
from ctl_keras.evaluation.rankers import colour_ranker
from ctl_keras.evaluation.ranking import SceneBootstrap, rank_metrics


def test_known_colours():
    """Published values of sRGB's corners under D65."""
    rgb = [[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255], [128, 128, 128]]
    lab = [
        [100, 0, 0],
        [0, 0, 0],
        [53.24, 80.09, 67.20],
        [87.73, -86.18, 83.18],
        [32.30, 79.19, -107.86],
        [53.59, 0, 0],
    ]
    np.testing.assert_allclose(rgb_to_lab(np.array(rgb)), lab, atol=0.05)


def test_histograms_equal_plain_loops():
    pictures = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 3)).astype(np.float32)
    pictures[0, :2] = 250
    expected = np.zeros((3, *BINS))
    for number, picture in enumerate(pictures):
        kept = [
            pixel
            for line in picture
            for pixel in line
            if not all(channel >= 240 for channel in pixel)
        ]
        for pixel in kept:
            lightness, a, b = rgb_to_lab(pixel)
            place = (
                int(lightness / 100 * BINS[0]),
                int((a + 100) / 200 * BINS[1]),
                int((b + 100) / 200 * BINS[2]),
            )
            expected[(number, *np.clip(place, 0, np.array(BINS) - 1))] += 1 / len(kept)
    np.testing.assert_allclose(histograms(pictures).reshape(expected.shape), expected, atol=1e-12)


def test_white_is_no_colour():
    pictures = np.full((2, 8, 8, 3), 255.0)
    assert histograms(pictures).sum() == 0
    pictures[1, 0, 0] = [200, 0, 0]
    assert np.count_nonzero(histograms(pictures)[1]) == 1
    assert hellinger(histograms(pictures), histograms(pictures)).tolist() == [[1, 1], [1, 0]]


def test_hellinger():
    first, second = np.random.default_rng(0).dirichlet(np.ones(6), (2, 4))
    expected = [
        [np.sqrt(np.sum((np.sqrt(p) - np.sqrt(q)) ** 2) / 2) for q in second] for p in first
    ]
    np.testing.assert_allclose(hellinger(first, second), expected, atol=1e-12)


@pytest.mark.slow
def test_the_reference_on_street_photos(street):
    """The figure that the data's own description gives: 0.559 on all pairs."""
    pairs = ctl.read_shop_the_look(
        street / "fashion.json", street / "fashion-cat.json", street / "images"
    )
    values = rank_metrics(pairs, colour_ranker(pairs))
    figure = SceneBootstrap(pairs.scene).figures(values)["binary_accuracy"]
    assert figure["value"] == pytest.approx(0.559, abs=0.005)
    assert figure["n"] == len(pairs) == 2847
    assert len(pairs.categories) == 11
