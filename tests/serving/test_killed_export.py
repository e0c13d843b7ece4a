"""An export that is killed at any point, in a folder that a server watches: no version is ever half
there, and the server goes on with the last good one."""

import signal
import threading
import time

import numpy as np
import pytest

import ctl_keras as ctl
from ctl_keras.files import versions
from tests.counts import KILLS
from tests.serving.payloads import arrays, pair_request
from tests.serving.servers import has_a_real_one, start
from tests.warm import WarmProcess

pytestmark = pytest.mark.slow


def export_again(run, base):
    model, _ = ctl.load_run(run)
    while True:
        ctl.export(model, base)


@pytest.fixture
def watching(base_path, tmp_path):
    server = start("real" if has_a_real_one() else "development", base_path, tmp_path)
    yield server
    server.stop()


def test_what_a_killed_export_leaves(run, base_path, watching, category):
    def ask():
        answer = watching.prediction.Predict(pair_request(category), timeout=60)
        return answer.model_spec.version.value, arrays(answer)["hybrid_distance"].item()

    def keep_asking():
        try:
            while not stop.is_set():
                answers.append(ask())
                time.sleep(0.02)
        except Exception as error:  # pytest would only warn of it
            failures.append(error)

    stop, answers, failures = threading.Event(), [ask()], []
    asking = threading.Thread(target=keep_asking)
    asking.start()
    random = np.random.default_rng(0)
    for _ in range(KILLS):
        left = set(base_path.glob(".tmp-*"))
        process = WarmProcess(export_again, run, base_path)
        deadline = time.monotonic() + 120
        while set(base_path.glob(".tmp-*")) == left:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(random.uniform(0, 5))
        process.kill()
        assert process.wait() == -signal.SIGKILL
    watching.wait_for(max(versions(base_path)), "AVAILABLE")
    stop.set()
    asking.join(60)
    assert not failures
    served, distances = zip(*answers, strict=True)
    assert list(served) == sorted(served)
    assert distances == pytest.approx([distances[0]] * len(distances), abs=1e-6)
    assert {code for _, code in watching.states().values()} == {"OK"}
    # every other name is one that TensorFlow Serving ignores
    others = {path.name for path in base_path.iterdir()} - set(map(str, versions(base_path)))
    assert others, "no export was killed half-way"
    assert all(name.startswith(".tmp-") for name in others)
