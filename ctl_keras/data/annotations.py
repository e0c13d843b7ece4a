"""Reads Shop-The-Look folders: annotations, categories and pictures to a table of pairs, with every reject explained."""

import json
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ctl_keras.data.cropping import MIN_STRIP, box_problem, scene_windows
from ctl_keras.data.images import picture_problem
from ctl_keras.data.pairs import ImageFolder, Pairs
from ctl_keras.data.picture_files import SUFFIXES, read_image_bytes
from ctl_keras.errors import InputError
from ctl_keras.files import read_json
from ctl_keras.progress import track


def read_shop_the_look(
    annotations: str | Path, categories: str | Path, images: str | Path, min_strip: float = MIN_STRIP
) -> Pairs:
    """Reads scene-product pairs in Pinterest's Shop The Look layout.

    Every picture is decoded once, so that none fails later. A row that can't be used is left out and listed in the result's
    `rejected`, with its line and the reason.

    Args:
        annotations: JSON lines `{"product": id, "scene": id, "bbox": [left, top, right, bottom]}`, the box normalised to
            0..1. A pair without `bbox` keeps its whole scene.
        categories: a JSON object, product id -> category path (`"Apparel & Accessories|Shoes"`).
        images: folder with `<id>.jpg` (or .jpeg, .png, .webp), flat or in two-two-two signature folders.
        min_strip: float. A pair is left out when the largest strip of the scene beside the box has less than this share of
            its area. Defaults to 0.2.

    Returns:
        `Pairs`, in the order of the file.

    Raises:
        InputError: a file is missing or unreadable, or no usable pair is left (the message counts why).
    """
    rows, rejected = _parse_lines(Path(annotations))
    annotated = {(row["scene"], row["product"]) for row in rows}
    rows, more = _with_categories(rows, Path(categories))
    rejected += more
    rows, windows, more = _with_windows(rows, min_strip)
    rejected += more
    store, problems = _open_pictures({row[role] for row in rows for role in ("scene", "product")}, Path(images))

    kept = []
    for number, row in enumerate(rows):
        problem = next((f"{role}: {problems[row[role]]}" for role in ("scene", "product") if row[role] in problems), None)
        if problem is None:
            kept.append(number)
        else:
            rejected.append(_reject(row, problem))
    rejected.sort(key=lambda reject: reject["line"])
    if not kept:
        raise InputError(f"No usable pair in {annotations}: {explain(rejected) or 'the file is empty'}.")

    rows = [rows[number] for number in kept]
    paths = tuple(sorted({row["category"] for row in rows}))
    row_of = {image: number for number, image in enumerate(store.ids)}
    # also a pair that is left out, for its box or its strip, is right: its product is no negative of its scene
    others = sorted(annotated - {(row["scene"], row["product"]) for row in rows})
    others = [(row_of[scene], row_of[product]) for scene, product in others if scene in row_of and product in row_of]
    return Pairs(
        scene=np.array([row_of[row["scene"]] for row in rows]),
        product=np.array([row_of[row["product"]] for row in rows]),
        category=np.array([paths.index(row["category"]) for row in rows]),
        window=windows[kept],
        popularity=np.zeros(len(rows), int),
        categories=paths,
        images=store,
        rejected=tuple(rejected),
        other_positives=np.array(others, int).reshape(-1, 2),
    )


def explain(rejected: Iterable[dict]) -> str:
    """The rejects counted by reason: `"12 x scene: picture missing, 3 x box outside 0..1"`."""
    return ", ".join(f"{count} x {reason}" for reason, count in Counter(row["reason"] for row in rejected).most_common())


def _reject(row: dict, reason: str, detail: str | None = None) -> dict:
    reject = {"line": row["line"], "scene": row.get("scene"), "product": row.get("product"), "reason": reason}
    return {**reject, "detail": detail} if detail else reject


