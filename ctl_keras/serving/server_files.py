"""What TensorFlow Serving is started with.

```
OUT/models.config             which model, which versions, which labels; read again every minute
OUT/batching_parameters.txt   how requests are joined
OUT/monitoring.config         Prometheus figures
OUT/docker-compose.yml        the public image, started with all of them
OUT/kserve.yaml               the same for Kubernetes with KServe
```
"""

import json
import math
import os
import re
import string
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ctl_keras.config import require_positive
from ctl_keras.errors import InputError
from ctl_keras.files import new_folder, versions

_CONFIGURATION = ("models.config", "batching_parameters.txt", "monitoring.config")
FILES = (*_CONFIGURATION, "docker-compose.yml", "kserve.yaml")
_TEMPLATES = Path(__file__).parent / "templates"
_USUAL_BATCH = 32
# exports whose manifest does not say it send warm-up requests of up to 32 rows
_WARMUP_ROWS = 32


def write_server_files(
    model: str | Path,
    out: str | Path,
    name: str | None = None,
    stable: int | None = None,
    canary: int | None = None,
    threads: int = 4,
    max_batch_size: int | None = None,
) -> Path:
    """Writes configuration for TensorFlow Serving.

    The server keeps the two newest versions loaded, so that a new export is served beside the old
    one. Requests that name no version or label go to the newest; those that name the label `stable`
    or `canary` go where the labels point.

    Args:
        model: `saved_models/NAME`, with at least one version.
        out: folder to make.
        name: str. The model's name in requests. Defaults to the folder's name.
        stable: int. Version that the label `stable` names. Defaults to the newest.
        canary: int. Version that the label `canary` names. Defaults to None: no such label.
        threads: int. Batches that run at once: the server's cores. Defaults to 4.
        max_batch_size: int. Most rows of a batch, and of a request. Defaults to 32, or to the
            largest warm-up request of the two newest versions where that is more.

    Returns:
        The folder.

    Raises:
        InputError: no version, a label for a version that is not there or not among the two newest,
            a name that no address can hold, warm-up requests that are larger than `max_batch_size`,
            or `out` exists.
    """
    model = Path(model)
    require_positive("threads", threads)
    if max_batch_size is not None:
        require_positive("max_batch_size", max_batch_size)
    kept = versions(model)[-2:]
    if not kept:
        hint = f"Make one with `export --run RUN --to {model}`."
        raise InputError(f"{model} holds no version. {hint}")
    labels = {"stable": kept[-1] if stable is None else stable}
    labels |= {} if canary is None else {"canary": canary}
    for label, version in labels.items():
        if version not in kept:
            raise InputError(
                f"The label `{label}` must name one of the two newest versions, which the server "
                f"keeps: {', '.join(map(str, kept))}. Received: {version}"
            )
    name = name or model.resolve().name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise InputError(
            "`name` must consist of letters, digits, '_', '.' and '-': addresses hold it. "
            f"Received: {name!r}"
        )
    warmup = max(_warmup_rows(model / str(version)) for version in kept)
    most = max(_USUAL_BATCH, warmup) if max_batch_size is None else max_batch_size
    if most < warmup:
        raise InputError(
            f"`max_batch_size` is {most}, but {model} has warm-up requests of {warmup} rows: the "
            f"server would refuse to load it. Take {warmup} or more, or export with a smaller "
            "warm-up."
        )
    sizes = [2**power for power in range(most.bit_length()) if 2**power < most] + [most]
    values = {
        "name": name,
        "service": re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-"),  # as Kubernetes takes it
        "folder": os.path.relpath(model.resolve(), Path(out).resolve()),
        "base_path": f"/models/{name}",
        "labels": "\n".join(
            f'    version_labels {{ key: "{label}" value: {version} }}'
            for label, version in labels.items()
        ),
        "threads": threads,
        "max_batch_size": most,
        "sizes": "\n".join(f"allowed_batch_sizes: {size}" for size in sizes),
        "memory": _memory(model, kept, threads * most),
    }
    mounted = values | {"base_path": "/mnt/models"}  # where KServe mounts the volume
    parts = {"models": _filled("models.config", mounted)}
    parts |= {"batching": _filled(FILES[1], values), "monitoring": _filled(FILES[2], values)}
    arguments = _filled("arguments.yaml", values)
    values |= {part: textwrap.indent(text, " " * 4) for part, text in parts.items()}
    with new_folder(out) as folder:
        for file in FILES:
            values["arguments"] = textwrap.indent(arguments, " " * (8 if "kserve" in file else 6))
            (folder / file).write_text(_filled(file, values) + "\n", encoding="utf-8")
    return Path(out)


def _warmup_rows(version: Path) -> int:
    try:
        manifest = json.loads((version / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        manifest = {}
    return int(manifest.get("warmup_batch_size", _WARMUP_ROWS))


def _memory(model: Path, kept: list[int], rows: int) -> int:
    """Gibibytes: three times the larger version, for at a swap the new one is beside the two that
    are kept, 40 MB for each row that is computed, and one GiB for the server."""
    folders = [(model / str(version)).rglob("*") for version in kept]
    size = max(sum(file.stat().st_size for file in files if file.is_file()) for files in folders)
    return math.ceil((3 * size + rows * 40e6) / 2**30 + 1)


def _filled(template: str, values: Mapping[str, Any]) -> str:
    text = (_TEMPLATES / template).read_text(encoding="utf-8")
    return string.Template(text).substitute(values).rstrip("\n")
