"""A tick's input as bytes: canonical, and read back or refused."""

from dataclasses import replace

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.schema import Argument, CommandSchema
from server.shard.errors import BatchError, ShardError
from server.shard.machine import (
    JOIN,
    NOTHING,
    PROCESSED,
    SYSTEM_COMMANDS,
    TickInput,
    command_shapes,
    decode_batches,
    empty_records,
    encode_batches,
)
from server.shard.mail import ACK, Lane, Letter
from tests.support.pasture import GAME

BUY = CommandSchema(17, "buy", (Argument("what", "u8"), Argument("f", "f32")), latest_wins=False, reliable=True)
SAY = CommandSchema(18, "say", (Argument("text", "utf8", size=5),), latest_wins=False, reliable=False)
SHAPES = {c.id: c for c in (*SYSTEM_COMMANDS, BUY, SAY)}

SESSIONS, SEQS = st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1)
BUYS = st.lists(st.tuples(SESSIONS, SEQS, st.integers(0, 255), st.floats(width=32)), max_size=5)
SAYS = st.lists(st.tuples(SESSIONS, SEQS, st.binary(max_size=5)), max_size=5)
PROCESSEDS = st.lists(st.tuples(SESSIONS, SEQS), max_size=5)


def made(buys, says, processed):
    batches = {kind: np.array(r, SHAPES[kind].dtype) for kind, r in ((17, buys), (18, says)) if r}
    return TickInput(batches, np.array(processed, PROCESSED))


@given(BUYS, SAYS, PROCESSEDS)
def test_an_input_reads_back_as_it_was(buys, says, processed):
    inputs = made(buys, says, processed)
    data = inputs.encode()
    back = TickInput.decode(data, SHAPES)
    assert back.encode() == data
    assert back.empty == inputs.empty == (not (buys or says or processed))
    assert list(back.batches) == list(inputs.batches)
    for kind, records in inputs.batches.items():
        assert back.batches[kind].dtype == SHAPES[kind].dtype
        assert back.batches[kind].tobytes() == records.tobytes()
    assert back.processed.tolist() == inputs.processed.tolist()


def test_equal_inputs_have_equal_bytes_whatever_order_they_were_made_in():
    buys, says = np.array([(1, 2, 3, 0.5)], SHAPES[17].dtype), np.array([(1, 3, b"hi")], SHAPES[18].dtype)
    one = TickInput({17: buys, 18: says}, NOTHING.processed)
    other = TickInput({18: says, 17: buys}, NOTHING.processed)
    assert one.encode() == other.encode()
    assert one.encode() != TickInput({17: buys}, NOTHING.processed).encode()


MAIL = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(list(Lane)), st.integers(1, 9), st.integers(1, 99), st.binary()),
    max_size=5,
    unique_by=lambda letter: letter[:3],
)


@given(BUYS, MAIL, st.lists(st.tuples(st.integers(0, 3), st.sampled_from(list(Lane)), st.integers(0, 9)), max_size=3))
def test_an_input_with_mail_reads_back_as_it_was(buys, mail, acks):
    letters = tuple(sorted(Letter(a, 7, int(lane), n, kind, 5, payload) for a, lane, n, kind, payload in mail))
    inputs = replace(made(buys, [], []), mail=letters, acks=np.array(acks, ACK))
    data = inputs.encode()
    back = TickInput.decode(data, SHAPES)
    assert back.encode() == data
    assert back.mail == letters
    assert back.acks.tolist() == inputs.acks.tolist()
    assert back.empty == inputs.empty == (not (buys or mail or acks))


def test_an_input_without_mail_has_the_bytes_it_had_before_there_was_mail():
    data = made([(1, 2, 3, 0.5)], [], [(1, 2)]).encode()
    assert msgpack.unpackb(data) == [
        encode_batches({17: np.array([(1, 2, 3, 0.5)], BUY.dtype)}),
        np.array([(1, 2)], PROCESSED).tobytes(),
    ]


def test_mail_out_of_order_or_doubled_is_refused():
    one, two = Letter(3, 7, 0, 1, 16, 5, b""), Letter(3, 7, 0, 2, 16, 5, b"")
    assert TickInput.decode(replace(NOTHING, mail=(one, two)).encode(), SHAPES).mail == (one, two)
    for letters in ((two, one), (one, one)):
        with pytest.raises(BatchError):
            TickInput.decode(replace(NOTHING, mail=letters).encode(), SHAPES)


def test_superseded_commands_alone_make_a_tick_that_is_journalled():
    assert NOTHING.empty
    assert not made([], [], [(1, 4)]).empty


def test_every_truncation_of_an_input_is_refused():
    whole = made([(1, 2, 3, 0.5)], [(1, 3, b"hi")], [(1, 3)])
    letters = (Letter(3, 7, 0, 1, 16, 5, b"cargo"), Letter(4, 7, 0, 1, 16, 5, b""))
    data = replace(whole, mail=letters, acks=np.array([(1, 2, 3)], ACK)).encode()
    for size in range(len(data)):
        with pytest.raises(BatchError):
            TickInput.decode(data[:size], SHAPES)
    with pytest.raises(BatchError):
        TickInput.decode(data + b"\0", SHAPES)


@given(st.binary(max_size=60), st.integers(0, 500))
def test_damaged_inputs_are_refused_or_canonical(noise, at):
    whole = made([(1, 2, 3, 0.5)], [(1, 3, b"hi"), (2, 1, b"")], [(1, 3), (2, 1)])
    data = replace(whole, mail=(Letter(3, 7, 0, 1, 16, 5, b"cargo"),), acks=np.array([(1, 2, 3)], ACK)).encode()
    at %= len(data)
    for damaged in (noise, data[:at] + noise + data[at + len(noise) :]):
        try:
            inputs = TickInput.decode(damaged, SHAPES)
        except BatchError:
            continue
        assert list(inputs.batches) == sorted(inputs.batches)
        assert all(type(kind) is int and records.size for kind, records in inputs.batches.items())
        assert TickInput.decode(inputs.encode(), SHAPES).encode() == inputs.encode()


def test_no_batch_is_a_batch_without_commands():
    assert decode_batches(encode_batches({}), SHAPES) == {}


def test_a_region_takes_the_engines_commands_and_the_games():
    shapes = command_shapes(GAME.schema)
    assert [shape.name for shape in shapes.values()] == [
        *("join", "leave", "presence", "replay_letter", "drop_letter", "chain", "divide", "clock", "claim"),
        *("Move", "Buy", "Cull", "Say"),
    ]
    assert all(kind == shape.id for kind, shape in shapes.items())
    assert empty_records(shapes[JOIN]).dtype.names == ("session", "seq", "player", "name")
    assert empty_records(shapes[JOIN]).size == 0


def test_a_games_commands_cannot_take_the_engines_numbers():
    assert min(c.id for c in GAME.schema.commands) > max(c.id for c in SYSTEM_COMMANDS)


def test_refusals_share_a_root():
    assert issubclass(BatchError, ShardError)
