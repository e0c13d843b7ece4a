import json
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

import ctl_keras as ctl
from ctl_keras.export.server_files import FILES, write_server_files
from ctl_keras.export.warmup import BATCH_SIZES

# tensorflow_serving/servables/tensorflow/session_bundle_config.proto and
# config/monitoring_config.proto, which the serving-api package does not hold: (field, number, type,
# repeated)
SCHEMAS = {
    "BatchingParameters": [
        ("max_batch_size", 1, "Int64Value", False),
        ("batch_timeout_micros", 2, "Int64Value", False),
        ("max_enqueued_batches", 3, "Int64Value", False),
        ("num_batch_threads", 4, "Int64Value", False),
        ("thread_pool_name", 5, "StringValue", False),
        ("allowed_batch_sizes", 6, "int64", True),
        ("pad_variable_length_inputs", 7, "bool", False),
    ],
    "PrometheusConfig": [("enable", 1, "bool", False), ("path", 2, "string", False)],
    "MonitoringConfig": [("prometheus_config", 1, "PrometheusConfig", False)],
}


def parsed(name, text):
    kinds = {"int64": 3, "bool": 8, "string": 9}
    file = descriptor_pb2.FileDescriptorProto(
        name="serving.proto", package="serving", syntax="proto3"
    )
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    for message, fields in SCHEMAS.items():
        made = file.message_type.add(name=message)
        for field, number, kind, repeated in fields:
            added = made.field.add(
                name=field, number=number, label=3 if repeated else 1, type=kinds.get(kind, 11)
            )
            if kind not in kinds:
                added.type_name = (
                    f".google.protobuf.{kind}" if kind.endswith("Value") else f".serving.{kind}"
                )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    message = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"serving.{name}"))
    return text_format.Parse(text, message())


@pytest.fixture
def model(tmp_path) -> Path:
    base = tmp_path / "saved_models" / "looks"
    for version in (2, 3, 10):
        (base / str(version)).mkdir(parents=True)
    return base


def models_config(folder):
    text = (folder / "models.config").read_text()
    (config,) = text_format.Parse(
        text, model_server_config_pb2.ModelServerConfig()
    ).model_config_list.config
    return config


def test_models_config(model, tmp_path):
    config = models_config(write_server_files(model, tmp_path / "server"))
    assert (config.name, config.base_path, config.model_platform) == (
        "looks",
        "/models/looks",
        "tensorflow",
    )
    assert config.model_version_policy.latest.num_versions == 2
    assert dict(config.version_labels) == {"stable": 10}
    config = models_config(
        write_server_files(model, tmp_path / "canary", name="street", stable=3, canary=10)
    )
    assert (config.name, dict(config.version_labels)) == ("street", {"stable": 3, "canary": 10})


def test_batching_and_monitoring(model, tmp_path):
    folder = write_server_files(model, tmp_path / "server", threads=2)
    batching = parsed("BatchingParameters", (folder / "batching_parameters.txt").read_text())
    assert batching.max_batch_size.value == batching.allowed_batch_sizes[-1] == 32
    assert tuple(batching.allowed_batch_sizes) == BATCH_SIZES
    assert batching.num_batch_threads.value == 2
    assert batching.pad_variable_length_inputs
    monitoring = parsed("MonitoringConfig", (folder / "monitoring.config").read_text())
    assert monitoring.prometheus_config.enable
    assert monitoring.prometheus_config.path == "/monitoring/prometheus/metrics"


def test_compose_mounts_what_was_written(model, tmp_path):
    folder = write_server_files(model, tmp_path / "server")
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    compose = (folder / "docker-compose.yml").read_text()
    assert '"../saved_models/looks:/models/looks:ro"' in compose
    assert (folder / "../saved_models/looks").resolve() == model.resolve()
    for file in FILES[:3]:
        assert f"=/config/{file}" in compose


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"stable": 2},
            r"`stable` must name one of the two newest versions, .*: 3, 10. Received: 2",
        ),
        ({"canary": 11}, r"`canary` must name one of the two newest versions"),
        ({"name": "my looks"}, r"`name` must consist of letters"),
        ({"threads": 0}, r"`threads` must be positive. Received: 0"),
    ],
)
def test_wrong_input(model, tmp_path, arguments, message):
    with pytest.raises(ctl.InputError, match=message):
        write_server_files(model, tmp_path / "server", **arguments)
    assert not (tmp_path / "server").exists()


def test_a_model_without_versions(tmp_path):
    with pytest.raises(
        ctl.InputError, match="holds no version. Make one with `export --run RUN --to"
    ):
        write_server_files(tmp_path, tmp_path / "server")


def test_from_the_command_line(model, tmp_path):
    command = [
        Path(sys.executable).with_name("ctl-keras"),
        "server-files",
        "--model",
        model,
        "--out",
        tmp_path / "server",
    ]
    said = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=True
    ).stdout
    assert said.split() == [str(tmp_path / "server" / file) for file in FILES]
    command[-1] = tmp_path / "again"
    said = subprocess.run(
        [*map(str, command), "--json"], capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(said) == [str(tmp_path / "again" / file) for file in FILES]
