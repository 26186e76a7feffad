"""What players meet: the port that takes WebSockets and HTTP alike, and the gateway behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Final

import orjson
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request

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
from server.roles.listener import Answer, Listener
from server.shard.mail import Post
from server.shard.ports import Bus, Clock
from server.sim.game import Game

WEBSOCKET_PATH: Final = "/ws"


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
        self._listener = Listener(
            self._answer,
            self._handle,
            partial(GameSocket, self.gateway),
            max_size=settings.gateway.frame_bytes_max,
            # The protocol has its own PING and its own idle limit.
            ping_interval=None,
            backlog=4096,
            open_timeout=settings.gateway.handshake_timeout_s,
        )

    async def open(self) -> None:
        """Listen. Raises OSError."""
        await self._listener.open(self._settings.server.host, self._settings.server.port)

    async def close(self, within_s: float) -> None:
        """Say farewell to everyone and listen no more; `within_s`: that they have to read it."""
        self.gateway.farewell()
        self.travel.close()
        await self._listener.close(within_s)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._listener.address[1]

    @property
    def url(self) -> str:
        """Where a browser finds the page."""
        return f"http://{shown_host(self._settings.server.host)}:{self.port}/"

    @property
    def ws_url(self) -> str:
        """Where a client connects."""
        return self.url.replace("http", "ws", 1).rstrip("/") + WEBSOCKET_PATH

    async def _handle(self, connection: ServerConnection) -> None:
        assert isinstance(connection, GameSocket)
        limits = self._settings.gateway
        receiving = TokenBucket(limits.receive_bytes_per_s, limits.receive_burst_bytes, connection.loop.time())
        connection.open(limits.send_buffer_bytes, receiving, self._turn)
        await connection.wait_closed()

    def _answer(self, connection: ServerConnection, request: Request) -> Answer:
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
