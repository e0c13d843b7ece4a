"""What is fitted: the model's trainer, stage by stage, with its data and its state."""

import itertools
import math
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from ctl_keras.config import Config, StageConfig
from ctl_keras.data.pairs import Pairs
from ctl_keras.data.sampling import usable_rows
from ctl_keras.data.triplets import pair_batches, triplets
from ctl_keras.errors import InputError
from ctl_keras.losses.triplet_loss import TripletLoss
from ctl_keras.metrics.triplet_metrics import (
    ActiveTriplets,
    DistanceSpread,
    NegativeDistance,
    PositiveDistance,
    TripletAccuracy,
)
from ctl_keras.models.complete_the_look import CompleteTheLook
from ctl_keras.training.feature_cache import CachedFeatures, cache_features
from ctl_keras.training.optimizers import make_optimizer, optimizer_variables
from ctl_keras.training.state import load_state, save_state


class Fitting:
    """A model in training.

    Args:
        model: the model; its layers are trained, whatever the trainer's inputs are.
        config: settings.
        train, validation: the tables.
        pictures_hash: str. Stands for their pictures in the feature cache, see `hash_of_pictures`.

    Raises:
        InputError: the settings do not fit the data.
    """

    def __init__(
        self,
        model: CompleteTheLook,
        config: Config,
        train: Pairs,
        validation: Pairs,
        pictures_hash: str,
    ):
        self.model, self.config = model, config
        self._train, self._validation, self._pictures_hash = train, validation, pictures_hash
        settings = config.training
        self._replicas = tf.distribute.get_strategy().num_replicas_in_sync
        batches = [self._batches(pairs) for pairs in (train, validation)]
        self.steps_per_epoch = settings.steps_per_epoch or batches[0]
        first = StageConfig(
            settings.epochs,
            settings.learning_rate,
            "all" if config.model.train_backbone else "none",
        )
        self.stages = (first, *settings.stages)
        self.trainer: keras.Model = model

    def _batches(self, pairs: Pairs) -> int:
        usable, size = len(usable_rows(pairs)), self.config.training.batch_size
        # several devices leave out the smaller last batch
        if self._replicas > 1 and usable < size:
            raise InputError(
                f"`training.batch_size` must be at most the {usable} {pairs.split_name} pairs when "
                f"they are shared by {self._replicas} devices. Received: {size}"
            )
        return usable // size if self._replicas > 1 else math.ceil(usable / size)

    def check(self) -> None:
        """Raises `InputError` where a stage could not begin."""
        for stage in self.stages:
            self.model.backbone.unfreeze(stage.unfreeze)
            steps = self.steps_per_epoch * stage.epochs
            make_optimizer(
                self.config.training, stage.learning_rate, steps, self.model.trainable_variables
            )
        self.freeze()

    def begin_stage(self, number: int) -> None:
        """Freezes and unfreezes, and compiles with the stage's own optimizer.

        Raises:
            InputError: there is no such layer or optimizer.
        """
        stage, settings = self.stages[number], self.config.training
        self._features = self.config.data.feature_cache is not None and stage.unfreeze == "none"
        self.model.backbone.unfreeze(stage.unfreeze)
        if settings.in_batch:
            self.trainer = self.model.in_batch_trainer(
                self._features, settings.memory, settings.gather
            )
        else:
            self.trainer = self.model.feature_trainer() if self._features else self.model
        compile_trainer(
            self.trainer, self.config, stage.learning_rate, self.steps_per_epoch * stage.epochs
        )

    def freeze(self) -> None:
        """Leaves the backbone as trainable as the model was made, which decides the order of its
        weights."""
        self.model.backbone.unfreeze(self.stages[0].unfreeze)

    def datasets(self, first_step: int) -> tuple[tf.data.Dataset, tf.data.Dataset]:
        """The endless training batches from `first_step` on, and one pass over the validation
        pairs."""
        data, settings = self.config.data, self.config.training
        shared: dict[str, Any] = {
            "batch_size": settings.batch_size,
            "image_size": data.image_size,
            "seed": settings.seed,
            "drop_remainder": self._replicas > 1,  # each device needs its share
        }
        if settings.in_batch:
            shared["group"] = settings.group
        make = pair_batches if settings.in_batch else triplets
        views = data.views if data.augment else 1
        source = self.features(self._train, views)
        fitted = make(
            self._train,
            training=True,
            augment=data.augment,
            first_step=first_step,
            source=source,
            **shared,
        )
        return fitted, make(
            self._validation, training=False, source=self.features(self._validation), **shared
        )

    def features(self, pairs: Pairs, views: int = 1) -> CachedFeatures | None:
        """The cached features of a table, computed if they are not yet; None in a stage that trains
        from pictures."""
        if not self._features:
            return None
        to = Path(self.config.data.feature_cache or "")
        seed = self.config.training.seed
        folder = cache_features(self.model, pairs, self._pictures_hash, to, views, seed)
        return CachedFeatures(folder, pairs)

    def save(self, path: Path) -> None:
        """Writes all that training changes to one file, for `load`."""
        save_state(path, self._variables())

    def load(self, path: Path) -> None:
        """Raises `InputError` as `load_state`."""
        load_state(path, self._variables())

    def take_average(self) -> None:
        """Sets the weights to their moving average, if there is one."""
        if self.config.training.ema:
            self.trainer.optimizer.finalize_variable_values(self.trainer.trainable_variables)

    def _variables(self) -> list[Any]:
        """All that training changes, each once and in the same order for the same settings and
        stage."""
        trained = list(self.trainer.trainable_variables)
        layers = [layer for layer in self.trainer.layers if layer is not self.model.backbone]
        if any(stage.unfreeze != "none" for stage in self.stages):
            layers.append(self.model.backbone)
        weights = itertools.chain.from_iterable(layer.weights for layer in layers)
        unique = {id(weight): weight for weight in weights}
        return [*unique.values(), *optimizer_variables(self.trainer.optimizer, trained)]


def compile_trainer(trainer: keras.Model, config: Config, learning_rate: float, steps: int) -> None:
    """Compiles with the settings' optimizer, the triplet loss and the metrics that every run
    records."""
    settings = config.training
    trainer.compile(
        make_optimizer(settings, learning_rate, steps, trainer.trainable_variables),
        loss=TripletLoss(settings.margin, settings.miner, settings.reducer, settings.soft_margin),
        metrics=[
            TripletAccuracy(),
            ActiveTriplets(settings.margin),
            PositiveDistance(),
            NegativeDistance(),
            DistanceSpread(),
        ],
        steps_per_execution=settings.steps_per_execution,
        # by itself Keras 3 takes XLA, which is slower on CPUs
        **({} if tf.config.list_physical_devices("GPU") else {"jit_compile": False}),
    )
