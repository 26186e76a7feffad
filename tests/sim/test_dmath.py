"""Deterministic mathematics against the C library's float64, over every exponent a float32 has."""

import math
import warnings

import numpy as np
import pytest

from server.sim import dmath

# What the module promises.
RELATIVE = 2e-7
TINY, HUGE = np.finfo(np.float32).tiny, np.finfo(np.float32).max

# Every 43,019th bit pattern (a prime): all exponents, both signs, no pattern in the digits.
ALL = np.arange(0, 2**32, 43_019, dtype=np.uint64).astype(np.uint32).view(np.float32)
ALL = ALL[np.isfinite(ALL)]
RNG = np.random.default_rng(20)
PLAIN = RNG.uniform(-100, 100, 20_000).astype(np.float32)
ANGLES = np.concatenate(
    [
        ALL[np.abs(ALL) <= dmath.ANGLE_MAX],
        PLAIN,
        # As near the zeros of sin and cos as float32 comes, where an inexact reduction loses all digits.
        (np.arange(-600_000, 600_000, 31) * (np.pi / 2)).astype(np.float32),
    ]
)
POSITIVE = np.concatenate([np.abs(ALL[ALL != 0]), RNG.uniform(0.98, 1.02, 20_000).astype(np.float32)])
EXPONENTS = np.concatenate([ALL[np.abs(ALL) < 87], RNG.uniform(-87.3, 88.7, 20_000).astype(np.float32)])


def assert_near(got, truth):
    truth = np.array(truth)
    assert got.dtype == np.float32
    normal = (np.abs(truth) >= TINY) & (np.abs(truth) <= HUGE)
    assert np.count_nonzero(normal) > 1000
    error = np.abs(got[normal].astype(np.float64) - truth[normal]) / np.abs(truth[normal])
    assert error.max() <= RELATIVE
    zero = truth == 0
    assert (got[zero] == 0).all()
    small = (np.abs(truth) < TINY) & ~zero
    assert (np.abs(got[small].astype(np.float64) - truth[small]) <= 1.5e-45).all()


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize(
    ("name", "arguments"), [("sin", ANGLES), ("cos", ANGLES), ("exp", EXPONENTS), ("log", POSITIVE)]
)
def test_functions_of_one_argument_are_accurate(name, arguments):
    function, truth = getattr(dmath, name), getattr(math, name)
    assert_near(function(arguments), [truth(v) for v in arguments.tolist()])


@pytest.mark.parametrize("name", ["atan2", "hypot"])
def test_functions_of_two_arguments_are_accurate(name):
    function, truth = getattr(dmath, name), getattr(math, name)
    for a, b in ((ALL, RNG.permutation(ALL)), (PLAIN, RNG.permutation(PLAIN)), (PLAIN, PLAIN), (PLAIN, PLAIN * 0)):
        wide = [truth(u, v) for u, v in zip(a.tolist(), b.tolist(), strict=True)]
        with np.errstate(over="ignore"):
            assert_near(function(a, b), np.where(np.abs(wide) > HUGE, np.inf, wide))


def test_sincos_is_both():
    s, c = dmath.sincos(PLAIN)
    assert s.tobytes() == dmath.sin(PLAIN).tobytes()
    assert c.tobytes() == dmath.cos(PLAIN).tobytes()


def test_exact_places():
    assert dmath.sin(0.0) == 0
    assert dmath.cos(0.0) == 1
    assert dmath.exp(0.0) == 1
    assert dmath.log(1.0) == 0
    assert dmath.hypot(3.0, 4.0) == 5
    assert dmath.normalise(3.0, -4.0) == (np.float32(0.6), np.float32(-0.8))


def test_atan2_follows_ieee_at_zeros_and_infinities():
    special = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf]
    for y in special:
        for x in special:
            got, want = float(dmath.atan2(y, x)), math.atan2(y, x)
            assert got == float(np.float32(want)), (y, x)
            assert math.copysign(1, got) == math.copysign(1, want), (y, x)


