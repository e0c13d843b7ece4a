"""Settings as people give them: a TOML file, and `section.field=value` overrides."""

import json
import sys
import typing
from pathlib import Path
from typing import Any

from ctl_keras.config import Config, from_dict
from ctl_keras.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def load_config(path: str | Path | None = None, overrides: typing.Sequence[str] = ()) -> Config:
    """Reads settings from a TOML file and `section.field=value` overrides, which win.

    Args:
        path: a TOML file with tables `[model]`, `[data]`, `[training]`, or None for the defaults.
        overrides: strings such as `"training.epochs=3"`. The value is read as JSON, else as text.

    Raises:
        InputError: the file is missing or not TOML, or a setting is unknown or of the wrong type.
    """
    values = _read_toml(Path(path)) if path is not None else {}
    for override in overrides:
        key, equals, text = override.partition("=")
        section, dot, name = key.strip().partition(".")
        if not equals or not dot:
            raise InputError(
                "A setting is written section.field=value, such as training.epochs=3. Received: "
                f"{override!r}"
            )
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        table = values.setdefault(section, {})
        if not isinstance(table, dict):
            raise InputError(f"`{section}` must be a table of settings. Received: {table!r}")
        table[name] = value
    return from_dict(Config, values)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"The settings file {path} does not exist.") from None
    except OSError as error:
        raise InputError(f"The settings file {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"The settings file {path} is not TOML: {error}") from None
