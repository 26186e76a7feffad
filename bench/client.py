"""One client of the swarm: a raw asyncio protocol that speaks WebSocket by hand.

The mass only counts: frames are walked by their headers, and of a message the type byte is read. A few
clients decode everything, see bench/sample.py.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from bench.frames import BINARY, CLOSE, PING, PONG, InputFrame, masked
from protocol.codec import decode_server, encode_hello
from protocol.messages import Bye, Delta, Error, MessageType

_DELTA: Final = int(MessageType.DELTA)
_ACK: Final = int(MessageType.ACK)
_WELCOME: Final = int(MessageType.WELCOME)
_HEAD_END: Final = b"\r\n\r\n"
# Every so many of a client's DELTAs is decoded for the number of entities it shows.
LOOK_EVERY: Final = 20


@dataclass
class Counts:
    """What all clients of the swarm together saw since `reset`."""

    # Bytes of the TCP streams: messages with their WebSocket headers.
    bytes: int = 0
    deltas: int = 0
    inputs: int = 0
    # Position changes in the messages looked into, and how many messages those were.
    seen: int = 0
    looks: int = 0
    # Clients in the world, and clients whose connection ended.
    joined: int = 0
    lost: int = 0
    # Inputs the server refused.
    refused: int = 0
    # Why clients were lost or inputs refused; the first few.
    reasons: list[str] = field(default_factory=list)

    def reset(self) -> None:
        """Begin to measure. Losses stay: a client lost before is lost."""
        self.bytes = self.deltas = self.inputs = self.seen = self.looks = 0

    def complain(self, reason: str) -> None:
        """Remember why, as long as it is news."""
        if reason not in self.reasons and len(self.reasons) < 8:
            self.reasons.append(reason)


class Client(asyncio.Protocol):
    """A client of the mass. `upgrade`: the HTTP request."""

    def __init__(self, number: int, counts: Counts, upgrade: bytes) -> None:
        self.number = number
        self.counts = counts
        self.transport: asyncio.Transport
        self.seq = 0
        self._upgrade = upgrade
        self._upgraded = False
        # The beginning of a frame whose end has not come.
        self._rest = b""
        self._until_look = 1 + number % LOOK_EVERY

    def send(self, frame: InputFrame) -> None:
        """Send an input of this kind."""
        self.seq += 1
        self.transport.write(frame.with_seq(self.seq))

    def upgraded(self) -> None:
        """The WebSocket is open: say HELLO."""
        self.transport.write(masked(encode_hello(name=f"swarm {self.number}")))

    def welcomed(self, _message: bytes) -> None:
        """The client is in the world."""
        self.counts.joined += 1

    # -- asyncio.Protocol -------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the WebSocket."""
        self.transport = transport  # type: ignore[assignment]  # a stream's transport both reads and writes
        self.transport.write(self._upgrade)

    def connection_lost(self, error: Exception | None) -> None:
        """A client is lost whoever closes: the swarm never leaves while it measures."""
        self.counts.lost += 1
        if error is not None:
            self.counts.complain(f"connection lost: {error}")

    def data_received(self, data: bytes) -> None:
        """Walk the frames."""
        self.counts.bytes += len(data)
        if self._rest:
            data = self._rest + data
            self._rest = b""
        at = 0 if self._upgraded else self._accepted(data)
        end = len(data)
        while end - at >= 2:
            size = data[at + 1]
            start = at + 2
            if size >= 126:
                start += 2 if size == 126 else 8
                if start > end:
                    break
                size = int.from_bytes(data[at + 2 : start], "big")
            stop = start + size
            if stop > end:
                break
            if data[at] == BINARY:
                self.message(data, start, stop)
            else:
                self._control(data[at], data[start:stop])
            at = stop
        if at < end:
            self._rest = data[at:]

    # -- messages ------------------------------------------------------------------

    def message(self, data: bytes, start: int, stop: int) -> None:
        """One message, `data[start:stop]`: counted."""
        kind = data[start + 1]
        if kind == _DELTA:
            self.counts.deltas += 1
            self._until_look -= 1
            if not self._until_look:
                self._until_look = LOOK_EVERY
                self._look(data[start:stop])
        elif kind != _ACK:
            self.rare(kind, data[start:stop])

    def rare(self, kind: int, message: bytes) -> None:
        """A message of the kinds that come once, or should not come at all."""
        if kind == _WELCOME:
            self.welcomed(message)
            return
        decoded = decode_server(message)
        if isinstance(decoded, Error):
            self.counts.refused += 1
            self.counts.complain(f"ERROR {decoded.code}: {decoded.text}")
        elif isinstance(decoded, Bye):
            self.counts.complain(f"BYE {decoded.code}: {decoded.text}")

    def _look(self, message: bytes) -> None:
        delta = decode_server(message)
        assert isinstance(delta, Delta)
        self.counts.looks += 1
        # Component 0 is the crowd's position: a handle and two coordinates of 16 bits.
        self.counts.seen += sum(len(records) // 6 for component, records in delta.changes if component == 0)

    def _accepted(self, data: bytes) -> int:
        """Where the frames begin, once the server has agreed; the whole length before."""
        end = data.find(_HEAD_END)
        if end < 0:
            self._rest = data
            return len(data)
        if b" 101 " not in data[:16]:
            self.counts.complain(f"no WebSocket: {data[:60]!r}")
            self.transport.close()
            return len(data)
        self._upgraded = True
        self.upgraded()
        return end + len(_HEAD_END)

    def _control(self, first_byte: int, body: bytes) -> None:
        if first_byte == PING:
            self.transport.write(masked(body, PONG))
        elif first_byte == CLOSE:
            self.counts.complain(f"closed with {int.from_bytes(body[:2], 'big')} {body[2:].decode(errors='replace')}")
            self.transport.close()


class FloorClient(Client):
    """A client where there is no game: it counts, and joins by the upgrade alone."""

    def upgraded(self) -> None:
        """Nobody waits for a HELLO."""
        self.counts.joined += 1

    def message(self, data: bytes, start: int, stop: int) -> None:  # noqa: ARG002  # nothing inside to read
        """One frame of nothing."""
        self.counts.deltas += 1


class StalledClient(Client):
    """A client that never reads again once it is in the world, and goes on sending."""

    def welcomed(self, message: bytes) -> None:
        """From here on the kernel's buffers fill."""
        super().welcomed(message)
        self.transport.pause_reading()
