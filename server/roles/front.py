"""What players meet: the port that takes WebSockets and HTTP alike, and the gateway behind it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Any, Final
from weakref import WeakSet

import orjson
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from config.settings import Settings
from server.api import mailroom, travel
from server.api.ground import Ground
from server.api.http import Http
from server.api.operators import Orders
from server.gateway.auth import Authenticator
from server.gateway.gateway import Gateway, GatewayOptions
from server.gateway.interest import ViewSpec
from server.gateway.session import TokenBucket
from server.gateway.socket import GameSocket, Turn
from server.observe.health import Health
from server.observe.metrics import Metrics
from server.regions.atlas import Atlas
from server.roles.desk import Desk, travel_options, web_files
from server.shard.mail import Post
from server.shard.ports import Bus, Clock
from server.sim.game import Game

WEBSOCKET_PATH: Final = "/ws"
# Seconds that a closing handshake may take before the connection is cut.
_CLOSE_TIMEOUT_S: Final = 2.0


class Front:
    """`open`, and `close` in the end. `posts`: the mail of the regions that run in this process, where any do."""

    def __init__(
        self,
        settings: Settings,
        game: Game,
        atlas: Atlas,
        bus: Bus,
        clock: Clock,
        metrics: Metrics,
        health: Health,
        *,
        resume_key: str = "",
        worker: travel.Worker | None = None,
        posts: Callable[[], Mapping[int, Post]] | None = None,
    ) -> None:
        world, view, auth = settings.world, settings.view, settings.auth
        self._settings = settings
        self._metrics = metrics
        self.auth = Authenticator(
            guests=auth.guests,
            jwt_secret=auth.jwt_secret.get_secret_value(),
            jwt_algorithms=auth.jwt_algorithms,
            resume_secret=auth.resume_secret.get_secret_value() or resume_key,
        )
        self.gateway = Gateway(
            game.schema,
            atlas,
            ViewSpec(view.cell_units, view.near_cells, view.far_cells, view.far_every_ticks, view.hysteresis_units),
            bus,
            clock,
            self.auth,
            GatewayOptions(
                **settings.gateway.model_dump(exclude={"flush_every_s"}),
                quiet_ticks_max=view.quiet_ticks_max,
                tick_rate_hz=world.tick_rate_hz,
                # Never more at once than an empty inbox has room for.
                link_max=max(1, world.inbox_max // 2),
            ),
            metrics,
            health,
        )
        token = settings.operator.token.get_secret_value()
        self.travel = travel.Travel(worker, travel_options(settings), clock.now_s)
        self.http = Http(
            metrics,
            health,
            web_files(),
            # A page may ask what game this is before it joins.
            {"/schema.json": orjson.dumps(game.schema.to_wire())},
        )
        orders = Orders(bus, lambda: health.lacks)
        self._desk = Desk(
            self.http, mailroom.Mailroom(token, posts, orders), Ground(token, atlas.divisible, orders), self.travel
        )
        # Where there is but one region there is nothing to wait for.
        self._turn = Turn() if len(atlas.sites) > 1 else None
        self._server: Server | None = None
        # Connections that have asked for nothing yet.
        self._silent: WeakSet[ServerConnection] = WeakSet()

    async def open(self) -> None:
        """Listen. Raises OSError."""
        settings = self._settings.server
        self._server = await serve(
            self._handle,
            settings.host,
            settings.port,
            process_request=self._process_request,
            # The library names the class; any maker of one will do.
            create_connection=self._connection,  # type: ignore[arg-type]
            compression=None,
            max_size=self._settings.gateway.frame_bytes_max,
            # The protocol has its own PING and its own idle limit.
            ping_interval=None,
            close_timeout=_CLOSE_TIMEOUT_S,
            server_header=None,
            backlog=4096,
            open_timeout=self._settings.gateway.handshake_timeout_s,
        )

    async def close(self, within_s: float) -> None:
        """Say farewell to everyone and listen no more; `within_s`: that they have to read it."""
        self.gateway.farewell()
        self.travel.close()
        if self._server is not None:
            self._server.close()
            # Browsers open a spare one ahead. The library would wait for its request, and the stop with it.
            for connection in self._silent:
                # One that was accepted in this very turn has none yet, and is waited for.
                if hasattr(connection, "transport"):
                    connection.transport.abort()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._server.wait_closed(), within_s)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        assert self._server is not None, "not started"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Where a browser finds the page."""
        return f"http://{shown_host(self._settings.server.host)}:{self.port}/"

    @property
    def ws_url(self) -> str:
        """Where a client connects."""
        return self.url.replace("http", "ws", 1).rstrip("/") + WEBSOCKET_PATH

    def _connection(self, protocol: ServerProtocol, server: Server, **options: Any) -> GameSocket:  # Any: the library's
        made = GameSocket(self.gateway, protocol, server, **options)
        self._silent.add(made)
        return made

    async def _handle(self, connection: ServerConnection) -> None:
        assert isinstance(connection, GameSocket)
        limits = self._settings.gateway
        receiving = TokenBucket(limits.receive_bytes_per_s, limits.receive_burst_bytes, connection.loop.time())
        connection.open(limits.send_buffer_bytes, receiving, self._turn)
        await connection.wait_closed()

    def _process_request(
        self, connection: ServerConnection, request: Request
    ) -> Response | Coroutine[Any, Any, Response] | None:
        self._silent.discard(connection)
        if request.path.partition("?")[0] != WEBSOCKET_PATH:
            return self._desk.answer(request)
        origins, hosts = request.headers.get_all("Origin"), request.headers.get_all("Host")
        # Browsers send one of each. Several are nobody's to choose from.
        if origins and not (len(origins) == len(hosts) == 1 and self._origin_allowed(origins[0], hosts[0])):
            self._metrics.disconnects_total.labels("origin").inc()
            return connection.respond(HTTPStatus.FORBIDDEN, "This origin may not connect.\n")
        return None

    def _origin_allowed(self, origin: str, host: str) -> bool:
        allowed = self._settings.server.origins
        if not allowed:
            # Pages of this very host. A page without an origin of its own says "null".
            scheme, separator, authority = origin.partition("://")
            return scheme in ("http", "https") and bool(separator) and authority == host
        return "*" in allowed or origin in allowed


def shown_host(host: str) -> str:
    """An address as a person on this machine can open it."""
    return "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104  # shown, not listened on
