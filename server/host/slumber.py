"""Slumber: a shard that nobody looks at, and in which nothing is under way, makes no ticks.

Its host keeps it: machine in memory, lease, ears on every topic. Time stands still in it and is not made up for, which
no game can tell from the inside. Whatever comes for it wakes it: a gateway that is there, one that wants a keyframe, an
order, mail. The message that wakes it is taken in as any other; all that is done here is to tell the ticks.

Mail alone is no reason to stay awake: once it is taken and acknowledged the shard sleeps on. Else a herd that walks
from one empty region into the next would have a whole world tick for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from server.shard.ports import Bus, Clock, commands_topic, keyframes_topic, mail_topic, uplink_topic


class Slumber:
    """One host's. `after_s`: seconds without anybody who looks, 0: it never sleeps.

    `looked_at`: whether somebody is there; `under_way`: whether something else is to be brought to its end.
    """

    def __init__(
        self,
        shard: int,
        bus: Bus,
        clock: Clock,
        after_s: float,
        looked_at: Callable[[], bool],
        under_way: Callable[[], bool],
    ) -> None:
        self._clock = clock
        self._after_s = after_s
        self._looked_at = looked_at
        self._under_way = under_way
        # When somebody was there last.
        self._looked_s = clock.now_s()
        self._woken = asyncio.Event()
        # While asleep: since when.
        self._since_s: float | None = None
        self._slept_s = 0.0
        # Times it fell asleep since the start.
        self.count = 0
        self._unsubscribe = [
            bus.subscribe(mail_topic(shard), self._on_mail),
            *(bus.subscribe(topic(shard), self._on_look) for topic in (commands_topic, uplink_topic, keyframes_topic)),
        ]

    def close(self) -> None:
        """Listen no more."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()

    @property
    def asleep(self) -> bool:
        """Whether it makes no ticks."""
        return self._since_s is not None

    def awake_s(self) -> float:
        """The clock's seconds without those that were slept through: a difference of two is how long it ticked."""
        return (self._clock.now_s() if self._since_s is None else self._since_s) - self._slept_s

    def due(self) -> bool:
        """After each tick: whether it should make a last one and sleep."""
        if self._after_s <= 0:
            return False
        now_s = self._clock.now_s()
        if self._looked_at():
            self._looked_s = now_s
        if now_s - self._looked_s < self._after_s or self._under_way():
            return False
        # What comes from now on ends the sleep before it begins.
        self._woken.clear()
        return True

    def wake(self) -> None:
        """Have it make a tick, with a record, and sleep on where nobody looks."""
        self._woken.set()

    async def sleep(self) -> float:
        """Return when something has come for the shard since `due`: the seconds that it took."""
        began_s = self._since_s = self._clock.now_s()
        self.count += 1
        try:
            await self._woken.wait()
        finally:
            slept_s = self._clock.now_s() - began_s
            self._slept_s += slept_s
            self._since_s = None
        return slept_s

    def _on_look(self, _data: bytes) -> None:
        self._looked_s = self._clock.now_s()
        self.wake()

    def _on_mail(self, _data: bytes) -> None:
        self.wake()
