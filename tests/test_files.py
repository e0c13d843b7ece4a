import contextlib
import errno
import fcntl
import os
import subprocess
import sys

import pytest

from ctl_keras.errors import InputError
from ctl_keras.files import new_file, new_folder, read_json, resumed_folder, sha256, write_json
from ctl_keras.locks import locked

HOLD = """
import fcntl, os, sys
from pathlib import Path
from ctl_keras.files import locked, new_folder, resumed_folder

def none(*_):
    raise OSError(int(sys.argv[3]), os.strerror(int(sys.argv[3])))

if int(sys.argv[3]):
    fcntl.flock = none
with globals()[sys.argv[1]](Path(sys.argv[2])):
    print("locked", flush=True)
    sys.stdin.readline()
"""
WRITERS = {"locked": locked, "new_folder": new_folder, "resumed_folder": resumed_folder}


@contextlib.contextmanager
def another_process(writer, path, error=0):
    """A process that writes `path`, on a file system whose locks fail with `error`, and is killed
    at the end."""
    command = [sys.executable, "-c", HOLD, writer, str(path), str(error)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline() == "locked\n"
        yield process.pid
        process.kill()


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with new_folder(tmp_path / "a" / "out") as folder:
        (folder / "file").write_text("x")
        assert not (tmp_path / "a" / "out").exists()
    assert (tmp_path / "a" / "out" / "file").read_text() == "x"

    def fail():
        with new_folder(tmp_path / "a" / "other") as folder:
            (folder / "file").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["out"]
    with pytest.raises(InputError, match="already exists"), new_folder(tmp_path / "a" / "out"):
        pass


def test_json(tmp_path):
    write_json(tmp_path / "deep" / "a.json", {"b": [1]})
    assert read_json(tmp_path / "deep" / "a.json", "The file") == {"b": [1]}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.json"]


def test_a_file_that_two_write_at_once(tmp_path):
    path = tmp_path / "a"
    with new_file(path) as one, new_file(path) as other:
        one.write_text("the same")
        other.write_text("the same")
        assert not path.exists()
    assert path.read_text() == "the same"
    assert list(tmp_path.iterdir()) == [path]


def test_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a").startswith("ba7816bf8f01cfea414140de5dae2223")


@pytest.mark.parametrize("writer", WRITERS)
def test_one_process_at_a_time_writes_a_folder(writer, tmp_path):
    write, path = WRITERS[writer], tmp_path / "out"
    (tmp_path / "here").symlink_to(tmp_path)
    if writer == "locked":
        path.mkdir()
    with another_process(writer, path) as process:
        who = (
            rf"Another process is writing .*/out \(process {process} on .*, since .*: -c .*\)\. "
            r"Wait for it, or name another place\.$"
        )
        with pytest.raises(InputError, match=who), write(tmp_path / "here" / "out"):
            pass
        with write(tmp_path / "other"):
            pass
    with write(path), pytest.raises(InputError, match=f"process {os.getpid()} "), write(path):
        pass
    assert not [*tmp_path.glob(".tmp-*.lock"), *tmp_path.glob("*/.lock")]


def test_wrong_input_removes_nothing_that_was_there(tmp_path):
    out, there = tmp_path / "out", tmp_path / ".tmp-out"
    for error, left in ((InputError, []), (KeyboardInterrupt, ["a"]), (InputError, ["a", "b"])):

        def fail(error=error):
            with resumed_folder(out) as folder:
                (folder / ("b" if (folder / "a").exists() else "a")).touch()
                (folder / ".tmp-killed").touch()
                raise error("wrong path")

        with pytest.raises(error):
            fail()
        assert sorted(path.name for path in there.glob("[!.]*")) == left
    with resumed_folder(out):
        pass
    assert sorted(path.name for path in out.iterdir()) == ["a", "b"]
    assert list(tmp_path.iterdir()) == [out]


def test_what_goes_wrong_inside_is_said_as_it_is(tmp_path):
    for error in (BlockingIOError("inside"), TimeoutError("inside"), OSError(errno.ENOLCK, "in")):
        with pytest.raises(type(error), match="in"), locked(tmp_path):
            raise error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_the_file_system_has_no_locks(error, tmp_path, monkeypatch):
    def none(*_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(fcntl, "flock", none)
    with (
        another_process("locked", tmp_path, error) as process,
        pytest.raises(InputError, match=rf"process {process} on .*, remove .*/\.lock"),
        locked(tmp_path),
    ):
        pass
    # its process is no more
    with locked(tmp_path), pytest.raises(InputError, match="Another process"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass
