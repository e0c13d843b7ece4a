"""What TensorFlow Serving is started with.

```
OUT/models.config             which model, which versions, which labels; read again every minute
OUT/batching_parameters.txt   how requests are joined
OUT/monitoring.config         Prometheus figures
OUT/docker-compose.yml        the public image, started with all of them
```
"""

import os
import re
from pathlib import Path

from ctl_keras.config import require_positive
from ctl_keras.errors import InputError
from ctl_keras.export.warmup import BATCH_SIZES
from ctl_keras.files import new_folder, versions

FILES = ("models.config", "batching_parameters.txt", "monitoring.config", "docker-compose.yml")
_BATCH_TIMEOUT = 2000  # microseconds: little beside a ResNet50 pass
_QUEUE = 64  # batches; a longer queue answers later than clients wait


def write_server_files(
    model: str | Path,
    out: str | Path,
    name: str | None = None,
    stable: int | None = None,
    canary: int | None = None,
    threads: int = 4,
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

    Returns:
        The folder.

    Raises:
        InputError: no version, a label for a version that is not there or not among the two newest,
            a name that no address can hold, or `out` exists.
    """
    model = Path(model)
    require_positive("threads", threads)
    there = versions(model)
    if not there:
        raise InputError(
            f"{model} holds no version. Make one with `export --run RUN --to {model}`."
        )
    labels = {
        "stable": there[-1] if stable is None else stable,
        **({} if canary is None else {"canary": canary}),
    }
    for label, version in labels.items():
        if version not in there[-2:]:
            raise InputError(
                f"The label `{label}` must name one of the two newest versions, which the server "
                f"keeps: {', '.join(map(str, there[-2:]))}. Received: {version}"
            )
    name = name or model.resolve().name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise InputError(
            "`name` must consist of letters, digits, '_', '.' and '-': addresses hold it. "
            f"Received: {name!r}"
        )
    with new_folder(out) as folder:
        texts = (
            _models(name, labels),
            _batching(threads),
            _MONITORING,
            _compose(model, Path(out), name),
        )
        for file, text in zip(FILES, texts, strict=True):
            (folder / file).write_text(text, encoding="utf-8")
    return Path(out)


def _models(name: str, labels: dict[str, int]) -> str:
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    server = model_server_config_pb2.ModelServerConfig()
    config = server.model_config_list.config.add(
        name=name, base_path=f"/models/{name}", model_platform="tensorflow"
    )
    config.model_version_policy.latest.num_versions = 2
    for label, version in labels.items():
        config.version_labels[label] = version
    return text_format.MessageToString(server)


def _batching(threads: int) -> str:
    # the last allowed size has to be the largest; the export's warm-up requests have all of them
    sizes = "".join(f"allowed_batch_sizes: {size}\n" for size in BATCH_SIZES)
    return (
        f"max_batch_size {{ value: {BATCH_SIZES[-1]} }}\n"
        f"batch_timeout_micros {{ value: {_BATCH_TIMEOUT} }}\n"
        f"max_enqueued_batches {{ value: {_QUEUE} }}\n"
        f"num_batch_threads {{ value: {threads} }}\n"
        # `rerank` of different numbers of products: otherwise the whole batch is refused
        "pad_variable_length_inputs: true\n"
    ) + sizes


_MONITORING = """prometheus_config {
  enable: true
  path: "/monitoring/prometheus/metrics"
}
"""


def _compose(model: Path, out: Path, name: str) -> str:
    base = os.path.relpath(model.resolve(), out.resolve())
    return f"""# docker compose up: gRPC on 8500, REST and /monitoring/prometheus/metrics on 8501
services:
  {name}:
    image: tensorflow/serving:${{TF_SERVING_VERSION:-latest}}
    ports:
      - "8500:8500"
      - "8501:8501"
    volumes:
      - "{base}:/models/{name}:ro"
      - .:/config:ro
    entrypoint: ["tensorflow_model_server"]
    command:
      - --port=8500
      - --rest_api_port=8501
      - --rest_api_timeout_in_ms=30000
      - --model_config_file=/config/models.config
      # labels and versions are read again without a restart
      - --model_config_file_poll_wait_seconds=60
      # a label may be set before its version is loaded, as at the start
      - --allow_version_labels_for_unavailable_models=true
      - --enable_batching=true
      - --batching_parameters_file=/config/batching_parameters.txt
      - --monitoring_config_file=/config/monitoring.config
    restart: unless-stopped
    stop_grace_period: 60s
"""
