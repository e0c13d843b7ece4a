"""The pictures that people bring: where that of an id is, and whether it can be used."""

import io
from pathlib import Path

from PIL import Image

from ctl_keras.data.images import picture_problem
from ctl_keras.data.picture_files import SUFFIXES, read_image_bytes
from ctl_keras.errors import InputError

_ENDINGS = (*SUFFIXES, *(suffix.upper() for suffix in SUFFIXES))


def require_image_folder(folder: str | Path) -> Path:
    """The folder as a path.

    Raises:
        InputError: it does not exist.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"The image folder {folder} does not exist.")
    return folder


def find_picture(folder: Path, name: str) -> Path | None:
    """The file of a picture.

    Args:
        folder: where pictures are: `<name>.jpg` (.jpeg, .png, .webp), `<name>` itself if it has
            such a suffix, or `aa/bb/cc/aabbcc….jpg`, as Pinterest's image host lays pictures out.
        name: str. A path that leads out of the folder is no picture of it.
    """
    if "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        return None
    places = [folder / name] if name.endswith(_ENDINGS) else []
    places += [folder / f"{name}{suffix}" for suffix in _ENDINGS]
    if len(name) >= 6 and "/" not in name:
        base = folder / name[:2] / name[2:4] / name[4:6]
        places += [base / f"{name}{suffix}" for suffix in _ENDINGS]
    try:
        return next((path for path in places if path.is_file()), None)
    except OSError:  # a name that no file can have, such as one that is too long
        return None


def as_jpeg(picture: Image.Image) -> bytes:
    """A JPEG in which nothing is lost that a network would see."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def try_picture(path: Path | None) -> tuple[bytes, str | None]:
    """Reads a picture for the first time.

    Args:
        path: as `find_picture` gives it.

    Returns:
        Its bytes, and why it cannot be used, or None.
    """
    if path is None:
        return b"", "picture missing"
    try:
        data = read_image_bytes(path)
        problem = picture_problem(data)
    except InputError as error:
        return b"", "empty file" if "is empty" in str(error) else "picture cannot be read"
    return data, problem
