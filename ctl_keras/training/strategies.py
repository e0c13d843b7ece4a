"""More than one device, through `tf.distribute`."""

import json
import os

import tensorflow as tf

from ctl_keras.config import require_choice
from ctl_keras.errors import InputError

STRATEGIES = ("none", "mirrored", "multi-worker")


def make_strategy(name: str) -> tf.distribute.Strategy:
    """A strategy by name.

    Args:
        name: `"none"`; `"mirrored"`, all GPUs of the machine, or all logical CPUs where there is
            none; or `"multi-worker"`, the chief and the workers that the environment variable
            `TF_CONFIG` lists, which must be set before TensorFlow starts.

    Raises:
        InputError: no such strategy, or no `TF_CONFIG`.
    """
    require_choice("strategy", name, STRATEGIES)
    if name == "none":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    try:
        cluster = json.loads(os.environ.get("TF_CONFIG", "{}"))["cluster"]
        hosts = [host for role in ("chief", "worker") for host in cluster.get(role, [])]
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
        hosts = []
    if not hosts:
        raise InputError(
            "`--strategy multi-worker` needs the environment variable TF_CONFIG in each process,"
            ' such as {"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": '
            '{"type": "worker", "index": 0}}. Received:'
            f" TF_CONFIG={os.environ.get('TF_CONFIG')!r}"
        )
    if len(hosts) == 1:
        return make_strategy("mirrored")
    return _MultiWorkerStrategy()


class _MultiWorkerStrategy(tf.distribute.MultiWorkerMirroredStrategy):
    """With two habits of Keras 3 that TensorFlow refuses here: it asks for the mean of a whole
    nested batch, of which it takes the shapes, and for the mean of scalars (loss and metrics) along
    their first axis."""

    def reduce(self, reduce_op, value, axis):
        if isinstance(value, dict | tuple | list):
            return tf.nest.map_structure(
                lambda each: self.experimental_local_results(each)[0], value
            )
        if self.experimental_local_results(value)[0].shape.rank == 0:
            axis = None
        return super().reduce(reduce_op, value, axis)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes: the chief of `TF_CONFIG`, or its first worker
    where it names no chief, or the only process."""
    resolver = strategy.cluster_resolver
    if resolver is None or resolver.task_type is None:
        return True
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return (resolver.task_type, resolver.task_id) == (first, 0)
