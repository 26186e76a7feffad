"""A port that takes WebSockets and HTTP alike, and an end of it that waits for nobody who asks nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from http import HTTPStatus
from typing import Any, Final
from weakref import WeakSet

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

# Seconds that a closing handshake may take before the connection is cut.
CLOSE_TIMEOUT_S: Final = 2.0

# None: it is a WebSocket's, and may be one.
Answer = Response | Coroutine[Any, Any, Response] | None


async def nobody(connection: ServerConnection) -> None:
    """What becomes of a WebSocket where only HTTP is spoken."""
    await connection.close(reason=HTTPStatus.NOT_FOUND.phrase)


class Listener:
    """`open`, and `close` in the end.

    `make`: makes a connection, as the library's class does. `options`: the library's.
    """

    def __init__(
        self,
        answer: Callable[[ServerConnection, Request], Answer],
        handle: Callable[[ServerConnection], Awaitable[None]] = nobody,
        make: Callable[..., ServerConnection] = ServerConnection,
        **options: Any,  # Any: the library's
    ) -> None:
        self._answer = answer
        self._handle = handle
        self._make = make
        self._options = options
        self._server: Server | None = None
        # Connections that have asked for nothing yet.
        self._silent: WeakSet[ServerConnection] = WeakSet()

    async def open(self, host: str, port: int) -> None:
        """Listen; 0 takes any free port. Raises OSError."""
        self._server = await serve(
            self._handle,
            host,
            port,
            process_request=self._process_request,
            # The library names the class; any maker of one will do.
            create_connection=self._connection,  # type: ignore[arg-type]
            compression=None,
            close_timeout=CLOSE_TIMEOUT_S,
            server_header=None,
            **self._options,
        )

    async def close(self, within_s: float = CLOSE_TIMEOUT_S) -> None:
        """Listen no more; `within_s`: that those who are answered have to read it."""
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
    def address(self) -> tuple[str, int]:
        """What is listened on."""
        assert self._server is not None, "not started"
        host, port, *_ = self._server.sockets[0].getsockname()
        return host, port

    def _connection(self, protocol: ServerProtocol, server: Server, **options: Any) -> ServerConnection:
        made = self._make(protocol, server, **options)
        self._silent.add(made)
        return made

    def _process_request(self, connection: ServerConnection, request: Request) -> Answer:
        self._silent.discard(connection)
        return self._answer(connection, request)
