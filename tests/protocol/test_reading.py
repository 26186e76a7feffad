"""Every refusal of a server's frame with its typed error, WELCOME to the leaf."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import msgpack
import pytest

from protocol import codec
from protocol.errors import (
    InvalidArgument,
    MalformedMessage,
    OversizeMessage,
    ProtocolError,
    SchemaError,
    UnknownMessage,
)
from protocol.welcome import welcome_to_wire
from tests.protocol.meadow import WELCOME

pack = msgpack.packb

SERVER_REFUSALS = [
    ("nothing", b"", MalformedMessage),
    ("no array", pack("hi"), MalformedMessage),
    ("an extension type", b"\x92\x13\xd4\x01\x00", MalformedMessage),
    ("too long", b"\xc6\x00\x80\x00\x00" + bytes(8 * 1024 * 1024), OversizeMessage),
    ("a type to come", pack([29]), UnknownMessage),
    ("CLOCK without region", pack([28, 7]), MalformedMessage),
    ("CLOCK that goes back", pack([28, 1, -7]), InvalidArgument),
    ("a client's type", pack([2, 1, 16, []]), UnknownMessage),
    ("DELTA too short", pack([17, 0, 0, None]), MalformedMessage),
    ("DELTA with half a pair", pack([17, 0, 0, None, None, 0]), MalformedMessage),
    ("DELTA with text for leaves", pack([17, 0, 0, "", None]), MalformedMessage),
    ("DELTA with bin for enters", pack([17, 0, 0, None, b""]), MalformedMessage),
    ("DELTA with half an enter", pack([17, 0, 0, None, [1]]), MalformedMessage),
    ("DELTA with text for changes", pack([17, 0, 0, None, None, 0, "x"]), MalformedMessage),
    ("DELTA with a negative component", pack([17, 0, 0, None, None, -1, b""]), MalformedMessage),
    ("DELTA with a bool for its component", pack([17, 0, 0, None, None, True, b""]), MalformedMessage),
    ("DELTA with 8 bits of tick", pack([17, 0, 128, None, None]), InvalidArgument),
    ("DELTA of region nil", pack([17, None, 0, None, None]), MalformedMessage),
    ("DELTA of region -1", pack([17, -1, 0, None, None]), InvalidArgument),
    ("KEYFRAME too short", pack([18, 0, 0]), MalformedMessage),
    ("KEYFRAME at no tick", pack([18, 0, None, None]), MalformedMessage),
    ("ACK of nothing", pack([19]), MalformedMessage),
    ("ACK of a float", pack([19, 1.0]), MalformedMessage),
    ("RECEIPT below 0", pack([20, -1]), InvalidArgument),
    ("EVENT with nil among its arguments", pack([21, 0, 0, [None]]), MalformedMessage),
    ("EVENT without arguments", pack([21, 0, 0]), MalformedMessage),
    ("PONG with NaN", pack([22, math.nan, 0, 0, 0]), InvalidArgument),
    ("PONG too short", pack([22, 0, 0, 0]), MalformedMessage),
    ("VIEW_DIGEST with a CRC of 33 bits", pack([23, 0, 0, 0, 2**32]), InvalidArgument),
    ("ERROR without text", pack([24, 1, None, None]), MalformedMessage),
    ("BYE with text for its code", pack([25, "1000", ""]), MalformedMessage),
    ("YOU without handle", pack([26, 0]), MalformedMessage),
    ("WELCOME of nil", pack([16, None]), MalformedMessage),
    ("WELCOME of an empty map", pack([16, {}]), MalformedMessage),
]


@pytest.mark.parametrize(("data", "error"), [c[1:] for c in SERVER_REFUSALS], ids=[c[0] for c in SERVER_REFUSALS])
def test_a_server_frame_is_refused(data: bytes, error: type[ProtocolError]) -> None:
    with pytest.raises(ProtocolError) as caught:
        codec.decode_server(data)
    assert caught.type is error
    assert str(caught.value)


def _changed(path: str, value: object) -> bytes:
    """WELCOME with one leaf of its tree replaced; "-" removes it."""
    tree = json.loads(json.dumps(welcome_to_wire(WELCOME)))
    *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    at = tree
    for step in way:
        at = at[step]
    if value == "-":
        del at[last]
    else:
        at[last] = value
    return pack([16, tree])


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        ("version", "1", MalformedMessage),
        ("session", 2**53 + 1, InvalidArgument),
        ("resume", None, MalformedMessage),
        ("resumed", 0, MalformedMessage),
        ("ack", -1, InvalidArgument),
        ("taken", -1, InvalidArgument),
        ("tick", 1.5, MalformedMessage),
        ("tick_rate_hz", 0, InvalidArgument),
        ("tick_rate_hz", math.nan, InvalidArgument),
        ("name", "-", MalformedMessage),
        ("regions", {}, MalformedMessage),
        ("regions.0", 7, MalformedMessage),
        ("regions.0.x", math.inf, InvalidArgument),
        ("regions.0.width", 0, InvalidArgument),
        ("regions.0.handle", "u8", InvalidArgument),
        ("entity", [1, 5], MalformedMessage),
        ("entity.handle", 2**32, InvalidArgument),
        ("limits.inputs_burst", True, MalformedMessage),
        ("schema", None, MalformedMessage),
        ("schema.game", 1, SchemaError),
        ("schema.version", "1", SchemaError),
        ("schema.position", 2, SchemaError),
        ("schema.position", 1, SchemaError),
        ("schema.position", True, SchemaError),
        ("schema.components", "-", SchemaError),
        ("schema.components", 5, SchemaError),
        ("schema.components.1.id", 0, SchemaError),
        ("schema.components.0.name", 0, SchemaError),
        ("schema.components.0.fields.0.type", "u64", SchemaError),
        ("schema.components.0.fields.0.type", [], SchemaError),
        ("schema.components.0.fields.0.scale", 0, SchemaError),
        ("schema.components.0.fields.0.scale", math.inf, SchemaError),
        ("schema.components.0.fields.0.offset", None, SchemaError),
        ("schema.components.0.fields.0.axis", "z", SchemaError),
        ("schema.components.0.fields.1.name", "x", SchemaError),
        ("schema.components.1.fields.1.size", 256, SchemaError),
        ("schema.components.1.fields.1.size", 5.5, SchemaError),
        ("schema.archetypes.0.components", [0, 2], SchemaError),
        ("schema.archetypes.0.components", [0, 0], SchemaError),
        ("schema.archetypes.0.components", None, SchemaError),
        ("schema.commands.1.id", 16, SchemaError),
        ("schema.commands.0.reliable", 1, SchemaError),
        ("schema.commands.0.args.0.type", "f64", SchemaError),
        ("schema.commands.0.args.0.min", "low", SchemaError),
        ("schema.events.0.args.1.size", 0, SchemaError),
        ("schema.events.0.id", 1, SchemaError),
    ],
)
def test_a_welcome_is_refused_at_any_leaf(path: str, value: object, error: type[ProtocolError]) -> None:
    with pytest.raises(ProtocolError) as caught:
        codec.decode_server(_changed(path, value))
    assert caught.type is error


def test_an_older_server_does_not_say_what_it_was_given() -> None:
    tree = welcome_to_wire(replace(WELCOME, ack=41, taken=50))
    assert codec.decode_server(pack([16, tree])) == replace(WELCOME, ack=41, taken=50)
    del tree["taken"]
    assert codec.decode_server(pack([16, tree])) == replace(WELCOME, ack=41)


def test_a_schema_of_256_archetypes_is_refused() -> None:
    tree = welcome_to_wire(WELCOME)
    tree["schema"]["archetypes"] = [{"id": i, "name": f"a{i}", "components": [0]} for i in range(256)]
    with pytest.raises(SchemaError, match="256 archetypes"):
        codec.decode_server(pack([16, tree]))
