import dataclasses
import json
import socket

import numpy as np
import pytest

import ctl_keras as ctl
from ctl_keras.compat import IS_KERAS_3
from ctl_keras.config import Config
from ctl_keras.settings import from_dict, to_dict
from ctl_keras.training.callbacks import read_history
from ctl_keras.training.strategies import is_chief, make_strategy
from tests.training import replicas
from tests.warm import WarmProcess

IN_BATCH = {"in_batch": True, "gather": True, "memory": 16, "miner": "semi_hard"}


def without_dropout(config, cache, **training):
    """Replicas draw masks of their own, so only without dropout can two equal one."""
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, dropout=0.0),
        data=dataclasses.replace(config.data, feature_cache=str(cache)),
        training=dataclasses.replace(config.training, **training),
    )


@pytest.mark.slow
@pytest.mark.parametrize("training", [{}, IN_BATCH], ids=["triplets", "in_batch"])
def test_two_replicas_equal_one(records, config, tmp_path, training):
    changed = without_dropout(config, tmp_path / "features", **training)
    out = tmp_path / "losses.json"
    assert WarmProcess(replicas.compare, records, to_dict(changed), out).wait() == 0
    losses = json.loads(out.read_text())
    assert len(losses["none"]) == replicas.STEPS
    np.testing.assert_allclose(losses["mirrored"], losses["none"], rtol=0, atol=1e-4)


@pytest.mark.slow
# one way on each stack: two processes take long to start
@pytest.mark.parametrize("first", ["chief" if IS_KERAS_3 else "worker"])
def test_two_workers_write_one_run(records, config, tmp_path, first):
    """With a chief, as Kubeflow and Vertex AI name the first of them, or without. Nor do they get
    into each other's way where both cache the features in one folder."""
    straight, settings = (
        to_dict(dataclasses.replace(changed, training=config_of(changed, steps=4)))
        for changed in (
            without_dropout(config, tmp_path / name, **IN_BATCH)
            for name in ("straight-features", "features")
        )
    )
    assert WarmProcess(train, records, tmp_path / "straight", straight, "none").wait() == 0
    ports = [free_port() for _ in range(2)]
    out = tmp_path / "run"
    workers = []
    hosts = [f"localhost:{port}" for port in ports]
    cluster = {"worker": hosts} if first == "worker" else {"chief": hosts[:1], "worker": hosts[1:]}
    for task, index in [(first, 0), ("worker", len(cluster["worker"]) - 1)]:
        cluster_and_task = {"cluster": cluster, "task": {"type": task, "index": index}}
        environment = {"TF_CONFIG": json.dumps(cluster_and_task)}
        workers.append(
            WarmProcess(
                train,
                records,
                out,
                settings,
                "multi-worker",
                log=tmp_path / "log",
                environment=environment,
            )
        )
    assert [worker.wait(600) for worker in workers] == [0, 0], (tmp_path / "log").read_text()
    rows, expected = (
        read_history(out / "history.csv"),
        read_history(tmp_path / "straight" / "history.csv"),
    )
    assert [row["epoch"] for row in rows] == [0]
    for one, other in zip(rows, expected, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-4)
    model, record = ctl.load_run(out)
    assert record["strategy"] == "multi-worker"
    for one, other in zip(
        model.get_weights(), ctl.load_run(tmp_path / "straight")[0].get_weights(), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-3)
    caches = [
        sorted(path.name for path in (tmp_path / name).rglob("*"))
        for name in ("straight-features", "features")
    ]
    assert caches[0] == caches[1]


def train(records, out, settings, strategy):
    """One worker's part, or the whole."""
    ctl.train(records, out, from_dict(Config, settings), strategy=strategy)


def config_of(config, steps):
    """One epoch without the smaller last batch, which two workers leave out."""
    return dataclasses.replace(config.training, epochs=1, steps_per_epoch=steps)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def test_names(monkeypatch):
    assert is_chief(make_strategy("none"))
    assert make_strategy("mirrored").num_replicas_in_sync == 1
    with pytest.raises(
        ctl.InputError,
        match="`strategy` must be one of none, mirrored, multi-worker. Received: 'two'",
    ):
        make_strategy("two")
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(
        ctl.InputError, match="needs the environment variable TF_CONFIG in each process, such as"
    ):
        make_strategy("multi-worker")
    for role in ("worker", "chief"):
        alone = {"cluster": {role: ["localhost:1"]}, "task": {"type": role, "index": 0}}
        monkeypatch.setenv("TF_CONFIG", json.dumps(alone))
        strategy = make_strategy("multi-worker")
        assert (strategy.num_replicas_in_sync, is_chief(strategy)) == (1, True)
