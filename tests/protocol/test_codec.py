"""Every message there and back, and every refusal of a client's frame with its typed error."""

from __future__ import annotations

import math
from dataclasses import replace

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import codec, limits
from protocol.errors import (
    InvalidArgument,
    MalformedMessage,
    OversizeMessage,
    ProtocolError,
    UnknownMessage,
)
from protocol.messages import (
    Ack,
    Bye,
    Check,
    Delta,
    Error,
    Event,
    Hello,
    Input,
    Keyframe,
    Leave,
    Ping,
    Pong,
    Receipt,
    ViewDigest,
    You,
    full_tick,
)
from protocol.schema import Schema
from protocol.welcome import welcome_to_wire
from tests.protocol.meadow import WELCOME

pack = msgpack.packb

u32 = st.integers(0, 2**32 - 1)
ticks = st.integers(0, limits.EXACT_INT_MAX)
times = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-limits.EXACT_INT_MAX, limits.EXACT_INT_MAX),
)
plain_text = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cf", "Zl", "Zp"]), min_size=1)
parts = st.lists(st.tuples(st.integers(0, 254), st.binary(max_size=40)), max_size=4).map(tuple)


# -- round trips -------------------------------------------------------------


@given(
    token=st.none() | plain_text,
    resume=st.none() | plain_text.filter(lambda t: len(t.encode()) <= limits.RESUME_BYTES_MAX),
    name=st.none() | plain_text.filter(lambda t: len(t.encode()) <= limits.NAME_BYTES_MAX),
)
def test_hello(token, resume, name) -> None:
    hello = Hello(limits.VERSION, token, resume, name)
    assert codec.decode_client(codec.encode_hello(token=token, resume=resume, name=name)) == hello


def test_an_empty_text_in_hello_is_none() -> None:
    assert codec.decode_client(pack([1, 1, "", "", ""])) == Hello(1, None, None, None)


@pytest.mark.parametrize("frame", [[1, 2], [1, 0, "other", "shape"], [1, 2, {}][:2], [1, -1, [1, 2], 3, 4, 5, 6]])
def test_of_a_hello_of_another_version_only_the_version_is_read(frame) -> None:
    assert codec.decode_client(pack(frame)) == Hello(frame[1])


@given(
    seq=st.integers(1, limits.SEQ_MAX),
    command=st.integers(-(2**63), 2**64 - 1),
    args=st.lists(st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | plain_text, max_size=8),
)
def test_input(seq, command, args) -> None:
    assert codec.decode_client(codec.encode_input(seq, command, args)) == Input(seq, command, args)


@given(times)
def test_ping(client_time) -> None:
    assert codec.decode_client(codec.encode_ping(client_time)) == Ping(client_time)


def test_check_and_leave() -> None:
    assert codec.decode_client(codec.encode_check()) == Check()
    assert codec.decode_client(codec.encode_leave()) == Leave()


@given(region=u32, tick=ticks, leaves=st.binary(max_size=20), enters=parts, changes=parts)
def test_delta(region, tick, leaves, enters, changes) -> None:
    data = codec.encode_delta(region, tick, leaves, enters, changes)
    assert codec.decode_server(data) == Delta(region, tick & 127, leaves, enters, changes)


@given(region=u32, tick=ticks, enters=parts)
def test_keyframe(region, tick, enters) -> None:
    assert codec.decode_server(codec.encode_keyframe(region, tick, enters)) == Keyframe(region, tick, enters)


@given(last=ticks, gap=st.integers(0, limits.TICK_GAP_MAX))
def test_the_full_tick_is_found_again_from_its_low_bits(last, gap) -> None:
    assert full_tick(last, (last + gap) & 127) == last + gap


@given(time=times, clock=st.tuples(ticks, ticks, ticks), numbers=st.tuples(u32, u32, u32))
def test_small_server_messages(time, clock, numbers) -> None:
    tick, micros, rate = clock
    a, b, c = numbers
    read = codec.decode_server
    assert read(codec.encode_pong(time, tick, micros, rate)) == Pong(time, tick, micros, rate)
    assert read(codec.encode_view_digest(a, tick, b, c)) == ViewDigest(a, tick, b, c)
    assert read(codec.encode_ack(a)) == Ack(a)
    assert read(codec.encode_receipt(a)) == Receipt(a)
    assert read(codec.encode_you(a, b)) == You(a, b)


