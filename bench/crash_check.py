"""The independent replay: another process makes the state anew from what was kept, and reads the books in it.

    python -m bench.crash_check '{"data": "...", "store": "sqlite", "uri": null, "environment": {...}}'

From every checkpoint that is kept the journal is replayed to its end. Each replay checks the digests
that the live server journalled, and those of the checkpoints it passes; and all must come to one state.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from bench.crash_game import GAME, Ledger
from bench.crash_server import DATABASE
from bench.processes import Line, arguments, failures_told, tell
from config.settings import Settings, load
from server.host.clock import LoopClock
from server.host.errors import RecoveryError
from server.host.recovery import rebuild
from server.regions.machine import RegionMachine
from server.roles.world import data_directory, region_machine
from server.shard.checkpoint import Manifest
from server.shard.errors import ShardError
from server.shard.ports import CheckpointReader, JournalReader
from server.store.checkpoint_files import FileCheckpoints
from server.store.mongo_open import mongo_stores
from server.store.sqlite_reader import SqliteReader


class OneCheckpoint:
    """A CheckpointReader that has this one alone: a replay begins there."""

    def __init__(self, store: CheckpointReader, manifest: Manifest) -> None:
        self._store = store
        self._manifest = manifest

    async def manifests(self, shard: int) -> list[Manifest]:
        """The one."""
        return [self._manifest] if shard == self._manifest.shard else []

    async def shards(self) -> list[int]:
        """Its shard."""
        return [self._manifest.shard]

    async def chunk(self, shard: int, tick: int, name: str) -> bytes | None:
        """See CheckpointReader."""
        return await self._store.chunk(shard, tick, name)


@asynccontextmanager
async def _opened(told: Line, settings: Settings) -> AsyncIterator[tuple[JournalReader, CheckpointReader]]:
    """Journal and checkpoints, for reading."""
    async with AsyncExitStack() as stack:
        if told["store"] == "mongodb":
            yield await stack.enter_async_context(mongo_stores(told["uri"], DATABASE))
            return
        directory = data_directory(settings, GAME)
        journal, checkpoints = SqliteReader(directory), FileCheckpoints(directory)
        stack.callback(journal.close)
        stack.push_async_callback(checkpoints.close)
        yield journal, checkpoints


async def check(told: Line) -> Line:
    """Replay, compare, and read the books: by session (in hex) what its avatar counts."""
    settings = load(overrides={"server.data_dir": Path(told["data"])}, environment=told["environment"])
    mismatches: list[str] = []
    digests: dict[str, str] = {}
    checked = 0
    books: dict[str, list[int]] = {}
    async with _opened(told, settings) as (journal, checkpoints):
        manifests = await checkpoints.manifests(settings.world.region_id)
        by_tick = {m.tick: m.digest for m in manifests}

        def compare(machine: RegionMachine) -> None:
            nonlocal checked
            if machine.tick in by_tick:
                checked += 1
                if machine.digest() != by_tick[machine.tick]:
                    mismatches.append(f"tick {machine.tick}: the checkpoint's digest is not the replay's")

        for manifest in manifests:
            try:
                machine, report = await rebuild(
                    lambda: region_machine(settings, GAME),
                    journal,
                    OneCheckpoint(checkpoints, manifest),
                    LoopClock(),
                    on_tick=compare,
                )
            except (RecoveryError, ShardError) as error:
                mismatches.append(f"from the checkpoint of tick {manifest.tick}: {error}")
                continue
            checked += report.digests_checked
            digests[str(manifest.tick)] = f"{machine.tick} {machine.digest():016x}"
            books = books_of(machine)
    if len(set(digests.values())) > 1:
        mismatches.append(f"replays from different checkpoints differ: {digests}")
    return {"books": books, "digests": digests, "digests_checked": checked, "mismatches": mismatches}


def books_of(machine: RegionMachine) -> dict[str, list[int]]:
    """By session (in hex) what its avatar counts."""
    ledger = machine.world[Ledger]
    return {
        f"{session:x}": [int(column[row]) for column in (ledger.count, ledger.again, ledger.last, ledger.mix)]
        for session, row, *_ in machine.sessions.known().tolist()
    }


if __name__ == "__main__":
    with failures_told():
        tell("checked", **asyncio.run(check(arguments())))
