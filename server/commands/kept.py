"""What a data directory keeps, opened for reading: its journal, its checkpoints, and how to make its machines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import typer

from config.settings import Settings
from server.host.errors import RecoveryError
from server.host.recovery import Report, rebuild
from server.regions.frame import RegionSpec
from server.regions.machine import RegionMachine
from server.shard.checkpoint import Manifest
from server.shard.errors import ShardError
from server.shard.machine import Terms
from server.sim.errors import SimError
from server.sim.game import Game
from server.store.checkpoint_files import DIRECTORY_NAME, FileCheckpoints
from server.store.errors import StoreError
from server.store.sqlite_reader import SqliteReader

T = TypeVar("T")


class WallClock:
    """Monotonic time, for reports; nobody waits by it."""

    def now_s(self) -> float:
        """Seconds."""
        return time.monotonic()

    async def sleep_until(self, due_s: float) -> None:
        """Wait until then."""
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))


@dataclass(frozen=True, slots=True)
class Kept:
    """A data directory that is open."""

    directory: Path
    journal: SqliteReader
    checkpoints: FileCheckpoints
    game: Game
    settings: Settings

    async def shards(self) -> list[int]:
        """Those that have a journal or a checkpoint."""
        names = [path.stem.partition("-")[0] for path in (self.directory / DIRECTORY_NAME).glob("*.checkpoint")]
        return sorted({*await self.journal.spans(), *(int(name) for name in names if name.isdecimal())})

    async def only_shard(self, shard: int | None) -> int:
        """The shard asked for, or the only one. Raises StoreError where that is no answer."""
        shards = await self.shards()
        if shard is None and len(shards) == 1:
            return shards[0]
        if shard is None or shard not in shards:
            raise StoreError(f"choose a shard: there are {', '.join(map(str, shards)) or 'none'}")
        return shard

    async def make(self, shard: int) -> Callable[[], RegionMachine]:
        """What makes a fresh machine of this shard: under the terms of its checkpoints, else of the settings."""
        manifests = await self.checkpoints.manifests(shard)
        terms = manifests[0].terms if manifests else self._terms(shard)
        region = RegionSpec(
            int(terms["region"]),
            float(terms["x"]),
            float(terms["y"]),
            float(terms["width"]),
            float(terms["height"]),
            int(terms["entities_max"]),
        )
        seed, rate_hz = int(terms["seed"]), float(terms["tick_rate_hz"])
        return lambda: RegionMachine(self.game, region, seed=seed, tick_rate_hz=rate_hz)

    async def at(
        self, shard: int, to_tick: int | None, on_tick: Callable[[RegionMachine], None] | None = None
    ) -> tuple[RegionMachine, Report]:
        """The shard's machine as it was at a tick; None: the last."""
        make = await self.make(shard)
        return await rebuild(make, self.journal, self.checkpoints, WallClock(), to_tick=to_tick, on_tick=on_tick)

    async def manifests(self) -> list[Manifest]:
        """Of every shard, newest first."""
        return [manifest for shard in await self.shards() for manifest in await self.checkpoints.manifests(shard)]

    async def chunks(self, manifest: Manifest) -> dict[str, bytes]:
        """A checkpoint's chunks, as they are found."""
        found = {c.name: await self.checkpoints.chunk(manifest.shard, manifest.tick, c.name) for c in manifest.chunks}
        return {name: data for name, data in found.items() if data is not None}

    def _terms(self, shard: int) -> Terms:
        world = self.settings.world
        return {
            "seed": world.seed,
            "tick_rate_hz": world.tick_rate_hz,
            "region": shard,
            "x": world.x,
            "y": world.y,
            "width": world.width,
            "height": world.height,
            "entities_max": world.entities_max,
        }


@asynccontextmanager
async def opened(data: Path, game: Game, settings: Settings) -> AsyncIterator[Kept]:
    """The data directory, beside the server that may be writing in it. Raises StoreError where there is none."""
    journal = SqliteReader(data)
    checkpoints = FileCheckpoints(data)
    try:
        yield Kept(data, journal, checkpoints, game, settings)
    finally:
        await checkpoints.close()
        journal.close()


def told(work: Coroutine[Any, Any, T]) -> T:
    """Run it; a refusal is told in one line and ends the program with 1."""
    try:
        return asyncio.run(work)
    except (StoreError, ShardError, SimError, RecoveryError, OSError) as error:
        typer.echo(f"everstep: {error}", err=True)
        raise typer.Exit(1) from None
