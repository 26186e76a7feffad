"""Journalled hosts in this process: ticking in their own time, or as fast as it goes; what their journal replays to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from server.host.host import ShardHost
from server.host.recovery import rebuild
from server.shard.machine import NOTHING, Machine
from server.shard.ports import Clock, JournalReader, JournalStore
from server.store.memory_checkpoints import MemoryCheckpoints

M = TypeVar("M", bound=Machine)


async def at_their_pace(hosts: Sequence[ShardHost], over: Callable[[], bool]) -> None:
    """Each host in its own time, as in a server, until `over` says so, which is asked after every tick of the first.

    Raises what a host raises, and what `over` raises.
    """
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def look(_times: object, _took_s: float) -> None:
        if done.done():
            return
        try:
            if over():
                done.set_result(None)
        except AssertionError as error:
            done.set_exception(error)

    hosts[0].after_tick.append(look)
    tasks = [asyncio.create_task(host.run()) for host in hosts]
    try:
        finished, _ = await asyncio.wait({done, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in finished:
            task.result()
    finally:
        hosts[0].after_tick.remove(look)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def as_fast_as_it_goes(hosts: Sequence[ShardHost], journal: JournalStore, over: Callable[[], bool]) -> None:
    """A tick of each, and on when all are durable, until `over` says so."""
    durable = asyncio.Event()
    for host in hosts:
        host.after_durable.append(durable.set)
    while not over():
        for host in hosts:
            host.tick_once()
        while journal.backlog:
            durable.clear()
            await durable.wait()


async def replayed(make: Callable[[], M], journal: JournalReader, clock: Clock, tick: int) -> M:
    """What the journal makes of a fresh machine by this tick."""
    again, _ = await rebuild(make, journal, MemoryCheckpoints(), clock)
    # The last ticks had no input, and so no record.
    while again.tick < tick:
        again.replay(NOTHING)
    return again


def bytes_in(directory: Path) -> int:
    """Size of the files in a directory."""
    return sum(path.stat().st_size for path in directory.iterdir())
