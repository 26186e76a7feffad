"""`bench restarts`: entities wander over borders while the Redis between their regions comes and goes.

Four regions, journalled in SQLite, in one process and yet far apart: each has its own connections to a Redis of the
run's own, and nothing goes from one to another but through it. Redis is killed while they wander, lies dead for a
while, and comes back with nothing. When it has come back for the last time everybody stands still, and what is under
way has to arrive. In the end everyone has to be in exactly one region with what it carried, and the journals replay to
the same.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from bench.figures import percentile
from bench.handoffs import carried
from bench.pace import replayed
from bench.processes import Line
from bench.redis_server import RedisServer
from bench.wander_game import REGIONS, Wander
from server.bus.redis import RedisBus, RedisOptions
from server.host.clock import LoopClock
from server.host.host import HostOptions, ShardHost
from server.observe.health import Health
from server.observe.metrics import Metrics
from server.store.sqlite import SqliteJournal

# Seconds that Redis lies dead, and that it lives at the least.
_DOWN_S: Final = (0.0, 1.0)
_UP_S: Final = (0.05, 1.0)
# Seconds in which it all has to arrive, or the run has failed.
_DRAINED_WITHIN_S: Final = 60.0
_LOOK_S: Final = 0.005


@dataclass(frozen=True, slots=True)
class RestartsOptions:
    """What a run is told."""

    restarts: int
    # At the least.
    handoffs: int
    entities: int
    hz: float
    seed: int


class Restarts:
    """One run."""

    def __init__(self, options: RestartsOptions, redis: RedisServer) -> None:
        self._options = options
        self._redis = redis
        self._random = random.Random(options.seed)  # noqa: S311  # from the seed, so that it can be repeated
        self._wanders = [Wander(number, options.entities, options.seed) for number in REGIONS]
        self._hosts: list[ShardHost] = []

    async def run(self, directory: Path, glance: Callable[[str], None]) -> Line:
        """Wander; returns the figures."""
        before = carried([w.machine for w in self._wanders])
        clock, metrics = LoopClock(), Metrics()
        began_s = time.monotonic()
        async with AsyncExitStack() as stack:
            journal = await SqliteJournal.open(directory)
            stack.push_async_callback(journal.close)
            buses = [
                await stack.enter_async_context(RedisBus(RedisOptions(self._redis.url), self._random))
                for _ in self._wanders
            ]
            for wander, bus in zip(self._wanders, buses, strict=True):
                machine = wander.machine
                told = HostOptions(self._options.hz, 5, 1000, 8, "pipelined", machine.simulation)
                claim = await journal.claim(machine.shard)
                health = Health(clock.now_s)
                host = ShardHost(
                    machine, journal, bus, clock, told, metrics, health, claim=claim, jitter=self._random.random
                )
                stack.callback(host.close)
                self._hosts.append(host)
            ticks = [asyncio.create_task(host.run()) for host in self._hosts]
            outages = asyncio.create_task(self._outages(glance))
            try:
                done, _ = await asyncio.wait([outages, *ticks], return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                drain_s = outages.result()
            finally:
                for task in (*ticks, outages):
                    task.cancel()
                await asyncio.gather(*ticks, outages, return_exceptions=True)
            elapsed_s = time.monotonic() - began_s
            # What was appended is durable when this answers.
            await journal.spans()
            again = [await replayed(w.again, journal, clock, w.machine.tick) for w in self._wanders]
            dropped = sum(bus.dropped.total() for bus in buses)
            reconnects = sum(bus.reconnects for bus in buses)
        after = carried([w.machine for w in self._wanders])
        return {
            "redis_restarts": self._options.restarts,
            "handoffs": self._arrived,
            "handoffs_asked": self._options.handoffs,
            "lost": len(before.keys() - after.keys()),
            "doubled": sum(len(found) - 1 for found in after.values()),
            "changed": len([number for number in before if before[number] != after.get(number, before[number])]),
            "diverged": sum(w.machine.digest() != a.digest() for w, a in zip(self._wanders, again, strict=True)),
            "undelivered": len(self._unacked()),
            "drain_s": drain_s,
            "crossing_ticks_p50": percentile([float(n) for w in self._wanders for n in w.pauses], 50),
            "crossing_ticks_max": max((n for w in self._wanders for n in w.pauses), default=0),
            "letters_resent": sum(host.postman.counts["resent"] for host in self._hosts),
            "messages_dropped": dropped,
            "reconnects": reconnects,
            "entities": len(before),
            "handoffs_per_s": self._arrived / elapsed_s,
            "elapsed_s": elapsed_s,
            "seed": self._options.seed,
        }

    @property
    def _arrived(self) -> int:
        return sum(len(w.pauses) for w in self._wanders)

    def _arrived_at_least(self, handoffs: int) -> bool:
        return self._arrived >= handoffs

    def _unacked(self) -> list[object]:
        return [letter for w in self._wanders for letter in w.machine.post.unacked()]

    async def _outages(self, glance: Callable[[str], None]) -> float:
        """All restarts, and the rest after the last; returns how many seconds it took."""
        chance, options = self._random, self._options
        for restart in range(options.restarts):
            glance(f"{restart} of {options.restarts} restarts, {self._arrived} handoffs")
            # The handoffs are spread over all restarts.
            due = options.handoffs * (restart + 1) // options.restarts
            await asyncio.sleep(chance.uniform(*_UP_S))
            await _until(partial(self._arrived_at_least, due), _DRAINED_WITHIN_S)
            await asyncio.to_thread(self._redis.kill)
            await asyncio.sleep(chance.uniform(*_DOWN_S))
            await asyncio.to_thread(self._redis.start)
        began_s = time.monotonic()
        # The same tick for all that no region has begun.
        last_tick = max(w.machine.tick for w in self._wanders) + 1
        for wander in self._wanders:
            wander.until_tick = last_tick
        await _until(
            lambda: all(w.machine.tick > last_tick for w in self._wanders) and not self._unacked(), _DRAINED_WITHIN_S
        )
        return time.monotonic() - began_s


async def _until(holds: Callable[[], bool], within_s: float) -> None:
    """Wait until it holds, and no longer than that: the figures tell what is missing then."""
    until_s = time.monotonic() + within_s
    while not holds() and time.monotonic() < until_s:  # noqa: ASYNC110  # it is looked at, not told
        await asyncio.sleep(_LOOK_S)


def failed(figures: Line) -> bool:
    """Whether somebody is missing, there twice or changed; a journal replays to something else; mail waits."""
    wrong = any(figures[key] for key in ("lost", "doubled", "changed", "diverged", "undelivered"))
    return wrong or figures["handoffs"] < figures["handoffs_asked"]


def run(options: RestartsOptions, glance: Callable[[str], None] = lambda _step: None) -> Line:
    """One run; returns the figures. Raises RedisUnavailable."""
    with tempfile.TemporaryDirectory(prefix="everstep-bench-") as directory:
        place = Path(directory)
        (place / "redis").mkdir()
        with RedisServer(place / "redis") as redis:
            return asyncio.run(Restarts(options, redis).run(place / "journal", glance))
