"""Draws a Shop-The-Look folder: scenes of dressed figures and products that share a style.

A style is a palette (a colour for each category, none like another), a pattern and a cut. What is
left of a scene once the product's box is cut out shows the other garments: telling which product
belongs to it means learning which colours, patterns and cuts go together, as an untrained network,
which can only compare likeness, does not know.
"""

import colorsys
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from ctl_keras.config import require_seed
from ctl_keras.errors import InputError
from ctl_keras.files import new_folder
from ctl_keras.progress import track

SCENE_SIZE = (144, 216)
PRODUCT_SIZE = 112
PRODUCTS_PER_STYLE = 10  # of each category
PATTERNS = ("plain", "stripes", "checks", "dots")
MISFIT = 0.02  # share of garments that are of another style: real looks are not pure

# category path -> where the figure wears it: left, top, right, bottom as shares of the scene
GARMENTS = {
    "Apparel & Accessories|Clothing|Shirts & Tops": (0.24, 0.24, 0.70, 0.50),
    "Apparel & Accessories|Clothing|Pants": (0.30, 0.50, 0.64, 0.84),
    "Apparel & Accessories|Handbags & Wallets|Handbags": (0.72, 0.42, 0.96, 0.62),
    "Apparel & Accessories|Hats": (0.32, 0.02, 0.62, 0.14),
    "Apparel & Accessories|Shoes": (0.26, 0.85, 0.68, 0.97),
}


@dataclass(frozen=True)
class _Style:
    hues: tuple[float, ...]  # one a category
    pattern: str
    is_round: bool


def synthesize(
    out: str | Path, scenes: int = 360, styles: int = 8, seed: int = 0
) -> dict[str, int]:
    """Draws the folder: `fashion.json`, `fashion-cat.json` and `images/` with real JPEGs.

    Args:
        out: folder to make.
        scenes: int. Number of scenes, each with one garment of each of five categories. Defaults to
            360.
        styles: int. Number of styles. Two products of one style cannot be told apart by it, so the
            best possible accuracy is about `1 - 0.5 / styles`. Defaults to 8.
        seed: int. The same seed draws the same pictures. Defaults to 0.

    Returns:
        Counts of scenes, products and pairs.

    Raises:
        InputError: `out` exists, or a number is too small.
    """
    if scenes < 1 or styles < 2:
        raise InputError(
            f"At least 1 scene and 2 styles are needed. Received: scenes={scenes}, styles={styles}"
        )
    require_seed(seed)
    random = np.random.default_rng(seed)
    looks = _draw_styles(styles, random)
    with new_folder(out) as folder:
        images = folder / "images"
        images.mkdir()
        products: dict[tuple[int, int], list[tuple[str, Image.Image]]] = {}
        categories = {}
        for style, look in enumerate(looks):
            for number, category in enumerate(GARMENTS):
                drawn = [_garment(number, look, random) for _ in range(PRODUCTS_PER_STYLE)]
                # ids as random as Pinterest's signatures: their order must not give the style away
                products[style, number] = [(random.bytes(16).hex(), garment) for garment in drawn]
                for name, garment in products[style, number]:
                    categories[name] = category
                    _product_picture(garment).save(images / f"{name}.jpg", quality=90)
        lines = []
        for _ in track(range(scenes), "Drawing scenes", total=scenes):
            name, style = random.bytes(16).hex(), int(random.integers(styles))
            worn = []
            for number in range(len(GARMENTS)):
                of_style = int(random.integers(styles)) if random.random() < MISFIT else style
                worn.append(products[of_style, number][random.integers(PRODUCTS_PER_STYLE)])
            picture, boxes = _scene_picture([garment for _, garment in worn], random)
            picture.save(images / f"{name}.jpg", quality=90)
            lines += [
                {"product": product, "scene": name, "bbox": box}
                for (product, _), box in zip(worn, boxes, strict=True)
            ]
        (folder / "fashion.json").write_text(
            "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8"
        )
        (folder / "fashion-cat.json").write_text(json.dumps(categories, indent=0), encoding="utf-8")
    return {"scenes": scenes, "products": len(categories), "pairs": len(lines)}


