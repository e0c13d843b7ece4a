"""Each test is run with both clients, over both protocols."""

import pytest

from ctl_keras.client import Client
from tests.client.in_loop import InLoop


@pytest.fixture(params=[Client, InLoop], ids=["sync", "asyncio"])
def connect(request):
    return request.param


@pytest.fixture(params=["http", "grpc"])
def scheme(request):
    return request.param
