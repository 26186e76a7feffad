"""The WebSocket shell: bytes in, bytes out, nothing else.

The library does the handshake, control frames, fragments, limits and closing. Two paths go below it, because they
are taken 20 times a second by everyone: a finished frame is written straight to the kernel (where the world has several
regions, together with all else of that turn of the event loop), and a chunk of whole, small, masked binary frames,
which is what inputs are, is unmasked here. Everything else is the library's.
"""

from __future__ import annotations

import asyncio
import os
import socket as sockets
from typing import Any, Final, Protocol

from websockets.asyncio.server import Server, ServerConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import Event, State
from websockets.server import ServerProtocol

from server.gateway.session import TokenBucket

try:
    from websockets.speedups import apply_mask
except ImportError:  # no compiler where it was installed
    from websockets.utils import apply_mask

_BINARY_FIN: Final = 0x80 | Opcode.BINARY
_MASKED: Final = 0x80
# Fragments of one message: empty ones would cost the sender nothing and never be too many bytes.
_FRAGMENTS_MAX: Final = 64
_FAULTS: Final = {1002: "protocol_error", 1007: "protocol_error", 1009: "too_big"}
# Called 20 times a second for every client: one look-up less.
_write = os.write
# Where a request's head ends.
_HEAD_END: Final = b"\r\n\r\n"
# Bytes of a close frame's reason: a control frame has 125, two of them the code; the protocol's page says 120.
_REASON_BYTES_MAX: Final = 120
# Bytes that may wait for one who sends pings and does not read their answers.
_PONG_BYTES_MAX: Final = 65_536


class Turn:
    """What a gateway's sockets write in a turn of the event loop, or in the next, leaves then: one piece for each.

    Who sees several regions is written to by each of them, mostly at the same time, and what costs is the call and not
    its bytes. Two turns, because the timers of regions that tick together go off up to a millisecond apart.
    """

    def __init__(self) -> None:
        self._waiting: list[GameSocket] = []

    def wait(self, socket: GameSocket) -> None:
        """Have it send what it gathered."""
        if not self._waiting:
            socket.loop.call_soon(socket.loop.call_soon, self._end)
        self._waiting.append(socket)

    def _end(self) -> None:
        waiting, self._waiting = self._waiting, []
        for socket in waiting:
            socket.send_gathered()


class Listener(Protocol):
    """What a gateway hears from its sockets."""

    def opened(self, socket: GameSocket) -> None:
        """The handshake is done."""

    def received(self, socket: GameSocket, message: bytes) -> None:
        """A whole binary message."""

    def received_text(self, socket: GameSocket) -> None:
        """A text message, which the protocol has no use for."""

    def flooded(self, socket: GameSocket) -> None:
        """More bytes than a connection may send. They were not looked at, and nothing more is read."""

    def lost(self, socket: GameSocket) -> None:
        """The connection is gone. Comes once, whatever the cause."""


