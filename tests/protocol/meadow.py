"""A small game's schema, and the session that docs/protocol.md shows byte by byte."""

from __future__ import annotations

import struct

from protocol import codec
from protocol.errors import CloseCode, ErrorCode
from protocol.messages import RegionInfo, SessionLimits, Welcome
from protocol.schema import (
    ArchetypeSchema,
    Argument,
    CommandSchema,
    ComponentSchema,
    EventSchema,
    Schema,
    Wire,
)

POSITION = ComponentSchema(0, "Position", (("x", Wire("u16", 1 / 64, 0.0, "x")), ("y", Wire("u16", 1 / 64, 0.0, "y"))))
BODY = ComponentSchema(1, "Body", (("health", Wire("u8")), ("name", Wire("utf8", size=6))))
SCHEMA = Schema(
    game="meadow",
    version=1,
    components=(POSITION, BODY),
    archetypes=(ArchetypeSchema(0, "Avatar", (0, 1)), ArchetypeSchema(1, "Sheep", (0,))),
    commands=(
        CommandSchema(
            16, "Move", (Argument("dx", "f32", -1, 1), Argument("dy", "f32", -1, 1)), latest_wins=True, reliable=False
        ),
        CommandSchema(17, "Say", (Argument("text", "utf8", size=80),), latest_wins=False, reliable=True),
    ),
    events=(EventSchema(0, "Said", (Argument("who", "entity"), Argument("text", "utf8", size=80))),),
    position=0,
)
REGION = RegionInfo(1, -512.0, 0.0, 1024.0, 1024.0, "u16")
WELCOME = Welcome(
    session=7,
    resume="r.7.Zm9v",
    resumed=False,
    ack=0,
    tick=1234,
    tick_rate_hz=20.0,
    name="Ada",
    regions=(REGION,),
    entity=(1, 5),
    limits=SessionLimits(4096, 40.0, 80, 30.0, 30.0),
    schema=SCHEMA,
)


def avatar(handle: int, x: float, y: float, health: int, name: bytes) -> bytes:
    """A full record of archetype 0; x and y in world units."""
    return struct.pack("<HHHB6s", handle, round((x + 512) * 64), round(y * 64), health, name)


def sheep(handle: int, x: float, y: float) -> bytes:
    """A full record of archetype 1, and a change record of component 0."""
    return struct.pack("<HHH", handle, round((x + 512) * 64), round(y * 64))


ADA = avatar(5, -500.0, 10.0, 100, b"Ada")

# Title on the page -> the frame. From WELCOME to VIEW_DIGEST one story.
EXAMPLES: dict[str, bytes] = {
    "HELLO of a guest": codec.encode_hello(name="Ada"),
    "HELLO that resumes": codec.encode_hello(resume="r.7.Zm9v"),
    "INPUT Move": codec.encode_input(1, 16, [0.5, -1]),
    "INPUT Say": codec.encode_input(2, 17, ["hé"]),
    "PING": codec.encode_ping(1500.5),
    "CHECK": codec.encode_check(),
    "LEAVE": codec.encode_leave(),
    "WELCOME": codec.encode_welcome(WELCOME),
    "KEYFRAME": codec.encode_keyframe(1, 1234, [(0, ADA), (1, sheep(300, -499.0, 12.0) + sheep(9, -480.5, 0.25))]),
    "ACK": codec.encode_ack(1),
    "DELTA of movement": codec.encode_delta(1, 1235, b"", [], [(0, sheep(5, -499.75, 9.5) + sheep(9, -480.0, 0.25))]),
    "DELTA with everything": codec.encode_delta(
        1,
        1281,
        struct.pack("<H", 300),
        [(0, avatar(6, -490.0, 20.0, 80, "Zoë".encode()))],
        [(0, sheep(5, -499.5, 9.0)), (1, struct.pack("<HB6s", 5, 97, b"Ada"))],
    ),
    "EVENT": codec.encode_event(1, 0, [6, b"hi"]),
    "RECEIPT": codec.encode_receipt(2),
    "PONG": codec.encode_pong(1500.5, 1281, 12500, 20000),
    "VIEW_DIGEST": codec.encode_view_digest(1, 1281, 3, 0x1E4DAD95),
    "YOU": codec.encode_you(1, 6),
    "CROSS": codec.encode_cross(1, 6, 2, 40),
    "CLOCK": codec.encode_clock(2, 90000),
    "ERROR": codec.encode_error(ErrorCode.INVALID_ARGUMENT, "Move.dx must be a finite number from -1 to 1", 3),
    "BYE": codec.encode_bye(CloseCode.GOING_AWAY, "the server is stopping"),
}
