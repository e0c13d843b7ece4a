"""Clients of a server. Over REST they need no TensorFlow; of this package they need `errors.py` and
`data/picture_files.py` only."""

from ctl_keras.client.async_client import AsyncClient
from ctl_keras.client.client import Client
from ctl_keras.client.serving_error import ServingError

__all__ = ["AsyncClient", "Client", "ServingError"]
