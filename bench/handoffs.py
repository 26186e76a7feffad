"""`bench handoffs`: entities walk over the border between two regions of one process, journalled in SQLite.

First at the pace of a world: how many ticks a crossing takes, and what it costs a tick. Then as fast as it goes, tick
after tick, each made durable before the next. In the end everyone has to be in exactly one region with what it
carried, and both journals replay to the same state.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.figures import percentile
from bench.floor import SERVER_CORE
from bench.handoffs_game import REGIONS, Shuttle
from bench.pace import as_fast_as_it_goes, at_their_pace, bytes_in, replayed
from bench.processes import Line, pin
from games.frontier.components import AVATAR, Bag
from server.bus.memory import MemoryBus
from server.host.clock import LoopClock
from server.host.host import HostOptions, ShardHost
from server.observe.health import Health
from server.observe.metrics import Metrics
from server.regions.machine import RegionMachine
from server.store.sqlite import SqliteJournal

# Ticks in which the last letters get there, and their acknowledgements back.
_REST_TICKS_MAX: Final = 2000


@dataclass(frozen=True, slots=True)
class HandoffsOptions:
    """What a run is told."""

    # Entities that go to and fro.
    entities: int
    # Ticks in which they walk, at the pace of a world and then as fast as it goes.
    ticks: int
    hz: float


@dataclass(frozen=True, slots=True)
class HandoffsRun:
    """Figures for the last line, and every value for the report."""

    figures: Line
    # Of each crossing, at the pace of a world.
    pause_ticks: list[float]
    # Of each tick of both regions, at that pace.
    took_ms: list[float]

    @property
    def failed(self) -> bool:
        """Whether somebody went missing, is there twice, lost something, or the journal replays to something else."""
        return any(self.figures[key] for key in ("lost", "doubled", "changed", "diverged"))


@dataclass(frozen=True, slots=True)
class _Phase:
    handoffs: int
    seconds: float
    lost: int
    doubled: int
    changed: int
    diverged: int
    journal_bytes: int
    digests: list[str]
    pause_ticks: list[float]
    took_ms: list[float]


def run(options: HandoffsOptions) -> HandoffsRun:
    """Measure. Raises AssertionError when the last crossings do not end."""
    pin(SERVER_CORE)
    gc.collect()
    with tempfile.TemporaryDirectory(prefix="everstep-bench-") as directory:
        paced = asyncio.run(_phase(Path(directory) / "paced", options, fast=False))
        fast = asyncio.run(_phase(Path(directory) / "fast", options, fast=True))
    figures = {
        "handoffs_per_s": fast.handoffs / fast.seconds,
        "crossing_pause_ticks_p50": percentile(paced.pause_ticks, 50),
        "crossing_pause_ticks_p99": percentile(paced.pause_ticks, 99),
        "tick_ms_p50": percentile(paced.took_ms, 50),
        "tick_ms_p99": percentile(paced.took_ms, 99),
        "paced_handoffs_per_s": paced.handoffs / paced.seconds,
        "journal_bytes_per_handoff": fast.journal_bytes / max(1, fast.handoffs),
        "entities": options.entities,
        "handoffs": paced.handoffs + fast.handoffs,
        **{key: getattr(paced, key) + getattr(fast, key) for key in ("lost", "doubled", "changed", "diverged")},
        # As fast as it goes the ticks are the same in every run, and so is the world.
        "digests": fast.digests,
    }
    return HandoffsRun(figures, paced.pause_ticks, paced.took_ms)


async def _phase(directory: Path, options: HandoffsOptions, *, fast: bool) -> _Phase:
    """Two regions on a journal of their own, until everyone stands still."""
    journal, clock, bus, metrics = await SqliteJournal.open(directory), LoopClock(), MemoryBus(), Metrics()
    health = Health(clock.now_s)
    shuttles = [Shuttle(number, options.entities, options.ticks) for number in REGIONS]
    before = carried([s.machine for s in shuttles])
    host_options = HostOptions(options.hz, 5, 1000, 8, "pipelined", shuttles[0].machine.simulation)
    hosts = [
        ShardHost(
            s.machine, journal, bus, clock, host_options, metrics, health, claim=await journal.claim(s.machine.shard)
        )
        for s in shuttles
    ]
    took_ms: list[float] = []
    for host in hosts:
        host.after_tick.append(lambda _times, took_s: took_ms.append(took_s * 1000))
    began_s = time.perf_counter()
    if fast:
        await as_fast_as_it_goes(hosts, journal, lambda: _at_rest(shuttles))
    else:
        await at_their_pace(hosts, lambda: _at_rest(shuttles))
    seconds = time.perf_counter() - began_s
    for host in hosts:
        host.close()
    # What was appended is durable when this answers.
    await journal.spans()
    again = [await _replayed(s, journal, clock) for s in shuttles]
    await journal.close()
    after = carried([s.machine for s in shuttles])
    digests = [s.machine.digest() for s in shuttles]
    return _Phase(
        handoffs=len(shuttles[0].pauses) + len(shuttles[1].pauses),
        seconds=seconds,
        lost=len(before.keys() - after.keys()),
        doubled=sum(len(found) - 1 for found in after.values()),
        changed=len([number for number in before if before[number] != after.get(number, before[number])]),
        diverged=len([1 for a, b in zip(digests, again, strict=True) if a != b]),
        journal_bytes=bytes_in(directory),
        digests=[f"{digest:016x}" for digest in digests],
        pause_ticks=[float(n) for s in shuttles for n in s.pauses],
        took_ms=took_ms,
    )


def carried(machines: Iterable[RegionMachine]) -> dict[int, list[int]]:
    """What each entity carries, by its number: once for every region that has it."""
    found: dict[int, list[int]] = {}
    for machine in machines:
        world = machine.world
        rows = world.rows_of(AVATAR)
        for number, wood in zip(world.id_of(rows).tolist(), world[Bag].wood[rows].tolist(), strict=True):
            found.setdefault(number, []).append(wood)
    return found


def _at_rest(shuttles: list[Shuttle]) -> bool:
    tick = shuttles[0].machine.tick
    assert tick < shuttles[0].ticks + _REST_TICKS_MAX, "the last crossings do not end"
    return tick > shuttles[0].ticks and not any(s.machine.post.unacked() for s in shuttles)


async def _replayed(shuttle: Shuttle, journal: SqliteJournal, clock: LoopClock) -> int:
    """The digest of what the journal makes of a fresh machine by the same tick."""

    def fresh() -> RegionMachine:
        return Shuttle(shuttle.machine.shard, shuttle.entities, shuttle.ticks).machine

    return (await replayed(fresh, journal, clock, shuttle.machine.tick)).digest()
