"""A real TensorFlow Serving on our export. `CTL_TF_SERVING` names a `tensorflow_model_server`;
without one all is skipped.

`test_protocol.py` sends its requests to the real server, too.
"""

import shutil

import httpx
import pytest

from tests.serving import scenarios
from tests.serving.payloads import SCENE, arrays, pair_request, predict_request, row
from tests.serving.servers import BINARY, start

pytestmark = [
    pytest.mark.skipif(not BINARY, reason="CTL_TF_SERVING names no server"),
    pytest.mark.slow,
]
ALLOWED = (1, 2, 4, 8)


@pytest.fixture
def running(base_path, tmp_path):
    server = start("real", base_path, tmp_path)
    yield server
    server.stop()


@pytest.fixture
def batching(base_path, tmp_path):
    parameters = tmp_path / "batching.txt"
    parameters.write_text(
        f"max_batch_size {{ value: {ALLOWED[-1]} }} batch_timeout_micros {{ value: 50000 }} "
        "num_batch_threads { value: 2 } max_enqueued_batches { value: 1000 } "
        f"{' '.join(f'allowed_batch_sizes: {size}' for size in ALLOWED)}"
    )
    server = start(
        "real",
        base_path,
        tmp_path,
        options=("--enable_batching", f"--batching_parameters_file={parameters}"),
    )
    yield server
    server.stop()


def test_loads_warms_up_and_answers_as_here(running, base_path, category):
    from ctl_keras.serving.loaded_version import LoadedVersion, arrays_of

    request = pair_request(category, [SCENE, b"not a picture"])
    here = LoadedVersion(base_path / "1")
    wanted = here.predict("", lambda _: arrays_of(request.inputs))
    here.close()
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
    rows = {"instances": [row(category)] * (ALLOWED[-1] + 1)}
    assert httpx.post(batching.rest + ":predict", json=rows, timeout=60).status_code == 400
    rows = {"instances": [row(category)] * 3}  # padded to 4, and cut again
    assert (
        len(httpx.post(batching.rest + ":predict", json=rows, timeout=60).json()["predictions"])
        == 3
    )


def test_labels(base_path, tmp_path, category):
    shutil.copytree(base_path / "1", base_path / "2")
    server = start("real", base_path, tmp_path, labels={"stable": 1, "canary": 2})
    for label, version in {"stable": 1, "canary": 2}.items():
        assert (
            server.prediction.Predict(
                pair_request(category, label=label), timeout=60
            ).model_spec.version.value
            == version
        )
    assert server.prediction.Predict(
        predict_request("embed_product", product_bytes=[SCENE]), timeout=60
    )
    server.stop()