@given(code=st.integers(0, 65535), text=st.text(), seq=st.none() | u32)
def test_error_and_bye_cut_their_text_to_whole_characters(code, text, seq) -> None:
    error = codec.decode_server(codec.encode_error(code, text, seq))
    bye = codec.decode_server(codec.encode_bye(code, text))
    assert isinstance(error, Error)
    assert error == Error(code, error.text, seq)
    assert bye == Bye(code, error.text)
    assert len(error.text.encode()) <= limits.REASON_BYTES_MAX
    cut = text.encode(errors="replace").decode()
    assert cut.startswith(error.text)
    assert error.text == cut or len(error.text.encode()) > limits.REASON_BYTES_MAX - 4


def test_an_event_takes_numpy_values_and_sends_floats_as_32_bits() -> None:
    values = [np.uint32(7), np.float32(0.1), np.bytes_(b"hi"), True, "text", b"\xff"]
    data = codec.encode_event(1, 3, values)
    assert codec.decode_server(data) == Event(1, 3, (7, float(np.float32(0.1)), "hi", True, "text", "\ufffd"))
    assert b"\xca" in data
    assert b"\xcb" not in data


def test_welcome() -> None:
    assert codec.decode_server(codec.encode_welcome(WELCOME)) == WELCOME


def test_keys_that_a_later_server_adds_are_passed_over() -> None:
    tree = {**welcome_to_wire(WELCOME), "weather": "mild"}
    tree["limits"]["chat_per_s"] = 1
    assert codec.decode_server(pack([16, tree])) == WELCOME


# -- refusals, client to server ----------------------------------------------

TWICE = b"\x91\x04\x91\x04"
DEEP = b"\x91" * 4000 + b"\xc0"

