"""Settings from and to plain values: JSON, a TOML file, and `section.field=value` overrides."""

import dataclasses
import difflib
import json
import sys
import types
import typing
from pathlib import Path
from typing import Any

from ctl_keras.config import Config
from ctl_keras.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = typing.TypeVar("T")


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
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"The settings file {path} does not exist.") from None
    except OSError as error:
        raise InputError(f"The settings file {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"The settings file {path} is not TOML: {error}") from None


def to_dict(config: Any) -> dict[str, Any]:
    """The settings as plain, JSON-ready values."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(cls: type[T], values: dict[str, Any], prefix: str = "") -> T:
    """Builds a settings dataclass from plain values.

    Args:
        cls: a dataclass of this module.
        values: field name -> value; nested settings are dicts. Missing fields keep their defaults.
        prefix: str. Put before field names in messages.

    Raises:
        InputError: an unknown field (with the nearest known one) or a value of the wrong type.
    """
    if not isinstance(values, dict):
        raise InputError(
            f"`{prefix.rstrip('.')}` must be a table of settings. Received: {values!r}"
        )
    hints = typing.get_type_hints(cls)
    known = {}
    for name, value in values.items():
        if name not in hints:
            near = difflib.get_close_matches(name, hints, n=1)
            hint = f"Did you mean `{prefix}{near[0]}`?" if near else f"Known: {', '.join(hints)}"
            raise InputError(f"There is no setting `{prefix}{name}`. {hint}")
        known[name] = _coerce(f"{prefix}{name}", value, hints[name])
    needed = {
        item.name
        for item in dataclasses.fields(cls)  # type: ignore[arg-type]
        if item.default is item.default_factory is dataclasses.MISSING
    }
    if missing := sorted(needed - set(known)):
        raise InputError(
            f"The settings {', '.join(f'`{prefix}{name}`' for name in missing)} are missing."
        )
    return cls(**known)


def _coerce(name: str, value: Any, hint: Any) -> Any:
    """`value` as the field's type: only lossless conversions, so that `epochs = 2.5` is an error
    and `margin = 1` is not."""
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value, prefix=f"{name}.")
    if isinstance(hint, types.UnionType):
        if value is None or value == "none":
            return None
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) is tuple:
        item_hint = typing.get_args(hint)[0]
        if dataclasses.is_dataclass(item_hint):
            if not isinstance(value, list | tuple):
                raise InputError(
                    f"`{name}` must be a list of tables of settings. Received: {value!r}"
                )
            return tuple(
                from_dict(typing.cast(type, item_hint), item, prefix=f"{name}.") for item in value
            )
        if isinstance(value, list | tuple) and all(type(item) is int for item in value):
            return tuple(value)
        raise InputError(
            f"`{name}` must be a list of whole numbers such as [7, 7]. Received: {value!r}"
        )
    if hint is str and value is None:
        return "none"
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise InputError(f"`{name}` must be of type {hint.__name__}. Received: {value!r}")
    return value
