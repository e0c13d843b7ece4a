"""Complete the Look for Keras and TensorFlow Serving.

The public names are those of `__init__.pyi`. They are imported when they are first used: a client
of a server, and `ctl-keras --help`, need no TensorFlow.
"""

import importlib
import pkgutil
from types import ModuleType

import lazy_loader
import wrapt

from ctl_keras import quiet

quiet.prepare()
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


@wrapt.when_imported("keras")
def _register(_: ModuleType) -> None:
    """Makes our classes known to Keras as soon as it is imported, so that `keras.models.load_model`
    finds them by their names."""
    for room in ("layers", "losses", "metrics", "models"):
        folder = importlib.import_module(f"ctl_keras.{room}")
        for module in pkgutil.iter_modules(folder.__path__):
            importlib.import_module(f"ctl_keras.{room}.{module.name}")
