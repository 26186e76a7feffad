"""`everstep node`: runs the regions that it gets leases for, for whatever gateways there are."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgpack
import structlog

from config.settings import Settings
from server.api.ground import Ground
from server.api.http import Files, Http
from server.api.mailroom import Mailroom
from server.api.operators import Orders
from server.host.clock import LoopClock
from server.host.node import Node, NodeOptions
from server.host.tenure import ShardParts, Surroundings
from server.observe.health import Health
from server.observe.metrics import Metrics
from server.regions.machine import RegionMachine
from server.roles.desk import Desk
from server.roles.errors import SettingsRefuse
from server.roles.front import shown_host
from server.roles.listener import Listener
from server.roles.process import TICK_STALL_S, frame_stall_s, settle_memory
from server.roles.redis import BusGauges, Connected, ResumeKeys, connected
from server.roles.stores import CLOSE_WITHIN_S, Shelves, shelves
from server.roles.world import (
    balance_policy,
    host_options,
    region_machine,
    region_parts,
    retain_ticks,
    world_atlas,
    world_terms,
)
from server.shard.mail import Post
from server.sim.game import Game
from server.store.errors import StoreFailed

_log = structlog.get_logger(__name__)

# Bytes of what a start adds to a node's name.
_NAME_BYTES: Final = 2
# Seconds between two looks at whether Redis is there.
_WATCH_S: Final = 1.0


def orders_topic(name: str) -> str:
    """Where a node hears from operators."""
    return f"orders/{name}"


def called(settings: Settings) -> str:
    """What operators call the node of this machine; each start adds letters of its own."""
    return settings.node.name or socket.gethostname()


DRAIN: Final[bytes] = msgpack.packb(["drain"])


class NodeProcess:
    """Made by `node_process`: `run` until it ends or is cancelled; `drain` beside it."""

    def __init__(
        self, settings: Settings, game: Game, redis: Connected, shelves: Shelves, leave: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._game = game
        self._redis = redis
        self._shelves = shelves
        self._leave = leave
        self.metrics = Metrics()
        self.clock = LoopClock()
        self.bus = redis.bus
        self.health = Health(self.clock.now_s, tick_stall_s=TICK_STALL_S, frame_stall_s=frame_stall_s(settings))
        node, store = settings.node, settings.store
        self.name = f"{called(settings)}-{secrets.token_hex(_NAME_BYTES)}"
        self.node = Node(
            self.name,
            [site.id for site in world_atlas(settings).sites],
            redis.leases,
            self._open,
            Surroundings(
                redis.bus,
                self.clock,
                self.metrics,
                self.health,
                host_options(settings, game),
                checkpoint_every_s=store.checkpoint_every_s,
                checkpoints_kept=store.checkpoints_kept,
                retain_ticks=retain_ticks(settings),
                retained=store.retention_checkpoints,
                # For the last tick, and again for the checkpoint of it.
                end_timeout_s=(settings.server.stop_within_s - CLOSE_WITHIN_S) / 2,
                jitter=random.random,
            ),
            NodeOptions(
                lease_ttl_s=node.lease_ttl_s,
                turn_s=node.turn_s,
                answer_s=settings.redis.timeout_s,
                follow_s=node.follow_s,
                standby=node.standby,
                move_timeout_s=node.move_timeout_s,
                drain_regions_max=node.drain_regions_max,
                balance=node.balance,
                policy=balance_policy(settings),
                rest_s=settings.balance.rest_s,
                parts=region_parts(settings),
                divide_after_s=settings.balance.divide_after_s,
            ),
        )
        token = settings.operator.token.get_secret_value()
        orders = Orders(redis.bus, lambda: self.health.lacks)
        desk = Desk(
            Http(self.metrics, self.health, Files({})),
            Mailroom(token, self._posts, orders),
            Ground(token, world_atlas(settings).divisible, orders),
        )
        self._listener = Listener(lambda _connection, request: desk.answer(request))
        # Whether an operator wanted it gone.
        self._told = False
        self._unsubscribe = redis.bus.subscribe(orders_topic(self.name), self._on_order)

    async def run(self) -> None:
        """Take, run and give away regions. Raises what ends it."""
        terms = world_terms(self._settings, self._game)
        # It takes no players, and remembers the gateways' keys for them.
        await asyncio.gather(self.node.run(), self._watch(), self._redis.keep(terms, ResumeKeys()))

    async def _watch(self) -> None:
        gauges = BusGauges(self.bus, self.metrics)
        while True:
            await asyncio.sleep(_WATCH_S)
            gauges.show()
            self.health.waits(None if self.bus.connected else "Redis does not answer")

    async def drain(self) -> None:
        """Give away what runs here, as far as others take it in `node.drain_within_s`. `run` goes on meanwhile."""
        self.health.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.node.drain_within_s):
                await self.node.drain()
        if left := sorted(self.node.tenures):
            _log.warning("regions that nobody took", node=self.name, regions=left)

    @property
    def url(self) -> str:
        """Where it tells of its health."""
        return f"http://{shown_host(self._settings.node.host)}:{self._listener.address[1]}/"

    async def open(self) -> None:
        """Listen. Raises OSError."""
        await self._listener.open(self._settings.node.host, self._settings.node.port)

    async def close(self) -> None:
        """End what runs here in order."""
        self._unsubscribe()
        await self.node.close()
        await self._listener.close()

    def check_kept(self) -> None:
        """Once it is closed: raise StoreFailed where the last ticks are not known to be kept."""
        if behind := [f"region {number} {unkept}" for number, unkept in sorted(self.node.unkept.items())]:
            raise StoreFailed(f"it did not answer within the time of a stop: {'; '.join(behind)}")

    async def _open(self, shard: int) -> ShardParts:
        shelf = await self._shelves(shard)
        make = functools.partial(region_machine, self._settings, self._game, shard)
        return ShardParts(make, shelf.journal, shelf.checkpoints, shelf.close)

    def _posts(self) -> dict[int, Post]:
        machines = {shard: tenure.host.machine for shard, tenure in self.node.tenures.items()}
        return {shard: machine.post for shard, machine in machines.items() if isinstance(machine, RegionMachine)}

    def _on_order(self, data: bytes) -> None:
        # It is said until it is seen to be heard, and so more than once: taken for a second signal, it would end the
        # waiting for others to take over.
        if data == DRAIN and not (self._told or self.node.draining):
            self._told = True
            _log.info("told to drain", node=self.name)
            self._leave()


@contextlib.asynccontextmanager
async def node_process(settings: Settings, game: Game, leave: Callable[[], None]) -> AsyncIterator[NodeProcess]:
    """A node of the cluster that the settings name, listening; what it runs is ended in order at the end.

    `leave`: called when an operator wants it drained and gone.

    Raises SettingsRefuse, SimError, RedisAway, StoreError, OSError; StoreFailed at the end, too, where the last ticks
    are not known to be kept.
    """
    check_store(settings)
    # One region is as large as the other: what can't be made is told now, and not at each try to run it.
    region_machine(settings, game)
    async with connected(settings) as redis, shelves(settings) as places, contextlib.AsyncExitStack() as stack:
        await redis.agree(world_terms(settings, game))
        process = NodeProcess(settings, game, redis, places, leave)
        stack.push_async_callback(process.close)
        await process.open()
        stack.enter_context(process.metrics.watching_gc())
        settle_memory()
        yield process
    process.check_kept()


def check_store(settings: Settings) -> None:
    """Raise SettingsRefuse where several processes can't have the store."""
    if settings.store.kind != "mongodb":
        raise SettingsRefuse(
            f"store.kind = \"{settings.store.kind}\" is one process' own: nodes take each other's regions from where "
            'they are kept, so theirs is "mongodb"'
        )
