"""TensorFlow Serving on our export; without one all is skipped (`servers.py`)."""

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
import tensorflow as tf

import ctl_keras as ctl
from ctl_keras.serving.server_files import write_server_files
from tests.serving import scenarios
from tests.serving.payloads import PRODUCT, SCENE, arrays, different, pair_request, row
from tests.serving.servers import NAME, start, start_with_files

pytestmark = pytest.mark.slow


@pytest.fixture
def running(base_path, tmp_path):
    server = start("real", base_path, tmp_path)
    yield server
    server.stop()


@pytest.fixture
def batching(base_path, tmp_path):
    """A server that is started with the files of `server-files`."""
    files = write_server_files(base_path, tmp_path / "files", threads=2)
    server = start_with_files(base_path, files, tmp_path)
    yield server
    server.stop()


def test_loads_warms_up_and_answers_as_here(running, base_path, category):
    request = pair_request(category, [SCENE, b"not a picture"])
    here = tf.saved_model.load(str(base_path / "1")).signatures["serving_default"]
    inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
    outputs = here(**{name: tf.constant(value) for name, value in inputs.items()})
    wanted = {name: value.numpy() for name, value in outputs.items()}
    answer = arrays(running.prediction.Predict(request, timeout=60))
    assert set(answer) == set(wanted)
    assert answer["valid"].tolist() == wanted["valid"].tolist() == [True, False]
    for name in set(wanted) - {"valid"}:
        assert answer[name] == pytest.approx(wanted[name], abs=1e-4)


def test_hot_swap(running, base_path, category):
    scenarios.hot_swap(running, base_path, category)


def test_broken_versions(running, base_path, category):
    scenarios.broken_versions(running, base_path, category)


def test_rollback_and_other_names(running, base_path, category):
    scenarios.other_names(running, base_path)
    scenarios.rollback(running, base_path, category)


def test_good_and_bad_together(running, category):
    scenarios.good_and_bad_together(running, category)


def test_good_and_bad_in_merged_batches(batching, category):
    scenarios.good_and_bad_together(batching, category)


def test_batching_refuses_larger_requests(batching, category):
    rows = {"instances": [row(category)] * 33}
    assert httpx.post(batching.rest + ":predict", json=rows, timeout=60).status_code == 400
    rows = {"instances": [row(category)] * 3}  # padded to 4, and cut again
    answer = httpx.post(batching.rest + ":predict", json=rows, timeout=60)
    assert len(answer.json()["predictions"]) == 3


def test_labels_and_figures(base_path, tmp_path, category):
    shutil.copytree(base_path / "1", base_path / "2")
    files = write_server_files(base_path, tmp_path / "files", stable=1, canary=2)
    server = start_with_files(base_path, files, tmp_path)
    for label, version in {"stable": 1, "canary": 2}.items():
        answer = server.prediction.Predict(pair_request(category, label=label), timeout=60)
        assert answer.model_spec.version.value == version
    figures = httpx.get(server.rest.partition("/v1/")[0] + "/monitoring/prometheus/metrics").text
    assert "tensorflow:serving:request_count" in figures
    server.stop()


@pytest.mark.parametrize("protocol", ["gRPC", "REST"])
def test_no_request_fails_under_load(batching, category, protocol):
    """32 threads; nothing is retried, so that nothing is covered up."""
    url = batching.rest.partition("/v1/")[0]
    url = f"grpc://{batching.grpc_address}" if protocol == "gRPC" else url
    scenes = different(320)
    with ctl.Client(url, NAME, retries=0, timeout=60) as client, ThreadPoolExecutor(32) as threads:
        wanted = client.score(SCENE, PRODUCT, category)["hybrid_distance"]
        answers = list(threads.map(lambda scene: client.score(scene, PRODUCT, category), scenes))
    for answer in answers:
        np.testing.assert_allclose(answer["hybrid_distance"], wanted, rtol=0, atol=1e-5)


def test_a_client_waits_for_a_server_without_free_threads(base_path, tmp_path, category):
    """TensorFlow Serving refuses a call for which it has no thread at once."""
    server = start("real", base_path, tmp_path, options=("--grpc_max_threads=4",))
    url, scenes = f"grpc://{server.grpc_address}", different(160)
    with ThreadPoolExecutor(32) as threads:
        with ctl.Client(url, NAME, retries=0) as client:
            calls = [threads.submit(client.score, scene, PRODUCT, category) for scene in scenes]
            refused = [call.exception() for call in calls if call.exception()]
        with ctl.Client(url, NAME) as client:
            answers = list(threads.map(lambda one: client.score(one, PRODUCT, category), scenes))
    assert refused
    assert all(error.is_busy and error.status == "RESOURCE_EXHAUSTED" for error in refused)
    assert all(answer["valid"].all() for answer in answers)
    server.stop()


def test_a_broken_version_does_not_hold_up_the_next(batching, base_path):
    scenarios.add_version(base_path, 2, scenarios.without_variables)
    time.sleep(2)
    scenarios.add_version(base_path, 3)
    batching.wait_for(3, "AVAILABLE")
    assert batching.states()[2][0] == "LOADING"  # with one thread it would have ended before


CONFIGURATIONS = {
    "batches of 1": "max_batch_size { value: 1 }",
    "batches of 8": "max_batch_size { value: 8 }",
    "batches of 32": "max_batch_size { value: 32 }",
    "no batching": "",
    "limits in the graph": "",
    "no warm-up": "max_batch_size { value: 8 }",
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_export_loads_however_the_server_batches(base_path, tmp_path, category, name):
    options, file = (), tmp_path / "batching.config"
    if CONFIGURATIONS[name]:
        file.write_text(CONFIGURATIONS[name])
        options = ("--enable_batching", f"--batching_parameters_file={file}")
    if name == "no warm-up":
        options = (*options, "--enable_model_warmup=false")
    if name == "limits in the graph":
        (base_path / "1" / "batching_params.pbtxt").write_text("max_batch_size { value: 4 }")
        options = ("--enable_batching", "--enable_per_model_batching_parameters")
    server = start("real", base_path, tmp_path, options=options)
    answer = server.prediction.Predict(pair_request(category), timeout=60)
    assert arrays(answer)["valid"].tolist() == [True]
    server.stop()


@pytest.mark.parametrize("most", [8, None])
def test_a_warmup_that_is_too_large(base_path, tmp_path, most):
    """What `server-files` refuses, the server does not load."""
    manifest = base_path / "1" / "manifest.json"
    record = scenarios.warmup_record("embed_product", product_bytes=[PRODUCT] * 9)
    scenarios.with_warmup(record)(base_path / "1")
    manifest.write_text(json.dumps({"warmup_batch_size": 9}))
    if most is None:
        files = write_server_files(base_path, tmp_path / "files")
        start_with_files(base_path, files, tmp_path).stop()
        return
    with pytest.raises(ctl.InputError, match="warm-up requests of 9 rows"):
        write_server_files(base_path, tmp_path / "files", max_batch_size=most)
    manifest.write_text(json.dumps({"warmup_batch_size": 1}))  # as if nobody had looked
    files = write_server_files(base_path, tmp_path / "files", max_batch_size=most)
    compose = files / "docker-compose.yml"
    compose.write_text(compose.read_text().replace("load_retries=2", "load_retries=0"))
    with pytest.raises(AssertionError, match="Task size 9 is larger than maximum input batch size"):
        start_with_files(base_path, files, tmp_path)
