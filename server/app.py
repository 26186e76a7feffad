"""A whole embedded world, wired on one screen: every region, their store and the gateway in one process."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import structlog

from config.settings import Settings
from server.api import travel
from server.api.http import Http
from server.bus.memory import MemoryBus
from server.gateway.gateway import Gateway
from server.host.checkpoints import Checkpoints
from server.host.clock import LoopClock
from server.host.host import ShardHost
from server.host.recovery import Recovered, Report, recover
from server.host.worldtime import WorldTime
from server.observe.health import Health
from server.observe.metrics import Metrics
from server.regions.machine import RegionMachine
from server.roles.front import Front
from server.roles.process import TICK_STALL_S, frame_stall_s, settle_memory
from server.roles.stores import CLOSE_WITHIN_S, stores
from server.roles.world import data_directory, host_options, region_machine, retain_ticks, world_atlas
from server.shard.ports import CheckpointStore, JournalStore
from server.sim.game import Game
from server.store.errors import StoreFailed
from server.store.keys import kept_key
from server.store.memory import MemoryJournal

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a world that outlives its process stands on."""

    # By region.
    recovered: Mapping[int, Recovered[RegionMachine]]
    journal: JournalStore
    checkpoints: CheckpointStore
    # Signs resume tokens, before and after a restart.
    resume_key: str


@contextlib.asynccontextmanager
async def opened(settings: Settings, game: Game, worker: travel.Worker | None = None) -> AsyncIterator[Everstep]:
    """The world that the settings name: brought back from where it is kept, served, and kept again at the end.

    `worker`: what rebuilds its past for an operator; None: nobody looks there.
    Raises StoreError, RecoveryError, ShardError: what is kept is then as it was.
    """
    if settings.store.kind == "memory":
        async with Everstep(settings, game) as app:
            yield app
        return
    directory, clock = data_directory(settings, game), LoopClock()
    async with contextlib.AsyncExitStack() as stack:
        journal, checkpoints = await stack.enter_async_context(stores(settings, directory))
        recovered = {}
        for region in world_atlas(settings).sites:
            make = functools.partial(region_machine, settings, game, region.id)
            found = recovered[region.id] = await recover(make, journal, checkpoints, clock)
            if not (report := found.report).fresh:
                took_s = report.load_s + report.replay_s
                _log.info(
                    "recovered", region=region.id, tick=report.tick, replayed=report.ticks_replayed, took_s=took_s
                )
        kept = Kept(recovered, journal, checkpoints, kept_key(directory, "resume"))
        yield await stack.enter_async_context(Everstep(settings, game, kept=kept, worker=worker))


@dataclass(frozen=True, slots=True)
class Region:
    """One region of the world, and what runs it."""

    machine: RegionMachine
    host: ShardHost
    # None where nothing is kept: neither checkpoints nor what recovery found.
    checkpoints: Checkpoints | None
    report: Report | None


