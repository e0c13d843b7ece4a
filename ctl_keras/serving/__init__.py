"""Clients of a server, and an export in this process. Importing the clients imports no
TensorFlow."""

from ctl_keras.serving.async_client import AsyncClient
from ctl_keras.serving.client import Client
from ctl_keras.serving.serving_error import ServingError

__all__ = ["AsyncClient", "Client", "ServingError"]
