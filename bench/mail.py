"""`bench mail`: two shards of one process write to each other, journalled in SQLite.

First at the pace of a world: how many ticks a letter takes, and what it costs a tick. Then as fast as it goes, tick
after tick, each made durable before the next. In the end both journals are replayed, and have to come to the same
state: a letter that was lost, doubled or out of order would show in the sums.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from bench.figures import percentile
from bench.floor import SERVER_CORE
from bench.mail_machine import Scribe, at_rest
from bench.pace import as_fast_as_it_goes, at_their_pace, bytes_in, replayed
from bench.processes import Line, pin
from server.bus.memory import MemoryBus
from server.host.clock import LoopClock
from server.host.host import HostOptions, ShardHost
from server.observe.health import Health
from server.observe.metrics import Metrics
from server.store.sqlite import SqliteJournal

SHARDS: Final = (1, 2)
# Ticks in which the last letters get there, and their acknowledgements back.
_REST_TICKS_MAX: Final = 2000


@dataclass(frozen=True, slots=True)
class MailBenchOptions:
    """What a run is told."""

    # Letters of each shard in each tick, and bytes of each.
    letters: int
    size: int
    # Ticks in which they write, at the pace of a world and then as fast as it goes.
    ticks: int
    hz: float


@dataclass(frozen=True, slots=True)
class MailRun:
    """Figures for the last line, and every value for the report."""

    figures: Line
    # Of each letter at the pace of a world.
    latency_ticks: list[float]
    # Of each tick of both shards, at that pace.
    took_ms: list[float]

    @property
    def failed(self) -> bool:
        """Whether a letter went missing, came twice, or the journal replays to something else."""
        return bool(self.figures["lost"] or self.figures["doubled"] or self.figures["diverged"])


def run(options: MailBenchOptions) -> MailRun:
    """Measure. Raises AssertionError when the letters do not come to rest."""
    pin(SERVER_CORE)
    gc.collect()
    with tempfile.TemporaryDirectory(prefix="everstep-bench-") as directory:
        paced = asyncio.run(_phase(Path(directory) / "paced", options, fast=False))
        fast = asyncio.run(_phase(Path(directory) / "fast", options, fast=True))
    figures = {
        "letters_per_s": fast.per_s,
        "latency_ticks_p50": percentile(paced.latency_ticks, 50),
        "latency_ticks_p99": percentile(paced.latency_ticks, 99),
        "lost": paced.lost + fast.lost,
        "doubled": paced.doubled + fast.doubled,
        "diverged": paced.diverged + fast.diverged,
        "letters_per_tick": options.letters,
        "bytes_per_letter": options.size,
        "ticks": options.ticks,
        "letters": paced.taken + fast.taken,
        "resent": paced.resent + fast.resent,
        "paced_letters_per_s": paced.per_s,
        "tick_ms_p50": percentile(paced.took_ms, 50),
        "tick_ms_p99": percentile(paced.took_ms, 99),
        "journal_bytes_per_letter": fast.journal_bytes / max(1, fast.taken),
        # The same letters give the same sums, at whatever pace.
        "sums": [f"{s:08x}" for s in fast.sums],
    }
    return MailRun(figures, paced.latency_ticks, paced.took_ms)


@dataclass(frozen=True, slots=True)
class _Phase:
    per_s: float
    taken: int
    resent: int
    lost: int
    doubled: int
    diverged: int
    journal_bytes: int
    sums: tuple[int, int]
    latency_ticks: list[float]
    took_ms: list[float]


async def _phase(directory: Path, options: MailBenchOptions, *, fast: bool) -> _Phase:
    """Two shards on a journal of their own, until all is said and heard."""
    journal, clock, bus, metrics = await SqliteJournal.open(directory), LoopClock(), MemoryBus(), Metrics()
    health = Health(clock.now_s)
    machines = [_scribe(options, shard) for shard in SHARDS]
    host_options = HostOptions(options.hz, 5, 1000, 8, "pipelined", 1)
    hosts = [
        ShardHost(m, journal, bus, clock, host_options, metrics, health, claim=await journal.claim(m.shard))
        for m in machines
    ]
    took_ms: list[float] = []
    for host in hosts:
        host.after_tick.append(lambda _times, took_s: took_ms.append(took_s * 1000))
    began_s = time.perf_counter()
    if fast:
        await as_fast_as_it_goes(hosts, journal, lambda: _over(machines))
    else:
        await at_their_pace(hosts, lambda: _over(machines))
    seconds = time.perf_counter() - began_s
    for host in hosts:
        host.close()
    # What was appended is durable when this answers.
    await journal.spans()
    again = [await replayed(partial(_scribe, options, m.shard), journal, clock, m.tick) for m in machines]
    await journal.close()
    sent = options.letters * options.ticks
    one, other = machines
    return _Phase(
        per_s=sum(m.taken for m in machines) / seconds,
        taken=sum(m.taken for m in machines),
        resent=sum(host.postman.counts["resent"] for host in hosts),
        lost=sum(max(0, sent - m.taken) for m in machines),
        doubled=sum(max(0, m.taken - sent) for m in machines),
        diverged=sum(a.digest() != b.digest() for a, b in zip(machines, again, strict=True))
        + (one.sums != other.sums[::-1]),
        journal_bytes=bytes_in(directory),
        sums=one.sums,
        latency_ticks=[float(n) for m in machines for n in m.latency_ticks],
        took_ms=took_ms,
    )


def _over(machines: list[Scribe]) -> bool:
    assert machines[0].tick < machines[0].last_tick + _REST_TICKS_MAX, "the letters do not come to rest"
    return at_rest(machines)


def _scribe(options: MailBenchOptions, shard: int) -> Scribe:
    return Scribe(shard, sum(SHARDS) - shard, options.letters, options.size, options.ticks)
