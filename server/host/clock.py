"""The event loop's clock, as a shard's host needs it."""

from __future__ import annotations

import asyncio
import time


class LoopClock:
    """Monotonic time. `sleep_until` is the loop's timer: it may wake late by the loop's resolution, never early."""

    def now_s(self) -> float:
        """Seconds of the monotonic clock."""
        return time.monotonic()

    async def sleep_until(self, due_s: float) -> None:
        """Return at `due_s`; gives other tasks a turn even where it is past."""
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        # Timers of libuv count whole milliseconds of a cached time and can fire up to one early.
        while time.monotonic() < due_s:  # noqa: ASYNC110  # time is no event
            await asyncio.sleep(0)
