"""The event loop's clock, as a shard's host needs it."""

from __future__ import annotations

import asyncio
import math
import time


class LoopClock:
    """Monotonic time. `sleep_until` is the loop's timer: it may wake late by the loop's resolution, never early."""

    def now_s(self) -> float:
        """Seconds of the monotonic clock."""
        return time.monotonic()

    async def sleep_until(self, due_s: float) -> None:
        """Return at `due_s`; gives other tasks a turn even where it is past."""
        # Timers of libuv count whole milliseconds: rounded up here, they fire late by less than one, and
        # not early, which would leave the rest to be waited out turn by turn.
        wait_ms = math.ceil((due_s - time.monotonic()) * 1000)
        await asyncio.sleep(max(0, wait_ms) / 1000)
        while time.monotonic() < due_s:  # noqa: ASYNC110  # time is no event
            await asyncio.sleep(0)
