"""The messages of docs/protocol.md as values, without their bytes.

`protocol.codec` turns them to bytes and back. A packed part (leaves, enters,
changes) stays packed here: `Schema.record_dtype` and `Schema.change_dtype` say how
to read it as a numpy array.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from protocol.limits import VERSION
from protocol.schema import Schema


class MessageType(IntEnum):
    """First element of every frame: 1 to 15 from the client, 16 and up from the server."""

    # Who the client is, and whether it comes back; first, once.
    HELLO = 1
    # One command with its arguments, in the client's order.
    INPUT = 2
    # Asks for the server's clock; keeps an idle session alive.
    PING = 3
    # Asks for the digest of what the client should see.
    CHECK = 4
    # Leaves the world for good.
    LEAVE = 5
    # Session, schema, regions and limits; first message after HELLO.
    WELCOME = 16
    # What changed in the client's view of a region since the last one.
    DELTA = 17
    # The client's whole view of a region, afresh.
    KEYFRAME = 18
    # Every input up to this number is processed.
    ACK = 19
    # A reliable command is durable.
    RECEIPT = 20
    # Something happened that the game tells: chat, a hit, a death.
    EVENT = 21
    # The server's clock, in answer to PING.
    PONG = 22
    # Count and CRC of the client's view, in answer to CHECK.
    VIEW_DIGEST = 23
    # Something the client sent was refused; the session goes on.
    ERROR = 24
    # The server closes the connection next, and why.
    BYE = 25
    # The client's entity is this one from now on.
    YOU = 26
    # An entity goes on in another region, under another handle.
    CROSS = 27
    # How far the world's clock is ahead of a region's tick.
    CLOCK = 28


# -- from the client ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hello:
    """First message of a connection. With a version other than ours the rest is None: it was not read."""

    version: int
    # A signed token (JWT); None: a guest.
    token: str | None = None
    # The resume token of an earlier WELCOME.
    resume: str | None = None
    # What to be called, at most NAME_BYTES_MAX bytes of UTF-8.
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Input:
    """One command. The arguments are as they came: `CommandReader.read` checks them."""

    # 1 to SEQ_MAX, strictly rising within a session.
    seq: int
    command: int
    args: list[Any]  # Any: whatever msgpack read; not yet checked


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks for the server's clock. `client_time` is the client's own and comes back."""

    client_time: int | float


@dataclass(frozen=True, slots=True)
class Check:
    """Asks for a VIEW_DIGEST."""


@dataclass(frozen=True, slots=True)
class Leave:
    """Leaves the world for good."""


ClientMessage = Hello | Input | Ping | Check | Leave


# -- from the server ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RegionInfo:
    """Where a region lies and how wide its handles are."""

    id: int
    # Corner with the smallest coordinates that its entities may have, and extent; world units.
    x: float
    y: float
    width: float
    height: float
    # "u16" or "u32".
    handle: str
    # How much of that, on every side, is past the region's own rectangle: who walks over a border is there for a while.
    margin: float = 0.0


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What a client must keep to."""

    # Bytes of one frame to the server.
    frame_bytes_max: int
    # Inputs per second in the long run, and how many at once.
    inputs_per_s: float
    inputs_burst: int
    # Seconds an entity waits for a client whose connection broke.
    grace_s: float
    # Seconds of silence after which the server closes; PING in time.
    idle_s: float


@dataclass(frozen=True, slots=True)
class Welcome:
    """All a client must know to read and speak."""

    session: int
    # To come back with, after the connection broke. A new one with every WELCOME.
    resume: str
    # True: this is the session the resume token named, and its entity waited.
    resumed: bool
    # Last processed sequence number, 0 if none.
    ack: int
    tick: int
    # Ticks per second, as declared.
    tick_rate_hz: float
    name: str
    regions: tuple[RegionInfo, ...]
    # (region, handle) of the client's entity.
    entity: tuple[int, int]
    limits: SessionLimits
    schema: Schema
    version: int = VERSION
    # Highest sequence number that the gateway was given in this session, processed or not; as far as it knows of it.
    taken: int = 0


@dataclass(frozen=True, slots=True)
class Delta:
    """What changed in a client's view of a region. Apply in order: leaves, enters, changes."""

    region: int
    # The tick's low 7 bits; see `full_tick`.
    tick_low7: int
    # Packed handles, or empty.
    leaves: bytes
    # (archetype, packed full records).
    enters: tuple[tuple[int, bytes], ...]
    # (component, packed change records).
    changes: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Keyframe:
    """A client's whole view of a region: forget what was there before."""

    region: int
    tick: int
    # (archetype, packed full records).
    enters: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Ack:
    """Every input up to `seq` is processed."""

    seq: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """The reliable command `seq` is durable."""

    seq: int


@dataclass(frozen=True, slots=True)
class Event:
    """An event of the schema, with its arguments in order."""

    region: int
    event: int
    args: tuple[Any, ...]  # Any: int, float, bool or str, as the schema says


@dataclass(frozen=True, slots=True)
class Pong:
    """The server's clock."""

    client_time: int | float
    tick: int
    # Microseconds since `tick` was due.
    micros: int
    # Ticks per 1000 s that the server really makes: 20,000 at 20 Hz, lower when time dilates.
    rate_mhz: int


@dataclass(frozen=True, slots=True)
class ViewDigest:
    """What a client must see of a region after the DELTA just before."""

    region: int
    tick: int
    # Entities in view.
    count: int
    # CRC-32 over their archetypes and full records, by ascending handle.
    crc: int


@dataclass(frozen=True, slots=True)
class Error:
    """Something was refused. `code` is an ErrorCode, or a later version's."""

    code: int
    text: str
    # The INPUT it answers, if it answers one.
    seq: int | None


@dataclass(frozen=True, slots=True)
class Bye:
    """The server closes next. `code` is a CloseCode, or a later version's."""

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class You:
    """The client's entity is this one from now on."""

    region: int
    handle: int


@dataclass(frozen=True, slots=True)
class Cross:
    """An entity goes on as another one: its enter there and its leave here come in the same write."""

    from_region: int
    from_handle: int
    to_region: int
    to_handle: int


@dataclass(frozen=True, slots=True)
class Clock:
    """The world's clock is so many ticks ahead of the region's tick, until told otherwise."""

    region: int
    ahead: int


ServerMessage = (
    Welcome | Delta | Keyframe | Ack | Receipt | Event | Pong | ViewDigest | Error | Bye | You | Cross | Clock
)


def full_tick(last: int, tick_low7: int) -> int:
    """The tick a DELTA stands for, given the tick of the region's last DELTA or KEYFRAME."""
    return last + ((tick_low7 - last) & 127)
