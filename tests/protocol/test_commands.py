"""CommandReader: what passes fits the record, what does not is refused by name."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.commands import CommandReader
from protocol.errors import InvalidArgument, UnknownMessage
from protocol.messages import Input
from protocol.schema import NUMBER_TYPES, Argument, CommandSchema, Schema

INT_TYPES = sorted(set(NUMBER_TYPES) - {"bool", "f32"})
F32_MAX = float(np.finfo(np.float32).max)


def number_of(here: int, region: int, handle: int) -> int:
    """As a gateway would say to which 3 and 7 are neighbours."""
    return (region << 48) + handle if region == here or {region, here} == {3, 7} else 0


def reader_of(*arguments: Argument) -> tuple[CommandReader, CommandSchema]:
    command = CommandSchema(16, "Do", arguments, latest_wins=False, reliable=False)
    return CommandReader(Schema("test", 1, (), (), (command,), (), 0), number_of), command


def read_one(argument: Argument, value: Any) -> Any:
    """The value as it lies in the record of a batch."""
    reader, command = reader_of(argument)
    values = reader.read(Input(1, 16, [value]))
    return np.array([(1, 1, *values)], command.dtype)[argument.name][0]


def refused(argument: Argument, value: Any) -> str:
    reader, _ = reader_of(argument)
    with pytest.raises(InvalidArgument) as caught:
        reader.read(Input(1, 16, [value]))
    return str(caught.value)


@pytest.mark.parametrize("kind", INT_TYPES)
def test_an_int_passes_within_its_type_and_not_beyond(kind: str) -> None:
    info = np.iinfo(np.dtype(NUMBER_TYPES[kind]))
    a = Argument("n", kind)
    for value in (int(info.min), 0, int(info.max)):
        assert int(read_one(a, value)) == value
    for value in (int(info.min) - 1, int(info.max) + 1, 2**64 - 1, -(2**63)):
        assert refused(a, value) == f"Do.n must be an int from {info.min} to {info.max}"


@pytest.mark.parametrize("kind", INT_TYPES)
@pytest.mark.parametrize("value", [True, 1.0, 0.5, "1", b"1", None, [], [1], math.nan])
def test_an_int_is_nothing_else(kind: str, value: Any) -> None:
    refused(Argument("n", kind), value)


def test_bounds_are_inclusive_and_fractions_move_inwards() -> None:
    a = Argument("n", "i16", -2.5, 7)
    for value in (-2, 7):
        assert int(read_one(a, value)) == value
    for value in (-3, 8):
        assert refused(a, value) == "Do.n must be an int from -2 to 7"


def test_bounds_wider_than_the_type_do_not_widen_it() -> None:
    a = Argument("n", "u8", -1000, math.inf)
    for value in (-1, 256):
        refused(a, value)
    refused(Argument("f", "f32", -math.inf, math.inf), 3.5e38)


def test_a_bool_is_a_bool() -> None:
    a = Argument("b", "bool")
    for value in (True, False):
        assert int(read_one(a, value)) == int(value)
    for value in (0, 1, 1.0, "true", None, b"\x01"):
        assert refused(a, value) == "Do.b must be a bool"


@pytest.mark.parametrize("value", [0, 1, -1, 0.0, -0.0, 1.5, 1e-45, 1e-320, F32_MAX, -F32_MAX, 2**53, 2**64 - 1])
def test_an_f32_takes_finite_floats_and_ints(value: float) -> None:
    assert read_one(Argument("f", "f32"), value) == np.float32(value)


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, 3.5e38, -1e300, math.nextafter(F32_MAX, math.inf), True, "1", None, b"", []],
)
def test_an_f32_is_nothing_else(value: Any) -> None:
    assert "Do.f must be a finite number" in refused(Argument("f", "f32"), value)


@given(st.floats(width=64), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_an_f32_that_passes_lies_within_the_rounded_bounds(value: float, one: float, other: float) -> None:
    low, high = sorted((one, other))
    a = Argument("f", "f32", low, high)
    if low <= value <= high:
        raw = read_one(a, value)
        assert np.float32(low) <= raw <= np.float32(high)
    else:
        assert refused(a, value).startswith("Do.f")


def test_an_entity_is_told_by_handle_and_region_and_becomes_its_number() -> None:
    a = Argument("who", "entity")
    reader, command = reader_of(a)
    for handle in (0, 65536, 2**32 - 1):
        for region in (3, 7, 8):
            number = number_of(3, region, handle)
            assert reader.read(Input(1, 16, [handle]), region) == (number_of(region, region, handle),)
            assert reader.read(Input(1, 16, [[region, handle]]), 3) == (number,)
            assert np.array([(1, 1, number)], command.dtype)["who"][0] == number
    for value in (-1, 2**32, True, 1.0, "1", None, [7], [7, 1, 1], [7, -1], [7, True], [2**32, 1]):
        assert refused(a, value) == "Do.who must be an entity: its handle, or [region, handle]"


def test_text_is_at_most_its_size_in_bytes() -> None:
    a = Argument("text", "utf8", size=4)
    for value in ("", "abcd", "éé", "𝄞"):
        assert read_one(a, value) == value.encode()
    for value in ("abcde", "ééa", "𝄞a"):
        assert "at most 4 bytes" in refused(a, value)


@pytest.mark.parametrize(
    "value",
    ["a\0", "\0", "a\nb", "\r", "\t", "\x1b[31m", "\x7f", "\x85", "\x9f", "\u2028", "\u2029", "\u202e", "\u2066"],
)
def test_text_holds_no_control_characters(value: str) -> None:
    # NUL above all: a record pads with it, so that "a\0" would come out as "a".
    assert refused(Argument("text", "utf8", size=80), value) == "Do.text must be without control characters"


@pytest.mark.parametrize("value", [1, 1.0, b"bytes", None, True, ["a"]])
def test_text_is_nothing_else(value: Any) -> None:
    assert refused(Argument("text", "utf8", size=80), value) == "Do.text must be text"


def test_lone_surrogates_are_no_text() -> None:
    assert "surrogates" in refused(Argument("text", "utf8", size=80), "\ud800")


def test_ordinary_text_of_all_scripts_passes() -> None:
    a = Argument("text", "utf8", size=80)
    # The last needs a zero-width joiner, which is a format character and no control character.
    for value in ("Grüße", "こんにちは", "مرحبا", "👩\u200d🚀"):
        assert read_one(a, value).decode() == value


def test_arguments_come_in_order_and_in_number() -> None:
    reader, command = reader_of(Argument("a", "u8"), Argument("b", "f32"), Argument("c", "utf8", size=3))
    values = reader.read(Input(9, 16, [1, 2, "xyz"]))
    assert values == (1, 2.0, b"xyz")
    record = np.array([(7, 9, *values)], command.dtype)[0]
    assert record.tolist() == (7, 9, 1, 2.0, b"xyz")
    for args in ([], [1, 2], [1, 2, "x", 4]):
        with pytest.raises(InvalidArgument, match=rf"Do takes 3 arguments, not {len(args)}"):
            reader.read(Input(9, 16, args))


@pytest.mark.parametrize("number", [0, 15, 17, -1, 2**64 - 1])
def test_a_command_the_schema_lacks_is_unknown(number: int) -> None:
    reader, _ = reader_of()
    assert reader.read(Input(1, 16, [])) == ()
    with pytest.raises(UnknownMessage, match=f"there is no command {number}"):
        reader.read(Input(1, number, []))
