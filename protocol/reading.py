"""Reading the server's frames, and what both readers share.

Part of `protocol.codec`, which is where to import from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgpack

from protocol.errors import InvalidArgument, MalformedMessage, OversizeMessage, UnknownMessage
from protocol.limits import EXACT_INT_MAX, HANDLE_MAX, REGION_MAX, SEQ_MAX, SERVER_FRAME_BYTES_MAX
from protocol.messages import (
    Ack,
    Bye,
    Clock,
    Cross,
    Delta,
    Error,
    Event,
    Keyframe,
    MessageType,
    Pong,
    Receipt,
    ServerMessage,
    ViewDigest,
    Welcome,
    You,
)
from protocol.welcome import welcome_from_wire

# Everything msgpack raises for bytes it does not like: its own errors and
# UnicodeDecodeError are ValueErrors; the rest guards against nesting and sizes.
UNPACK_ERRORS: Final = (
    ValueError,
    TypeError,
    KeyError,
    OverflowError,
    RecursionError,
    MemoryError,
    msgpack.UnpackException,
)

# What a server's frame may hold: WELCOME's maps, long bins, long arrays of parts.
_SERVER_LIMITS: Final = {
    "raw": False,
    "strict_map_key": True,
    "max_str_len": 65536,
    "max_bin_len": SERVER_FRAME_BYTES_MAX,
    "max_array_len": 4096,
    "max_map_len": 64,
    "max_ext_len": 0,
}


def decode_server(data: bytes) -> ServerMessage:
    """Read one frame from a server; any bytes may come.

    Packed parts come as bytes: whether they are whole records only a schema can tell, and
    the view checks it. Raises MalformedMessage, UnknownMessage (a client should pass over
    those, a later version may add messages), InvalidArgument, SchemaError.
    """
    if len(data) > SERVER_FRAME_BYTES_MAX:
        raise OversizeMessage(f"{len(data)} bytes; a frame has at most {SERVER_FRAME_BYTES_MAX}")
    try:
        frame = msgpack.unpackb(data, **_SERVER_LIMITS)
    except UNPACK_ERRORS:
        raise MalformedMessage("not one msgpack array within the limits") from None
    if type(frame) is not list or not frame or type(frame[0]) is not int:
        raise MalformedMessage("a frame is an array that begins with the message type")
    reader = _SERVER_READERS.get(frame[0])
    if reader is None:
        raise UnknownMessage(f"there is no server message {frame[0]}")
    return reader(frame)


def _delta(frame: list[Any]) -> Delta:  # Any, here and below: as msgpack read it
    if len(frame) < 5 or len(frame) % 2 == 0:
        raise MalformedMessage("DELTA is [17, region, tick_low7, leaves, enters, component, changes, ...]")
    leaves = frame[3]
    if leaves is None:
        leaves = b""
    elif type(leaves) is not bytes:
        raise MalformedMessage("leaves is nil or bin")
    return Delta(
        _whole(frame[1], "region", REGION_MAX),
        _whole(frame[2], "tick_low7", 127),
        leaves,
        _read_parts(frame[4]),
        _pairs(frame[5:]) if len(frame) > 5 else (),
    )


def _keyframe(frame: list[Any]) -> Keyframe:
    _shape(frame, 4, "KEYFRAME is [18, region, tick, enters]")
    region, tick = _whole(frame[1], "region", REGION_MAX), _whole(frame[2], "tick", EXACT_INT_MAX)
    return Keyframe(region, tick, _read_parts(frame[3]))


def _event(frame: list[Any]) -> Event:
    _shape(frame, 4, "EVENT is [21, region, event, [arg, ...]]")
    args = frame[3]
    if type(args) is not list or any(type(a) not in (int, float, bool, str) for a in args):
        raise MalformedMessage("an event's arguments are numbers, bools and text")
    return Event(_whole(frame[1], "region", REGION_MAX), _whole(frame[2], "event", REGION_MAX), tuple(args))


def _pong(frame: list[Any]) -> Pong:
    _shape(frame, 5, "PONG is [22, client_time, tick, micros, rate_mhz]")
    tick, micros, rate_mhz = (
        _whole(value, what, EXACT_INT_MAX)
        for what, value in zip(("tick", "micros", "rate_mhz"), frame[2:], strict=True)
    )
    return Pong(read_time(frame[1]), tick, micros, rate_mhz)


def _view_digest(frame: list[Any]) -> ViewDigest:
    _shape(frame, 5, "VIEW_DIGEST is [23, region, tick, count, crc]")
    return ViewDigest(
        _whole(frame[1], "region", REGION_MAX),
        _whole(frame[2], "tick", EXACT_INT_MAX),
        _whole(frame[3], "count", HANDLE_MAX),
        _whole(frame[4], "crc", HANDLE_MAX),
    )


def _error(frame: list[Any]) -> Error:
    _shape(frame, 4, "ERROR is [24, code, text, seq]")
    seq = None if frame[3] is None else _whole(frame[3], "seq", SEQ_MAX)
    return Error(_whole(frame[1], "code", 65535), _text(frame[2]), seq)


def _bye(frame: list[Any]) -> Bye:
    _shape(frame, 3, "BYE is [25, code, text]")
    return Bye(_whole(frame[1], "code", 65535), _text(frame[2]))


def _you(frame: list[Any]) -> You:
    _shape(frame, 3, "YOU is [26, region, handle]")
    return You(_whole(frame[1], "region", REGION_MAX), _whole(frame[2], "handle", HANDLE_MAX))


def _cross(frame: list[Any]) -> Cross:
    _shape(frame, 5, "CROSS is [27, from_region, from_handle, to_region, to_handle]")
    return Cross(
        _whole(frame[1], "from_region", REGION_MAX),
        _whole(frame[2], "from_handle", HANDLE_MAX),
        _whole(frame[3], "to_region", REGION_MAX),
        _whole(frame[4], "to_handle", HANDLE_MAX),
    )


def _clock(frame: list[Any]) -> Clock:
    _shape(frame, 3, "CLOCK is [28, region, ahead]")
    return Clock(_whole(frame[1], "region", REGION_MAX), _whole(frame[2], "ahead", EXACT_INT_MAX))


def _ack(frame: list[Any]) -> Ack:
    _shape(frame, 2, "ACK is [19, seq]")
    return Ack(_whole(frame[1], "seq", SEQ_MAX))


def _receipt(frame: list[Any]) -> Receipt:
    _shape(frame, 2, "RECEIPT is [20, seq]")
    return Receipt(_whole(frame[1], "seq", SEQ_MAX))


def _welcome(frame: list[Any]) -> Welcome:
    _shape(frame, 2, "WELCOME is [16, info]")
    return welcome_from_wire(frame[1])


_SERVER_READERS: Final[dict[int, Callable[[list[Any]], ServerMessage]]] = {
    MessageType.WELCOME: _welcome,
    MessageType.DELTA: _delta,
    MessageType.KEYFRAME: _keyframe,
    MessageType.ACK: _ack,
    MessageType.RECEIPT: _receipt,
    MessageType.EVENT: _event,
    MessageType.PONG: _pong,
    MessageType.VIEW_DIGEST: _view_digest,
    MessageType.ERROR: _error,
    MessageType.BYE: _bye,
    MessageType.YOU: _you,
    MessageType.CROSS: _cross,
    MessageType.CLOCK: _clock,
}


def _shape(frame: list[Any], length: int, shape: str) -> None:
    if len(frame) != length:
        raise MalformedMessage(shape)


def _whole(value: Any, what: str, maximum: int) -> int:
    if type(value) is not int:
        raise MalformedMessage(f"{what} must be an int")
    if not 0 <= value <= maximum:
        raise InvalidArgument(f"{what} must be from 0 to {maximum}, not {value}")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise MalformedMessage("text must be a str")
    return value


def _read_parts(parts: Any) -> tuple[tuple[int, bytes], ...]:
    if parts is None:
        return ()
    if type(parts) is not list:
        raise MalformedMessage("enters is nil or [archetype, bin, ...]")
    return _pairs(parts)


def _pairs(parts: list[Any]) -> tuple[tuple[int, bytes], ...]:
    if len(parts) % 2:
        raise MalformedMessage("packed parts come in pairs of number and bin")
    pairs = tuple(zip(parts[::2], parts[1::2], strict=True))
    for number, records in pairs:
        if type(number) is not int or number < 0 or type(records) is not bytes:
            raise MalformedMessage("packed parts come in pairs of number and bin")
    return pairs


def read_time(value: Any) -> int | float:  # Any: as msgpack read it
    """A client's time: any finite float, any int within 2**53."""
    if type(value) is int:
        if not -EXACT_INT_MAX <= value <= EXACT_INT_MAX:
            raise InvalidArgument("client_time must be within 2**53, or a float")
        return value
    if type(value) is float:
        # NaN and the infinities fail.
        if not abs(value) < float("inf"):
            raise InvalidArgument("client_time must be finite")
        return value
    raise MalformedMessage("client_time must be a number")
