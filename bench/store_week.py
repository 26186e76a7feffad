"""A week of play, and what it leaves on the disk: host, journal and checkpoints on a clock that does not wait.

They are what a server runs, at its own cadence in game time. So that a week has an end, the world is small and ticks
once a second, the least that a world may: a week is 604,800 ticks, where at 20 Hz it would be twelve million.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import structlog
import uvloop

from bench.crowd_game import GAME, MOVE
from bench.processes import Line
from bench.store_damage_run import scratch
from server.bus.memory import MemoryBus
from server.host.checkpoints import Checkpoints
from server.host.errors import NoWayBack
from server.host.host import HostOptions, ShardHost
from server.host.reception import ReceptionOptions
from server.host.recovery import rebuild, recover
from server.observe.health import Health
from server.observe.metrics import Metrics
from server.regions.frame import RegionSpec
from server.regions.machine import RegionMachine
from server.shard.machine import JOIN, NOTHING, encode_batches
from server.shard.ports import Clock, commands_topic
from server.store.checkpoint_files import DIRECTORY_NAME, FileCheckpoints
from server.store.sqlite import SqliteJournal
from server.store.sqlite_file import FILE_NAME

SHARD: Final = 1
_AVATARS: Final = 16
# The time is looked at in so many parts.
PARTS: Final = 12
# Sixteen pages: what a small file may grow by without telling anything.
_FEW_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class WeekOptions:
    """How much is played, and what of it is kept. Ticks are seconds."""

    ticks: int = 604_800
    checkpoint_every_s: float = 60.0
    retain_ticks: int = 86_400
    retained: int = 24
    # Part of the ticks in which somebody does something.
    busy: float = 0.25
    seed: int = 1


class GameClock:
    """A Clock that somebody turns."""

    def __init__(self) -> None:
        self.time_s = 0.0

    def now_s(self) -> float:
        """Seconds."""
        return self.time_s

    async def sleep_until(self, due_s: float) -> None:
        """It is then."""
        self.time_s = max(self.time_s, due_s)
        await asyncio.sleep(0)


def machine() -> RegionMachine:
    """The world, new."""
    return RegionMachine(GAME, RegionSpec(SHARD, 0.0, 0.0, 160.0, 160.0, 64), seed=1, tick_rate_hz=1.0)


def run(options: WeekOptions, progress: Callable[[int, int], None]) -> Line:
    """Play it, with a directory of its own. `progress`: ticks made, of all."""
    # Every checkpoint is told, otherwise.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with scratch() as directory:
        return uvloop.run(play(directory, options, progress))


async def play(directory: Path, options: WeekOptions, progress: Callable[[int, int], None]) -> Line:
    """Play it in a data directory, replay what is retained, start again. Figures, sizes in bytes and by part."""
    began_s = time.monotonic()
    clock, bus = GameClock(), MemoryBus()
    journal, store = await SqliteJournal.open(directory), FileCheckpoints(directory)
    back = await recover(machine, journal, store, clock)
    host = ShardHost(
        back.machine,
        journal,
        bus,
        clock,
        HostOptions(
            1.0,
            5,
            10_000,
            8,
            "pipelined",
            GAME.version,
            digest_every_ticks=20,
            # No gateway speaks for anybody.
            reception=ReceptionOptions(gateway_silence_s=1e9, grace_s=1e9),
        ),
        Metrics(),
        Health(clock.now_s),
        claim=back.claim,
    )
    checkpoints = Checkpoints(
        host,
        journal,
        store,
        clock,
        Metrics(),
        every_s=options.checkpoint_every_s,
        kept=2,
        retain_ticks=options.retain_ticks,
        retained=options.retained,
    )
    await checkpoints.take()
    rng = random.Random(options.seed)  # noqa: S311  # seeded, to be repeated
    _send(bus, back.machine, JOIN, range(_AVATARS), 0)
    digests: dict[int, int] = {}
    parts: list[dict[str, int]] = [{} for _ in range(PARTS)]
    for tick in range(1, options.ticks + 1):
        if rng.random() < options.busy:
            _send(bus, back.machine, MOVE, rng.sample(range(_AVATARS), rng.randrange(1, _AVATARS)), tick)
        clock.time_s += 1.0
        host.tick_once()
        if host.durable_tick < host.journalled_tick:
            await _durable(host)
        # A checkpoint takes milliseconds, and the next second would be long in coming.
        await checkpoints.settle()
        if tick % 97 == 0:
            digests[tick] = host.machine.digest()
            _note(directory, parts[(tick - 1) * PARTS // options.ticks])
            progress(tick, options.ticks)
    span = (await journal.spans())[SHARD]
    figures: Line = {
        "ticks": options.ticks,
        "records": span.records,
        "oldest_tick": span.after_tick,
        "checkpoints": len(await store.manifests(SHARD)),
        **{name: [part[name] for part in parts] for name in parts[0]},
        **await _replays(journal, store, clock, digests, options),
    }
    last = host.machine.tick, host.machine.digest()
    await checkpoints.close()
    await journal.close()
    await store.close()
    again = await SqliteJournal.open(directory)
    store = FileCheckpoints(directory)
    found = await recover(machine, again, store, clock)
    for _ in range(last[0] - found.machine.tick):
        found.machine.replay(NOTHING)
    figures["came_back"] = (found.machine.tick, found.machine.digest()) == last
    await again.close()
    await store.close()
    return {**figures, "steady": _steady(parts), "seconds": time.monotonic() - began_s}


def _steady(parts: Sequence[dict[str, int]]) -> bool:
    """Whether, once all had come to its size in the first third, nothing grew.

    That is by no more than an eighth and some pages: what checkpoints compress to differs, and free pages are not
    always where they would serve.
    """
    settled, later = parts[: PARTS // 3], parts[PARTS // 3 :]
    return all(
        max(p[name] for p in later) <= 1.125 * max(p[name] for p in settled) + (_FEW_BYTES if "bytes" in name else 0)
        for name in parts[0]
    )


async def _replays(
    journal: SqliteJournal, store: FileCheckpoints, clock: Clock, digests: dict[int, int], options: WeekOptions
) -> Line:
    """Ticks all over the retained past, each replayed and held against the digest it had."""
    ticks = [tick for tick in digests if tick > options.ticks - options.retain_ticks]
    chosen = ticks[:: max(1, len(ticks) // 12)]
    wrong, longest = 0, 0
    for tick in chosen:
        try:
            made, report = await rebuild(machine, journal, store, clock, to_tick=tick)
        except NoWayBack:
            wrong += 1
            continue
        wrong += made.digest() != digests[tick]
        longest = max(longest, report.ticks_replayed)
    return {"replayed": len(chosen), "replayed_wrong": wrong, "replayed_ticks_max": longest}


def _send(bus: MemoryBus, world: RegionMachine, kind: int, avatars: Sequence[int], tick: int) -> None:
    """Have these avatars do it: join, or turn somewhere."""
    records = np.zeros(len(avatars), world.shapes[kind].dtype)
    records["session"] = np.sort(np.array(avatars)) + 1
    records["seq"] = tick
    if kind == MOVE:
        rng = np.random.default_rng(tick)
        records["dx"], records["dy"] = rng.uniform(-1, 1, (2, len(avatars)))
    bus.publish(commands_topic(SHARD), encode_batches({kind: records}))


async def _durable(host: ShardHost) -> None:
    told = asyncio.Event()
    host.after_durable.append(told.set)
    while host.durable_tick < host.journalled_tick:
        told.clear()
        await told.wait()
    host.after_durable.remove(told.set)


def _note(directory: Path, part: dict[str, int]) -> None:
    """The largest that each was in this part."""
    checkpoints = list((directory / DIRECTORY_NAME).iterdir())
    seen = {
        "file_bytes": (directory / FILE_NAME).stat().st_size,
        "log_bytes": (directory / f"{FILE_NAME}-wal").stat().st_size,
        "checkpoint_files": len(checkpoints),
        "checkpoint_bytes": sum(path.stat().st_size for path in checkpoints),
    }
    for name, value in seen.items():
        part[name] = max(value, part.get(name, 0))
