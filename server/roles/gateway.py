"""`everstep gateway`: takes players' connections; the regions run in nodes, wherever those are."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from config.settings import Settings
from server.api import travel
from server.host.clock import LoopClock
from server.observe.health import Health
from server.observe.metrics import Metrics
from server.roles.front import Front
from server.roles.process import TICK_STALL_S, frame_stall_s, settle_memory
from server.roles.redis import BusGauges, Connected, ResumeKeys, connected
from server.roles.world import region_machine, world_atlas, world_terms
from server.sim.game import Game

_SWEEP_S: Final = 1.0


class GatewayProcess:
    """Made by `gateway_process`: `run` until it is cancelled."""

    def __init__(
        self, settings: Settings, game: Game, redis: Connected, keys: ResumeKeys, worker: travel.Worker | None
    ) -> None:
        self._settings = settings
        self._redis = redis
        self._keys = keys
        self._terms = world_terms(settings, game)
        self.metrics = Metrics()
        self.clock = LoopClock()
        self.bus = redis.bus
        self.health = Health(
            self.clock.now_s, tick_stall_s=TICK_STALL_S, frame_stall_s=frame_stall_s(settings), runs_regions=False
        )
        self.front = Front(
            settings,
            game,
            world_atlas(settings),
            redis.bus,
            self.clock,
            self.metrics,
            self.health,
            worker=worker,
        )
        self._trust(keys)

    async def run(self) -> None:
        """Hand over what players say, and look after everything else now and then. Raises what ends it."""
        await asyncio.gather(self._flush(), self._sweep(), self._redis.keep(self._terms, self._keys, self._trust))

    def _trust(self, keys: ResumeKeys) -> None:
        """Sign and take resume tokens with these keys, where the settings name none."""
        if not self._settings.auth.resume_secret.get_secret_value():
            self.front.auth.trust(keys.known, all_known=keys.all_known)

    async def drain(self) -> None:
        """Take nobody more. There is nothing to give away: its players resume at other gateways."""
        self.health.drain()

    async def close(self) -> None:
        """Tell everyone BYE and listen no more."""
        self.health.drain()
        server = self._settings.server
        await self.front.close(min(server.shutdown_grace_s, server.stop_within_s))
        self.front.gateway.close()

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(self._settings.gateway.flush_every_s)
            self.front.gateway.flush()

    async def _sweep(self) -> None:
        gauges = BusGauges(self.bus, self.metrics)
        while True:
            await asyncio.sleep(_SWEEP_S)
            gauges.show()
            self.health.waits(self._without())
            self.front.gateway.sweep()

    def _without(self) -> str | None:
        """What it stands on and does not have: then no frame leaves, and rightly."""
        if not self.bus.connected:
            return "Redis does not answer"
        streams, now_s = self.front.gateway.router.streams, self.clock.now_s()
        if streams and all(now_s - stream.frame_s > TICK_STALL_S for stream in streams.values()):
            return "no region is heard of"
        return None


@contextlib.asynccontextmanager
async def gateway_process(
    settings: Settings, game: Game, worker: travel.Worker | None = None
) -> AsyncIterator[GatewayProcess]:
    """A gateway of the cluster that the settings name, listening.

    Raises SettingsRefuse, SimError, RedisAway, OSError.
    """
    # What no node can run would be a world of which nothing is ever heard, and keep the nodes of a sound one out.
    region_machine(settings, game)
    async with connected(settings) as redis, contextlib.AsyncExitStack() as stack:
        await redis.agree(world_terms(settings, game))
        process = GatewayProcess(settings, game, redis, await redis.resume_keys(), worker)
        stack.push_async_callback(process.close)
        await process.front.open()
        stack.enter_context(process.metrics.watching_gc())
        settle_memory()
        yield process
