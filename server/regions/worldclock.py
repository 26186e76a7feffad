"""The world's clock, as a region has it: its own tick, and how far the world is ahead of that.

Each region counts its own ticks, and one that slept, was slow, or began later has made fewer than its neighbours. So
that the hour is the same on both sides of a border, its state holds by how many ticks the world's clock is ahead. Its
host tells it by an order, input like any other, where it has fallen behind (server/host/worldtime.py).

The clock never goes back: an order moves it forward or does nothing. A region that was never told has its tick for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from server.shard.machine import CLOCK, SYSTEM_COMMANDS, Records, encode_batches
from server.sim.errors import SnapshotError

# What an order can say: of 20 ticks a second, nearly seven years.
AHEAD_TICKS_MAX: Final = 2**32 - 1
_STATE: Final = "@clock.ahead"
_ORDER: Final = next(command for command in SYSTEM_COMMANDS if command.id == CLOCK)


def clock_order(ahead_ticks: int) -> bytes:
    """What sets a region's clock: a command batch for it. It has no session. Beyond AHEAD_TICKS_MAX it says that."""
    return encode_batches({CLOCK: np.array([(0, 1, min(ahead_ticks, AHEAD_TICKS_MAX))], _ORDER.dtype)})


class WorldClock:
    """Part of a region's state, empty while the world's clock is the region's own tick."""

    def __init__(self) -> None:
        # Ticks by which the world's clock is ahead of the region's tick.
        self.ahead_ticks = 0

    def order(self, records: Records) -> None:
        """Hear how far the world is ahead: (n,) records of CLOCK."""
        self.ahead_ticks = max(self.ahead_ticks, int(records["ahead"].max()))

    # -- state -------------------------------------------------------------------

    def digest(self, seed: int) -> int:
        """64 bits that differ with it, and with `seed`; `seed` itself where the world is not ahead."""
        arrays = self.capture()
        return xxhash.xxh3_64_intdigest(arrays[_STATE].tobytes(), seed=seed) if arrays else seed

    def capture(self) -> dict[str, NDArray[Any]]:
        """All of it as named arrays that nobody else has; none where the world is not ahead."""
        return {_STATE: np.array([self.ahead_ticks], np.uint64)} if self.ahead_ticks else {}

    def adopt(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Become the clock that `capture` was called on; others' arrays are passed over.

        Raises SnapshotError; nothing is then changed.
        """
        state = arrays.get(_STATE, np.zeros(1, np.uint64))
        if state.dtype != np.uint64 or state.shape != (1,) or int(state[0]) > AHEAD_TICKS_MAX:
            raise SnapshotError(f"{_STATE}: not a clock")
        self.ahead_ticks = int(state[0])
