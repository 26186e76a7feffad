"""From a column's value to its number on the wire, against a plain reference, for every type."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from protocol.schema import NUMBER_TYPES, Wire
from server.regions.frame import Quantiser

ORIGINS = (-64.0, 32.0)
INTEGERS = {"u8": (0, 255), "i8": (-128, 127), "u16": (0, 65_535), "i16": (-(2**15), 2**15 - 1)}
INTEGERS |= {"u32": (0, 2**32 - 1), "i32": (-(2**31), 2**31 - 1)}
NUMBERS = ("f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")


def quantise(wire, source, values):
    raw = Quantiser(wire, np.dtype(source), ORIGINS)(np.array(values, source))
    assert raw.dtype == np.dtype(wire.dtype)
    return raw


def values_of(source):
    if source in ("f4", "f8"):
        return st.floats(width=32 if source == "f4" else 64)
    info = np.iinfo(source)
    return st.integers(int(info.min), int(info.max))


def bounds_of(type_):
    return (0, 1) if type_ == "bool" else INTEGERS[type_]


def wide(wire, source):
    """Whether the work is done in 64 bits."""
    return wire.type in ("u32", "i32") or np.dtype(source).itemsize > 4


def reference(value, wire, work):
    """The docstring's formula, one value at a time, in the floats that the engine works in."""
    origin = {"": 0.0, "x": ORIGINS[0], "y": ORIGINS[1]}[wire.axis]
    low, high = bounds_of(wire.type)
    value = float(work(value))
    if math.isnan(value):
        return low
    if math.isinf(value):
        return low if value < 0 else high
    with np.errstate(over="ignore"):
        steps = work(work(value) - work(wire.offset + origin)) * work(1 / wire.scale)
        half = work(steps + work(0.5))
    if math.isinf(half):
        return low if half < 0 else high
    return min(max(math.floor(half), low), high)


@given(st.data())
def test_every_integer_type_follows_the_formula_to_the_bit(data):
    type_ = data.draw(st.sampled_from(sorted(INTEGERS)), "type")
    source = data.draw(st.sampled_from(NUMBERS), "source")
    scale = data.draw(st.sampled_from((1 / 64, 0.1, 0.5, 3.0, 1e-6, 1e9)), "scale")
    offset = data.draw(st.sampled_from((0.0, -100.0, 0.3)), "offset")
    wire = Wire(type_, scale, offset, data.draw(st.sampled_from(("", "x", "y")), "axis"))
    values = data.draw(st.lists(values_of(source), min_size=1, max_size=20), "values")
    work = np.float64 if wide(wire, source) else np.float32
    assert quantise(wire, source, values).tolist() == [reference(np.dtype(source).type(v), wire, work) for v in values]


@given(st.sampled_from(sorted(INTEGERS)), st.sampled_from(NUMBERS[2:]), st.data())
def test_plain_integers_are_exact_and_held_to_the_range(type_, source, data):
    values = data.draw(st.lists(values_of(source), min_size=1))
    low, high = INTEGERS[type_]
    assert quantise(Wire(type_), source, values).tolist() == [min(max(v, low), high) for v in values]


@given(
    st.sampled_from(sorted(INTEGERS)),
    st.sampled_from(("f4", "f8")),
    st.sampled_from((1 / 64, 1 / 256, 0.5, 1.0, 2.0)),
    st.sampled_from(("", "x", "y")),
    st.data(),
)
def test_a_value_comes_back_within_half_a_step(type_, source, scale, axis, data):
    wire = Wire(type_, scale, 0.0, axis)
    origin = {"": 0.0, "x": ORIGINS[0], "y": ORIGINS[1]}[axis]
    low, high = INTEGERS[type_]
    width = 32 if source == "f4" else 64
    # The ends of the range in the column's own type, rounded inwards.
    ends = np.array([low * scale + origin, high * scale + origin], source)
    if ends[1] > high * scale + origin:
        ends[1] = np.nextafter(ends[1], ends[0])
    value = data.draw(st.floats(float(ends[0]), float(ends[1]), width=width))
    raw = quantise(wire, source, [value]).tolist()[0]
    error = abs(Fraction(raw) * Fraction(scale) + Fraction(origin) - Fraction(value))
    # Beside half a step: the column's place is a float32, whose subtraction from the origin rounds once.
    slack = 0 if wide(wire, source) and abs(value) < 2**20 else Fraction(abs(value) + 256) / 2**23
    assert error <= Fraction(scale) / 2 + slack


