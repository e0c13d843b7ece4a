"""What happens to a server while it runs; played on the development server and on the real one."""

import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tests.serving.payloads import BAD, PRODUCT, SCENE, arrays, pair_request, predict_request, row
from tests.serving.servers import Server

WARMUP = Path("assets.extra") / "tf_serving_warmup_requests"


def add_version(base: Path, version: int | str, change=lambda folder: None) -> None:
    """Publishes a copy of version 1 as an export is: complete, then renamed."""
    hidden = base / f".tmp-{version}"
    shutil.copytree(base / "1", hidden)
    change(hidden)
    hidden.rename(base / str(version))


def without_variables(folder: Path) -> None:
    shutil.rmtree(folder / "variables")


def with_warmup(*records: bytes):
    """Changes a version's warm-up requests."""

    def change(folder: Path) -> None:
        with tf.io.TFRecordWriter(str(folder / WARMUP)) as writer:
            for record in records:
                writer.write(record)

    return change


def warmup_record(signature: str, **inputs) -> bytes:
    log = prediction_log_pb2.PredictLog(request=predict_request(signature, **inputs))
    return prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString()


def hot_swap(server: Server, base: Path, category: str) -> None:
    """A new version takes over while requests run: none fails, and the old version goes."""
    stop, versions = threading.Event(), []

    def over_grpc():
        while not stop.is_set():
            versions.append(
                server.prediction.Predict(
                    pair_request(category), timeout=60
                ).model_spec.version.value
            )
            time.sleep(0.01)  # else the clients have the processors for themselves

    def over_rest():
        while not stop.is_set():
            httpx.post(
                server.rest + ":predict", json={"instances": [row(category)]}, timeout=60
            ).raise_for_status()
            time.sleep(0.01)

    with ThreadPoolExecutor(2) as clients:
        running = [clients.submit(over_grpc), clients.submit(over_rest)]
        try:
            server.wait_for(1, "AVAILABLE")
            add_version(base, 2)
            assert server.wait_for(2, "AVAILABLE") == "OK"
            assert server.wait_for(1, "END") == "OK"
            time.sleep(0.3)
        finally:
            stop.set()
        for client in running:
            client.result()
    assert versions[0] == 1
    assert versions[-1] == 2
    assert versions == sorted(versions)
    assert (
        httpx.post(
            server.rest + "/versions/1:predict", json={"instances": [row(category)]}, timeout=60
        ).status_code
        == 404
    )


def broken_versions(server: Server, base: Path, category: str) -> None:
    """Versions that cannot be loaded or warmed up end with an error, and the good one serves on."""
    changes = [
        without_variables,
        with_warmup(warmup_record("no_such_signature", product_bytes=[PRODUCT])),
        with_warmup(warmup_record("embed_product", product_bytes=[1.0])),
        with_warmup(b"this is no PredictionLog"),
        lambda folder: (folder / "saved_model.pb").write_bytes(b"garbage"),
        lambda folder: (folder / "saved_model.pb").unlink(),
    ]
    for version, change in enumerate(changes, start=2):
        add_version(base, version, change)
        assert server.wait_for(version, "END") != "OK", version
        assert (
            server.prediction.Predict(pair_request(category), timeout=60).model_spec.version.value
            == 1
        )
    assert server.states()[1] == ("AVAILABLE", "OK")
    add_version(base, 99)
    assert server.wait_for(99, "AVAILABLE") == "OK"


def rollback(server: Server, base: Path, category: str) -> None:
    """The newest version is taken away again: the one before comes back."""
    add_version(base, 2)
    server.wait_for(1, "END")
    shutil.rmtree(base / "2")
    assert server.wait_for(1, "AVAILABLE") == "OK"
    assert server.wait_for(2, "END") == "OK"
    assert (
        server.prediction.Predict(pair_request(category), timeout=60).model_spec.version.value == 1
    )


def other_names(server: Server, base: Path) -> None:
    """Folders that are no plain positive integers are not versions."""
    for name in ("latest", ".tmp-7", "7.bak", "-3"):
        (base / name).mkdir()
    time.sleep(2.5 * server.poll_seconds)
    assert server.states() == {1: ("AVAILABLE", "OK")}


def good_and_bad_together(server: Server, category: str) -> None:
    """Many clients at once, a third of them with a picture that cannot be decoded: each gets its
    own answer."""
    wanted = arrays(server.prediction.Predict(pair_request(category), timeout=60))[
        "hybrid_distance"
    ][0]

    def ask(number: int) -> None:
        scene = BAD[number % len(BAD)] if number % 3 == 0 else SCENE
        answer = arrays(server.prediction.Predict(pair_request(category, [scene]), timeout=60))
        assert answer["valid"].tolist() == [scene is SCENE]
        assert np.allclose(
            answer["hybrid_distance"], wanted if scene is SCENE else 4.0, rtol=0, atol=1e-5
        )

    with ThreadPoolExecutor(16) as clients:
        list(clients.map(ask, range(96)))
