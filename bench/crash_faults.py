"""Planted faults: servers that break a promise, so that it is seen whether the bench finds it.

    python -m bench.crash_faults early run ...      as `everstep run ...`, with this fault

A bench that finds nothing proves nothing. Nothing else may use this.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from typing import Final

import numpy as np

from bench import crash_game
from server import cli
from server.regions.sessions import Sessions
from server.shard.journal import JournalRecord
from server.shard.machine import Records
from server.sim.game import Tick
from server.sim.world import World
from server.store.sqlite import SqliteJournal


class Plant(StrEnum):
    """Each is found as something else."""

    # The store reports durable what it writes later: acknowledged orders are lost.
    EARLY = "early"
    # A system reads what is no part of the state: digests differ.
    STRAY = "stray"
    # The state forgets which numbers were applied: orders are doubled.
    FORGET = "forget"
    # Not the server but the clients: an order sent again gets another sequence number, and is doubled.
    RENUMBER = "renumber"


# Seconds that a record lies about before it is written.
_LATE_S: Final = 0.2


def early() -> None:
    """Reports a record durable at once and writes it later: an acknowledged write that was never synced."""
    honest = SqliteJournal.append

    def append(journal: SqliteJournal, record: JournalRecord, on_durable: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(_LATE_S, honest, journal, record, lambda: None)
        loop.call_soon(on_durable)

    SqliteJournal.append = append  # type: ignore[assignment,method-assign]  # that is the fault


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

    Sessions.applied = applied  # type: ignore[assignment,method-assign]  # that is the fault


# What is planted in the server.
FAULTS: Final = {Plant.EARLY: early, Plant.STRAY: stray, Plant.FORGET: forget}


if __name__ == "__main__":
    FAULTS[Plant(sys.argv.pop(1))]()
    cli.main()
