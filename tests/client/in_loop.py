"""An `AsyncClient` that can be tested as `Client` is."""

import asyncio

from ctl_keras.client import AsyncClient


class InLoop:
    """An AsyncClient with the methods of Client: each test covers both."""

    def __init__(self, *arguments, **settings):
        self._loop = asyncio.new_event_loop()
        self._client = AsyncClient(*arguments, **settings)

    def __getattr__(self, name):
        return lambda *arguments, **named: self._loop.run_until_complete(
            getattr(self._client, name)(*arguments, **named)
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._loop.run_until_complete(self._client.close())
        self._loop.close()