@pytest.mark.parametrize(
    ("call", "want"),
    [
        (lambda: dmath.sin([np.inf, -np.inf, 2.0**20 + 1, 3e38]), [np.nan] * 4),
        (lambda: dmath.cos([np.inf, -np.inf, -(2.0**20) - 1, 3e38]), [np.nan] * 4),
        (lambda: dmath.exp([np.inf, 89.0, 3e38, -np.inf, -104.0, -3e38]), [np.inf] * 3 + [0.0] * 3),
        (lambda: dmath.log([0.0, -0.0, np.inf, -1.0, -np.inf]), [-np.inf, -np.inf, np.inf, np.nan, np.nan]),
        (lambda: dmath.hypot([np.inf, 3e38, 0.0], [1.0, 3e38, 0.0]), [np.inf, np.inf, 0.0]),
        (lambda: dmath.normalise([0, np.inf, np.nan, 1e38, 1e-45], [0, 1, 1, 0, 0])[0], [0.0, 0.0, 0.0, 1.0, 1.0]),
    ],
)
def test_outside_the_domain(call, want):
    np.testing.assert_array_equal(call(), np.array(want, np.float32))


@pytest.mark.parametrize("name", ["sin", "cos", "exp", "log", "atan2", "hypot"])
def test_every_nan_is_the_same_nan(name):
    patterns = np.array([0x7FC00000, 0xFFC00000, 0x7FC12345, 0xFFFFFFFF], np.uint32).view(np.float32)
    function = getattr(dmath, name)
    results = function(patterns, patterns) if name in ("atan2", "hypot") else function(patterns)
    assert set(results.view(np.uint32).tolist()) == {0x7FC00000}


@pytest.mark.parametrize("name", ["sin", "cos", "exp", "log", "atan2", "hypot", "normalise"])
def test_scalars_shapes_and_lengths_make_no_difference(name):
    function = getattr(dmath, name)

    def call(v):
        result = function(v, v + np.float32(1)) if name in ("atan2", "hypot", "normalise") else function(v)
        return result[0] if name == "normalise" else result

    values = RNG.uniform(0.1, 50, 1000).astype(np.float32)
    whole = call(values)
    assert whole.shape == values.shape
    # Vector kernels and their scalar remainders must agree: odd lengths, odd offsets, strides, single values.
    for part in (slice(1, 4), slice(3, 998), slice(None, None, 3), slice(0, 0)):
        assert call(values[part]).tobytes() == whole[part].tobytes()
    assert call(values.reshape(10, 100)).tobytes() == whole.tobytes()
    one = call(values[7])
    assert isinstance(one, np.float32)
    assert one == whole[7]


def test_arguments_are_left_alone():
    before = PLAIN.astype(np.float64)
    x, y = before.copy(), before.copy()
    for function in (dmath.sin, dmath.cos, dmath.exp, dmath.log):
        function(x)
    for function in (dmath.atan2, dmath.hypot, dmath.normalise):
        function(y, x)
    assert x.tobytes() == y.tobytes() == before.tobytes()


def test_segment_sum_adds_in_the_order_given():
    rng = np.random.default_rng(5)
    values = (rng.uniform(-1, 1, 4000) * 10.0 ** rng.integers(-10, 10, 4000)).astype(np.float32)
    segments = rng.integers(0, 60, 4000)
    want = [0.0] * 64
    for v, s in zip(values.tolist(), segments.tolist(), strict=True):
        want[s] += v
    got = dmath.segment_sum(values, segments, 64)
    assert got.dtype == np.float64
    assert got.tolist() == want


def test_segment_sum_of_nothing_is_zeros():
    assert dmath.segment_sum([], np.zeros(0, np.int64), 3).tolist() == [0, 0, 0]


@pytest.mark.parametrize("segments", [[0, 3], [0, -1], [0]])
def test_segment_sum_refuses_ids_outside(segments):
    with pytest.raises(ValueError):
        dmath.segment_sum([1.0, 2.0], np.array(segments), 3)
