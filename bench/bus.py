"""`bench bus`: how long a message takes over a bus and back, and how many go over it in a second.

Over Redis it goes as it would between two processes: one bus speaks, another one hears, each with connections of its
own. Both live in this process, so what two processes would wait for each other's turn is not in the figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

import uvloop

from bench.figures import percentile
from bench.floor import SERVER_CORE
from bench.processes import Line, WorkerError, pin
from bench.redis_server import RedisServer
from server.bus.memory import MemoryBus
from server.bus.redis import RedisBus, RedisOptions

Way = MemoryBus | RedisBus
# How many messages may be on their way at once, where it is counted how many go.
WINDOW = 1024
# Only so that a run ends which has lost a message: pub/sub may, and here it has no reason to.
PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class BusBenchOptions:
    """What is asked for."""

    # Of one message: some thousand is a frame of a region.
    size_bytes: int
    round_trips: int
    # Sent as fast as they go.
    messages: int


@dataclass(frozen=True, slots=True)
class BusRun:
    """Figures for the last line, and every round trip for the report."""

    figures: Line
    # Milliseconds, in order, by the bus's name.
    round_trip_ms: dict[str, list[float]]


def run(options: BusBenchOptions) -> BusRun:
    """Both buses. Raises RedisUnavailable, and WorkerError where a message does not come."""
    figures: Line = {"bytes": options.size_bytes, "round_trips": options.round_trips, "messages": options.messages}
    trips: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="bench") as place, RedisServer(Path(place)) as redis:
        pin(SERVER_CORE)
        for name, url in (("memory", None), ("redis", redis.url)):
            trips[name], per_s = uvloop.run(_measure(options, url))
            figures[f"{name}_round_trip_us_p50"] = percentile(trips[name], 50)
            figures[f"{name}_round_trip_us_p99"] = percentile(trips[name], 99)
            figures[f"{name}_messages_per_s"] = per_s
    return BusRun(figures, {name: [us / 1000 for us in took_us] for name, took_us in trips.items()})


async def _measure(options: BusBenchOptions, url: str | None) -> tuple[list[float], float]:
    """Microseconds of each round trip, and messages per second. `url`: of Redis; None: within the process."""
    async with contextlib.AsyncExitStack() as stack:
        here: Way
        there: Way
        if url is None:
            here = there = MemoryBus()
        else:
            # Random spreads out when broken connections come back; here none breaks.
            here = await stack.enter_async_context(RedisBus(RedisOptions(url), Random(1)))  # noqa: S311
            there = await stack.enter_async_context(RedisBus(RedisOptions(url), Random(2)))  # noqa: S311
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await _round_trips(here, there, options), await _per_s(here, there, options)
        except TimeoutError as error:
            raise WorkerError("a message did not come") from error


async def _round_trips(here: Way, there: Way, options: BusBenchOptions) -> list[float]:
    payload, took_us = bytes(options.size_bytes), []
    answered = asyncio.Event()
    there.subscribe("there", lambda asked: there.publish("back", asked))
    here.subscribe("back", lambda answer: answered.set())
    await _settled(here, there)
    for _ in range(options.round_trips):
        answered.clear()
        began_s = time.perf_counter()
        here.publish("there", payload)
        await answered.wait()
        took_us.append((time.perf_counter() - began_s) * 1e6)
    return took_us


async def _per_s(here: Way, there: Way, options: BusBenchOptions) -> float:
    payload, arrived, one_more = bytes(options.size_bytes), 0, asyncio.Event()

    def count(_: bytes) -> None:
        nonlocal arrived
        arrived += 1
        one_more.set()

    async def until_only(on_the_way: int, sent: int) -> None:
        while sent - arrived > on_the_way:
            one_more.clear()
            await one_more.wait()

    there.subscribe("many", count)
    await _settled(there)
    began_s = time.perf_counter()
    for sent in range(1, options.messages + 1):
        here.publish("many", payload)
        await until_only(WINDOW, sent)
    await until_only(0, options.messages)
    return options.messages / (time.perf_counter() - began_s)


async def _settled(*buses: Way) -> None:
    for bus in buses:
        if isinstance(bus, RedisBus):
            await bus.settled()
