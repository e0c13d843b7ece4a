"""Pictures for people: triplets, attention, ranked products, loss curves. Needs `pip install
ctl-keras[pictures]`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

INK = "#222222"
POSITIVE, NEGATIVE = "#1a7f37", "#b35900"
_FIVE_PAIRS = 10.0  # weight of a calibration's bin: a pair has 2, its product's and its negatives'


def new_figure(rows: int, columns: int, cell: tuple[float, float]) -> tuple[Any, np.ndarray]:
    """A matplotlib figure that needs no display.

    Args:
        rows: int, of the grid of axes.
        columns: int.
        cell: width and height of one, in inches.

    Returns:
        The figure and its axes `[rows, columns]`, without ticks.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("Pictures need matplotlib: pip install 'ctl-keras[pictures]'") from None
    figure = Figure(figsize=(columns * cell[0], rows * cell[1]), dpi=100, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    return figure, axes


def draw_image(axis: Any, image: np.ndarray, title: str = "", colour: str = INK) -> None:
    """Shows a picture, `[height, width, 3]`, 0..255, with a title."""
    axis.imshow(np.clip(image, 0, 255).astype(np.uint8))
    axis.set_title(title, fontsize=8, color=colour)


def draw_attention(axis: Any, image: np.ndarray, attention: np.ndarray, title: str = "") -> None:
    """Lays attention, `[rows, columns]`, over a scene, `[height, width, 3]`: bright where it is
    above its mean."""
    height, width = image.shape[:2]
    draw_image(axis, image, title)
    low, high = attention.min(), attention.max()
    scaled = (attention - low) / (high - low) if high > low else np.full_like(attention, 0.5)
    axis.imshow(
        scaled,
        cmap="inferno",
        alpha=0.5,
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        interpolation="bilinear",
    )


def loss_curve(history: Sequence[dict[str, float]], margin: float) -> Any:
    """Loss and accuracy by epoch, of training and validation.

    Args:
        history: rows with `loss`, `val_loss`, `triplet_accuracy` and `val_triplet_accuracy`.
        margin: float. Drawn as the loss of a collapsed model.

    Returns:
        A matplotlib figure.
    """
    figure, axes = new_figure(1, 2, (4.6, 3.2))
    epochs = np.arange(1, len(history) + 1)
    for axis, name, title in zip(
        axes[0], ("loss", "triplet_accuracy"), ("triplet loss", "triplet accuracy"), strict=True
    ):
        axis.spines[["left", "bottom"]].set_visible(True)
        axis.xaxis.set_major_locator(_whole_numbers())
        axis.yaxis.set_major_locator(_plain_numbers())
        for prefix, label, colour in (("", "training", NEGATIVE), ("val_", "validation", POSITIVE)):
            axis.plot(
                epochs,
                [row[prefix + name] for row in history],
                marker="o",
                markersize=3,
                color=colour,
                label=label,
            )
        level, meaning = (margin, "collapse") if name == "loss" else (0.5, "chance")
        axis.axhline(level, color=INK, linewidth=0.8, linestyle=":", label=meaning)
        axis.set(title=title, xlabel="epoch")
        axis.legend(fontsize=8, frameon=False)
    return figure


def calibration_curve(calibration: dict[str, Any]) -> Any:
    """Share of positives by probability, beside the diagonal of a perfect calibration; the larger a
    dot, the more pairs. Bins with next to no weight (less than 1 %, or than five pairs have) are
    faint, and the curve passes them by.

    Args:
        calibration: what `reliability` gives.

    Returns:
        A matplotlib figure.
    """
    figure, axes = new_figure(1, 1, (4.0, 4.0))
    axis = axes[0, 0]
    axis.spines[["left", "bottom"]].set_visible(True)
    ticks = np.linspace(0, 1, 6)
    axis.set(
        xticks=ticks,
        yticks=ticks,
        xlim=(0, 1),
        ylim=(0, 1),
        xlabel="probability",
        ylabel="share of positives",
    )
    axis.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":", label="perfect")
    filled = [part for part in calibration["bins"] if part["count"]]
    x, y, weight = (
        np.array([part[name] for part in filled]) for name in ("probability", "positives", "count")
    )
    heavy = weight >= max(0.01 * weight.sum(), _FIVE_PAIRS)
    size = 10 + 400 * weight / weight.sum()
    axis.plot(x[heavy], y[heavy], color=POSITIVE, label="model")
    axis.scatter(x[heavy], y[heavy], s=size[heavy], color=POSITIVE, alpha=0.6, clip_on=False)
    if not heavy.all():
        faint = {"color": POSITIVE, "alpha": 0.2, "label": "next to no weight"}
        axis.scatter(x[~heavy], y[~heavy], s=size[~heavy], clip_on=False, **faint)
    axis.set_title(
        f"expected calibration error {calibration['expected_calibration_error']:.3f}", fontsize=9
    )
    axis.legend(fontsize=8, frameon=False)
    return figure


