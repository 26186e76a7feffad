"""The composition root: a whole embedded world, wired on one screen."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import random
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import orjson
import structlog
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from config.settings import Settings
from server.api import mailroom, travel
from server.api.http import Files, Http, Reply
from server.bus.memory import MemoryBus
from server.gateway.auth import Authenticator
from server.gateway.gateway import Gateway, GatewayOptions
from server.gateway.interest import ViewSpec
from server.gateway.link import Link
from server.gateway.session import TokenBucket
from server.gateway.socket import GameSocket
from server.host.checkpoints import Checkpoints
from server.host.clock import LoopClock
from server.host.host import HostOptions, ShardHost
from server.host.postman import MailOptions
from server.host.recovery import Recovered, Report, recover
from server.observe.health import Health
from server.observe.metrics import Metrics
from server.regions.atlas import Atlas
from server.regions.frame import RegionSpec
from server.regions.machine import RegionMachine
from server.shard.ports import CheckpointStore, JournalStore
from server.sim.game import Game
from server.store.checkpoint_files import FileCheckpoints
from server.store.errors import StoreError, StoreFailed
from server.store.keys import kept_key
from server.store.memory import MemoryJournal
from server.store.sqlite import SqliteJournal

_log = structlog.get_logger(__name__)

WEBSOCKET_PATH: Final = "/ws"
_ROOT: Final = Path(__file__).resolve().parent.parent
# Seconds that a closing handshake may take before the connection is cut.
_CLOSE_TIMEOUT_S: Final = 2.0
# Of a stop, what is left to the store's own closing: whoever waits for records to be durable has waited before.
_CLOSE_WITHIN_S: Final = 2.0
# A young collection costs little; the old generation holds the world and is collected in no hurry.
_GC_THRESHOLDS: Final = (5_000, 50, 100)


def world_atlas(settings: Settings) -> Atlas:
    """The regions that the settings divide the world into."""
    world = settings.world
    return Atlas.grid(
        RegionSpec(
            world.region_id, world.x, world.y, world.width, world.height, world.entities_max, world.border_margin_units
        ),
        columns=world.columns,
        rows=world.rows,
        hysteresis_units=world.border_hysteresis_units,
        forward_ticks=round(world.border_forward_s * world.tick_rate_hz),
    )


def region_machine(settings: Settings, game: Game, region: int | None = None) -> RegionMachine:
    """A region that the settings describe, at its first tick; None: the first."""
    world, atlas = settings.world, world_atlas(settings)
    return RegionMachine(
        game,
        atlas[world.region_id if region is None else region],
        seed=world.seed,
        tick_rate_hz=world.tick_rate_hz,
        digest_every_ticks=world.digest_every_ticks,
        atlas=atlas,
    )


@dataclass(frozen=True, slots=True)
class Kept:
    """What a world that outlives its process stands on."""

    # By region.
    recovered: Mapping[int, Recovered[RegionMachine]]
    journal: JournalStore
    checkpoints: CheckpointStore
    # Signs resume tokens, before and after a restart.
    resume_key: str


def data_directory(settings: Settings, game: Game) -> Path:
    """Where this game's world is kept: each game has its own below the data directory."""
    return settings.server.data_dir / game.name


def web_files() -> Files:
    """The pages and what they import."""
    return Files({"/clients/js/": _ROOT / "clients" / "js", "/": _ROOT / "web"})


def travel_options(settings: Settings) -> travel.TravelOptions:
    """What an operator who looks at the past may ask for."""
    limits = settings.travel
    return travel.TravelOptions(
        token=limits.token.get_secret_value(),
        ticks_max=max(1, int(limits.stretch_s_max * settings.world.tick_rate_hz)),
        bytes_max=limits.stretch_bytes_max,
        memory_bytes_max=limits.memory_bytes_max,
        timeout_s=limits.timeout_s,
    )


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
        journal, checkpoints = await stack.enter_async_context(_stores(settings, directory))
        recovered = {}
        for region in world_atlas(settings).regions:
            make = functools.partial(region_machine, settings, game, region.id)
            found = recovered[region.id] = await recover(make, journal, checkpoints, clock)
            if not (report := found.report).fresh:
                took_s = report.load_s + report.replay_s
                _log.info(
                    "recovered", region=region.id, tick=report.tick, replayed=report.ticks_replayed, took_s=took_s
                )
        kept = Kept(recovered, journal, checkpoints, kept_key(directory, "resume"))
        yield await stack.enter_async_context(Everstep(settings, game, kept=kept, worker=worker))


