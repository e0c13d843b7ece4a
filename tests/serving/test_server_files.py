import json
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
from ctl_keras.serving.server_files import FILES, write_server_files
from tests.conftest import SHARED

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


FLAGS = ("enable_batching=true", "grpc_max_threads=256", "num_load_threads=2")
CONFIGURED = (
    "--model_config_file=/config/models.config",
    "--batching_parameters_file=/config/batching_parameters.txt",
    "--monitoring_config_file=/config/monitoring.config",
)


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
    assert batching.max_batch_size.value == 32
    assert list(batching.allowed_batch_sizes) == [1, 2, 4, 8, 16, 32]
    assert batching.num_batch_threads.value == 2
    assert batching.pad_variable_length_inputs
    monitoring = parsed("MonitoringConfig", (folder / "monitoring.config").read_text())
    assert monitoring.prometheus_config.enable
    assert monitoring.prometheus_config.path == "/monitoring/prometheus/metrics"


@pytest.mark.parametrize(
    ("asked", "warmup", "sizes"),
    [
        (None, 1, [1, 2, 4, 8, 16, 32]),  # as today
        (None, 48, [1, 2, 4, 8, 16, 32, 48]),
        (8, 1, [1, 2, 4, 8]),
        (1, 1, [1]),
        (6, 6, [1, 2, 4, 6]),
    ],
)
def test_batch_sizes_suit_the_warmup_of_the_export(model, tmp_path, asked, warmup, sizes):
    for version in ("3", "10"):
        manifest = {"warmup_batch_size": warmup if version == "3" else 1}
        (model / version / "manifest.json").write_text(json.dumps(manifest))
    folder = write_server_files(model, tmp_path / "server", max_batch_size=asked)
    batching = parsed("BatchingParameters", (folder / "batching_parameters.txt").read_text())
    assert list(batching.allowed_batch_sizes) == sizes
    assert batching.max_batch_size.value == sizes[-1]


@pytest.mark.parametrize(("warmup", "asked"), [(None, 16), (9, 8), (2, 1)])
def test_a_batch_size_that_the_server_could_not_load(model, tmp_path, warmup, asked):
    manifest = {} if warmup is None else {"warmup_batch_size": warmup}
    for version in ("3", "10"):
        (model / version / "manifest.json").write_text(json.dumps(manifest))
    message = rf"`max_batch_size` is {asked}, but .* requests of {warmup or 32} rows.* Take"
    with pytest.raises(ctl.InputError, match=message):
        write_server_files(model, tmp_path / "server", max_batch_size=asked)
    assert not (tmp_path / "server").exists()


def fits(value, schema, where="") -> None:
    """Every key stands in the schema: it allows unknown ones."""
    if isinstance(value, dict) and "properties" in schema:
        for key, inner in value.items():
            assert key in schema["properties"], f"{where}.{key}"
            fits(inner, schema["properties"][key], f"{where}.{key}")
    elif isinstance(value, list):
        for inner in value:
            fits(inner, schema["items"], f"{where}[]")


def test_kserve(model, tmp_path):
    yaml, jsonschema = pytest.importorskip("yaml"), pytest.importorskip("jsonschema")
    (model / "10" / "weights").write_bytes(bytes(2**20))
    folder = write_server_files(model, tmp_path / "server", name="My_Looks.2", threads=2)
    config, service = yaml.safe_load_all((folder / "kserve.yaml").read_text())
    schema_file = SHARED / "schemas" / "kserve_inferenceservice.v1beta1.json"
    if schema_file.is_file():
        schema = json.loads(schema_file.read_text())
        jsonschema.validate(service, schema)
        fits({"spec": service["spec"]}, schema)
    assert service["metadata"]["name"] == "my-looks-2"  # what Kubernetes takes for a name
    predictor = service["spec"]["predictor"]
    assert predictor["model"]["resources"]["requests"] == {"cpu": "2", "memory": "4Gi"}
    # what the arguments name is mounted
    mount, volume = predictor["model"]["volumeMounts"][0], predictor["volumes"][0]
    assert (mount["mountPath"], mount["name"]) == ("/config", volume["name"])
    assert volume["configMap"]["name"] == config["metadata"]["name"]
    assert config["data"].keys() == set(FILES[:3])
    for file in FILES[1:3]:
        assert config["data"][file] == (folder / file).read_text()
    arguments = [*(f"--{flag}" for flag in FLAGS), *CONFIGURED]
    assert set(arguments) <= set(predictor["model"]["args"])
    models = text_format.Parse(
        config["data"]["models.config"], model_server_config_pb2.ModelServerConfig()
    )
    (served,) = models.model_config_list.config
    assert (served.name, served.base_path) == ("My_Looks.2", "/mnt/models")
    assert dict(served.version_labels) == {"stable": 10}


def test_compose_mounts_what_was_written(model, tmp_path):
    folder = write_server_files(model, tmp_path / "server")
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    compose = (folder / "docker-compose.yml").read_text()
    assert '"../saved_models/looks:/models/looks:ro"' in compose
    assert (folder / "../saved_models/looks").resolve() == model.resolve()
    for argument in [*(f"--{flag}" for flag in FLAGS), *CONFIGURED]:
        assert f"      - {argument}\n" in compose


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


def test_from_the_command_line(model, tmp_path, here):
    def asked(out, *more):
        return here("server-files", "--model", model, "--out", tmp_path / out, *more).out

    assert asked("server").split() == [str(tmp_path / "server" / file) for file in FILES]
    assert json.loads(asked("again", "--json")) == [
        str(tmp_path / "again" / file) for file in FILES
    ]