def _draw_styles(styles: int, random: np.random.Generator) -> list[_Style]:
    """Hues such that, within a category, the styles are evenly spread round the colour circle."""
    columns = [(random.permutation(styles) + random.random()) / styles for _ in GARMENTS]
    return [
        _Style(
            tuple(float(column[style]) for column in columns),
            PATTERNS[style % len(PATTERNS)],
            bool(style // 4 % 2),
        )
        for style in range(styles)
    ]


def _colour(hue: float, lightness: float, saturation: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hls_to_rgb(hue % 1, lightness, saturation)
    return round(red * 255), round(green * 255), round(blue * 255)


def _garment(category: int, style: _Style, random: np.random.Generator) -> Image.Image:
    """One garment, RGBA, square, on transparent ground."""
    size = 2 * PRODUCT_SIZE  # drawn at twice the size: the reduction smooths the edges
    hue = style.hues[category] + random.normal(0, 0.015)
    lightness, saturation = random.uniform(0.36, 0.5), random.uniform(0.6, 0.95)
    fill = Image.new("RGB", (size, size), _colour(hue, lightness, saturation))
    # scale and contrast of a pattern differ within a style, so that bare likeness of texture says
    # little
    pen, second = (
        ImageDraw.Draw(fill),
        _colour(hue, min(0.92, lightness + random.uniform(0.15, 0.42)), saturation),
    )
    step = int(random.integers(16, 44))
    if style.pattern in ("stripes", "checks"):
        for start in range(0, size, step):
            pen.rectangle((0, start, size, start + step // 3), fill=second)
            if style.pattern == "checks":
                pen.rectangle((start, 0, start + step // 3, size), fill=second)
    elif style.pattern == "dots":
        for row, top in enumerate(range(0, size, step)):
            for left in range(row % 2 * step // 2, size, step):
                pen.ellipse((left, top, left + step // 2, top + step // 2), fill=second)
    mask = Image.new("L", (size, size))
    _silhouette(category, ImageDraw.Draw(mask), size, style.is_round)
    fill.putalpha(mask)
    return fill


def _silhouette(category: int, pen: ImageDraw.ImageDraw, size: int, is_round: bool) -> None:
    def at(*shares: float) -> list[float]:
        return [share * (size - 1) for share in shares]

    radius = size // 6 if is_round else 0

    def block(*shares: float) -> None:
        pen.rounded_rectangle(at(*shares), radius, fill=255)

    if category == 0:  # top: body and sleeves
        block(0.22, 0.05, 0.78, 0.97)
        pen.polygon(at(0.25, 0.06, 0.02, 0.45, 0.18, 0.58, 0.35, 0.30), fill=255)
        pen.polygon(at(0.75, 0.06, 0.98, 0.45, 0.82, 0.58, 0.65, 0.30), fill=255)
    elif category == 1:  # pants: waist and legs
        pen.rectangle(at(0.12, 0.02, 0.88, 0.35), fill=255)
        block(0.12, 0.1, 0.46, 0.98)
        block(0.54, 0.1, 0.88, 0.98)
    elif category == 2:  # bag: body and handle
        block(0.04, 0.38, 0.96, 0.97)
        pen.arc(at(0.25, 0.04, 0.75, 0.74), 180, 360, fill=255, width=size // 14)
    elif category == 3:  # hat: crown and brim
        (pen.ellipse if is_round else pen.rectangle)(at(0.22, 0.06, 0.78, 0.94), fill=255)
        pen.rectangle(at(0.02, 0.72, 0.98, 0.94), fill=255)
    else:  # shoes: a pair
        for left in (0.02, 0.53):
            block(left, 0.5, left + 0.45, 0.96)
            pen.rectangle(at(left, 0.1, left + 0.2, 0.8), fill=255)


def _product_picture(garment: Image.Image) -> Image.Image:
    picture = Image.new("RGB", garment.size, "white")
    picture.paste(garment, mask=garment.getchannel("A"))
    return picture.resize((PRODUCT_SIZE, PRODUCT_SIZE), Image.Resampling.LANCZOS)


def _scene_picture(
    garments: list[Image.Image], random: np.random.Generator
) -> tuple[Image.Image, list[list[float]]]:
    """A figure that wears the garments before a wall that has nothing to do with them, and their
    boxes."""
    width, height = SCENE_SIZE
    wall = random.uniform(60, 210, 3) + random.normal(0, 22, (height // 12, width // 12, 3))
    picture = Image.fromarray(np.clip(wall, 0, 255).astype(np.uint8)).resize(
        SCENE_SIZE, Image.Resampling.BICUBIC
    )
    pen = ImageDraw.Draw(picture)
    pen.rectangle(
        (0, int(height * random.uniform(0.8, 0.92)), width, height),
        fill=_colour(random.random(), 0.4, 0.15),
    )
    shift = random.uniform(-0.03, 0.03, 2) * (1, 0.5)
    skin = _colour(0.07, random.uniform(0.35, 0.75), 0.4)

    def place(left: float, top: float, right: float, bottom: float) -> tuple[int, int, int, int]:
        dx, dy = shift
        return (
            round((left + dx) * width),
            round((top + dy) * height),
            round((right + dx) * width),
            round((bottom + dy) * height),
        )

    pen.ellipse(place(0.38, 0.08, 0.56, 0.25), fill=skin)
    for limb in (
        (0.26, 0.36, 0.31, 0.58),
        (0.63, 0.36, 0.74, 0.46),
        (0.36, 0.8, 0.44, 0.9),
        (0.5, 0.8, 0.58, 0.9),
    ):
        pen.rectangle(place(*limb), fill=skin)
    boxes = []
    for garment, where in zip(garments, GARMENTS.values(), strict=True):
        left, top, right, bottom = place(*where)
        left, top, right, bottom = (
            max(left, 0),
            max(top, 0),
            min(right, width),
            min(bottom, height),
        )
        fitted = garment.resize((right - left, bottom - top), Image.Resampling.LANCZOS)
        picture.paste(fitted, (left, top), fitted.getchannel("A"))
        boxes.append(
            [
                round(left / width, 6),
                round(top / height, 6),
                round(right / width, 6),
                round(bottom / height, 6),
            ]
        )
    return picture.filter(ImageFilter.GaussianBlur(random.uniform(0, 0.7))), boxes