class Everstep:
    """A world in this process: `async with Everstep(settings, game) as app: app.url`."""

    def __init__(
        self,
        settings: Settings,
        game: Game,
        *,
        journal: JournalStore | None = None,
        kept: Kept | None = None,
        worker: travel.Worker | None = None,
    ) -> None:
        self.settings = settings
        self.game = game
        self.metrics = Metrics()
        self.clock = LoopClock()
        self.health = Health(self.clock.now_s, tick_stall_s=TICK_STALL_S, frame_stall_s=frame_stall_s(settings))
        self.bus = MemoryBus()
        self.world_time = WorldTime()
        self.atlas = world_atlas(settings)
        journal = kept.journal if kept else journal or MemoryJournal()
        self.regions = {spec.id: self._region(spec.id, journal, kept) for spec in self.atlas.sites}
        self.front = Front(
            settings,
            game,
            self.atlas,
            self.bus,
            self.clock,
            self.metrics,
            self.health,
            resume_key=kept.resume_key if kept else "",
            worker=worker,
            posts=lambda: {number: region.machine.post for number, region in self.regions.items()},
        )
        for number, region in self.regions.items():
            # Commands of this process reach the inbox just before the tick that takes them.
            region.host.before_tick.append(functools.partial(self.gateway.flush, number))
        self._tasks: list[asyncio.Task[None]] = []
        self._watching = contextlib.ExitStack()

    def _region(self, number: int, journal: JournalStore, kept: Kept | None) -> Region:
        settings = self.settings
        found = kept.recovered[number] if kept else None
        host = ShardHost(
            found.machine if found else region_machine(settings, self.game, number),
            journal,
            self.bus,
            self.clock,
            host_options(settings, self.game),
            self.metrics,
            self.health,
            claim=found.claim if found else None,
            jitter=random.random,
            world_time=self.world_time,
        )
        machine = host.machine
        assert isinstance(machine, RegionMachine)
        if kept is None or found is None:
            return Region(machine, host, None, None)
        checkpoints = Checkpoints(
            host,
            kept.journal,
            kept.checkpoints,
            self.clock,
            self.metrics,
            every_s=settings.store.checkpoint_every_s,
            kept=settings.store.checkpoints_kept,
            retain_ticks=retain_ticks(settings),
            retained=settings.store.retention_checkpoints,
            age_s=found.report.ticks_replayed / settings.world.tick_rate_hz,
        )
        return Region(machine, host, checkpoints, found.report)

    # What most worlds have once: of the region with the lowest number.

    @property
    def machine(self) -> RegionMachine:
        """The first region's."""
        return self._first.machine

    @property
    def host(self) -> ShardHost:
        """The first region's."""
        return self._first.host

    @property
    def checkpoints(self) -> Checkpoints | None:
        """The first region's; None where nothing is kept."""
        return self._first.checkpoints

    @property
    def report(self) -> Report | None:
        """What recovery found of the first region; None where nothing is kept."""
        return self._first.report

    @property
    def _first(self) -> Region:
        return next(iter(self.regions.values()))

    # -- life ------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        for region in self.regions.values():
            if region.checkpoints is not None and region.report is not None:
                await region.checkpoints.begin(region.report)
            region.host.show()
        await self.front.open()
        self._watching.enter_context(self.metrics.watching_gc())
        settle_memory()
        self._tasks = [
            *(asyncio.create_task(region.host.run(), name="ticks") for region in self.regions.values()),
            asyncio.create_task(self._sweep(), name="sweep"),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self.settings.server.stop_within_s - CLOSE_WITHIN_S
        self.health.drain()
        await self.front.close(min(self.settings.server.shutdown_grace_s, until_s - loop.time()))
        failed = any(task.done() and not task.cancelled() for task in self._tasks)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for region in self.regions.values():
            if region.checkpoints is not None:
                if not failed:
                    await region.checkpoints.take(timeout_s=until_s - loop.time())
                await region.checkpoints.close(timeout_s=until_s - loop.time())
            region.host.close()
        self.gateway.close()
        self._watching.close()
        if error is None:
            self._check_durable()

    def _check_durable(self) -> None:
        """Raise StoreFailed where the last ticks are not kept: whoever stopped the server takes them to be."""
        behind = [
            f"region {number} stopped at tick {region.machine.tick}, and what came after tick "
            f"{region.host.durable_tick} is not known to be kept"
            for number, region in self.regions.items()
            if region.checkpoints is not None and region.host.durable_tick < region.host.journalled_tick
        ]
        if behind:
            raise StoreFailed(f"the store did not answer within the time of a stop: {'; '.join(behind)}")

    async def run(self) -> None:
        """Until a task ends, which none should: raises what it raised."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    @property
    def gateway(self) -> Gateway:
        """Where players' sessions are."""
        return self.front.gateway

    @property
    def http(self) -> Http:
        """What plain requests are answered."""
        return self.front.http

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self.front.port

    @property
    def url(self) -> str:
        """Where a browser finds the page."""
        return self.front.url

    @property
    def ws_url(self) -> str:
        """Where a client connects."""
        return self.front.ws_url

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.gateway.sweep()
