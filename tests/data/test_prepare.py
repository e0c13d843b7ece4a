import json
import multiprocessing
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

import ctl_keras as ctl
from ctl_keras.data.preparing import image_shards
from ctl_keras.data.preparing import prepare as module
from ctl_keras.data.preparing.prepare import describe
from tests.counts import KILLS
from tests.warm import WarmProcess

SMALL = 20  # pictures a shard


def prepare(drawn, out, **options):
    return ctl.prepare(
        drawn / "fashion.json", drawn / "fashion-cat.json", drawn / "images", out, **options
    )


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(image_shards, "PICTURES", SMALL)


def test_the_same_files_whatever_the_number_of_workers(drawn, tmp_path, small_shards):
    prepare(drawn, tmp_path / "one")
    prepare(drawn, tmp_path / "two", workers=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert len(list((tmp_path / "one").glob("images-*"))) > 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_workers_are_counted(drawn, tmp_path):
    with pytest.raises(ctl.InputError, match="`workers` must be positive. Received: 0"):
        prepare(drawn, tmp_path / "out", workers=0)


def test_what_failed_goes_on(drawn, tmp_path, monkeypatch, small_shards):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "_write_pairs", full)
        with pytest.raises(OSError, match="No space left"):
            prepare(drawn, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    read = []
    try_picture = image_shards.try_picture
    monkeypatch.setattr(
        image_shards, "try_picture", lambda *given: read.append(given) or try_picture(*given)
    )
    prepare(drawn, tmp_path / "out")
    assert not read
    prepare(drawn, tmp_path / "again")
    assert read
    assert content(tmp_path / "out") == content(tmp_path / "again")


def test_a_picture_that_changed_is_read_again(drawn, tmp_path, monkeypatch, small_shards):
    copy = tmp_path / "copy"
    shutil.copytree(drawn, copy)

    def stop(*_):
        raise OSError(5, "stopped")

    with monkeypatch.context() as patch:
        patch.setattr(module, "_write_pairs", stop)
        with pytest.raises(OSError, match="stopped"):
            prepare(copy, tmp_path / "out")
    first = json.loads((copy / "fashion.json").read_text().splitlines()[0])
    (copy / "images" / f"{first['product']}.jpg").write_bytes(b"damaged")
    manifest = prepare(copy, tmp_path / "out")
    assert manifest["rejected_because"] == {
        "product: not a JPEG, PNG, GIF or BMP picture": manifest["rejected"]
    }


def test_wrong_input_leaves_nothing(drawn, tmp_path):
    (tmp_path / "fashion.json").write_text("no json\n")
    with pytest.raises(ctl.InputError, match=r"No usable pair in .*fashion.json: 1 x not JSON"):
        ctl.prepare(
            tmp_path / "fashion.json",
            drawn / "fashion-cat.json",
            drawn / "images",
            tmp_path / "out",
        )
    assert [path.name for path in tmp_path.iterdir()] == ["fashion.json"]


def testonly_one_at_a_time(drawn, tmp_path):
    from ctl_keras.files import resumed_folder

    with (
        resumed_folder(tmp_path / "out"),
        pytest.raises(
            ctl.InputError,
            match=r"Another process is writing .*out .*Wait for it, or name another place",
        ),
    ):
        prepare(drawn, tmp_path / "out")


def test_rows_are_counted(drawn, tmp_path):
    lines = (
        drawn / "fashion.json"
    ).read_text() + '{"scene": "gone", "product": "gone"}\nnot json\n\n'
    (tmp_path / "fashion.json").write_text(lines)
    manifest = ctl.prepare(
        tmp_path / "fashion.json", drawn / "fashion-cat.json", drawn / "images", tmp_path / "out"
    )
    assert (manifest["read"], manifest["pairs"], manifest["rejected"]) == (152, 150, 2)
    assert manifest["rejected_because"] == {"product not in the category file": 1, "not JSON": 1}
    assert "2 left out: 1 x product not in the category file, 1 x not JSON" in describe(manifest)


def test_leakage_is_measured(drawn, tmp_path):
    by_scene = prepare(drawn, tmp_path / "scene", fractions=(0.5, 0.25, 0.25))
    for split in ("validation", "test"):
        shares = by_scene["leakage"][split]
        assert shares["scene"] == shares["scene's file"] == 0
        train, part = (ctl.read_records(tmp_path / "scene", name) for name in ("train", split))
        known = set(train.images.ids[train.product])
        assert shares["product"] == pytest.approx(
            np.mean([id_ in known for id_ in part.images.ids[part.product]])
        )
        assert shares["product"] > 0
    apart = prepare(drawn, tmp_path / "both", fractions=(0.5, 0.25, 0.25), split_by="scene-product")
    assert all(share == 0 for shares in apart["leakage"].values() for share in shares.values())
    assert (
        apart["lost_in_split"]
        == 150 - sum(split["pairs"] for split in apart["splits"].values())
        > 0
    )
    assert f"{apart['lost_in_split']} left out so that no product is in two splits" in describe(
        apart
    )


def test_the_same_photo_under_two_names_is_leakage(drawn, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(drawn, copy)
    lines = [json.loads(line) for line in (copy / "fashion.json").read_text().splitlines()]
    for number, line in enumerate(list(lines)):
        if number % 5 == 0:
            shutil.copy(
                copy / "images" / f"{line['scene']}.jpg",
                copy / "images" / f"copy{line['scene']}.jpg",
            )
        lines.append({**line, "scene": f"copy{line['scene']}"})
    (copy / "fashion.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    shares = prepare(copy, tmp_path / "out", fractions=(0.5, 0.25, 0.25))["leakage"]["test"]
    assert shares["scene"] == 0
    assert shares["scene's file"] > 0.2


def prepare_in_small_shards(drawn, out, workers):
    multiprocessing.current_process()._config["daemon"] = False  # it may have children
    image_shards.PICTURES = SMALL
    prepare(drawn, out, workers=workers)


@pytest.mark.slow
def test_killed_at_any_point_it_goes_on_to_the_same(drawn, tmp_path, small_shards):
    prepare(drawn, tmp_path / "expected")
    random, expected = np.random.default_rng(0), content(tmp_path / "expected")
    killed, resumed = 0, 0
    shards = len(list((tmp_path / "expected").glob("images-*")))
    # spread over the shards, from before the first to after the last
    points = ((np.arange(KILLS) + random.random(KILLS)) / KILLS * (shards + 1)).astype(int)

    def killed_after(shards, left, *arguments):
        process = WarmProcess(prepare_in_small_shards, drawn, *arguments)
        wait_for(lambda: len(list(left.glob(".*.json"))) >= shards or process.poll() is not None)
        time.sleep(random.uniform(0, 0.02))
        process.kill()
        return process.wait() == -signal.SIGKILL

    for number, point in enumerate(points):
        out, workers = tmp_path / f"out{number}", 2 if number % 5 == 4 else 1
        left = tmp_path / f".tmp-out{number}"
        killed += killed_after(point, left, out, workers)
        resumed += left.exists() and any(left.glob(".*.json"))
        if not out.exists():
            assert WarmProcess(prepare_in_small_shards, drawn, out, workers).wait() == 0
        assert content(out) == expected
        assert not left.exists()
    assert killed >= KILLS * 0.6
    assert resumed


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_the_processes_of_a_killed_command_end(drawn, tmp_path):
    log = tmp_path / "log"
    process = WarmProcess(
        prepare_in_small_shards,
        drawn,
        tmp_path / "out",
        2,
        log=log,
        environment={"CTL_MARK": str(tmp_path)},
    )

    def others():
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if f"CTL_MARK={tmp_path}".encode() in path.read_bytes():
                    found.append(path.parent.name)
            except OSError:
                pass
        return found

    wait_for(lambda: len(others()) >= 2 or process.poll() is not None)
    assert process.poll() is None, log.read_text()
    process.kill()
    process.wait()
    wait_for(lambda: not others())


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)