@pytest.mark.parametrize("type_", ["u32", "i32"])
@pytest.mark.parametrize("value", [2**23 + 1, 2**24 - 1, 2**30, 2**31 - 128, 8_388_611])
def test_large_whole_numbers_stay_what_they_are(type_, value):
    assert quantise(Wire(type_), "f4", [value]).tolist() == [value]
    assert quantise(Wire(type_, 0.5), "f4", [value / 2]).tolist() == [value]


@pytest.mark.parametrize("type_", sorted(INTEGERS))
@pytest.mark.parametrize("source", ["f4", "f8"])
def test_what_lies_outside_is_held_to_the_range_and_nan_is_lowest(type_, source):
    low, high = INTEGERS[type_]
    big = float(np.finfo(source).max)
    values = [math.nan, -math.nan, math.inf, -math.inf, big, -big, high + 1.0, low - 1.0]
    for wire in (Wire(type_), Wire(type_, 1 / 64)):
        assert quantise(wire, source, values)[:6].tolist() == [low, low, high, low, high, low]
    assert quantise(Wire(type_), source, values)[6:].tolist() == [high, low]


@pytest.mark.parametrize("wire", [Wire("u16", 1 / 64, 0.0, "x"), Wire("i32", 0.5), Wire("f32", 0.5, 8.0)])
def test_a_nan_that_signals_is_a_nan_like_any_other(wire):
    signalling = np.array([0x7F81_0000, 0xFF81_0000], np.uint32).view(np.float32)
    plain = quantise(wire, "f4", [math.nan, math.nan])
    assert Quantiser(wire, signalling.dtype, ORIGINS)(signalling).tolist() == plain.tolist()


@given(st.lists(st.floats(width=32), max_size=20), st.sampled_from((1.0, 0.5)), st.sampled_from((0.0, 8.0)))
def test_floats_are_not_rounded_and_finite_ones_are_not_touched(values, scale, offset):
    top = np.finfo(np.float32).max
    raw = quantise(Wire("f32", scale, offset), "f4", values)
    assert np.isfinite(raw).all()
    for value, got in zip(np.array(values, "f4"), raw, strict=True):
        if np.isnan(value):
            assert got == -top
        elif (scale, offset) == (1.0, 0.0) and np.isfinite(value):
            assert got.tobytes() == value.tobytes()
        else:
            with np.errstate(over="ignore"):
                assert got == np.clip((value - np.float32(offset)) * np.float32(1 / scale), -top, top)


@given(st.lists(st.floats()))
def test_doubles_become_the_nearest_float_in_range(values):
    assume(all(not math.isnan(v) for v in values))
    top = float(np.finfo(np.float32).max)
    expected = [np.float32(min(max(v, -top), top)) for v in values]
    assert quantise(Wire("f32"), "f8", values).tolist() == expected


def test_bools_are_0_or_1_whatever_the_column():
    assert quantise(Wire("bool"), "?", [True, False]).tolist() == [1, 0]
    assert quantise(Wire("bool"), "u1", [0, 1, 7, 255]).tolist() == [0, 1, 1, 1]
    assert quantise(Wire("bool"), "f4", [0.0, 1.0, -3.0, 9.0, math.nan]).tolist() == [0, 1, 0, 1, 0]
    assert quantise(Wire("bool"), "i8", [-(2**40), 2**40]).tolist() == [0, 1]


@pytest.mark.parametrize("type_", [*INTEGERS, "f32"])
def test_a_bool_column_goes_as_any_number(type_):
    assert quantise(Wire(type_), "?", [True, False]).tolist() == [1, 0]
    assert quantise(Wire(type_, 0.5), "?", [True, False]).tolist() == [2, 0]


def test_text_goes_as_its_bytes():
    assert quantise(Wire("utf8", size=4), "S4", [b"", b"ab", "é".encode(), b"\xff\x00x"]).tolist() == [
        b"",
        b"ab",
        "é".encode(),
        b"\xff\x00x",
    ]


@pytest.mark.parametrize("type_", NUMBER_TYPES)
@pytest.mark.parametrize("source", NUMBERS)
def test_the_result_is_never_the_column_itself(type_, source):
    column = np.ones(3, source)
    raw = Quantiser(Wire(type_), column.dtype, ORIGINS)(column)
    assert not np.shares_memory(raw, column)
    column[:] = 0
    assert raw.tolist() == [1, 1, 1]
