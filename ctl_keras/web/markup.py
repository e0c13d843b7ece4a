"""Pieces of the page in HTML: pictures carry their words in `alt`, and all text from outside is
escaped."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from ctl_keras.pictures.boards import short_name
from ctl_keras.pictures.regions import (
    ATTENTION,
    CLOSER,
    FARTHER,
    RegionShares,
    attention_overlay,
    place,
    pull_overlay,
)
from ctl_keras.web.looks import facts

_SIDE = 360  # pixels of an overlay's longer side
_STRONGEST = 3


def message(text: str) -> str:
    """A problem, read out at once by a screen reader; nothing for no text."""
    return f'<p class="ctl-message" role="alert">{escape(text)}</p>' if text else ""


def note(text: str) -> str:
    """What has happened, read out when there is time."""
    return f'<p role="status">{escape(text)}</p>'


def figure(picture: Image.Image, alt: str, caption: str) -> str:
    """A picture inside the page: no request, and nothing of it is kept on the server.

    Args:
        picture: RGB.
        alt: what it shows, for those who do not see it.
        caption: HTML.
    """
    return f"<figure>{_image(picture, alt)}<figcaption>{caption}</figcaption></figure>"


def _image(picture: Image.Image, alt: str) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    data = base64.b64encode(buffer.getvalue()).decode()
    size = f'width="{picture.width}" height="{picture.height}"'
    return f'<img src="data:image/jpeg;base64,{data}" alt="{escape(alt)}" {size} draggable="false">'


def _row(figures: Sequence[str], wide: bool = False) -> str:
    """Side by side, or below each other where there is no room."""
    return f'<div class="ctl-row{" ctl-wide" if wide else ""}">{"".join(figures)}</div>'


def scene_figures(shown: Image.Image, seen: Image.Image | None, words: str, hidden: bool) -> str:
    """The scene and, if it is another picture, what the model sees.

    Args:
        shown: the scene, perhaps with a box.
        seen: what the model sees, or None.
        words: what `shown` says.
        hidden: bool. Whether a product is to be hidden: then a box can be drawn on the scene.
    """
    picture = _image(shown, f"The scene. {words}")
    picture = f'<div class="ctl-draw">{picture}</div>' if hidden else picture
    figures = [f"<figure>{picture}<figcaption>{escape(words)}</figcaption></figure>"]
    if seen is not None:
        figures.append(
            figure(_sized(seen), "The part of the scene that the model sees", "What the model sees")
        )
    return _row(figures, wide=True)


def product_tiles(
    rows: Sequence[Mapping[str, Any]],
    pictures: Sequence[Image.Image],
    name: str,
    chosen: int | None,
) -> str:
    """The products of a category, nearest first, as buttons.

    Args:
        rows: of `Recommender.recommend`.
        pictures: theirs.
        name: of the category.
        chosen: place of the one that is pressed, from 0.
    """
    if not rows:
        return f"<p>No product of {escape(name)} passes the filter.</p>"
    tiles = [
        f'<button type="button" class="ctl-tile" data-rank="{rank}" '
        f'aria-pressed="{str(rank == chosen).lower()}">'
        f"{_image(picture, name)}<b>{rank + 1}.</b> distance "
        f"{row['hybrid_distance']:.3f}<br>{escape(str(row['id']))}</button>"
        for rank, (row, picture) in enumerate(zip(rows, pictures, strict=True))
    ]
    return _row(tiles)


def look_figures(
    rows: Mapping[str, Mapping[str, Any]],
    pictures: Mapping[str, Image.Image],
    names: Mapping[str, str],
) -> str:
    """A whole look: a product of each category.

    Args:
        rows: category path -> row of `Recommender.recommend`.
        pictures: category path -> the product's.
        names: category path -> what it is called.
    """
    return _row(
        [
            figure(
                pictures[category],
                f"{names[category]}: {row['id']}",
                f"<b>{escape(names[category])}</b><br>{escape(str(row['id']))}<br>distance "
                f"{row['hybrid_distance']:.3f}",
            )
            for category, row in rows.items()
        ]
    )


def attention_figures(
    seen: Image.Image, attention: Mapping[str, np.ndarray], names: Mapping[str, str], kind: str
) -> str:
    """Where the model looks for each category.

    Args:
        seen: what the model saw.
        attention: category path -> `[rows, columns]`.
        names: category path -> what it is called.
        kind: str. The model's setting `attention`.
    """
    if kind == "product":
        return "<p>In this model the attention depends on the product: see the chosen product.</p>"
    picture = _sized(seen)
    figures = [
        _attention_figure(picture, weights, names[category])
        for category, weights in attention.items()
    ]
    return _ATTENTION_LEGEND + _row(figures, wide=True)


def _attention_figure(picture: Image.Image, weights: np.ndarray, name: str) -> str:
    times = weights * weights.size
    where = _place(int(weights.argmax()), weights.shape)
    even = bool(times.max() - times.min() < 0.01)
    words = (
        "all regions alike"
        if even
        else f"most at the {where}, {times.max():.2f} x the mean; least {times.min():.2f} x"
    )
    return figure(
        attention_overlay(picture, weights),
        f"Attention for {name}: {words}",
        f"<b>{escape(name)}</b>: {words}",
    )


def product_details(
    seen: Image.Image,
    row: Mapping[str, Any],
    picture: Image.Image,
    shares: RegionShares,
    settings: Mapping[str, Any],
) -> str:
    """One product: its columns, what its distance is made of, and which regions bring it close.

    Args:
        seen: what the model saw of the scene.
        row: of `Recommender.recommend`.
        picture: the product's.
        shares: what the regions say about it.
        settings: the model's.
    """
    columns = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts(row).items()
    )
    words = f"{escape(short_name(row['category']))}<dl>{columns}</dl>"
    words += _made_of(row["hybrid_distance"], shares, settings)
    figures, table = [figure(picture, f"The product {row['id']}", words)], ""
    if settings["distance"] != "global":
        nearest = np.argsort(-shares.pulls, axis=None, kind="stable")[:_STRONGEST].tolist()
        where = _place(nearest[0], shares.pulls.shape)
        alt = (
            f"Regions that bring {row['id']} closer or push it away; the {where} brings it closest"
        )
        figures.append(figure(pull_overlay(_sized(seen), shares.pulls), alt, _PULL_LEGEND))
        if settings["attention"] == "product":
            figures.append(
                _attention_figure(_sized(seen), shares.attention, str(row["id"]))
                + _ATTENTION_LEGEND
            )
        table = _region_table(shares, nearest)
    return _row(figures, wide=True) + table


def _made_of(distance: float, shares: RegionShares, settings: Mapping[str, Any]) -> str:
    local = shares.local_distance
    if settings["distance"] == "hybrid":
        return (
            f"Distance {distance:.3f}: the mean of {2 * distance - local:.3f} to the whole scene, "
            f"{local:.3f} to its regions."
        )
    if settings["distance"] == "local":
        return f"Distance {distance:.3f}, to the scene's regions."
    return f"Distance {distance:.3f}, to the whole scene: in this model the regions do not count."


def _region_table(shares: RegionShares, cells: Sequence[int]) -> str:
    grid, rows = shares.pulls.shape, []
    attention, distances, contributions, _ = (values.reshape(-1) for values in shares)
    for cell in cells:
        row, column = divmod(cell, grid[1])
        rows.append(
            f"<tr><th scope='row'>{_place(cell, grid)} ({row + 1}, "
            f"{column + 1})</th><td>{attention[cell]:.4f}</td>"
            f"<td>{distances[cell]:.3f}</td><td>{contributions[cell]:.4f}</td></tr>"
        )
    return (
        f"<table><caption>The regions that bring it closest, of {grid[0]} x {grid[1]} (row, column "
        "from the upper left). A region's share of the distance is its attention times its own "
        "distance; the shares of all add up to "
        f"{shares.local_distance:.3f}.</caption><thead><tr><th scope='col'>Region</th><th "
        "scope='col'>Attention</th><th scope='col'>Distance</th><th "
        f"scope='col'>Share</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _place(cell: int, grid: Sequence[int]) -> str:
    return place(divmod(cell, grid[1]), grid)


def _legend(colours: Sequence[str], low: str, high: str) -> str:
    bar = f'<span style="background: linear-gradient(to right, {", ".join(colours)})"></span>'
    return f'<div class="ctl-legend">{low} {bar} {high}</div>'


_ATTENTION_LEGEND = _legend(ATTENTION, "counts least", "counts most")
_PULL_LEGEND = _legend((CLOSER, "#ffffff", FARTHER), "closer", "farther")


def _sized(picture: Image.Image) -> Image.Image:
    """Of one size whatever it was: an overlay on a tiny picture needs room."""
    scale = _SIDE / max(picture.size)
    return picture.resize(
        (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    )
