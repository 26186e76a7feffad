"""Mutated frames by the hundred thousand: nothing but typed errors, nothing out of bounds.

Every run is the same. A failure names the seed and the round, which make the frame again;
EVERSTEP_FUZZ_SEED tries another seed, EVERSTEP_FUZZ_ROUNDS goes on for longer.
"""

from __future__ import annotations

import math
import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np

from clients.python import Views
from protocol import limits
from protocol.codec import CommandReader, decode_client, decode_server
from protocol.commands import CONTROL
from protocol.errors import ProtocolError
from protocol.messages import Check, Hello, Input, Leave, Ping
from protocol.schema import NUMBER_TYPES, Argument, CommandSchema, Schema
from tests.protocol.meadow import EXAMPLES, SCHEMA, WELCOME

SEED = int(os.environ.get("EVERSTEP_FUZZ_SEED", "20111"))
CLIENT_ROUNDS = int(os.environ.get("EVERSTEP_FUZZ_ROUNDS", "280000"))
SERVER_ROUNDS = CLIENT_ROUNDS // 8

# A command of every argument type, bounded and not.
ALL_TYPES = CommandSchema(
    18,
    "Everything",
    (
        *(Argument(f"a_{kind}", kind) for kind in sorted(NUMBER_TYPES)),
        Argument("bounded_int", "i16", -10, 10),
        Argument("bounded_float", "f32", -0.1, 0.1),
        Argument("who", "entity"),
        Argument("text", "utf8", size=12),
    ),
    latest_wins=False,
    reliable=False,
)
FUZZ_SCHEMA = Schema(
    "fuzz", 1, SCHEMA.components, SCHEMA.archetypes, (*SCHEMA.commands, ALL_TYPES), SCHEMA.events, SCHEMA.position
)

# Bytes that mean most to msgpack: type markers, lengths at their edges.
TELLING = bytes([0x00, 0x01, 0x7F, 0x80, 0x90, 0x9F, 0xA0, 0xBF, *range(0xC0, 0x100)])


# Values that are wrong for most arguments and right for a few.
ODD = [None, True, -1, 0, 1, 255, 256, 2**32, 2**64 - 1, -(2**63), 0.5, -0.0, 1e39, math.nan, math.inf]
ODD += ["", "a", "a\0", "é" * 40, "\u202e", b"", b"ab", [], [[1]]]


def say(text: str) -> None:
    print(text)  # pytest shows it when the test fails


@dataclass
class Mutator:
    """Mutations of frames: three in four are random edits to bytes, the fourth changes values and stays msgpack."""

    chance: random.Random
    seeds: list[bytes]

    def frame(self) -> bytes:
        if self.chance.randrange(4) == 0:
            return self._other_values(msgpack.unpackb(self.chance.choice(self.seeds)))
        data = bytearray(self.chance.choice(self.seeds))
        for _ in range(self.chance.choice((1, 1, 1, 2, 2, 3, 8))):
            self._edit(data)
        return bytes(data)

    def _other_values(self, frame: list[Any]) -> bytes:  # Any: a msgpack tree
        at = frame
        while isinstance(at[-1], list) and at[-1] and self.chance.randrange(5):
            at = at[-1]
        where = self.chance.randrange(len(at))
        match self.chance.randrange(8):
            case 0:
                del at[where]
            case 1:
                at.insert(where, self.chance.choice(ODD))
            case _:
                at[where] = self.chance.choice(ODD)
        packed: bytes = msgpack.packb(frame)
        return packed

    def _edit(self, data: bytearray) -> None:
        chance = self.chance
        at = chance.randrange(len(data) + 1)
        match chance.randrange(9):
            case 0 if data:
                data[at % len(data)] ^= 1 << chance.randrange(8)
            case 1 if data:
                data[at % len(data)] = chance.randrange(256)
            case 2 if data:
                data[at % len(data)] = chance.choice(TELLING)
            case 3:
                del data[at:]
            case 4:
                data[at:at] = chance.randbytes(chance.randrange(1, 9))
            case 5:
                del data[at : at + chance.randrange(1, 9)]
            case 6:
                end = at + chance.randrange(1, 17)
                data[at:at] = data[at:end] * chance.choice((1, 2, 40))
            case 7:
                other = chance.choice(self.seeds)
                data[at:] = other[chance.randrange(len(other)) :]
            case _:
                data[at : at + 1] = chance.choice(
                    (b"\xcb" + chance.randbytes(8), b"\xca\x7f\xc0\x00\x00", b"\xcf" + b"\xff" * 8, b"\xc2", b"\xc0")
                )


def client_seeds() -> list[bytes]:
    frames = [data for title, data in EXAMPLES.items() if data[1] < 16 and not title.startswith("WELCOME")]
    everything = [True, 1.5, -32768, -(2**31), -128, 65535, 2**32 - 1, 255, 10, 0.1, 70000, "text é"]
    frames += [msgpack.packb([2, 7, 18, everything]), msgpack.packb([2, 8, 18, everything], use_single_float=True)]
    frames.append(msgpack.packb([1, 1, "token", "resume", "name"]))
    return frames


