"""A client that reads when it likes: the library's protocol over a plain socket, `clients.python` for sight."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri
from websockets.utils import apply_mask

from clients.python.view import View, Views
from config.settings import Settings
from protocol.codec import decode_server, encode_check, encode_hello, encode_input
from protocol.messages import Ack, Keyframe, ServerMessage, ViewDigest, Welcome
from server.app import Everstep
from server.gateway.stream import RegionStream
from server.sim.game import Game

M = TypeVar("M")
# A generous bound, so that a broken promise ends a test instead of hanging it; nothing asserts a time.
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Closed(Exception):
    """The connection ended. Code 1006 where no close frame came."""

    code: int
    reason: str


def masked(payload: bytes, opcode: int = Opcode.BINARY, *, fin: bool = True, reserved: int = 0) -> bytes:
    """A client's frame (RFC 6455, 5.2), by hand: it may be one that no library would send."""
    size, key = len(payload), os.urandom(4)
    if size < 126:
        length = bytes((0x80 | size,))
    elif size < 65_536:
        length = b"\xfe" + size.to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(8, "big")
    return bytes((fin << 7 | reserved << 4 | opcode,)) + length + key + apply_mask(payload, key)


@asynccontextmanager
async def serving(settings: Settings, game: Game, **parts: Any) -> AsyncIterator[Everstep]:
    """A server; when it is over every visitor hangs up first, so that nobody is waited for."""
    async with Everstep(settings, game, **parts) as app:
        try:
            yield app
        finally:
            while Visitor.opened:
                Visitor.opened.pop().close()


def only_stream(app: Everstep) -> RegionStream:
    """What is watched of a world of one region."""
    (stream,) = app.gateway.router.streams.values()
    return stream


class Visitor:
    """One connection. `views` and `welcome` follow what was received."""

    # Sockets to be closed after the test.
    opened: ClassVar[list[socket.socket]] = []

    def __init__(self, app: Everstep) -> None:
        self.app = app
        self.seq = 0
        self.views: Views | None = None
        self.welcome: Welcome | None = None
        # Every message received, in order.
        self.log: list[ServerMessage] = []
        self.acked = 0
        self.bytes_in = 0
        self.protocol = ClientProtocol(parse_uri(app.ws_url), max_size=None)
        # The handshake's answer: status 101 or a refusal.
        self.response: Response | None = None
        self._waiting: list[ServerMessage] = []

    @classmethod
    async def connect(cls, app: Everstep, *, heels: bytes = b"", receive_bytes: int = 0, **headers: str) -> Self:
        """The WebSocket handshake. `heels`: bytes sent along with it. `receive_bytes`: SO_RCVBUF."""
        self = cls(app)
        self.socket = socket.socket()
        self.opened.append(self.socket)
        self.socket.settimeout(0)
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self.socket, ("127.0.0.1", app.port))
        request = self.protocol.connect()
        for name, value in headers.items():
            request.headers[name] = value
        self.protocol.send_request(request)
        await loop.sock_sendall(self.socket, b"".join(self.protocol.data_to_send()) + heels)
        while self.response is None:
            if not await self._read():
                raise Closed(1006, "before the handshake was done")
            self._digest_events()
        return self

    @classmethod
    async def join(cls, app: Everstep, *, receive_bytes: int = 0, **hello: Any) -> Self:
        """Connect, say HELLO, wait for WELCOME and the first KEYFRAME."""
        self = await cls.connect(app, receive_bytes=receive_bytes)
        await self.hello(**hello)
        return self

    async def hello(self, **hello: Any) -> Welcome:
        await self.send(encode_hello(**hello))
        welcome = await self.until(Welcome)
        await self.until(Keyframe)
        return welcome

    # -- out ---------------------------------------------------------------------------

    async def send(self, *payloads: bytes) -> None:
        """Binary messages, in one piece."""
        await self.send_raw(b"".join(masked(p) for p in payloads))

    async def send_raw(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def input(self, command: int, *args: Any) -> int:
        """An INPUT with the next sequence number, which is returned."""
        self.seq += 1
        await self.send(encode_input(self.seq, command, args))
        return self.seq

    def abort(self) -> None:
        """Cut the wire: a reset, without a goodbye."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    # -- in ----------------------------------------------------------------------------

    async def receive(self) -> ServerMessage:
        """The next message, applied to the views. Raises Closed."""
        while not self._waiting:
            if self.protocol.close_rcvd is not None:
                self.socket.close()
                raise Closed(self.protocol.close_rcvd.code, self.protocol.close_rcvd.reason)
            if not await self._read():
                self.socket.close()
                raise Closed(1006, "")
            self._digest_events()
        message = self._waiting.pop(0)
        self.log.append(message)
        if isinstance(message, Welcome):
            self.welcome, self.views = message, Views(message)
            self.seq = max(self.seq, message.ack)
        elif isinstance(message, Ack):
            self.acked = message.seq
        elif self.views is not None:
            self.views.apply(message)
        return message

    async def until(self, kind: type[M], wanted: Callable[[M], bool] = lambda _: True) -> M:
        """Receive until a message of this kind comes that is wanted."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message = await self.receive()
                if isinstance(message, kind) and wanted(message):
                    return message

    async def until_seen(self, condition: Callable[[View], bool]) -> None:
        """Receive until the view is as wanted."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition(self.view):
                await self.receive()

    async def until_closed(self) -> Closed:
        """Receive until the connection ends."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    await self.receive()
                except Closed as closed:
                    return closed

    async def until_acked(self, seq: int) -> None:
        """Receive until the input is processed."""
        async with asyncio.timeout(PATIENCE_S):
            while self.acked < seq:
                await self.receive()

    async def check(self) -> None:
        """Ask for the view digest and compare it with what is seen. Raises AssertionError."""
        await self.send(encode_check())
        digest = await self.until(ViewDigest)
        assert self.views is not None
        assert (digest.count, digest.crc) == self.views[digest.region].digest()

    async def _read(self) -> bool:
        try:
            data = await asyncio.get_running_loop().sock_recv(self.socket, 65_536)
        except ConnectionError:
            data = b""
        self.bytes_in += len(data)
        if data:
            self.protocol.receive_data(data)
        else:
            self.protocol.receive_eof()
        return bool(data)

    def _digest_events(self) -> None:
        for event in self.protocol.events_received():
            if isinstance(event, Response):
                self.response = event
            elif isinstance(event, Frame) and event.opcode is Opcode.BINARY:
                assert event.fin
                self._waiting.append(decode_server(bytes(event.data)))
        answers = b"".join(self.protocol.data_to_send())
        if answers:
            # A pong or the answer to a close: small, and the last thing that must not block.
            with contextlib.suppress(OSError):
                os.write(self.socket.fileno(), answers)

    # -- what is seen --------------------------------------------------------------------

    @property
    def view(self) -> View:
        assert self.views is not None, "before WELCOME"
        return self.views[self.views.entity[0]]

    @property
    def handle(self) -> int:
        assert self.views is not None, "before WELCOME"
        return self.views.entity[1]

    def me(self, field: str) -> Any:
        """A value of its own entity; None between the two DELTAs of a jump: the first takes it out of view."""
        return self.view.value(self.handle, field) if self.handle in self.view else None