class GameSocket(ServerConnection):
    """One connection. `session` is the gateway's to use."""

    def __init__(self, listener: Listener, protocol: ServerProtocol, server: Server, **options: Any) -> None:
        super().__init__(protocol, server, **options)
        self._listener = listener
        # The library's parser stands between two frames, so whole frames may be taken past it.
        self._between_frames = False
        self._opened = False
        # Before `open`: the last bytes that came, and the messages among them.
        self._tail = b""
        self._early: list[bytes] = []
        self._fragments: list[bytes] = []
        self._fd = -1
        # Where what is written waits for the end of the event loop's turn; None: it does not.
        self._turn: Turn | None = None
        self._gathered: list[bytes] = []
        # How many bytes it may send; anything before `open`, where the library's own limits hold.
        self._receiving: TokenBucket | None = None
        self._size_max: int = protocol.max_message_size if protocol.max_message_size is not None else 125
        self._closing: asyncio.Task[None] | None = None
        self.session: Any = None
        self.address = ""

    # -- life --------------------------------------------------------------------

    def open(self, send_buffer_bytes: int, receiving: TokenBucket | None = None, turn: Turn | None = None) -> None:
        """The handshake is done. Messages that came on its heels are delivered now.

        `receiving`: bytes it may send. `turn`: with whose end leaves what is written; without, it leaves at once.
        """
        self._receiving = receiving
        self._turn = turn
        if self.transport.is_closing():
            # Hung up meanwhile: nobody hears of this connection, neither its beginning nor its end.
            return
        peer = self.transport.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) else "local"
        raw = self.transport.get_extra_info("socket")
        if raw is not None and self.transport.get_extra_info("sslcontext") is None:
            self._fd = raw.fileno()
            raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, send_buffer_bytes)
            if raw.family in (sockets.AF_INET, sockets.AF_INET6):
                raw.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
        self._opened = True
        # Where bytes followed the request, the library's parser may stand within a frame.
        self._between_frames = self._tail == _HEAD_END
        self._listener.opened(self)
        for message in self._early:
            if self._closing is None:
                self._listener.received(self, message)
        self._early.clear()

    def end(self, farewell: bytes, code: int, reason: str) -> None:
        """Write a last frame and close. Further calls do nothing."""
        if self._closing is None:
            self._between_frames = False
            self.send_gathered()
            self._fd = -1
            if self._speaks:
                self.transport.write(farewell)
            reason = reason.encode()[:_REASON_BYTES_MAX].decode(errors="ignore")
            self._closing = self.loop.create_task(self._close(code, reason))

    async def _close(self, code: int, reason: str) -> None:
        """The closing handshake. The library waits without limit for one who does not read: this does not."""
        try:
            async with asyncio.timeout(self.close_timeout):
                await self.close(code, reason)
        except TimeoutError:
            self.transport.abort()

    @property
    def fault(self) -> str | None:
        """Why the library closed it, if it did: what came was no WebSocket, or too long a frame."""
        sent = self.protocol.close_sent
        if sent is None or self.protocol.close_rcvd_then_sent:
            return None
        return _FAULTS.get(sent.code)

    @property
    def ending(self) -> bool:
        """Whether `end` was called."""
        return self._closing is not None

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the transport is closed."""
        self._fd = -1
        self._gathered.clear()
        super().connection_lost(exc)
        if self._opened:
            self._listener.lost(self)

    # -- out ---------------------------------------------------------------------

    @property
    def _speaks(self) -> bool:
        """Whether frames may still be written: once the library has answered a CLOSE, it has ended the stream, too."""
        return self.protocol.state is State.OPEN and not self.transport.is_closing()

    def stalled(self) -> bool:
        """Whether bytes wait because the kernel takes no more."""
        return self.transport.get_write_buffer_size() > 0

    def write(self, frames: bytes) -> bool:
        """Write finished frames. False, and nothing is written, where bytes wait already or the socket is gone.

        What the kernel does not take at once waits in the transport: the next call is then refused, so no
        more than one call's bytes ever wait; one turn's, where they are gathered.
        """
        if self._gathered:
            # It could be written to just now.
            self._gathered.append(frames)
            return True
        transport = self.transport
        # Closed transports are told apart first: their descriptor may already be another connection's.
        if transport.is_closing() or transport.get_write_buffer_size():
            return False
        fd = self._fd
        if fd < 0:
            return self._write_through(frames)
        if self._turn is not None:
            self._turn.wait(self)
            self._gathered.append(frames)
            return True
        try:
            written = _write(fd, frames)
        except BlockingIOError:
            written = 0
        except OSError:
            # Reset by the peer: the transport will say so.
            return False
        if written < len(frames):
            transport.write(frames[written:])
        return True

    def send_gathered(self) -> None:
        """Give the kernel what was written in this turn."""
        gathered = self._gathered
        if not gathered:
            return
        frames = b"".join(gathered)
        gathered.clear()
        transport, written = self.transport, 0
        if self._fd < 0 or not self._speaks:
            return
        # What the library has written meanwhile, the answer to a ping, may wait: it goes first.
        if not transport.get_write_buffer_size():
            try:
                written = _write(self._fd, frames)
            except BlockingIOError:
                written = 0
            except OSError:
                # Reset by the peer: the transport will say so.
                return
        if written < len(frames):
            transport.write(frames[written:])

    def _write_through(self, frames: bytes) -> bool:
        """Where the kernel can't be given bytes past the transport: TLS, and a connection that is being closed."""
        if self._closing is not None:
            return False
        self.transport.write(frames)
        return True

    # -- in ----------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes came.

        They are counted before anything looks at them: parsing what nobody may send would cost everyone their tick.
        """
        if self._receiving is not None and not self._receiving.take(self.loop.time(), len(data)):
            self._cut()
            return
        if not self._opened:
            self._tail = (self._tail + data)[-len(_HEAD_END) :]
        at = 0
        while self._between_frames and at < len(data):
            end = _frame_end(data, at)
            if end < 0:
                # Ends inside a frame: the library's parser has it from here on, for good.
                self._between_frames = False
                break
            size = data[at + 1] & 0x7F
            if data[at] == _BINARY_FIN and size < 126 and size <= self._size_max:
                self._listener.received(self, apply_mask(data[at + 6 : end], data[at + 2 : at + 6]))
            else:
                super().data_received(data[at:end])
                if self._fragments or self.protocol.state is not State.OPEN:
                    self._between_frames = False
            at = end
        if at < len(data):
            super().data_received(data[at:] if at else data)

    def _cut(self) -> None:
        """It sends more than anyone may: nothing more is read of it."""
        if self._closing is not None:
            self.transport.abort()
            return
        self._between_frames = False
        self.transport.pause_reading()
        self._listener.flooded(self)

    def process_event(self, event: Event) -> None:
        """websockets: a frame was parsed."""
        if not isinstance(event, Frame) or event.opcode not in (Opcode.BINARY, Opcode.TEXT, Opcode.CONT):
            super().process_event(event)
            if self.transport.get_write_buffer_size() > _PONG_BYTES_MAX and _is_ping(event):
                self.transport.abort()
            return
        if self._closing is not None:
            return
        if event.opcode is Opcode.TEXT:
            self._listener.received_text(self)
            return
        # The library holds the sum of a message's fragments to max_size.
        self._fragments.append(bytes(event.data))
        if len(self._fragments) > _FRAGMENTS_MAX:
            self._cut()
            return
        if event.fin:
            message = b"".join(self._fragments)
            self._fragments.clear()
            if self._opened:
                self._listener.received(self, message)
            else:
                self._early.append(message)


def _is_ping(event: Event) -> bool:
    return isinstance(event, Frame) and event.opcode is Opcode.PING


def _frame_end(data: bytes, at: int) -> int:
    """Where the masked frame that begins at `at` ends; -1 where it is not all here or not masked."""
    have = len(data) - at
    if have < 6 or not data[at + 1] & _MASKED:
        return -1
    size = data[at + 1] & 0x7F
    head = 6
    if size == 126:
        if have < 8:
            return -1
        size, head = int.from_bytes(data[at + 2 : at + 4]), 8
    elif size == 127:
        return -1
    end = at + head + size
    return end if end <= len(data) else -1