def check_client_message(message: object, reader: CommandReader, commands: dict[int, CommandSchema]) -> None:
    """What `decode_client` let pass is within the page's bounds, and so is the record made of it."""
    match message:
        case Hello(version, token, resume, name):
            assert type(version) is int
            for value, most in ((token, 3072), (resume, 256), (name, 24)):
                assert value is None or (0 < len(value.encode()) <= most and not CONTROL.search(value))
        case Ping(client_time):
            assert type(client_time) in (int, float)
            assert math.isfinite(client_time)
        case Input(seq, number, _):
            assert 1 <= seq <= limits.SEQ_MAX
            values = reader.read(message)
            command = commands[number]
            record = np.array([(1, seq, *values)], command.dtype)[0]
            for argument, value in zip(command.args, values, strict=True):
                check_argument(argument, value, record[argument.name])
        case _:
            assert isinstance(message, Check | Leave)


def check_argument(argument: Argument, value: object, raw: np.generic) -> None:
    """The record holds the value itself, or its nearest f32, within the argument's bounds."""
    if argument.type == "utf8":
        assert raw == value
        assert len(raw) <= argument.size  # type: ignore[arg-type]  # numpy's bytes_ has a length
        assert not CONTROL.search(raw.decode())  # type: ignore[attr-defined]  # the same
    elif argument.type == "f32":
        assert np.isfinite(raw)
        assert raw == np.float32(value)  # type: ignore[arg-type]  # a float
        assert argument.minimum is None or np.float32(argument.minimum) <= raw
        assert argument.maximum is None or raw <= np.float32(argument.maximum)
    else:
        assert int(raw) == value
        assert argument.minimum is None or argument.minimum <= int(raw)
        assert argument.maximum is None or int(raw) <= argument.maximum
        assert argument.type != "bool" or value in (0, 1)


def rounds(seed: int, count: int, seeds: list[bytes]) -> Iterator[tuple[int, bytes]]:
    mutator = Mutator(random.Random(seed), seeds)
    for number in range(count):
        yield number, mutator.frame()


def test_mutated_client_frames() -> None:
    say(f"EVERSTEP_FUZZ_SEED={SEED} EVERSTEP_FUZZ_ROUNDS={CLIENT_ROUNDS}")
    reader = CommandReader(FUZZ_SCHEMA, lambda _, region, handle: region << 32 | handle)
    outcomes: Counter[str] = Counter()
    for number, data in rounds(SEED, CLIENT_ROUNDS, client_seeds()):
        try:
            message = decode_client(data)
            check_client_message(message, reader, FUZZ_SCHEMA.command_by_id)
            outcomes[type(message).__name__] += 1
        except ProtocolError as error:
            outcomes[type(error).__name__] += 1
        except BaseException:
            say(f"round {number}: {data.hex()}")
            raise
    say(dict(sorted(outcomes.items())))
    assert outcomes.total() == CLIENT_ROUNDS
    # The mutations reach every outcome there is, or they prove nothing.
    reached = {"MalformedMessage", "UnknownMessage", "InvalidArgument", "Hello", "Input", "Ping", "Check", "Leave"}
    assert {name for name in reached if outcomes[name] >= CLIENT_ROUNDS // 1000} == reached


def test_mutated_server_frames() -> None:
    say(f"EVERSTEP_FUZZ_SEED={SEED} EVERSTEP_FUZZ_ROUNDS={CLIENT_ROUNDS}")
    frames = [data for data in EXAMPLES.values() if decode_is_from_server(data)]
    # WELCOME is long; three in four of its mutations would hit its text and pass.
    frames += [data for data in frames if len(data) < 100] * 3
    outcomes: Counter[str] = Counter()
    views = Views(WELCOME)
    for number, data in rounds(SEED, SERVER_ROUNDS, frames):
        try:
            message = decode_server(data)
            outcomes[type(message).__name__] += 1
            views.apply(message)
            count, crc = views[1].digest()
            assert count == len(views[1].entities)
            assert 0 <= crc < 2**32
        except ProtocolError as error:
            outcomes[type(error).__name__] += 1
        except BaseException:
            say(f"round {number}: {data.hex()}")
            raise
        if number % 64 == 0:
            check_views(views)
            views = Views(WELCOME)
            views.receive(EXAMPLES["KEYFRAME"])
    say(dict(sorted(outcomes.items())))
    reached = {"MalformedMessage", "UnknownMessage", "InvalidArgument", "SchemaError", "Welcome", "Delta", "Keyframe"}
    assert {name for name in reached if outcomes[name] >= 10} == reached


def check_views(views: Views) -> None:
    """Whatever came, each record has its archetype's size, and each of its values can be read."""
    view = views[1]
    for handle, entity in view.entities.items():
        assert len(entity.record) == view.layouts.records[entity.archetype].itemsize
        assert int.from_bytes(entity.record[:2], "little") == handle
        for field in view.layouts.fields[entity.archetype]:
            view.value(handle, field)
    for archetype in views.schema.archetypes:
        table = view.table(archetype.id)
        assert table["handle"].tolist() == sorted(h for h, e in view.entities.items() if e.archetype == archetype.id)


def decode_is_from_server(data: bytes) -> bool:
    return int(msgpack.unpackb(data)[0]) >= 16
