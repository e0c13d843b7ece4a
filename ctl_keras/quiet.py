"""Keeps TensorFlow's start-up messages off the command line's stderr, where an error is one line for a person, and out of
notebooks.

Imported before anything else of the package, because TensorFlow 2.21 writes them while it is imported, whatever
`TF_CPP_MIN_LOG_LEVEL` says. It does nothing in programs that use the package as a library.
"""

import os
import sys
from pathlib import Path


def is_read_by_people() -> bool:
    """Whether this process is `ctl-keras`, `python -m ctl_keras.cli` or a notebook's kernel."""
    is_command = Path(sys.argv[0]).name == "ctl-keras" or sys.orig_argv[1:3] == ["-m", "ctl_keras.cli"]
    return is_command or "ipykernel" in sys.modules


def import_tensorflow_quietly() -> None:
    """Imports TensorFlow with stderr closed to it, and keeps all but its fatal messages off from then on."""
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


if is_read_by_people():
    import_tensorflow_quietly()
