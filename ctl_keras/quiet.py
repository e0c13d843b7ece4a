"""Keeps TensorFlow's start-up messages off the command line's stderr, where an error is one line
for a person, and out of notebooks.

TensorFlow 2.21 writes them while it is imported, whatever `TF_CPP_MIN_LOG_LEVEL` says. Nothing
happens in programs that use the package as a library.
"""

import os
import sys


def prepare() -> None:
    """Called when the package is imported: in a notebook's kernel, imports TensorFlow quietly."""
    if "ipykernel" in sys.modules:
        import_tensorflow_quietly()


def import_tensorflow_quietly() -> None:
    """Imports TensorFlow with stderr closed to it, and keeps all but its fatal messages off from
    then on."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    stderr = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        import tensorflow

        tensorflow.get_logger().setLevel("ERROR")  # retracing hints are for developers
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