CLIENT_REFUSALS = [
    ("nothing", b"", MalformedMessage),
    ("half an array", b"\x94\x02\x01", MalformedMessage),
    ("an empty array", pack([]), MalformedMessage),
    ("no array", pack(2), MalformedMessage),
    ("text", pack("hello"), MalformedMessage),
    ("a map", pack({1: 2}), MalformedMessage),
    ("two messages in one frame", TWICE, MalformedMessage),
    ("a reserved byte", b"\xc1", MalformedMessage),
    ("nested too deep", DEEP, MalformedMessage),
    ("an array of 4 billion", b"\xdd\xff\xff\xff\xff", MalformedMessage),
    ("a text of 4 billion bytes", b"\x92\x03\xdb\xff\xff\xff\xff", MalformedMessage),
    ("text that is not UTF-8", b"\x95\x01\x01\xa1\xff\xc0\xc0", MalformedMessage),
    ("lone surrogates", b"\x95\x01\x01\xc0\xc0\xa3\xed\xa0\x80", MalformedMessage),
    ("an extension type", b"\x92\x03\xd4\x01\x00", MalformedMessage),
    ("a timestamp", b"\x92\x03\xd6\xff\x00\x00\x00\x01", MalformedMessage),
    ("a map in the arguments", pack([2, 1, 16, [{}, {1: 1}]]), MalformedMessage),
    ("too many elements", pack([2, 1, 16, [0] * 33]), MalformedMessage),
    ("too long", pack([2, 1, 16, ["a" * 4096]]), OversizeMessage),
    ("type is a bool", pack([True, 1]), MalformedMessage),
    ("type is a float", pack([4.0]), MalformedMessage),
    ("type is text", pack(["4"]), MalformedMessage),
    ("type 0", pack([0]), UnknownMessage),
    ("type 6", pack([6]), UnknownMessage),
    ("a server's type", pack([19, 1]), UnknownMessage),
    ("a negative type", pack([-1]), UnknownMessage),
    ("a huge type", pack([2**64 - 1]), UnknownMessage),
    ("HELLO without version", pack([1]), MalformedMessage),
    ("HELLO with a text for its version", pack([1, "1", None, None, None]), MalformedMessage),
    ("HELLO with a bool for its version", pack([1, True, None, None, None]), MalformedMessage),
    ("HELLO too short", pack([1, 1, None, None]), MalformedMessage),
    ("HELLO too long", pack([1, 1, None, None, None, None]), MalformedMessage),
    ("HELLO with a number for its token", pack([1, 1, 7, None, None]), MalformedMessage),
    ("HELLO with a bin for its resume token", pack([1, 1, None, b"r", None]), MalformedMessage),
    ("HELLO with an array for its name", pack([1, 1, None, None, ["x"]]), MalformedMessage),
    ("a name of 25 bytes", pack([1, 1, None, None, "é" * 12 + "a"]), InvalidArgument),
    ("a name with a line end", pack([1, 1, None, None, "a\nb"]), InvalidArgument),
    ("a name that turns the reading direction", pack([1, 1, None, None, "a\u202eb"]), InvalidArgument),
    ("a token too long", pack([1, 1, "t" * 3073, None, None]), InvalidArgument),
    ("a resume token too long", pack([1, 1, None, "r" * 257, None]), InvalidArgument),
    ("INPUT too short", pack([2, 1, 16]), MalformedMessage),
    ("INPUT too long", pack([2, 1, 16, [], 0]), MalformedMessage),
    ("INPUT with a float seq", pack([2, 1.0, 16, []]), MalformedMessage),
    ("INPUT with a bool seq", pack([2, True, 16, []]), MalformedMessage),
    ("INPUT with a text for its command", pack([2, 1, "Move", []]), MalformedMessage),
    ("INPUT with nil for its arguments", pack([2, 1, 16, None]), MalformedMessage),
    ("INPUT with bin for its arguments", pack([2, 1, 16, b""]), MalformedMessage),
    ("seq 0", pack([2, 0, 16, []]), InvalidArgument),
    ("seq below 0", pack([2, -1, 16, []]), InvalidArgument),
    ("seq of 33 bits", pack([2, 2**32, 16, []]), InvalidArgument),
    ("PING without a time", pack([3]), MalformedMessage),
    ("PING with two", pack([3, 1, 2]), MalformedMessage),
    ("PING with nil", pack([3, None]), MalformedMessage),
    ("PING with a bool", pack([3, True]), MalformedMessage),
    ("PING with text", pack([3, "now"]), MalformedMessage),
    ("PING with NaN", pack([3, math.nan]), InvalidArgument),
    ("PING with infinity", pack([3, -math.inf]), InvalidArgument),
    ("PING with an int that no browser holds", pack([3, 2**53 + 1]), InvalidArgument),
    ("CHECK with more", pack([4, 1]), MalformedMessage),
    ("LEAVE with more", pack([5, 1]), MalformedMessage),
]


@pytest.mark.parametrize(("data", "error"), [c[1:] for c in CLIENT_REFUSALS], ids=[c[0] for c in CLIENT_REFUSALS])
def test_a_client_frame_is_refused(data: bytes, error: type[ProtocolError]) -> None:
    with pytest.raises(ProtocolError) as caught:
        codec.decode_client(data)
    assert caught.type is error
    assert str(caught.value)


@given(st.binary(max_size=64))
def test_any_bytes_are_a_message_or_a_protocol_error(data: bytes) -> None:
    for read in (codec.decode_client, codec.decode_server):
        try:
            read(data)
        except ProtocolError:
            continue


def test_the_schema_survives_the_wire_with_its_digest() -> None:
    schema = WELCOME.schema
    again = Schema.from_wire(msgpack.unpackb(pack(schema.to_wire())))
    assert again.digest == schema.digest
    assert replace(schema, version=2).digest != schema.digest


def test_a_message_that_cannot_be_packed_leaves_nothing_behind() -> None:
    # One packer serves all messages: half of a failed one must not begin the next.
    for bad in ("\ud800", object(), 2**70):
        with pytest.raises((TypeError, ValueError, OverflowError)):
            codec.encode_input(1, 16, [1, [2, bad]])
        assert codec.encode_ack(5) == b"\x92\x13\x05"
