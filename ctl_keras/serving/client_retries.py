"""When a request is sent again. Every request of the client only reads, so that sending it twice
does no harm."""

import random
import time

from ctl_keras.serving.client_target import Limits
from ctl_keras.serving.serving_error import ServingError

_FIRST, _LONGEST = 0.1, 2.0  # seconds


class Attempts:
    """Deadline and attempts of one request: exponential backoff with jitter, all within the
    deadline.

    Args:
        limits: of the client; the time runs from now on.
    """

    def __init__(self, limits: Limits):
        self._end, self._retries, self._made = time.monotonic() + limits.timeout, limits.retries, 0

    @property
    def remaining(self) -> float:
        """Seconds until the deadline, more than 0."""
        return max(self._end - time.monotonic(), 1e-3)

    def pause(self, error: ServingError) -> float:
        """Seconds to wait before the next attempt.

        Raises:
            ServingError: the given one, if it can't be retried, there were enough attempts, or the
                deadline would pass.
        """
        # half of it is fixed: a server that restarts needs a moment, and clients that failed
        # together must not come together
        longest = min(_FIRST * 2 ** (self._made + 1), _LONGEST)
        seconds = longest / 2 + random.uniform(0, longest / 2)
        self._made += 1
        if not error.may_retry or self._made > self._retries or seconds >= self.remaining:
            raise error
        return seconds
