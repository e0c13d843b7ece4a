"""A download in a process of its own, for the tests that kill it."""

from ctl_keras.data.importers import fetching
from ctl_keras.data.importers.download import download


def fetch(ids, out, template, concurrency):
    fetching.BACKOFF_SECONDS = 0.01
    download(ids, out, template, concurrency, rate=400)
