"""Reading and writing files so that nobody ever meets half of one."""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ctl_keras.errors import InputError
from ctl_keras.locks import locked, require_local


def read_json(path: str | Path, what: str) -> Any:
    """The value of a JSON file.

    Args:
        path: the file.
        what: str. What the file is, for the message ("The category file").

    Raises:
        InputError: the file is missing or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{what} {path} does not exist.") from None
    except IsADirectoryError:
        raise InputError(f"{what} {path} is a folder; a file is needed.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{what} {path} is not JSON: {error}") from None


def write_json(path: str | Path, value: Any) -> None:
    """Writes a JSON file atomically: a reader sees the old file or the new one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Writes a file under another name, and gives it its own when the block has written it whole.

    Several processes may write the same file at once: each has a temporary name of its own, and
    the last one to end wins. A killed one leaves its temporary file, which nobody reads.

    Args:
        path: the file; an older one is replaced.

    Yields:
        The temporary file to write, beside it and with its suffix.
    """
    temporary = path.with_name(f".tmp-{secrets.token_hex(4)}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A folder that appears under its name when the block ends well, and not at all when it
    doesn't.

    The block fills `.tmp-<name>-…` beside it (the same file system; TensorFlow Serving ignores
    names that are no integers), which is then renamed. What a killed process left there is
    harmless.

    Args:
        path: the folder to make.

    Yields:
        The temporary folder to write to.

    Raises:
        InputError: `path` exists, or another process is writing it.
    """
    path = Path(path)
    require_new(path)
    with locked(path):
        temporary = Path(tempfile.mkdtemp(prefix=f".tmp-{path.name}-", dir=path.parent))
        try:
            temporary.chmod(0o755)  # mkdtemp's 0o700 would hide an export from the server's user
            yield temporary
            require_new(path)
            os.rename(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


@contextlib.contextmanager
def resumed_folder(path: str | Path) -> Iterator[Path]:
    """As `new_folder`, but what a failed or killed block has written is there when it is tried
    again.

    The block fills `.tmp-<name>` beside it, and must know what it finds there. Wrong input removes
    it only if nothing was there before: a mistyped path must not cost what a killed run has done.

    Args:
        path: the folder to make.

    Yields:
        The temporary folder to write to.

    Raises:
        InputError: `path` exists, or another process is writing it.
    """
    path = Path(path)
    require_new(path)
    with locked(path):
        temporary = path.with_name(f".tmp-{path.name}")
        is_new = not temporary.exists()
        temporary.mkdir(exist_ok=True)
        remove_unfinished(temporary)
        try:
            yield temporary
        except InputError:
            if is_new:
                shutil.rmtree(temporary, ignore_errors=True)
            raise
        require_new(path)
        os.rename(temporary, path)


@contextlib.contextmanager
def new_generation(folder: str | Path) -> Iterator[Path]:
    """The next content of a folder that readers may have open: `folder/<n>/`, which is there whole
    or not at all.

    The newest is what counts, see `newest_generation`. Older ones, and what killed writers left,
    are removed afterwards; a process that has mapped a file of theirs keeps it.

    Args:
        folder: made if it is not there.

    Yields:
        The temporary folder to write to.
    """
    folder = Path(folder)
    number = max(versions(folder), default=0) + 1
    with new_folder(folder / str(number)) as temporary:
        yield temporary
    for path in folder.iterdir():
        if path.name.startswith(".tmp-") or (path.name.isdigit() and int(path.name) < number):
            shutil.rmtree(path, ignore_errors=True)


def newest_generation(folder: str | Path) -> Path | None:
    """The folder that the last complete `new_generation` wrote, or None."""
    # again, because a listing during a renewal may miss both the new one and the old one
    numbers = versions(Path(folder)) or versions(Path(folder))
    newest = max(numbers, default=None)
    return None if newest is None else Path(folder) / str(newest)


def versions(base: Path) -> list[int]:
    """The folders below `base` that are named by a number, sorted; others are ignored, as
    TensorFlow Serving does."""
    if not base.is_dir():
        return []
    names = [
        path.name
        for path in base.iterdir()
        if path.is_dir() and path.name.isascii() and path.name.isdigit()
    ]
    # a zero-padded one has another path than its number
    return sorted(int(name) for name in names if str(int(name)) == name)


def remove_unfinished(folder: Path) -> None:
    """Removes the temporary files that killed writers (`new_file`) left anywhere in a folder."""
    for path in folder.rglob(".tmp-*"):
        if path.is_file():
            path.unlink(missing_ok=True)


def require_new(path: Path) -> None:
    """Raises `InputError` if `path` exists, or is an address."""
    require_local(path)
    if path.exists():
        raise InputError(f"{path} already exists. Name another place, or remove it first.")


def json_hash(value: Any) -> str:
    """The SHA-256 of a JSON-ready value, in hex, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file's content, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
