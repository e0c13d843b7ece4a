"""All that a resumed training needs, in one file: weights, optimizer, averages, memory, counters of
random numbers."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ctl_keras.compat import value_of
from ctl_keras.errors import InputError
from ctl_keras.files import new_file


def save_state(path: Path, variables: list[Any]) -> None:
    """Writes the values of variables, atomically."""
    with new_file(path) as temporary:
        np.savez(temporary, *[value_of(variable) for variable in variables])


def load_state(path: Path, variables: list[Any]) -> None:
    """Sets variables to what `save_state` wrote of the same ones.

    Raises:
        InputError: the file is missing, damaged, or of other variables.
    """
    try:
        with np.load(path) as arrays:
            values = [arrays[f"arr_{number}"] for number in range(len(arrays.files))]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        raise InputError(f"The checkpoint {path} is missing or damaged. Begin a new run.") from None
    if [value.shape for value in values] != [tuple(variable.shape) for variable in variables]:
        raise InputError(
            f"The checkpoint {path} is of another model than the run's settings give. Begin a new "
            "run."
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