def _whole_numbers() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(integer=True)


def _plain_numbers() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(5)


def triplet_board(images: dict[str, np.ndarray], titles: Sequence[str]) -> Any:
    """Rows of scene, positive and negative.

    Args:
        images: `scene`, `positive` and `negative`, `[triplets, height, width, 3]`, 0..255.
        titles: the categories.

    Returns:
        A matplotlib figure.
    """
    count = len(titles)
    figure, axes = new_figure(3, count, (1.5, 1.7))
    for column in range(count):
        for row, (role, colour) in enumerate(
            [("scene", INK), ("positive", POSITIVE), ("negative", NEGATIVE)]
        ):
            title = titles[column] if role == "scene" else role
            draw_image(axes[row, column], images[role][column], title, colour)
    return figure


def ranking_board(rows: Sequence[dict[str, Any]]) -> Any:
    """One line a scene: the scene, its own product, and the products nearest to it.

    Args:
        rows: dicts with `scene` and `product` `[height, width, 3]`, `title`, `rank`, and `ranked`:
            a list of (picture, distance, whether it is a product of the scene).

    Returns:
        A matplotlib figure.
    """
    columns = 2 + max(len(row["ranked"]) for row in rows)
    figure, axes = new_figure(len(rows), columns, (1.4, 1.65))
    for axis_row, row in zip(axes, rows, strict=True):
        draw_image(axis_row[0], row["scene"], row["title"])
        draw_image(axis_row[1], row["product"], f"its own: rank {row['rank']}", POSITIVE)
        for axis, (picture, distance, is_own) in zip(axis_row[2:], row["ranked"], strict=False):
            draw_image(axis, picture, f"{distance:.3f}", POSITIVE if is_own else INK)
    return figure


def attention_board(
    scenes: np.ndarray, attention: np.ndarray, categories: Sequence[str], titles: Sequence[str]
) -> Any:
    """One line a scene: the scene, and its attention for each category.

    Args:
        scenes: `[scenes, height, width, 3]`, 0..255.
        attention: `[scenes, categories, rows, columns]`.
        categories: names of the columns.
        titles: names of the scenes.

    Returns:
        A matplotlib figure.
    """
    figure, axes = new_figure(len(scenes), 1 + len(categories), (1.5, 1.7))
    for axis_row, scene, maps, title in zip(axes, scenes, attention, titles, strict=True):
        draw_image(axis_row[0], scene, title)
        for axis, weights, category in zip(axis_row[1:], maps, categories, strict=True):
            draw_attention(
                axis,
                scene,
                weights,
                f"{short_name(category)}\nmax {weights.max() * weights.size:.2f} x mean",
            )
    return figure


def short_name(category: str) -> str:
    """The last part of a category path."""
    return category.rsplit("|", 1)[-1]


def save(figure: Any, path: Path) -> Path:
    """Writes a figure as PNG."""
    figure.savefig(path)
    return path
