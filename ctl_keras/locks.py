"""One process at a time writes a folder, and a second one is told who does."""

import contextlib
import errno
import os
import re
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import filelock

from ctl_keras.errors import InputError

_PATIENCE = 0.2  # seconds: a process that is just ending is no reason to refuse
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@contextlib.contextmanager
def changed_folder(path: str | Path) -> Iterator[Path]:
    """A folder that one process at a time changes. It is made if it is not there, and removed if
    nothing has been written to it.

    Args:
        path: the folder.

    Yields:
        `path`.

    Raises:
        InputError: `path` is a file or an address, or another process is writing it.
    """
    path = Path(path)
    require_local(path)
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; a folder is needed. Name another place.")
    path.mkdir(parents=True, exist_ok=True)
    try:
        with locked(path):
            yield path
    finally:
        with contextlib.suppress(OSError):  # it holds something
            path.rmdir()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lets one process at a time write a folder. The lock ends with the process, however that ends.

    It is the file `.lock` in a folder that is there (it may be a mounted share, and its parent
    another file system), and `.tmp-<name>.lock` beside one that is yet to be made. It says who
    holds it, and is removed at the end.

    Args:
        path: the folder.

    Raises:
        InputError: another process has it.
    """
    path = path.resolve()  # two names of one folder are one lock
    file = path / ".lock" if path.is_dir() else path.with_name(f".tmp-{path.name}.lock")
    file.parent.mkdir(parents=True, exist_ok=True)
    lock: filelock.BaseFileLock = filelock.FileLock(file, fallback_to_soft=False)
    try:
        try:
            lock.acquire(timeout=_PATIENCE)
        except OSError as error:
            if isinstance(error, TimeoutError) or error.errno not in _NO_LOCKS:
                raise
            # the last resort: a file that is there means locked, and its process is looked for
            file = file.with_name(f"{file.name}-file")
            lock = filelock.SoftFileLock(file)
            lock.acquire(timeout=_PATIENCE)
    except filelock.Timeout:
        is_file = isinstance(lock, filelock.SoftFileLock)
        died = f" If it has died on another computer, remove {file}." if is_file else ""
        raise InputError(
            f"Another process is writing {path}{_holder(file)}. Wait for it, or name another "
            f"place.{died}"
        ) from None
    try:
        _say_who(file)
        yield
    finally:
        # while it is held: whoever has opened the file before now finds out, and tries again
        with contextlib.suppress(OSError):
            file.unlink()
        lock.release()


def _say_who(file: Path) -> None:
    """Writes what `_holder` reads; on Windows, nobody can write or read a locked file."""
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    who = f"{os.getpid()}\n{socket.gethostname()}\n{time.strftime('%F %T')}\n{command[:200]}\n"
    with contextlib.suppress(OSError):
        # what stands for a lock itself begins so already, and is left as it is
        if not file.read_text(encoding="utf-8").startswith(f"{os.getpid()}\n"):
            file.write_text(who, encoding="utf-8")


def _holder(file: Path) -> str:
    try:
        process, host, *rest = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return ""
    since, command = rest if len(rest) == 2 else ("", "")
    details = f"process {process} on {host}" + (f", since {since}: {command}" if since else "")
    return f" ({details})"


def require_local(path: Path) -> None:
    """Raises `InputError` if `path` is an address such as `s3://bucket/shop`, which would become
    local folders."""
    if re.match(r"[A-Za-z][\w+.-]+:[/\\]", str(path)):
        raise InputError(f"{path} is an address; a folder on this computer is needed.")