@contextlib.asynccontextmanager
async def _stores(settings: Settings, directory: Path) -> AsyncIterator[tuple[JournalStore, CheckpointStore]]:
    """Journal and checkpoints as `store.kind` has them, closed in the end: what was journalled is durable then."""
    store = settings.store
    if store.kind == "mongodb":
        # A world on one machine needs no driver, and may not have it.
        try:
            from server.store.mongo_open import mongo_stores  # noqa: PLC0415
        except ImportError as error:
            raise StoreError("the driver is missing: pip install 'everstep[mongo]'") from error
        uri = store.mongodb_uri.get_secret_value()
        async with mongo_stores(uri, store.mongodb_database, close_timeout_s=_CLOSE_WITHIN_S) as stores:
            yield stores
        return
    async with contextlib.AsyncExitStack() as stack:
        journal = await SqliteJournal.open(directory)
        stack.push_async_callback(journal.close)
        checkpoints = FileCheckpoints(directory)
        stack.push_async_callback(checkpoints.close)
        yield journal, checkpoints


@dataclass(frozen=True, slots=True)
class Region:
    """One region of the world, and what runs it."""

    machine: RegionMachine
    host: ShardHost
    # None where nothing is kept: neither checkpoints nor what recovery found.
    checkpoints: Checkpoints | None
    report: Report | None

    @property
    def begins(self) -> bool:
        """Whether nothing that is kept is of this world in this version yet."""
        return self.report is not None and (self.report.fresh or self.report.upgraded)


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
        world, view, gateway = settings.world, settings.view, settings.gateway
        self.settings = settings
        self.game = game
        self.metrics = Metrics()
        self.clock = LoopClock()
        quiet_s = view.quiet_ticks_max / world.tick_rate_hz
        self.health = Health(self.clock.now_s, tick_stall_s=5.0, frame_stall_s=10.0 + quiet_s)
        self.bus = MemoryBus()
        self.atlas = world_atlas(settings)
        journal = kept.journal if kept else journal or MemoryJournal()
        self.regions = {spec.id: self._region(spec.id, journal, kept) for spec in self.atlas.regions}
        auth = settings.auth
        self.gateway = Gateway(
            game.schema,
            self.atlas.regions,
            ViewSpec(view.cell_units, view.near_cells, view.far_cells, view.far_every_ticks, view.hysteresis_units),
            self.bus,
            self.clock,
            Authenticator(
                guests=auth.guests,
                jwt_secret=auth.jwt_secret.get_secret_value(),
                jwt_algorithms=auth.jwt_algorithms,
                resume_secret=auth.resume_secret.get_secret_value() or (kept.resume_key if kept else ""),
            ),
            GatewayOptions(
                **gateway.model_dump(),
                quiet_ticks_max=view.quiet_ticks_max,
                tick_rate_hz=world.tick_rate_hz,
                # Never more at once than an empty inbox has room for.
                link_max=max(1, world.inbox_max // 2),
            ),
            self.metrics,
            self.health,
        )
        for number, region in self.regions.items():
            # Commands of this process reach the inbox just before the tick that takes them.
            region.host.before_tick.append(
                functools.partial(self._hand_over, self.gateway.router.links[number], region.host)
            )
        self.http = Http(
            self.metrics,
            self.health,
            web_files(),
            # A page may ask what game this is before it joins.
            {"/schema.json": orjson.dumps(game.schema.to_wire())},
        )
        self.travel = travel.Travel(worker, travel_options(settings), self.clock.now_s)
        self.mailroom = mailroom.Mailroom(
            settings.travel.token.get_secret_value(),
            lambda: {number: region.machine.post for number, region in self.regions.items()},
            self.bus,
        )
        self._server: Server | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._watching = contextlib.ExitStack()

    def _region(self, number: int, journal: JournalStore, kept: Kept | None) -> Region:
        settings, world = self.settings, self.settings.world
        found = kept.recovered[number] if kept else None
        host = ShardHost(
            found.machine if found else region_machine(settings, self.game, number),
            journal,
            self.bus,
            self.clock,
            HostOptions(
                tick_rate_hz=world.tick_rate_hz,
                catch_up_ticks_max=settings.pacer.catch_up_ticks_max,
                inbox_max=world.inbox_max,
                commands_per_tick_max=world.commands_per_tick_max,
                durability=settings.host.durability,
                simulation=self.game.version,
                digest_every_ticks=world.digest_every_ticks,
                journal_backlog_max=settings.store.journal_backlog_max,
                mail=MailOptions(**settings.mail.model_dump()),
            ),
            self.metrics,
            self.health,
            claim=found.claim if found else None,
            jitter=random.random,
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
            retain_ticks=round(settings.store.retention_s * world.tick_rate_hz),
            retained=settings.store.retention_checkpoints,
            age_s=found.report.ticks_replayed / world.tick_rate_hz,
        )
        return Region(machine, host, checkpoints, found.report)

    @staticmethod
    def _hand_over(link: Link, host: ShardHost) -> None:
        link.flush(host.inbox.room)

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
            if region.checkpoints is not None and region.begins:
                # Nothing may follow what another version wrote, so this one begins with a checkpoint of its own. And
                # a new world says in one what it is: started again with another seed, say, it is refused by name.
                await region.checkpoints.take()
            region.host.show()
        settings = self.settings.server
        self._server = await serve(
            self._handle,
            settings.host,
            settings.port,
            process_request=self._process_request,
            # The library names the class; any maker of one will do.
            create_connection=functools.partial(GameSocket, self.gateway),  # type: ignore[arg-type]
            compression=None,
            max_size=self.settings.gateway.frame_bytes_max,
            # The protocol has its own PING and its own idle limit.
            ping_interval=None,
            close_timeout=_CLOSE_TIMEOUT_S,
            server_header=None,
            backlog=4096,
            open_timeout=self.settings.gateway.handshake_timeout_s,
        )
        self._watching.enter_context(self.metrics.watching_gc())
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        self._tasks = [
            *(asyncio.create_task(region.host.run(), name="ticks") for region in self.regions.values()),
            asyncio.create_task(self._sweep(), name="sweep"),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self.settings.server.stop_within_s - _CLOSE_WITHIN_S
        self.health.drain()
        self.gateway.farewell()
        self.travel.close()
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(TimeoutError):
                grace_s = min(self.settings.server.shutdown_grace_s, until_s - loop.time())
                await asyncio.wait_for(self._server.wait_closed(), grace_s)
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
        self.gateway.router.close()
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
    def port(self) -> int:
        """The port that is listened on."""
        assert self._server is not None, "not started"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Where a browser finds the page."""
        host = self.settings.server.host
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104  # shown, not listened on
        return f"http://{shown}:{self.port}/"

    @property
    def ws_url(self) -> str:
        """Where a client connects."""
        return self.url.replace("http", "ws", 1).rstrip("/") + WEBSOCKET_PATH

    # -- requests ----------------------------------------------------------------------

    async def _handle(self, connection: ServerConnection) -> None:
        assert isinstance(connection, GameSocket)
        limits = self.settings.gateway
        receiving = TokenBucket(limits.receive_bytes_per_s, limits.receive_burst_bytes, connection.loop.time())
        connection.open(limits.send_buffer_bytes, receiving)
        await connection.wait_closed()

    def _process_request(
        self, connection: ServerConnection, request: Request
    ) -> Response | Coroutine[Any, Any, Response] | None:
        if request.path.startswith(travel.PREFIX):
            return travelled(self.travel, request)
        if request.path.startswith(mailroom.PREFIX):
            return http_response(self.mailroom.get(request.path, authorization(request)))
        if request.path.partition("?")[0] != WEBSOCKET_PATH:
            return http_response(self.http.get(request.path))
        origins, hosts = request.headers.get_all("Origin"), request.headers.get_all("Host")
        # Browsers send one of each. Several are nobody's to choose from.
        if origins and not (len(origins) == len(hosts) == 1 and self._origin_allowed(origins[0], hosts[0])):
            self.metrics.disconnects_total.labels("origin").inc()
            return connection.respond(HTTPStatus.FORBIDDEN, "This origin may not connect.\n")
        return None

    def _origin_allowed(self, origin: str, host: str) -> bool:
        allowed = self.settings.server.origins
        if not allowed:
            # Pages of this very host. A page without an origin of its own says "null".
            scheme, separator, authority = origin.partition("://")
            return scheme in ("http", "https") and bool(separator) and authority == host
        return "*" in allowed or origin in allowed

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            for number, region in self.regions.items():
                self.gateway.rates_hz[number] = region.host.pacer.measured_hz(self.clock.now_s())
            self.gateway.sweep()


async def travelled(past: travel.Travel, request: Request) -> Response:
    """The answer to a request below travel.PREFIX."""
    return http_response(await past.get(request.path, authorization(request)))


def authorization(request: Request) -> str | None:
    """The header of that name; None unless there is one, and one alone."""
    given = request.headers.get_all("Authorization")
    return given[0] if len(given) == 1 else None


def http_response(reply: Reply) -> Response:
    """An answer, as the library sends it; the connection ends behind it."""
    headers: dict[str, Any] = {
        "Content-Type": reply.content_type,
        "Content-Length": str(len(reply.body)),
        "Connection": "close",
        **reply.headers,
    }
    return Response(reply.status.value, reply.status.phrase, Headers(headers), reply.body)
