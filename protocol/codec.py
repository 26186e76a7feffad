"""Bytes to messages and back: every shape of docs/protocol.md, checked once, here.

Both readers take any bytes at all and raise nothing but ProtocolErrors. What a
reader accepts has the right shape and types; whether it may be said now, and by
whom, is the session's to judge.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgpack
import numpy as np

from protocol.commands import CONTROL, CommandReader
from protocol.errors import InvalidArgument, MalformedMessage, OversizeMessage, UnknownMessage
from protocol.limits import (
    ARGS_MAX,
    FRAME_BYTES_MAX,
    NAME_BYTES_MAX,
    REASON_BYTES_MAX,
    RESUME_BYTES_MAX,
    SEQ_MAX,
    TOKEN_BYTES_MAX,
    VERSION,
)
from protocol.messages import Check, ClientMessage, Hello, Input, Leave, MessageType, Ping, Welcome
from protocol.reading import UNPACK_ERRORS, decode_server, read_time
from protocol.welcome import welcome_to_wire

__all__ = [
    "CommandReader",
    "decode_client",
    "decode_server",
    "encode_ack",
    "encode_bye",
    "encode_check",
    "encode_cross",
    "encode_delta",
    "encode_error",
    "encode_event",
    "encode_hello",
    "encode_input",
    "encode_keyframe",
    "encode_leave",
    "encode_ping",
    "encode_pong",
    "encode_receipt",
    "encode_view_digest",
    "encode_welcome",
    "encode_you",
]

# What a client's frame may hold: no maps, no extension types, short arrays.
_CLIENT_LIMITS: Final = {
    "raw": False,
    "strict_map_key": True,
    "max_str_len": FRAME_BYTES_MAX,
    "max_bin_len": FRAME_BYTES_MAX,
    "max_array_len": ARGS_MAX,
    "max_map_len": 0,
    "max_ext_len": 0,
}

_INPUT: Final = int(MessageType.INPUT)
_unpackb = msgpack.unpackb
# One packer for all: `packb` makes one with a buffer of 256 KiB for each message, 3 µs against 0.3.
_packer = msgpack.Packer()
_float32_packer = msgpack.Packer(use_single_float=True)


# -- client to server --------------------------------------------------------


def decode_client(data: bytes) -> ClientMessage:
    """Read one frame from a client; any bytes may come.

    Raises MalformedMessage (OversizeMessage among them) when the bytes are no message
    of a known shape, UnknownMessage for a type the protocol lacks, InvalidArgument for
    a number or text out of range.
    """
    if len(data) > FRAME_BYTES_MAX:
        raise OversizeMessage(f"{len(data)} bytes; a frame has at most {FRAME_BYTES_MAX}")
    try:
        frame = _unpackb(data, **_CLIENT_LIMITS)
    except UNPACK_ERRORS:
        raise MalformedMessage("not one msgpack array within the limits") from None
    if type(frame) is not list or not frame or type(frame[0]) is not int:
        raise MalformedMessage("a frame is an array that begins with the message type")
    # Inputs are nearly all that comes, so they are first and read in place.
    if frame[0] == _INPUT:
        if len(frame) != 4:
            raise MalformedMessage("INPUT is [2, seq, command, [arg, ...]]")
        _, seq, command, args = frame
        if type(seq) is not int or type(command) is not int or type(args) is not list:
            raise MalformedMessage("INPUT is [2, seq, command, [arg, ...]]")
        if not 1 <= seq <= SEQ_MAX:
            raise InvalidArgument(f"seq must be from 1 to {SEQ_MAX}, not {seq}")
        return Input(seq, command, args)
    return _decode_rare(frame)


def _decode_rare(frame: list[Any]) -> ClientMessage:  # Any: as msgpack read it
    kind = frame[0]
    if kind == MessageType.PING:
        if len(frame) != 2:
            raise MalformedMessage("PING is [3, client_time]")
        return Ping(read_time(frame[1]))
    if kind == MessageType.HELLO:
        return _hello(frame)
    if kind == MessageType.CHECK:
        if len(frame) != 1:
            raise MalformedMessage("CHECK is [4]")
        return Check()
    if kind == MessageType.LEAVE:
        if len(frame) != 1:
            raise MalformedMessage("LEAVE is [5]")
        return Leave()
    raise UnknownMessage(f"there is no client message {kind}")


def _hello(frame: list[Any]) -> Hello:  # Any: as msgpack read it
    if len(frame) < 2 or type(frame[1]) is not int:
        raise MalformedMessage("HELLO is [1, version, token, resume, name]")
    version = frame[1]
    if version != VERSION:
        # Its shape may be another; the session answers with the version it speaks.
        return Hello(version)
    if len(frame) != 5:
        raise MalformedMessage("HELLO is [1, version, token, resume, name]")
    token = _optional_text(frame[2], "token", TOKEN_BYTES_MAX)
    resume = _optional_text(frame[3], "resume", RESUME_BYTES_MAX)
    name = _optional_text(frame[4], "name", NAME_BYTES_MAX)
    return Hello(version, token, resume, name)


def _optional_text(value: Any, what: str, bytes_max: int) -> str | None:  # Any: as msgpack read it
    """Text or None; an empty text, as an empty form field gives it, is None."""
    if value is None or value == "":
        return None
    if type(value) is not str:
        raise MalformedMessage(f"{what} must be text or nil")
    if len(value.encode()) > bytes_max:
        raise InvalidArgument(f"{what} must be at most {bytes_max} bytes of UTF-8")
    if CONTROL.search(value):
        raise InvalidArgument(f"{what} must be without control characters")
    return value


def encode_hello(
    version: int = VERSION, token: str | None = None, resume: str | None = None, name: str | None = None
) -> bytes:
    """HELLO."""
    return _pack([MessageType.HELLO, version, token, resume, name])


def encode_input(seq: int, command: int, args: Sequence[Any]) -> bytes:  # Any: see CommandReader
    """INPUT. Floats travel as 64 bits, so that 0.1 is 0.1 to the server's bounds."""
    return _pack([MessageType.INPUT, seq, command, list(args)])


