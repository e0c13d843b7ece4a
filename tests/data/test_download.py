import asyncio
import io
import json
import signal
import socket
import sys
import threading
import time
from email.utils import formatdate
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from ctl_keras.data.importers import download as module
from ctl_keras.data.importers import fetching
from ctl_keras.data.importers.download import PINTEREST, describe, download
from ctl_keras.errors import InputError
from tests.data.downloading import fetch
from tests.data.picture_server import Answer, PictureServer
from tests.warm import WarmProcess


def encoded(kind, side=24):
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


JPEG, PNG, WEBP, GIF = (encoded(kind) for kind in ("JPEG", "PNG", "WEBP", "GIF"))
GOOD = Answer(JPEG)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(fetching, "BACKOFF_SECONDS", 0.01)


def get(server, ids, out, **settings):
    return download(ids, out, server.url + "/{id}.jpg", **{"rate": 2000, **settings})


def missing(out):
    return [json.loads(line) for line in (out / "missing.jsonl").read_text().splitlines()]


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def to(path):
    return Answer(status=302, headers={"Location": path})


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_a_picture_is_named_by_its_content(tmp_path):
    pictures = {"abcdefg": JPEG, "ünïcøde 100%": PNG, "webpwebp": WEBP, "gifgif": GIF}
    with PictureServer({id_: [Answer(body)] for id_, body in pictures.items()}) as server:
        counts = download(
            [*pictures, "abcdefg", "abcdefg"],
            tmp_path / "a" / "b",
            server.url + "/400x/{aa}/{bb}/{cc}/{id}.jpg",
        )
    assert files(tmp_path / "a" / "b") == {
        "abcdefg.jpg": JPEG,
        "ünïcøde 100%.png": PNG,
        "webpwebp.webp": WEBP,
        "gifgif.jpg": GIF,
        "missing.jsonl": b"",
    }
    size = len(JPEG + PNG + WEBP + GIF)
    assert counts == {
        "wanted": 4,
        "there": 0,
        "fetched": 4,
        "bytes": size,
        "missing": 0,
        "missing_because": {},
    }
    assert sorted(request.path for request in server.log)[1:3] == [
        "/400x/ab/cd/ef/abcdefg.jpg",
        "/400x/gi/fg/if/gifgif.jpg",
    ]
    assert {request.agent.split("/")[0] for request in server.log} == {"ctl-keras"}
    assert len(describe(counts, tmp_path).splitlines()) == 2


