"""What a server keeps, opened for reading: its journal, its checkpoints, and how to make its machines.

Nothing is claimed and nothing written: the server that has it goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import typer

from config.settings import Settings
from server.host.errors import NoWayBack, RecoveryError
from server.host.recovery import Report, rebuild
from server.regions.atlas import Atlas
from server.regions.frame import RegionSpec
from server.regions.machine import RegionMachine
from server.roles.world import world_atlas
from server.shard.checkpoint import Manifest
from server.shard.errors import JournalDamaged, ShardError
from server.shard.machine import Terms
from server.shard.ports import CheckpointReader, JournalReader
from server.sim.errors import SimError
from server.sim.game import Game
from server.store.checkpoint_files import FileCheckpoints
from server.store.errors import StoreError
from server.store.sqlite_reader import SqliteReader

if TYPE_CHECKING:
    from server.store.mongo import MongoJournal
    from server.store.mongo_checkpoints import MongoCheckpoints

T = TypeVar("T")
R = TypeVar("R", bound=RegionMachine)
R_co = TypeVar("R_co", bound=RegionMachine, covariant=True)


class Kind(Protocol[R_co]):
    """RegionMachine, or a subclass that is made as it is."""

    def __call__(
        self, game: Game, region: RegionSpec, /, *, seed: int, tick_rate_hz: float, atlas: Atlas | None = None
    ) -> R_co:
        """A fresh machine."""


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
    """Journal and checkpoints that are open for reading."""

    journal: JournalReader
    checkpoints: CheckpointReader
    game: Game
    settings: Settings
    # By shard, the last tick that the journal is known to have had; None: nothing knows of it but the records.
    known: Callable[[], Awaitable[dict[int, int]]] | None = None

    async def shards(self) -> list[int]:
        """Those that have a journal or a checkpoint."""
        return sorted({*await self.journal.spans(), *await self.checkpoints.shards()})

    async def only_shard(self, shard: int | None) -> int:
        """The shard asked for, or the only one. Raises StoreError where that is no answer."""
        shards = await self.shards()
        if shard is None and len(shards) == 1:
            return shards[0]
        if shard is None or shard not in shards:
            raise StoreError(f"choose a shard: there are {', '.join(map(str, shards)) or 'none'}")
        return shard

    async def make(self, shard: int, kind: Kind[R]) -> Callable[[], R]:
        """What makes a fresh machine of this shard: under the terms of its checkpoints, else of the settings.

        How a world of several regions is divided the settings alone know; a checkpoint only tells whether it was so.
        Raises StoreError where these are not the settings that it runs with.
        """
        manifests = await self.checkpoints.manifests(shard)
        atlas = world_atlas(self.settings)
        divided = "atlas" in manifests[0].terms if manifests else len(atlas) > 1
        # A world of one region may have been divided after its checkpoint.
        divided = divided or (len(atlas) == 1 and atlas.open)
        made_under = manifests[0].terms.get("atlas") if manifests else None
        if divided and (shard not in atlas or made_under not in (None, f"{atlas.digest():016x}")):
            raise StoreError(
                f"shard {shard} is a region of a world that is divided otherwise than these settings say: "
                "name those that the world runs with"
            )
        if divided:
            world = self.settings.world
            return lambda: kind(self.game, atlas[shard], seed=world.seed, tick_rate_hz=world.tick_rate_hz, atlas=atlas)
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
        return lambda: kind(self.game, region, seed=seed, tick_rate_hz=rate_hz)

    async def at(
        self, shard: int, to_tick: int | None, on_tick: Callable[[RegionMachine], None] | None = None
    ) -> tuple[RegionMachine, Report]:
        """The shard's machine as it was at a tick; None: the last."""
        return await self.rebuilt(await self.make(shard, RegionMachine), to_tick, on_tick)

    async def rebuilt(
        self,
        make: Callable[[], R],
        to_tick: int | None,
        on_tick: Callable[[R], None] | None = None,
        *,
        from_tick: int | None = None,
    ) -> tuple[R, Report]:
        """The machine that `make` makes, as it was at a tick. See `rebuild`, server/host/recovery.py.

        Raises as that does; NoWayBack and JournalDamaged also where the journal has lost its end.
        """
        # Asked for before: a server that goes on has all of it by the time that the journal is read.
        known = await self.known() if self.known is not None else {}
        machine, report = await rebuild(
            make,
            self.journal,
            self.checkpoints,
            WallClock(),
            from_tick=from_tick,
            to_tick=to_tick,
            on_tick=on_tick,
        )
        if self.known is not None:
            await self._check_end(report, known.get(report.shard, 0) if to_tick is None else 0)
        return machine, report

    async def _check_end(self, report: Report, known_tick: int) -> None:
        """What `recover` asks of a claim, where nobody claims."""
        shard, last = report.shard, report.last_record
        if last < known_tick:
            raise NoWayBack(f"the journal of shard {shard} has tick {last} as its last here, and knows of {known_tick}")
        assert self.known is not None
        span = (await self.journal.spans()).get(shard)
        has = max(span.last_tick if span else 0, (await self.known()).get(shard, 0))
        if last > has:
            raise JournalDamaged(
                shard, last, f"the checkpoint of tick {report.checkpoint_tick} was made of it, and it is not here"
            )

    async def reach(self, shard: int) -> tuple[int, int]:
        """The first and the last tick that can be rebuilt by this version of the game. Raises StoreError: none can."""
        span = (await self.journal.spans()).get(shard)
        manifests = await self.checkpoints.manifests(shard)
        begins = [m.tick for m in manifests if m.simulation == self.game.version]
        ends = begins
        if span is not None:
            # Before the journal begins there may be checkpoints, but no way on from them.
            begins = [tick for tick in begins if tick >= span.after_tick]
            ends = [*begins, span.last_tick]
            if span.after_tick == 0 and len(begins) == len(manifests):
                begins.append(0)
        if not begins:
            raise StoreError(f"no tick of shard {shard} can be rebuilt by version {self.game.version} of the game")
        return min(begins), max(ends)

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
    """What `store.kind` says, beside the server that may be writing in it. `data`: the game's own directory.

    Raises StoreError where there is nothing to open.
    """
    store = settings.store
    if store.kind == "memory":
        raise StoreError('store.kind is "memory": nothing is kept')
    if store.kind == "sqlite":
        async with opened_directory(data, game, settings) as kept:
            yield kept
        return
    async with database(settings) as (journal, checkpoints):
        yield Kept(journal, checkpoints, game, settings)


@asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[tuple[MongoJournal, MongoCheckpoints]]:
    """Both stores of the MongoDB database that the settings name. Raises StoreError."""
    try:
        # A world on one machine needs no driver, and may not have it.
        from server.store.mongo_open import mongo_stores  # noqa: PLC0415
    except ImportError as error:
        raise StoreError("the driver is missing: pip install 'everstep[mongo]'") from error
    store = settings.store
    async with mongo_stores(store.mongodb_uri.get_secret_value(), store.mongodb_database) as stores:
        yield stores


def unfinished(settings: Settings) -> AbstractAsyncContextManager[None]:
    """See server/store/mongo_open.py."""
    from server.store.mongo_open import unfinished as marked  # noqa: PLC0415  # as `database`, which comes before

    return marked(settings.store.mongodb_uri.get_secret_value(), settings.store.mongodb_database)


@asynccontextmanager
async def opened_directory(data: Path, game: Game, settings: Settings) -> AsyncIterator[Kept]:
    """A data directory, or a backup. Raises StoreError where there is none."""
    journal = SqliteReader(data)
    checkpoints = FileCheckpoints(data)
    try:
        yield Kept(journal, checkpoints, game, settings, journal.known)
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
