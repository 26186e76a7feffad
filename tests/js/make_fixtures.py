"""Write fixtures.json: frames as the server's own numpy layouts pack them, and what a client must make of them.

Run from the repository's root: `python tests/js/make_fixtures.py`.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import msgpack
import numpy as np
from numpy.typing import NDArray

from protocol.schema import (
    ArchetypeSchema,
    Argument,
    CommandSchema,
    ComponentSchema,
    EventSchema,
    Schema,
    Wire,
)

SCHEMA = Schema(
    game="fixture",
    version=1,
    position=0,
    components=(
        ComponentSchema(
            0,
            "Position",
            (("x", Wire("u16", scale=1 / 64, axis="x")), ("y", Wire("u16", scale=1 / 64, axis="y"))),
        ),
        ComponentSchema(1, "Health", (("hp", Wire("u8")), ("shield", Wire("i16", scale=0.5, offset=10.0)))),
        ComponentSchema(2, "Name", (("text", Wire("utf8", size=12)),)),
        ComponentSchema(3, "Odds", (("flag", Wire("bool")), ("ratio", Wire("f32")), ("big", Wire("i32")))),
    ),
    archetypes=(
        ArchetypeSchema(0, "avatar", (0, 1, 2)),
        ArchetypeSchema(1, "rock", (0,)),
        ArchetypeSchema(2, "odd", (3, 0)),
    ),
    commands=(
        CommandSchema(
            16, "Move", (Argument("dx", "f32", -1, 1), Argument("dy", "f32", -1, 1)), latest_wins=True, reliable=False
        ),
        CommandSchema(17, "Say", (Argument("text", "utf8", size=8),), latest_wins=False, reliable=True),
        CommandSchema(
            18, "Poke", (Argument("who", "entity"), Argument("hard", "bool")), latest_wins=False, reliable=False
        ),
    ),
    events=(EventSchema(0, "Said", (Argument("who", "entity"), Argument("text", "utf8", size=8))),),
)


def full(archetype: int, handle: str, rows: list[tuple[object, ...]]) -> NDArray[np.void]:
    """Full records: (n,) of the archetype's dtype."""
    return np.array(rows, SCHEMA.record_dtype(archetype, handle))


def crc(entities: dict[int, tuple[int, bytes]]) -> int:
    """CRC-32 of a view: handle -> (archetype, full record)."""
    value = 0
    for handle in sorted(entities):
        archetype, record = entities[handle]
        value = zlib.crc32(bytes([archetype]) + record, value)
    return value


def case(handle: str) -> dict[str, object]:
    """A KEYFRAME and two DELTAs of one region, with the digest after each."""
    region = {"id": 3, "x": 1024.0, "y": -512.0, "width": 1024.0, "height": 1024.0, "handle": handle}
    number = "<u2" if handle == "u16" else "<u4"
    avatars = full(0, handle, [(7, 640, 1280, 90, -20, "Zoë".encode()), (5, 64, 128, 100, 0, b"twelve bytes")])
    rocks = full(1, handle, [(300, 65535, 0)])
    odds = full(2, handle, [(9, 1, 0.25, -70000, 1, 2)])
    frames = [[18, 3, 1000, [0, avatars.tobytes(), 1, rocks.tobytes()]]]
    view = {
        7: (0, avatars[0].tobytes()), 5: (0, avatars[1].tobytes()), 300: (1, rocks[0].tobytes()),
    }  # fmt: skip
    digests = [[len(view), crc(view)]]

    moves = np.array([(7, 704, 1280), (4000, 1, 1), (5, 65, 128)], SCHEMA.change_dtype(0, handle))
    hurt = np.array([(7, 80, 4)], SCHEMA.change_dtype(1, handle))
    gone = np.array([300], number).tobytes()
    frames.append([17, 3, 1001 & 127, gone, [2, odds.tobytes()], 0, moves.tobytes(), 1, hurt.tobytes()])
    after = avatars.copy()
    after[0]["Position.x"], after[0]["Health.hp"], after[0]["Health.shield"] = 704, 80, 4
    after[1]["Position.x"] = 65
    view = {7: (0, after[0].tobytes()), 5: (0, after[1].tobytes()), 9: (2, odds[0].tobytes())}
    digests.append([len(view), crc(view)])

    # 60 ticks on, across the wrap of the low 7 bits; handle 5 comes again as something else.
    again = full(1, handle, [(5, 10, 20)])
    frames.append([17, 3, 1061 & 127, None, [1, again.tobytes()]])
    view[5] = (1, again[0].tobytes())
    digests.append([len(view), crc(view)])
    return {"region": region, "frames": [msgpack.packb(f).hex() for f in frames], "digests": digests}


def main() -> None:
    """Write the file beside this one."""
    values = [
        None, True, False, 0, 1, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**53 - 1,
        -1, -32, -33, -128, -129, -32768, -32769, -(2**31), -(2**31) - 1, -(2**53) + 1,
        0.5, -1.25, 1e300, "", "a" * 31, "ä" * 20, "x" * 300, "y" * 70000, [], list(range(20)), list(range(70000)),
        {"a": [1, {"b": None}]}, {str(i): i for i in range(20)}, {str(i): i for i in range(70000)},
    ]  # fmt: skip
    packed = [msgpack.packb(v) for v in values]
    out = {
        "schema": SCHEMA.to_wire(),
        "views": [case("u16"), case("u32")],
        "msgpack": [
            # Long ones by their digest: the file stays small.
            {"value": v if len(b) < 500 else None, "hex": b.hex() if len(b) < 500 else None, "bytes": len(b),
             "crc": zlib.crc32(b)}
            for v, b in zip(values, packed, strict=True)
        ],
    }  # fmt: skip
    Path(__file__).with_name("fixtures.json").write_text(json.dumps(out, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    main()
