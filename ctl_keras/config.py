"""Settings: frozen dataclasses that are written, as JSON, beside everything they made."""

from dataclasses import dataclass, field

from ctl_keras.errors import InputError

ATTENTIONS = ("category", "product", "uniform")
DISTANCES = ("hybrid", "global", "local")
REGION_SOURCES = ("map", "image")
MINERS = ("all", "semi_hard", "hard")
REDUCERS = ("mean", "mean_of_active")
SCHEDULES = ("constant", "cosine")
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
EXPORT_PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class ModelConfig:
    """What `CompleteTheLook` is built from.

    Attributes:
        backbone: str. Name of a `keras.applications` network. Defaults to `"ResNet50"`.
        weights: str. `"imagenet"`, the path of an h5 weight file that is loaded by layer name, or
            `"none"` for a random initialisation. Defaults to `"imagenet"`.
        global_tap: str or None. Layer whose output is the global feature; a 4-D map is
            average-pooled. None takes the network's last layer.
        local_tap: str or None. Layer whose 4-D output map gives the regions. None takes the last
            block at twice the final map's resolution (`conv4_block6_out` of a ResNet50: 14x14 at
            224 px).
        train_backbone: bool. Whether `fit` updates the backbone. A frozen one runs with its
            BatchNorm in inference mode. Defaults to False.
        regions: (rows, columns) or None. The grid of regions. None takes the local map's own cells,
            or 3x3 crops of the image.
        region_source: `"map"` (regions are cells of the local map) or `"image"` (regions are crops
            of the scene image, each of which goes through the backbone). Defaults to `"map"`.
        attention: `"category"` (a learned vector per category), `"product"` (the product's
            embedding, as the article reads it) or `"uniform"`. Defaults to `"category"`.
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
            raise InputError(
                f"`model.dropout` must be at least 0 and below 1. Received: {self.dropout!r}"
            )
        if self.regions is not None and (len(self.regions) != 2 or min(self.regions) < 1):
            raise InputError(
                "`model.regions` must be two positive numbers, rows and columns. Received: "
                f"{self.regions!r}"
            )

    @property
    def has_inner_product(self) -> bool:
        """Whether the distance equals `2 - query . embedding` (notes: squared distances, attention
        without the product)."""
        return self.squared and (self.attention != "product" or self.distance == "global")


@dataclass(frozen=True)
class DataConfig:
    """How pictures become tensors.

    Attributes:
        image_size: int. Height and width in pixels that every picture is resized to. Defaults to
            224.
        augment: bool. Whether training pictures are cropped (resized to 256/224 of the size first)
            and mirrored at random. Validation and test never are. Defaults to True.
        feature_cache: str or None. Folder for the features of a frozen backbone: they are computed
            once, and training reads them in place of pictures. Defaults to None: pictures.
        views: int. Cached variants of each training picture: 1 for the picture itself, 2 with its
            mirror image, more with random crops. Defaults to 2. Only with `feature_cache` and
            `augment`.
    """

    image_size: int = 224
    augment: bool = True
    feature_cache: str | None = None
    views: int = 2

    def __post_init__(self) -> None:
        require_positive("data.image_size", self.image_size)
        require_positive("data.views", self.views)


@dataclass(frozen=True)
class StageConfig:
    """A stage of fine-tuning, after the epochs before it.

    Attributes:
        epochs: int.
        learning_rate: float.
        unfreeze: str. The backbone's layers from the first one whose name begins with this are
            trained, such as `"conv5"` or `"conv4_block6"` of a ResNet50; `"all"` trains all of
            them. Their BatchNorm stays in inference mode.
    """

    epochs: int
    learning_rate: float
    unfreeze: str

    def __post_init__(self) -> None:
        require_positive("training.stages.epochs", self.epochs)
        require_positive("training.stages.learning_rate", self.learning_rate)


@dataclass(frozen=True)
class TrainingConfig:
    """How `train` fits a model.

    Attributes:
        epochs: int. The largest number of passes over the training pairs. Defaults to 10.
        steps_per_epoch: int or None. Steps between two validations and checkpoints. Defaults to
            None: one pass over the pairs.
        batch_size: int. Triplets, or pairs, a step, of all devices together. Defaults to 32.
        optimizer: str. Name of a `keras.optimizers` class, or `"tfa:NAME"` of TensorFlow Addons
            (addons stack). Defaults to `"Adam"`.
        learning_rate: float. Defaults to 0.0003.
        schedule: `"constant"` or `"cosine"`, which falls to zero over the stage. Defaults to
            `"constant"`.
        warmup_steps: int. Steps in which the rate rises from zero, in each stage. Defaults to 0.
        weight_decay: float. Decoupled, not on biases and norms. Defaults to 0.
        ema: float. Momentum of an exponential moving average of the weights, which validation and
            the final model take; 0 for none. Defaults to 0.
        accumulate: int. Steps whose gradients are averaged to one update (Keras 3). Defaults to 1.
        precision: `"float32"`, `"mixed_float16"` or `"mixed_bfloat16"`. Defaults to `"float32"`.
        steps_per_execution: int. Steps a call of the compiled function. Defaults to 1.
        deterministic: bool. TensorFlow's op determinism: the same settings give the same weights,
            bit by bit, at some cost in speed. Defaults to False.
        in_batch: bool. Train with the other products of the batch as negatives, in place of
            explicit triplets. Defaults to False.
        group: int. In-batch: pairs of one category that stay together in a batch. Defaults to 8.
        memory: int. In-batch: product embeddings of former batches that are negatives too. Defaults
            to 0.
        gather: bool. In-batch: with several devices, the products of all are negatives. Defaults to
            False.
        miner: `"all"`, `"semi_hard"` or `"hard"`, see `TripletLoss`. Defaults to `"all"`.
        reducer: `"mean"` or `"mean_of_active"`, see `TripletLoss`. Defaults to `"mean"`.
        soft_margin: bool. See `TripletLoss`. Defaults to False.
        margin: float. Of the triplet loss. Defaults to 0.2.
        stages: stages of fine-tuning after `epochs`, see `StageConfig`. Defaults to none.
        patience: int. Epochs without a lower validation loss after which a stage stops; 0 never
            stops early. Defaults to 5.
        seed: int. Of the initialisation, the negatives, the order and the augmentation. Defaults to
            0.
    """

    epochs: int = 10
    steps_per_epoch: int | None = None
    batch_size: int = 32
    optimizer: str = "Adam"
    learning_rate: float = 3e-4
    schedule: str = "constant"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    ema: float = 0.0
    accumulate: int = 1
    precision: str = "float32"
    steps_per_execution: int = 1
    deterministic: bool = False
    in_batch: bool = False
    group: int = 8
    memory: int = 0
    gather: bool = False
    miner: str = "all"
    reducer: str = "mean"
    soft_margin: bool = False
    margin: float = 0.2
    stages: tuple[StageConfig, ...] = ()
    patience: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        positive = (
            "epochs",
            "batch_size",
            "learning_rate",
            "accumulate",
            "steps_per_execution",
            "margin",
        )
        for name in (*positive, *(["steps_per_epoch"] if self.steps_per_epoch is not None else [])):
            require_positive(f"training.{name}", getattr(self, name))
        for name in ("warmup_steps", "weight_decay", "memory", "patience"):
            if getattr(self, name) < 0:
                raise InputError(
                    f"`training.{name}` must not be negative. Received: {getattr(self, name)!r}"
                )
        if not 0 <= self.ema < 1:
            raise InputError(
                f"`training.ema` must be at least 0 and below 1. Received: {self.ema!r}"
            )
        require_choice("training.schedule", self.schedule, SCHEDULES)
        require_choice("training.precision", self.precision, PRECISIONS)
        require_choice("training.miner", self.miner, MINERS)
        require_choice("training.reducer", self.reducer, REDUCERS)
        require_seed(self.seed)
        if not self.in_batch and (self.memory or self.gather):
            raise InputError(
                "`training.memory` and `training.gather` need `training.in_batch=true`: triplets "
                "bring their own."
            )
        if self.in_batch and (self.group < 2 or self.batch_size % self.group):
            raise InputError(
                "`training.group` must be at least 2 and divide `training.batch_size`. Received: "
                f"group={self.group}, batch_size={self.batch_size}"
            )


@dataclass(frozen=True)
class Config:
    """All settings of a run; `train` writes them to `config.json`.

    Attributes:
        model: `ModelConfig`.
        data: `DataConfig`.
        training: `TrainingConfig`.

    Raises:
        InputError: a feature cache for a backbone that is trained.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        if self.data.feature_cache is not None and self.model.train_backbone:
            raise InputError(
                "`data.feature_cache` needs a frozen backbone: set `model.train_backbone=false`. "
                "Later `training.stages` can train it."
            )


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
