"""Optimizers by name, from Keras and, on the addons stack, from TensorFlow Addons."""

import difflib
import inspect
from typing import Any

import keras
import tensorflow as tf

from ctl_keras.compat import IS_KERAS_3
from ctl_keras.config import TrainingConfig
from ctl_keras.errors import InputError

_TFA = "tfa:"


def make_optimizer(
    settings: TrainingConfig, learning_rate: float, steps: int, variables: list[Any]
) -> Any:
    """The optimizer of one stage of a training.

    Args:
        settings: name, schedule, weight decay, average of the weights and accumulation.
        learning_rate: float, the stage's.
        steps: int, the stage's; a cosine schedule ends with them.
        variables: what it will train; biases and the parameters of norms, which have one axis, do
            not decay.

    Raises:
        InputError: no such optimizer, or one that cannot do what the settings ask for.
    """
    arguments: dict[str, Any] = {"learning_rate": _schedule(settings, learning_rate, steps)}
    if settings.ema:
        arguments |= {"use_ema": True, "ema_momentum": settings.ema}
    if settings.accumulate > 1:
        if not IS_KERAS_3:
            raise InputError(
                "`training.accumulate` needs Keras 3; this is the addons stack. Take a smaller "
                "batch or 1."
            )
        arguments["gradient_accumulation_steps"] = settings.accumulate
    cls = _optimizer_class(settings.optimizer)
    fixed = [variable for variable in variables if len(variable.shape) < 2]
    if settings.optimizer.startswith(_TFA):
        return _addons_optimizer(cls, settings, arguments, fixed)
    if not settings.weight_decay:
        return cls(**arguments)
    optimizer = cls(weight_decay=settings.weight_decay, **arguments)
    optimizer.exclude_from_weight_decay(var_list=fixed)
    return optimizer


def _optimizer_class(name: str) -> Any:
    if not name.startswith(_TFA):
        known = {
            key: value for key, value in vars(keras.optimizers).items() if inspect.isclass(value)
        }
        known = {
            key: value
            for key, value in known.items()
            if issubclass(value, keras.optimizers.Optimizer)
        }
        return _named(known, name, "keras.optimizers", "training.optimizer")
    try:
        import tensorflow_addons as tfa
    except ImportError:
        raise InputError(
            f"`training.optimizer={name}` needs TensorFlow Addons, which works with Keras 2 only: "
            "`pip install ctl-keras[addons]` in an environment of its own, or name one of "
            "keras.optimizers."
        ) from None
    known = {key: value for key, value in vars(tfa.optimizers).items() if inspect.isclass(value)}
    return _named(
        known, name.removeprefix(_TFA), "tensorflow_addons.optimizers", "training.optimizer"
    )


def _named(known: dict[str, Any], name: str, where: str, setting: str) -> Any:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(sorted(known))}"
        raise InputError(f"There is no optimizer `{name}` in {where} (`{setting}`). {hint}")
    return known[name]


def _addons_optimizer(
    cls: Any, settings: TrainingConfig, arguments: dict[str, Any], fixed: list[Any]
) -> Any:
    if settings.ema:
        raise InputError(
            f"`training.ema` is not known to {settings.optimizer}: take an optimizer of "
            "keras.optimizers, or 0."
        )
    takes = inspect.signature(cls).parameters
    if settings.weight_decay and "weight_decay" not in takes:
        raise InputError(
            f"{settings.optimizer} has no weight decay: set `training.weight_decay=0`."
        )
    if "weight_decay" in takes:
        arguments["weight_decay"] = settings.weight_decay
    if "exclude_from_weight_decay" in takes:
        arguments["exclude_from_weight_decay"] = [variable.name for variable in fixed]
    try:
        return cls(**arguments)
    except TypeError as error:
        raise InputError(
            f"{settings.optimizer} cannot be made from the settings alone: {error}"
        ) from None


def _schedule(settings: TrainingConfig, learning_rate: float, steps: int) -> Any:
    if settings.schedule == "constant" and not settings.warmup_steps:
        return learning_rate
    if settings.warmup_steps >= steps:
        raise InputError(
            f"`training.warmup_steps` must be below the {steps} steps of a stage. Received: "
            f"{settings.warmup_steps}"
        )
    warm = settings.warmup_steps > 0
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warm else learning_rate,
        decay_steps=steps - settings.warmup_steps,
        # a cosine from 1 to 1 is constant after its warm-up
        alpha=1.0 if settings.schedule == "constant" else 0.0,
        warmup_target=learning_rate if warm else None,
        warmup_steps=settings.warmup_steps,
    )


def optimizer_variables(optimizer: Any, trained: list[Any]) -> list[tf.Variable]:
    """All state of an optimizer, built if it is not yet."""
    if isinstance(optimizer, keras.optimizers.Optimizer):
        optimizer.build(trained)
        return list(optimizer.variables)
    # Keras's former optimizers make their slots when they are first applied
    if len(optimizer.variables()) < 2:
        before = [tf.identity(variable) for variable in trained]
        optimizer.apply_gradients([(tf.zeros_like(variable), variable) for variable in trained])
        for variable, value in zip([*trained, optimizer.iterations], [*before, 0], strict=True):
            variable.assign(value)
    return optimizer.variables()
