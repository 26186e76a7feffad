"""A clock that moves only when somebody waits for it: hours of ticks pass in an instant, the same each time."""

from __future__ import annotations

import asyncio


class VirtualClock:
    """A Clock (server/shard/ports.py)."""

    def __init__(self, start_s: float = 0.0) -> None:
        self.time_s = start_s

    def now_s(self) -> float:
        return self.time_s

    async def sleep_until(self, due_s: float) -> None:
        self.time_s = max(self.time_s, due_s)
        # Other tasks have their turn, as they would on a real loop.
        await asyncio.sleep(0)

    def work(self, seconds: float) -> None:
        """Time goes by while somebody computes."""
        self.time_s += seconds