FINAL = {
    "404": (Answer(status=404), "HTTP 404"),
    "410": (Answer(status=410), "HTTP 410"),
    "403": (Answer(status=403), "HTTP 403"),
    "401": (Answer(status=401), "HTTP 401"),
    "304": (Answer(status=304), "HTTP 304"),
    "html": (Answer(b"<html>sorry</html>"), "not a JPEG, PNG, GIF or BMP picture"),
    "small": (Answer(encoded("PNG", 4)), "a side below 8 pixels"),
    "huge": (Answer(JPEG + bytes(200_001)), "more than 0.2 MB"),
    "elsewhere": (to("ftp://127.0.0.1/a.jpg"), "cannot be asked for (UnsupportedProtocol)"),
    "no port": (to("http://127.0.0.1:99999/a.jpg"), "cannot be asked for (ExceptionGroup)"),
    "no address": (to("javascript:1"), "cannot be asked for (InvalidURL)"),
}
TRANSIENT = {
    "500": (Answer(JPEG, status=500), "HTTP 500"),
    "503": (Answer(status=503), "HTTP 503"),
    "408": (Answer(status=408), "HTTP 408"),
    "429": (Answer(status=429, headers={"Retry-After": "soon"}), "HTTP 429"),
    "empty": (Answer(b""), "empty file"),
    "dropped": (Answer(silent=True), "connection cut"),
    "short": (Answer(JPEG, sent=len(JPEG) // 2), "connection cut"),
    "cut": (Answer(JPEG[: len(JPEG) // 2]), "cut off or damaged"),
    "cut WebP": (Answer(WEBP[: len(WEBP) // 2]), "cut off or damaged"),
    "slow": (Answer(JPEG, delay=0.5), "timed out"),
    "dripping": (Answer(JPEG, pieces=100), "timed out"),
}


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(fetching, "READ_SECONDS", 0.2)
    monkeypatch.setattr(fetching, "ANSWER_SECONDS", 0.4)
    monkeypatch.setattr(fetching, "MAX_BYTES", 200_000)


@pytest.mark.parametrize(
    ("answers", "times", "after"), [(FINAL, 1, ""), (TRANSIENT, 5, " after 5 attempts")]
)
def test_why_there_is_none(tmp_path, impatient, answers, times, after):
    with PictureServer(
        {"good": [GOOD], **{id_: [answer] for id_, (answer, _) in answers.items()}}
    ) as server:
        counts = get(server, [*answers, "good"], tmp_path, concurrency=16)
        asked = server.asked()
    reasons = {id_: reason + after for id_, (_, reason) in answers.items()}
    assert missing(tmp_path) == [{"id": id_, "reason": reasons[id_]} for id_ in sorted(reasons)]
    assert asked == {"good": 1, **dict.fromkeys(answers, times)}
    assert set(files(tmp_path)) == {"good.jpg", "missing.jsonl"}
    assert (counts["fetched"], counts["missing"]) == (1, len(answers))
    assert counts["missing_because"] == {
        reason: list(reasons.values()).count(reason) for reason in reasons.values()
    }
    assert f"{len(answers)} missing" in describe(counts, tmp_path)


def test_what_fails_at_first_is_tried_again(tmp_path, impatient):
    with PictureServer(
        {id_: [answer] * 4 + [GOOD] for id_, (answer, _) in TRANSIENT.items()}
    ) as server:
        get(server, TRANSIENT, tmp_path, concurrency=16)
        assert server.asked() == dict.fromkeys(TRANSIENT, 5)
    assert files(tmp_path) == {**{f"{id_}.jpg": JPEG for id_ in TRANSIENT}, "missing.jsonl": b""}


def test_each_attempt_waits_longer(tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "BACKOFF_SECONDS", 0.05)
    with PictureServer({"good": [GOOD], "down": [Answer(status=500)]}) as server:
        get(server, ["good", "down"], tmp_path)
        gaps = np.diff(server.times("down"))
    for gap, wait in zip(gaps, (0.05, 0.1, 0.2, 0.4), strict=True):
        assert 0.5 * wait <= gap <= 1.5 * wait + 0.5


def test_five_redirects_are_followed(tmp_path):
    hops = {f"hop{number}": [to(f"/hop{number + 1}.jpg")] for number in range(7)}
    with PictureServer(
        {
            "five": [to("/hop3.jpg")],
            "six": [to("/hop2.jpg")],
            **hops,
            "hop7": [GOOD],
            "loop": [to("/loop.jpg")],
        }
    ) as s:
        get(s, ["five", "six", "loop"], tmp_path)
        assert s.asked()["loop"] == 6
    assert set(files(tmp_path)) == {"five.jpg", "missing.jsonl"}
    assert missing(tmp_path) == [
        {"id": id_, "reason": "more than 5 redirects"} for id_ in ("loop", "six")
    ]


def test_no_more_at_once_than_asked_for_and_over_kept_connections(tmp_path):
    ids = [f"id{number}" for number in range(40)]
    answers = {id_: [Answer(JPEG, delay=0.01)] for id_ in ids} | {
        ids[3]: [Answer(b"no", 404)],
        ids[7]: [to("/id8.jpg")],
    }
    with PictureServer(answers) as server:
        get(server, ids, tmp_path, concurrency=3)
        assert server.greatest == 3
        assert server.connections == 3


def test_no_more_a_second_than_asked_for(tmp_path):
    rate, ids = 100, [f"id{number}" for number in range(40)]
    answers = {
        id_: [Answer(status=500), to("/target.jpg")] if number % 2 else [GOOD]
        for number, id_ in enumerate(ids)
    }
    with PictureServer({**answers, "target": [GOOD]}) as server:
        get(server, ids, tmp_path, rate=rate, concurrency=16)
        began = np.array([request.began for request in server.log])
    assert len(began) == 20 + 20 * 3
    for count in (10, 20, 40):
        assert (began[count:] - began[:-count]).min() > count / rate - 0.04
    assert began[-1] - began[0] < 4 * len(began) / rate  # nor much fewer


@pytest.mark.parametrize(("status", "is_date"), [(429, False), (503, True)])
def test_all_pause_when_the_server_asks_for_it(tmp_path, status, is_date):
    ids = [f"id{number}" for number in range(60)]
    # dates have whole seconds
    header = formatdate(time.time() + 3, usegmt=True) if is_date else "1"
    answers = {id_: [Answer(JPEG, delay=0.02)] for id_ in ids}
    answers["id20"] = [Answer(status=status, headers={"Retry-After": header}), GOOD]
    with PictureServer(answers) as server:
        get(server, ids, tmp_path, rate=200, concurrency=4)
        refused, again = server.times("id20")
        others = [request.began - refused for request in server.log]
    assert again - refused > (0.8 if is_date else 1)
    assert not [seconds for seconds in others if 0.1 < seconds < again - refused - 0.1]
    assert len([seconds for seconds in others if seconds > again - refused - 0.1]) >= 30
    assert len(files(tmp_path)) == len(ids) + 1


def test_a_pause_has_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "LONGEST_PAUSE_SECONDS", 0.3)
    with PictureServer(
        {"busy": [Answer(status=429, headers={"Retry-After": "9999999999"}), GOOD]}
    ) as server:
        get(server, ["busy"], tmp_path)
        assert 0.3 <= np.diff(server.times("busy")) < 10


def test_a_host_that_goes_away(tmp_path):
    ids = [f"id{number:02d}" for number in range(40)]
    server = PictureServer({id_: [GOOD] for id_ in ids})
    server.answers["id09"] = [Answer(JPEG, headers={"Connection": "close"}, before=server.stop)]
    began = time.monotonic()
    with pytest.raises(
        InputError, match="cannot be reached .* 10 pictures were fetched.* it goes on"
    ):
        get(server, ids, tmp_path, concurrency=1)
    assert time.monotonic() - began < 10
    with PictureServer({id_: [GOOD] for id_ in ids}, server.port) as server:
        counts = get(server, ids, tmp_path, concurrency=1)
        assert server.asked() == dict.fromkeys(ids[10:], 1)
    assert (counts["there"], counts["fetched"], counts["missing"]) == (10, 30, 0)


def test_a_host_that_is_there_now_and_then_is_asked_on(tmp_path):
    dead = to(f"http://127.0.0.1:{closed_port()}/a.jpg")
    ids = ["dead0", "dead1", "dead2", "good0", "dead3", "dead4", "dead5", "good1"]
    with PictureServer({id_: [dead if id_[:4] == "dead" else GOOD] for id_ in ids}) as server:
        counts = get(server, ids, tmp_path, concurrency=1)
    assert (counts["fetched"], counts["missing_because"]) == (
        2,
        {"no connection after 5 attempts": 6},
    )


def test_what_is_there_is_not_asked_for(tmp_path):
    there = ["a.jpg", "b.jpeg", "c.png", "d.webp", "e.JPG", "f.txt.jpg", "....png"]
    for name in there:
        (tmp_path / name).write_bytes(b"mine")
    for name in (".tmp-other.jpg", ".tmp-other.jsonl", "notes.txt"):
        (tmp_path / name).write_bytes(b"half")
    ids = ["a", "b", "c", "d", "e", "f.txt", "...", "new", "gone", "notes"]
    with PictureServer({"new": [GOOD], "notes": [GOOD]}) as server:
        counts = get(server, iter(ids), tmp_path)
        assert server.asked() == {"new": 1, "gone": 1, "notes": 1}
        assert (counts["wanted"], counts["there"], counts["fetched"], counts["missing"]) == (
            10,
            7,
            2,
            1,
        )
        assert set(files(tmp_path)) == {
            *there,
            "new.jpg",
            "notes.jpg",
            "notes.txt",
            "missing.jsonl",
        }
        assert files(tmp_path)["a.jpg"] == b"mine"
        # what was missing is asked for again, and only that
        server.answers["gone"] = [GOOD]
        get(server, ids, tmp_path)
        assert server.asked() == {"new": 1, "gone": 2, "notes": 1}
        assert missing(tmp_path) == []


def test_a_killed_run_goes_on(tmp_path):
    ids, out = ["hold", "good", "gone"], tmp_path / "out"
    with PictureServer({"good": [GOOD], "hold": [Answer(JPEG, delay=60), GOOD]}) as server:
        process = WarmProcess(fetch, ids, out, server.url + "/{id}.jpg", 2)
        wait_for(lambda: (out / "good.jpg").exists() and server.asked()["hold"] == 1)
        process.kill()
        process.wait()
        counts = get(server, ids, out)
        assert server.asked()["good"] == 1
    assert (counts["there"], counts["fetched"]) == (1, 1)
    assert missing(out) == [{"id": "gone", "reason": "HTTP 404"}]
    assert set(files(out)) == {"good.jpg", "hold.jpg", "missing.jsonl"}


@pytest.fixture
def ctrl_c_as_usual():
    """xdist's workers ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c(tmp_path, ctrl_c_as_usual):
    ids = [f"id{number:02d}" for number in range(60)]
    answers = {id_: [Answer(JPEG, delay=0.01)] for id_ in ids} | {"id05": [Answer(status=404)]}
    main, threads = threading.main_thread().ident, threading.active_count()
    answers["id20"] = [
        Answer(JPEG, delay=0.2, before=lambda: signal.pthread_kill(main, signal.SIGINT)),
        GOOD,
    ]
    with PictureServer(answers) as server:
        with pytest.raises(KeyboardInterrupt):
            get(server, ids, tmp_path, concurrency=4)
        count = len(server.log)
        time.sleep(0.3)
        assert len(server.log) == count < 30
        found = files(tmp_path)
        assert len(found) >= 10
        assert set(found.values()) == {JPEG}
        get(server, ids, tmp_path)
        assert len(files(tmp_path)) == len(ids)
    wait_for(lambda: threading.active_count() <= threads + 1)  # the server's own may linger


def test_in_a_notebook_an_event_loop_runs_already(tmp_path):
    async def cell():
        return get(server, ["good"], tmp_path)

    with PictureServer({"good": [GOOD]}) as server:
        assert asyncio.run(cell())["fetched"] == 1


def test_a_full_disk_is_no_missing_picture(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetching, "new_file", full)
    with PictureServer({"good": [GOOD]}) as server:
        with pytest.raises(OSError, match="No space left"):
            get(server, ["good", *map(str, range(100))], tmp_path, rate=200)
        assert len(server.log) < 50
    assert not (tmp_path / "missing.jsonl").exists()


def test_nothing_at_all(tmp_path):
    with PictureServer({}) as server:
        with pytest.raises(
            InputError,
            match=r"None of 3 pictures.*2 x HTTP 404, 1 x id cannot be.*template.*/\{id\}.jpg",
        ):
            get(server, ["a", "..", "b"], tmp_path)
        assert len(missing(tmp_path)) == 3
        assert set(files(tmp_path)) == {"missing.jsonl"}
        with pytest.raises(InputError, match="cannot be asked for"):
            download(["a", "b"], tmp_path, server.url + "/{id}\n")
        assert get(server, [], tmp_path)["wanted"] == 0
        assert missing(tmp_path) == []


def test_ids_that_no_file_can_have(tmp_path):
    names = ["", ".", "..", "a/../../b", "a\\b", "a\0b", ".tmp-abc", "\ud800abcdef", "é" * 101]
    longest = "é" * 100
    with PictureServer({longest: [GOOD]}) as server:
        template = server.url + "/{bb}/{id}.jpg"
        download([*names, "abc", longest], tmp_path / "out", template)
        assert server.asked() == {longest: 1}
    assert {row["id"]: row["reason"] for row in missing(tmp_path / "out")} == {
        **dict.fromkeys(names, "id cannot be a file name"),
        "abc": "id too short for the template",
    }
    assert set(files(tmp_path / "out")) == {longest + ".jpg", "missing.jsonl"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@given(st.text())
@example("...")
@example("a:b?c#d&e%2f")
@example("{id}")
def test_any_id_is_refused_or_has_an_address_and_a_file(tmp_path_factory, id_):
    if module._id_problem(id_, 6) is not None:
        return
    address = urlsplit(module._address(PINTEREST, id_))
    assert (address.netloc, address.query, address.fragment) == ("i.pinimg.com", "", "")
    assert [unquote(part) for part in address.path.split("/")] == [
        "",
        "400x",
        id_[:2],
        id_[2:4],
        id_[4:6],
        f"{id_}.jpg",
    ]
    folder = tmp_path_factory.getbasetemp() / "any-id"
    folder.mkdir(exist_ok=True)
    (folder / f"{id_}.jpg").touch()
    assert module._clean(folder) == {id_}
    (folder / f"{id_}.jpg").unlink()


@pytest.mark.parametrize(
    "template",
    [
        "http://a/{aa}.jpg",
        "http://a/b.jpg",
        "http://a/{id}/{dd}",
        "http://a/{id}/{}",
        "http://a/{id.real}",
        "http://a/{id",
        "http://a/}{id}",
        "ftp://a/{id}",
        "file:///{id}",
        "a/{id}",
        "http://a:port/{id}",
        "http://a:99999/{id}",
    ],
)
def test_wrong_templates(tmp_path, template):
    with pytest.raises(InputError) as error:
        download(["abcdef"], tmp_path / "out", template)
    assert str(error.value).endswith(f"Received: {template}")
    assert "{cc}" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_wrong_arguments(tmp_path, monkeypatch):
    for rate in (0, -1, float("nan")):
        with pytest.raises(InputError, match="`rate`.*Received"):
            download(["a"], tmp_path, rate=rate)
    with pytest.raises(InputError, match="`concurrency`.*Received: 0"):
        download(["a"], tmp_path, concurrency=0)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        download(["a"], tmp_path / "file")
    monkeypatch.delitem(sys.modules, "ctl_keras.data.importers.fetching")
    monkeypatch.setitem(sys.modules, "stamina", None)
    message = r"stamina is not installed.*pip install ctl-keras\[download\]"
    with pytest.raises(InputError, match=message):
        download(["a"], tmp_path)


def test_only_one_at_a_time(tmp_path):
    with PictureServer({}) as server:

        def second():
            with pytest.raises(InputError, match="Another process"):
                get(server, ["b"], tmp_path)
            refused.append(True)

        refused: list[bool] = []
        server.answers["a"] = [Answer(JPEG, before=second)]
        get(server, ["a"], tmp_path)
        assert refused == [True]


def test_the_command(here, tmp_path):
    lines = [{"scene": "s1", "product": "p1"}, {"scene": "s1", "product": "p2"}]
    (tmp_path / "pairs.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with PictureServer({"s1": [GOOD], "p1": [GOOD]}) as server:
        options = (
            "--annotations",
            tmp_path / "pairs.json",
            "--out",
            tmp_path / "out",
            "--template",
            server.url + "/{id}.jpg",
        )
        assert "1 x HTTP 404" in here("download", *options).out
        assert json.loads(here("download", *options, "--json").out)["there"] == 2
        assert server.asked() == {"s1": 1, "p1": 1, "p2": 2}
