"""Everything the protocol can refuse, drawn as one tree.

    ProtocolError
    ├── MalformedMessage        the bytes are not the message they claim to be
    │   └── OversizeMessage     they are more than the limit
    ├── UnknownMessage          the type or command number means nothing here
    ├── InvalidArgument         a value of the wrong type, out of range, NaN or infinite
    ├── OutOfOrder              a right message at a wrong time
    ├── RateExceeded            too many, too fast
    └── SchemaError             a schema that contradicts itself

Each carries the `ErrorCode` that an ERROR message shows to the client.
"""

from __future__ import annotations

from enum import IntEnum


class ErrorCode(IntEnum):
    """Codes of ERROR messages. The session goes on unless a CloseCode follows."""

    # The bytes were not a msgpack array of the shape docs/protocol.md gives.
    MALFORMED = 1
    # The message was longer than the limit WELCOME announces.
    OVERSIZE = 2
    # No such message type or command number.
    UNKNOWN = 3
    # An argument of the wrong type, out of range, NaN or infinite.
    INVALID_ARGUMENT = 4
    # A right message at a wrong time: INPUT before WELCOME, a second HELLO.
    OUT_OF_ORDER = 5
    # The session's token bucket was empty; the message was dropped.
    RATE_EXCEEDED = 6
    # HELLO's token was not accepted.
    UNAUTHORISED = 7
    # The client's protocol version is not spoken here.
    VERSION = 8
    # The world, the address or the server has no room.
    FULL = 9
    # The resume token is unknown, spent or past its grace time.
    RESUME_FAILED = 10
    # The game refused the command.
    REFUSED = 11
    # A schema that contradicts itself.
    SCHEMA = 12


class CloseCode(IntEnum):
    """WebSocket close codes: 1000s are RFC 6455's, 4000s are Everstep's."""

    # The client said LEAVE, or closed.
    NORMAL = 1000
    # The server is stopping; come back to the same address.
    GOING_AWAY = 1001
    # A text frame or other thing the protocol has no use for.
    UNSUPPORTED = 1003
    # A frame longer than the limit.
    TOO_BIG = 1009
    # Too many malformed or out-of-order messages.
    PROTOCOL = 4000
    # No HELLO within the handshake time.
    HANDSHAKE_TIMEOUT = 4001
    # The protocol version is not spoken here.
    VERSION = 4002
    # The token was not accepted.
    UNAUTHORISED = 4003
    # The Origin is not on the list.
    ORIGIN = 4004
    # No room: connections, sessions or entities.
    FULL = 4005
    # Too many connections from one address.
    ADDRESS_LIMIT = 4006
    # Nothing heard within the idle time.
    IDLE_TIMEOUT = 4007
    # The client did not read for longer than the lag time.
    TOO_SLOW = 4008
    # Inputs kept coming above the rate limit.
    FLOOD = 4009
    # The same session was resumed by another connection.
    REPLACED = 4010
    # The server met an error of its own; the session may resume.
    INTERNAL = 4011
    # The game removed the player.
    REMOVED = 4012


class ProtocolError(Exception):
    """Root of what the protocol refuses."""

    code = ErrorCode.MALFORMED


class MalformedMessage(ProtocolError):
    """The bytes are not the message they claim to be."""


class OversizeMessage(MalformedMessage):
    """More bytes than the limit."""

    code = ErrorCode.OVERSIZE


class UnknownMessage(ProtocolError):
    """The type or command number means nothing here."""

    code = ErrorCode.UNKNOWN


class InvalidArgument(ProtocolError):
    """A value of the wrong type, out of range, NaN or infinite."""

    code = ErrorCode.INVALID_ARGUMENT


class OutOfOrder(ProtocolError):
    """A right message at a wrong time."""

    code = ErrorCode.OUT_OF_ORDER


class RateExceeded(ProtocolError):
    """Too many, too fast."""

    code = ErrorCode.RATE_EXCEEDED


class SchemaError(ProtocolError):
    """A schema that contradicts itself."""

    code = ErrorCode.SCHEMA