def encode_ping(client_time: float) -> bytes:
    """PING."""
    return _pack([MessageType.PING, client_time])


def encode_check() -> bytes:
    """CHECK."""
    return _pack([MessageType.CHECK])


def encode_leave() -> bytes:
    """LEAVE."""
    return _pack([MessageType.LEAVE])


# -- server to client --------------------------------------------------------


def encode_welcome(welcome: Welcome) -> bytes:
    """WELCOME."""
    return _pack([MessageType.WELCOME, welcome_to_wire(welcome)])


def encode_delta(
    region: int,
    tick: int,
    leaves: bytes,
    enters: Iterable[tuple[int, bytes]],
    changes: Iterable[tuple[int, bytes]],
) -> bytes:
    """DELTA: the readable reference of what the gateway's fan-out joins from slices.

    `tick`: the full number. `leaves`: packed handles. `enters`: (archetype, packed full
    records). `changes`: (component, packed change records).
    """
    frame: list[Any] = [MessageType.DELTA, region, tick & 127, leaves or None, _enters(enters)]
    for component, records in changes:
        frame += [component, records]
    return _pack(frame)


def encode_keyframe(region: int, tick: int, enters: Iterable[tuple[int, bytes]]) -> bytes:
    """KEYFRAME. `enters`: (archetype, packed full records)."""
    return _pack([MessageType.KEYFRAME, region, tick, _enters(enters)])


def encode_ack(seq: int) -> bytes:
    """ACK."""
    return _pack([MessageType.ACK, seq])


def encode_receipt(seq: int) -> bytes:
    """RECEIPT."""
    return _pack([MessageType.RECEIPT, seq])


def encode_event(region: int, event: int, args: Iterable[Any]) -> bytes:  # Any: numpy scalars or Python's
    """EVENT. Arguments are Python values or numpy scalars of the schema's types.

    A float travels as 32 bits, which is all an f32 has; bytes as the text they spell,
    with U+FFFD where they are not UTF-8.
    """
    values = [_argument(value) for value in args]
    packed: bytes = _float32_packer.pack([int(MessageType.EVENT), region, event, values])
    return packed


def encode_pong(client_time: float, tick: int, micros: int, rate_mhz: int) -> bytes:
    """PONG."""
    return _pack([MessageType.PONG, client_time, tick, micros, rate_mhz])


def encode_view_digest(region: int, tick: int, count: int, crc: int) -> bytes:
    """VIEW_DIGEST."""
    return _pack([MessageType.VIEW_DIGEST, region, tick, count, crc])


def encode_error(code: int, text: str, seq: int | None = None) -> bytes:
    """ERROR. The text is cut to REASON_BYTES_MAX."""
    return _pack([MessageType.ERROR, int(code), _reason(text), seq])


def encode_bye(code: int, text: str) -> bytes:
    """BYE. The text is cut to REASON_BYTES_MAX."""
    return _pack([MessageType.BYE, int(code), _reason(text)])


def encode_you(region: int, handle: int) -> bytes:
    """YOU."""
    return _pack([MessageType.YOU, region, handle])


def encode_cross(from_region: int, from_handle: int, to_region: int, to_handle: int) -> bytes:
    """CROSS."""
    return _pack([MessageType.CROSS, from_region, from_handle, to_region, to_handle])


def encode_clock(region: int, ahead: int) -> bytes:
    """CLOCK."""
    return _pack([MessageType.CLOCK, region, ahead])


def _pack(frame: list[Any]) -> bytes:  # Any: a msgpack tree
    frame[0] = int(frame[0])
    packed: bytes = _packer.pack(frame)
    return packed


def _enters(enters: Iterable[tuple[int, bytes]]) -> list[int | bytes] | None:
    return [part for archetype, records in enters for part in (archetype, records)] or None


def _argument(value: Any) -> Any:  # Any: numpy scalars or Python's
    if isinstance(value, np.generic):
        value = value.item()
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _reason(text: str) -> str:
    return text.encode(errors="replace")[:REASON_BYTES_MAX].decode(errors="ignore")
