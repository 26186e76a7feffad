"""Planted faults: servers that break a promise, so that it is seen whether the bench finds it.

    python -m bench.crash_faults early run ...      as `everstep run ...`, with this fault

A bench that finds nothing proves nothing. Nothing else may use this.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench import crash_game
from bench.plants import Plant
from server import cli
from server.regions.sessions import Sessions
from server.shard import inbox
from server.shard.checkpoint import Chunk, Manifest
from server.shard.journal import JournalRecord
from server.shard.machine import Records
from server.sim.game import Tick
from server.sim.world import World
from server.store.checkpoint_files import FileCheckpoints
from server.store.mongo import MongoJournal
from server.store.sqlite import SqliteJournal

# Seconds that a record lies about before it is written, or a written one before that is told.
_LATE_S: Final = 0.2


def early() -> None:
    """Reports a record durable at once and writes it later: an acknowledged write that was never synced."""
    honest = SqliteJournal.append

    def append(journal: SqliteJournal, record: JournalRecord, on_durable: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(_LATE_S, honest, journal, record, lambda: None)
        loop.call_soon(on_durable)

    # So are checkpoints: one that came before the records it was made of would be refused at the next start, and what
    # is lost never counted.
    written = FileCheckpoints.write

    async def write(checkpoints: FileCheckpoints, manifest: Manifest, chunks: Sequence[Chunk]) -> None:
        await asyncio.sleep(2 * _LATE_S)
        await written(checkpoints, manifest, chunks)

    SqliteJournal.append = append  # type: ignore[assignment,method-assign]  # that is the fault
    FileCheckpoints.write = write  # type: ignore[assignment,method-assign]  # that is the fault


def wobble(world: World, _tick: Tick) -> None:
    """A system that reads something that is no part of the state."""
    rows = world.rows(crash_game.Grain)[:1]
    world[crash_game.Grain].value[rows] ^= np.uint64(int.from_bytes(os.urandom(8), "little"))


def stray() -> None:
    """A replay comes to another state than the tick did."""
    crash_game.GAME = replace(crash_game.GAME, systems=(*crash_game.GAME.systems, wobble))


def forget() -> None:
    """The state no longer knows which numbers were applied, so what is sent again after a kill is applied again."""

    def applied(_sessions: Sessions, processed: Records) -> None:
        """Note nothing."""

    def unbroken(session: NDArray[np.uint64], *_: object) -> NDArray[np.bool_]:
        """Ask nobody for what came before: by a state that knows no number, something always lacks."""
        return np.ones(session.size, np.bool_)

    inbox._unbroken = unbroken  # type: ignore[assignment]  # noqa: SLF001  # that is part of the fault
    # Only what was applied and not yet confirmed is sent again. A store may be slow to report, so that breaks nothing,
    # and every kill meets orders of that kind. A fast one leaves a window of milliseconds that few kills meet.
    Sessions.applied = applied  # type: ignore[assignment,method-assign]  # that is the fault
    for journal in (SqliteJournal, MongoJournal):
        journal.append = late(journal.append)  # type: ignore[method-assign]  # no fault: it shows the other


def late(honest: Callable[..., None]) -> Callable[..., None]:
    """`append` of a journal that reports what is durable a while after it is."""

    def append(journal: object, record: JournalRecord, on_durable: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        honest(journal, record, lambda: loop.call_later(_LATE_S, on_durable))

    return append


# What is planted in the server.
FAULTS: Final = {Plant.EARLY: early, Plant.STRAY: stray, Plant.FORGET: forget}


if __name__ == "__main__":
    FAULTS[Plant(sys.argv.pop(1))]()
    cli.main()
