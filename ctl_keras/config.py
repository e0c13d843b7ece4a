"""Settings: frozen dataclasses that are written, as JSON, beside everything they made."""

import dataclasses
import difflib
import json
import sys
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ctl_keras.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = typing.TypeVar("T")

ATTENTIONS = ("category", "product", "uniform")
DISTANCES = ("hybrid", "global", "local")
REGION_SOURCES = ("map", "image")


@dataclass(frozen=True)
class ModelConfig:
    """What `CompleteTheLook` is built from.

    Attributes:
        backbone: str. Name of a `keras.applications` network. Defaults to `"ResNet50"`.
        weights: str. `"imagenet"`, the path of an h5 weight file that is loaded by layer name, or `"none"` for a random
            initialisation. Defaults to `"imagenet"`.
        global_tap: str or None. Layer whose output is the global feature; a 4-D map is average-pooled. None takes the
            network's last layer.
        local_tap: str or None. Layer whose 4-D output map gives the regions. None takes the last block at twice the final
            map's resolution (`conv4_block6_out` of a ResNet50: 14x14 at 224 px).
        train_backbone: bool. Whether `fit` updates the backbone. A frozen one runs with its BatchNorm in inference mode.
            Defaults to False.
        regions: (rows, columns) or None. The grid of regions. None takes the local map's own cells, or 3x3 crops of the
            image.
        region_source: `"map"` (regions are cells of the local map) or `"image"` (regions are crops of the scene image, each
            of which goes through the backbone). Defaults to `"map"`.
        attention: `"category"` (a learned vector per category), `"product"` (the product's embedding, as the article reads
            it) or `"uniform"`. Defaults to `"category"`.
        temperature: float. Divides the attention's logits. Defaults to 1.
        distance: `"hybrid"`, `"global"` or `"local"`. Defaults to `"hybrid"`.
        squared: bool. Squared Euclidean distances, or plain norms. Defaults to True.
        dim: int. Size of the embeddings. Defaults to 128.
        hidden: int. Width of the projections' hidden layer. Defaults to 512.
        dropout: float. Rate of the projections' dropout. Defaults to 0.3.
    """

    backbone: str = "ResNet50"
    weights: str = "imagenet"
    global_tap: str | None = None
    local_tap: str | None = None
    train_backbone: bool = False
    regions: tuple[int, int] | None = None
    region_source: str = "map"
    attention: str = "category"
    temperature: float = 1.0
    distance: str = "hybrid"
    squared: bool = True
    dim: int = 128
    hidden: int = 512
    dropout: float = 0.3

    def __post_init__(self) -> None:
        require_choice("model.attention", self.attention, ATTENTIONS)
        require_choice("model.distance", self.distance, DISTANCES)
        require_choice("model.region_source", self.region_source, REGION_SOURCES)
        require_positive("model.temperature", self.temperature)
        require_positive("model.dim", self.dim)
        require_positive("model.hidden", self.hidden)
        if not 0 <= self.dropout < 1:
            raise InputError(f"`model.dropout` must be at least 0 and below 1. Received: {self.dropout!r}")
        if self.regions is not None and (len(self.regions) != 2 or min(self.regions) < 1):
            raise InputError(f"`model.regions` must be two positive numbers, rows and columns. Received: {self.regions!r}")

    @property
    def has_inner_product(self) -> bool:
        """Whether the distance equals `2 - query . embedding` (notes: squared distances, attention without the product)."""
        return self.squared and (self.attention != "product" or self.distance == "global")


@dataclass(frozen=True)
class DataConfig:
    """How pictures become tensors.

    Attributes:
        image_size: int. Height and width in pixels that every picture is resized to. Defaults to 224.
        augment: bool. Whether training triplets are cropped (resized to 256/224 of the size first) and mirrored at random.
            Validation and test never are. Defaults to True.
    """

    image_size: int = 224
    augment: bool = True

    def __post_init__(self) -> None:
        require_positive("data.image_size", self.image_size)


@dataclass(frozen=True)
class TrainingConfig:
    """How `train` fits a model.

    Attributes:
        epochs: int. The largest number of passes over the training pairs. Defaults to 10.
        batch_size: int. Triplets a step. Defaults to 32.
        learning_rate: float. Of Adam. Defaults to 0.0003.
        margin: float. Of the triplet loss. Defaults to 0.2.
        patience: int. Epochs without a lower validation loss after which training stops; 0 never stops early.
            Defaults to 5.
        seed: int. Of the initialisation, the negatives, the order and the augmentation. Defaults to 0.
    """

    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 3e-4
    margin: float = 0.2
    patience: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate", "margin"):
            require_positive(f"training.{name}", getattr(self, name))
        require_seed(self.seed)
        if self.patience < 0:
            raise InputError(f"`training.patience` must not be negative. Received: {self.patience!r}")


@dataclass(frozen=True)
class Config:
    """All settings of a run: `model.*`, `data.*` and `training.*`."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


def require_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raises `InputError` unless `value` is one of `choices`."""
    if value not in choices:
        raise InputError(f"`{name}` must be one of {', '.join(choices)}. Received: {value!r}")


def require_positive(name: str, value: float) -> None:
    """Raises `InputError` unless `value` is above zero and finite."""
    if not 0 < value < float("inf"):
        raise InputError(f"`{name}` must be positive. Received: {value!r}")


def require_seed(seed: int) -> None:
    """Raises `InputError` unless `seed` can be one."""
    if not 0 <= seed < 2**32:
        raise InputError(f"`seed` must be a whole number from 0 to {2**32 - 1}. Received: {seed!r}")


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
        raise InputError(f"`{prefix.rstrip('.')}` must be a table of settings. Received: {values!r}")
    hints = typing.get_type_hints(cls)
    known = {}
    for name, value in values.items():
        if name not in hints:
            near = difflib.get_close_matches(name, hints, n=1)
            hint = f"Did you mean `{prefix}{near[0]}`?" if near else f"Known: {', '.join(hints)}"
            raise InputError(f"There is no setting `{prefix}{name}`. {hint}")
        known[name] = _coerce(f"{prefix}{name}", value, hints[name])
    return cls(**known)


def _coerce(name: str, value: Any, hint: Any) -> Any:
    """`value` as the field's type: only lossless conversions, so that `epochs = 2.5` is an error and `margin = 1` is not."""
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value, prefix=f"{name}.")
    if isinstance(hint, types.UnionType):
        if value is None or value == "none":
            return None
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) is tuple:
        if isinstance(value, list | tuple) and all(type(item) is int for item in value):
            return tuple(value)
        raise InputError(f"`{name}` must be a list of whole numbers such as [7, 7]. Received: {value!r}")
    if hint is str and value is None:
        return "none"
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise InputError(f"`{name}` must be of type {hint.__name__}. Received: {value!r}")
    return value


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
            raise InputError(f"A setting is written section.field=value, such as training.epochs=3. Received: {override!r}")
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