def _parse_lines(path: Path) -> tuple[list[dict], list[dict]]:
    try:
        lines = path.read_bytes().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"The annotation file {path} does not exist.") from None
    except OSError as error:
        raise InputError(f"The annotation file {path} cannot be read: {error.strerror}.") from None
    rows, rejected = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            rejected.append(_reject({"line": number}, "not JSON"))
            continue
        if not isinstance(value, dict) or not all(
            isinstance(value.get(key), str) and value[key] for key in ("scene", "product")
        ):
            rejected.append(_reject({"line": number}, "no scene or no product id"))
            continue
        rows.append({"line": number, "scene": value["scene"], "product": value["product"], "bbox": value.get("bbox")})
    return rows, rejected


def _with_categories(rows: list[dict], path: Path) -> tuple[list[dict], list[dict]]:
    category_of = read_json(path, "The category file")
    if not isinstance(category_of, dict):
        raise InputError(f"The category file {path} must hold one JSON object, product id -> category path.")
    kept, rejected = [], []
    for row in rows:
        category = category_of.get(row["product"])
        if category is None:
            rejected.append(_reject(row, "product not in the category file"))
        elif not isinstance(category, str) or not category.strip():
            rejected.append(_reject(row, "category is no text"))
        else:
            kept.append({**row, "category": category.strip()})
    return kept, rejected


def _with_windows(rows: list[dict], min_strip: float) -> tuple[list[dict], np.ndarray, list[dict]]:
    kept, rejected = [], []
    for row in rows:
        problem = None if row["bbox"] is None else box_problem(row["bbox"])
        if problem is None:
            kept.append(row)
        else:
            rejected.append(_reject(row, f"box {problem}", json.dumps(row["bbox"])))
    kept, more = _join_boxes(kept)
    rejected += more
    boxes = [[np.nan] * 4 if row["bbox"] is None else row["bbox"] for row in kept]
    windows, areas = scene_windows(np.array(boxes, np.float32))
    usable = areas >= np.float32(min_strip)
    for row, area, is_usable in zip(kept, areas, usable, strict=True):
        if not is_usable:
            rejected.append(
                _reject(row, f"no strip of the scene without the product has {min_strip:g} of its area", f"{area:.3f}")
            )
    return [row for row, is_usable in zip(kept, usable, strict=True) if is_usable], windows[usable], rejected


def _join_boxes(rows: list[dict]) -> tuple[list[dict], list[dict]]:
    """One row for each (scene, product): a product that is annotated twice, as a pair of shoes, must be cut out twice."""
    joined: dict[tuple[str, str], dict] = {}
    rejected = []
    for row in rows:
        first = joined.setdefault((row["scene"], row["product"]), row)
        if first is row:
            continue
        rejected.append(_reject(row, "the same pair again"))
        boxes = [box for box in (first["bbox"], row["bbox"]) if box is not None]
        if boxes:
            left, top, right, bottom = zip(*boxes, strict=True)
            union = [min(left), min(top), max(right), max(bottom)]
            joined[row["scene"], row["product"]] = {**first, "bbox": union}
    return list(joined.values()), rejected


def _open_pictures(ids: set[str], folder: Path) -> tuple[ImageFolder, dict[str, str]]:
    """The usable pictures, sorted by id, and the problem of each other id."""
    if not folder.is_dir():
        raise InputError(f"The image folder {folder} does not exist.")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES:
            files.setdefault(path.stem, path)

    def check(image: str) -> tuple[str, Path | None, str | None]:
        path = files.get(image) or _in_signature_folders(folder, image)
        if path is None:
            return image, None, "picture missing"
        try:
            return image, path, picture_problem(read_image_bytes(path))
        except InputError as error:
            return image, path, "empty file" if "is empty" in str(error) else "picture cannot be read"

    with ThreadPoolExecutor() as pool:
        checked = list(track(pool.map(check, sorted(ids)), "Checking pictures", total=len(ids)))
    good = [(image, path) for image, path, problem in checked if problem is None and path is not None]
    store = ImageFolder([image for image, _ in good], [path for _, path in good])
    return store, {image: problem for image, _, problem in checked if problem is not None}


def _in_signature_folders(folder: Path, image: str) -> Path | None:
    """`aa/bb/cc/aabbcc….jpg`, as Pinterest's image host lays pictures out."""
    if len(image) < 6 or "/" in image:
        return None
    base = folder / image[:2] / image[2:4] / image[4:6]
    return next((path for suffix in SUFFIXES if (path := base / f"{image}{suffix}").is_file()), None)
