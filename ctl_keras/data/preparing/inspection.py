"""What is in a prepared folder, in figures."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from ctl_keras.data.preparing.records import read_manifest, read_pair_columns
from ctl_keras.data.splits import SPLITS

_SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
STRIPS = ("whole", "above", "below", "left", "right", "none")


def inspect(folder: str | Path) -> dict[str, Any]:
    """Counts and figures of prepared data.

    Args:
        folder: what `prepare` made.

    Returns:
        `read`, `pairs`, `rejected_because`, `splits` and `leakage` of the manifest; `boxes`: how
        many pairs are boxed, how many (scene, box) have several products, quantiles of the boxes'
        areas as shares of the scene; `crops`: quantiles of the areas that are kept, and which strip
        it is (`STRIPS`); `pictures`: number and bytes.

    Raises:
        InputError: as `read_manifest`.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    parts = [read_pair_columns(folder, split) for split in SPLITS]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    box, window = columns["box"], columns["window"]
    boxed = ~np.isnan(box).any(axis=1)
    several = Counter(
        zip(columns["scene_image"][boxed].tolist(), map(tuple, box[boxed].tolist()), strict=True)
    )
    strips = Counter(_strips(window).tolist())
    result = {
        name: manifest[name]
        for name in ("read", "pairs", "rejected_because", "lost_in_split", "splits", "leakage")
    }
    result |= {
        "boxes": {
            "boxed": int(boxed.sum()),
            "boxes": len(several),
            "with_several_products": sum(count > 1 for count in several.values()),
            "area": _quantiles(_areas(box[boxed])),
        },
        "crops": {
            "area": _quantiles(_areas(window)),
            "strips": {name: strips[name] for name in STRIPS if strips[name]},
        },
        "pictures": {
            "count": len(manifest["images"]),
            "bytes": sum(manifest["files"][name]["bytes"] for name in manifest["image_shards"]),
        },
    }
    return result


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _quantiles(values: np.ndarray) -> dict[str, float]:
    found = np.quantile(values, _SHARES) if len(values) else np.full(len(_SHARES), np.nan)
    return {
        f"{share:.0%}": round(float(value), 4) for share, value in zip(_SHARES, found, strict=True)
    }


def _strips(window: np.ndarray) -> np.ndarray:
    """Which strip of the scene each window is, as text."""
    left, top, right, bottom = window.T
    cut = [
        (left == 0) & (top == 0) & (right == 1) & (bottom == 1),
        bottom < 1,
        top > 0,
        right < 1,
        left > 0,
    ]
    return np.select(cut, STRIPS[:5], STRIPS[5])


def format_inspection(result: dict[str, Any]) -> str:
    """The figures for people."""
    lines = [f"{result['read']} rows read, {result['pairs']} pairs kept"]
    lines += [f"  {count} x {reason}" for reason, count in result["rejected_because"].items()]
    if result["lost_in_split"]:
        lines.append(f"  {result['lost_in_split']} x product in another split")
    names = list(next(iter(result["splits"].values()))["by_category"])
    width = max(len(name) for name in [*names, "pairs without negative"])
    lines += ["", " " * width + "".join(f"{split:>12}" for split in SPLITS)]
    for what in ("pairs", "scenes", "products", "pairs_without_negative"):
        lines.append(
            f"{what.replace('_', ' '):{width}}"
            + "".join(f"{result['splits'][split][what]:12}" for split in SPLITS)
        )
    for name in names:
        counts = [result["splits"][split]["by_category"][name] for split in SPLITS]
        lines.append(f"{name:{width}}" + "".join(f"{count:12}" for count in counts))
    lines += [
        "",
        *(
            f"pairs of {split} known from train: {_shares(known)}"
            for split, known in result["leakage"].items()
        ),
    ]
    boxes, crops, pictures = result["boxes"], result["crops"], result["pictures"]
    lines += [
        "",
        f"{boxes['boxed']} pairs have a box; of {boxes['boxes']} boxes "
        f"{boxes['with_several_products']} have several products",
        f"box, share of the scene:  {_row(boxes['area'])}",
        f"kept, share of the scene: {_row(crops['area'])}",
        "kept part: " + ", ".join(f"{name} {count}" for name, count in crops["strips"].items()),
        f"{pictures['count']} pictures, {pictures['bytes'] / 1e6:.1f} MB",
    ]
    return "\n".join(lines)


def _shares(shares: dict[str, float]) -> str:
    return ", ".join(f"{what} {share:.1%}" for what, share in shares.items())


def _row(quantiles: dict[str, float]) -> str:
    return "  ".join(f"{share} {value:.3f}" for share, value in quantiles.items())
