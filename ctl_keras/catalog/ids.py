"""Products by their ids, without a dict of millions: one pass over the column takes some
milliseconds a million."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ctl_keras.errors import InputError


def ids_mask(ids: Any, wanted: Sequence[str] | np.ndarray) -> np.ndarray:
    """Which products have one of the wanted ids.

    Args:
        ids: pyarrow string array `[products]`.
        wanted: ids.

    Returns:
        bool `[products]`.

    Raises:
        InputError: an id that no product has.
    """
    values = pa.array(wanted, pa.string())
    mask: np.ndarray = np.asarray(pc.is_in(ids, value_set=values))
    unknown = values.filter(pc.invert(pc.is_in(values, value_set=ids.filter(pa.array(mask)))))
    if len(unknown):
        more = f" (nor {len(unknown) - 1} more of the ids named)" if len(unknown) > 1 else ""
        raise InputError(f"no product has the id {unknown[0].as_py()!r}{more}")
    return mask
