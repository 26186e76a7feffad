"""WebSocket frames of a client, by hand: what the swarm writes and reads.

RFC 6455, no extensions. The mask is one constant: it costs the server the same as a fresh
one, and the swarm nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final

import msgpack

MASK: Final = b"\x9d\x37\xc4\x5b"

BINARY: Final = 0x82
CLOSE: Final = 0x88
PING: Final = 0x89
PONG: Final = 0x8A

INPUT: Final = 2


def upgrade_request(host: str, port: int, path: str = "/ws") -> bytes:
    """The HTTP request that opens a WebSocket."""
    key = base64.b64encode(bytes(range(16))).decode()
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def masked(payload: bytes, first_byte: int = BINARY) -> bytes:
    """One whole masked frame. `payload`: at most 65,535 bytes."""
    size = len(payload)
    head = bytes((first_byte, 0x80 | size)) if size < 126 else bytes((first_byte, 0xFE)) + size.to_bytes(2, "big")
    return head + MASK + _xor(payload)


class InputFrame:
    """INPUT frames of one command and arguments, made ready but for the sequence number."""

    __slots__ = ("_flip", "_prefix", "_suffix")

    def __init__(self, command: int, args: Sequence[float | int]) -> None:
        # [2, uint32 seq, command, [args]]: the four bytes of seq are 3 to 6 of the payload.
        tail: bytes = msgpack.packb(command) + msgpack.packb(list(args), use_single_float=True)
        payload = bytes((0x94, INPUT, 0xCE)) + bytes(4) + tail
        frame = masked(payload)
        self._prefix = frame[:9]
        self._flip = int.from_bytes(frame[9:13], "big")
        self._suffix = frame[13:]

    def with_seq(self, seq: int) -> bytes:
        """The frame for `seq`, 1 to 2**32 - 1."""
        return self._prefix + (seq ^ self._flip).to_bytes(4, "big") + self._suffix


def _xor(payload: bytes) -> bytes:
    size = len(payload)
    mask = (MASK * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")
