"""A circuit breaker: after a failure nothing is tried for a while, each time for longer, with jitter.

The delays double from `first_s` to `most_s`, each multiplied by a random factor of 0.5 to 1, so that a thousand
processes that lost the same server do not come back at the same moment (AWS Architecture Blog,
"Exponential Backoff And Jitter").
"""

from __future__ import annotations

from enum import Enum
from random import Random


class CircuitState(Enum):
    """Whether to try."""

    # All is well: everything is tried.
    CLOSED = "closed"
    # It failed a moment ago: nothing is tried.
    OPEN = "open"
    # The time is over: what is tried next decides.
    HALF_OPEN = "half_open"


class Circuit:
    """One way to somebody who may be away. Times are handed in, in seconds of any monotonic clock."""

    def __init__(self, first_s: float, most_s: float, random: Random) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._random = random
        self._failures = 0
        self._until_s: float | None = None

    def state(self, now_s: float) -> CircuitState:
        """Whether to try now."""
        if self._until_s is None:
            return CircuitState.CLOSED
        return CircuitState.OPEN if now_s < self._until_s else CircuitState.HALF_OPEN

    def failed(self, now_s: float) -> float:
        """A try failed; returns for how many seconds nothing should be tried."""
        # Past 2**30 the delay has long reached its most, and a float its range in the end.
        delay_s = min(self._most_s, self._first_s * 2.0 ** min(self._failures, 30))
        delay_s *= 0.5 + self._random.random() / 2
        self._failures += 1
        self._until_s = now_s + delay_s
        return delay_s

    def succeeded(self) -> None:
        """A try succeeded."""
        self._failures = 0
        self._until_s = None
