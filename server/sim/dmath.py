"""Deterministic mathematics: the same bits on every CPU, fresh process and numpy build.

numpy's own sin, exp, arctan2 and so on come from whichever SIMD kernel or libm the
machine offers and differ in the last bits; a replay on another machine would diverge.
Here everything is built from operations IEEE 754 defines to the bit: + - * /, sqrt,
floor, comparisons, sign bits and integer arithmetic. Each is its own ufunc call, so no
compiler can fuse a multiply with an add.

Arguments are arrays of any shape or scalars; results are float32 of that shape
(np.float32 for scalars). Inside it is float64, rounded once at the end: for float32
arguments the relative error is below 1e-7 (2e-7 is promised).

    function        accurate for                        elsewhere
    sin, cos        |angle| <= 2**20 radians            NaN (a float32 that large has no direction)
    atan2           all, signed zeros and infinities as IEEE 754 has them
    exp             all; above 88.72 inf, below -103.97 0; subnormal results to 1e-45 absolute
    log             x > 0                               log(0) = -inf, log(inf) = inf, NaN below 0
    hypot           all; inf where the result is above float32
    normalise       finite vectors longer than 0        (0, 0)

NaN in, NaN out (but for `normalise`), and always the same NaN: its sign and payload
would otherwise depend on the CPU, and the digest of the world sees bytes. Nothing
raises, nothing warns.

Polynomials: Chebyshev interpolation over the reduced interval, relative error as noted,
computed to 40 digits with mpmath.chebyfit. Reductions after Cody and Waite (1980).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Final, ParamSpec, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from server.sim.component import F32, F64, I64

P = ParamSpec("P")
R = TypeVar("R")

# Radians; beyond it `_HALF_PI_HIGH` times a quadrant number is no longer exact.
ANGLE_MAX: Final = 2.0**20

_NAN: Final = np.float32(np.nan)
# pi/2 and log 2 in two parts. The high parts have 33 bits, so a product with an integer below 2**20 is exact.
_HALF_PI_HIGH: Final = 1.5707963267341256
_HALF_PI_LOW: Final = 6.077100506506192e-11
_LOG2_HIGH: Final = 0.6931471803691238
_LOG2_LOW: Final = 1.9082149292705877e-10
_HALF_PI: Final = 1.5707963267948966
_PI: Final = 3.141592653589793

# sin(r)/r in r*r, |r| <= pi/2: 1.8e-11.
_SIN: Final = (
    0.9999999999828987,
    -0.16666666616766043,
    0.008333330972335804,
    -0.00019840860936718842,
    2.7525257177301262e-06,
    -2.3888990281026986e-08,
)
# atan(t)/t in t*t, 0 <= t <= 1: 2.8e-9.
_ATAN: Final = (
    0.9999999971605454,
    -0.3333327629198255,
    0.19998075281148714,
    -0.14260016082820906,
    0.10932341501303093,
    -0.08349724968301601,
    0.05708955593030619,
    -0.030351864785781172,
    0.010487649254949306,
    -0.0017011700640685973,
)
# exp(r), |r| <= log(2)/2: 2.0e-9.
_EXP: Final = (
    1.0,
    1.0000000377388714,
    0.5000000047146057,
    0.16666415414041177,
    0.04166635277111221,
    0.008375134774624326,
    0.0013941118895837,
)
# log((1+s)/(1-s))/s in s*s, |s| <= 3 - 2*sqrt(2): 1.4e-9.
_LOG: Final = (1.999999998630764, 0.6666681538347713, 0.3997484537587727, 0.29924530374734704)

# The bits of float64 1.0 and sqrt(1/2), and where the exponent begins.
_ONE_EXPONENT: Final = np.int64(1023)
_SQRT_HALF_BITS: Final = np.int64(0x3FE6A09E667F3BCD)
_EXPONENT_SHIFT: Final = np.int64(52)


def _quiet(function: Callable[P, R]) -> Callable[P, R]:
    """Infinities and NaN are answers here, not news."""

    @wraps(function)
    def quiet(*args: P.args, **kwargs: P.kwargs) -> R:
        with np.errstate(all="ignore"):
            return function(*args, **kwargs)

    return quiet


def _horner(x: F64, coefficients: tuple[float, ...], out: F64) -> None:
    """Write c0 + c1*x + c2*x*x + ... to `out`, in this order of operations."""
    np.multiply(x, coefficients[-1], out=out)
    for c in coefficients[-2:0:-1]:
        out += c
        out *= x
    out += coefficients[0]


def _finish(values: F64) -> F32:
    """Round to float32; every NaN becomes the one NaN."""
    # asarray: a ufunc of 0-d arrays answers with a scalar, which copyto cannot write to.
    rounded = np.asarray(values.astype(np.float32))
    nan = np.isnan(rounded)
    if nan.any():
        np.copyto(rounded, _NAN, where=nan)
    result: F32 = rounded[()]
    return result


def _sine(x: F64, odd: F64, half_turns: F64) -> F32:
    """sin(x) or cos(x), given x minus that many half turns (`odd` quarter turns) is within a quarter turn of 0.

    Writes to all three. `half_turns` decides the sign only.
    """
    work = np.empty_like(x)
    np.multiply(odd, _HALF_PI_HIGH, out=work)
    np.subtract(x, work, out=work)
    odd *= _HALF_PI_LOW
    work -= odd
    square = odd
    np.multiply(work, work, out=square)
    value = np.empty_like(x)
    _horner(square, _SIN, value)
    value *= work
    # The sign is 1 - 2*(half_turns mod 2).
    np.multiply(half_turns, 0.5, out=work)
    np.floor(work, out=work)
    work *= 2.0
    half_turns -= work
    half_turns *= -2.0
    half_turns += 1.0
    value *= half_turns
    np.abs(x, out=work)
    outside = work > ANGLE_MAX
    if outside.any():
        np.copyto(value, np.nan, where=outside)
    return _finish(value)


@_quiet
def sin(angle: ArrayLike) -> F32:
    """Sine of radians, |angle| <= ANGLE_MAX, NaN beyond. float32 of the argument's shape."""
    x = np.asarray(angle, np.float64)
    turns = np.empty_like(x)
    np.multiply(x, 1.0 / _PI, out=turns)
    turns += 0.5
    np.floor(turns, out=turns)
    quarters = np.empty_like(x)
    np.multiply(turns, 2.0, out=quarters)
    return _sine(x, quarters, turns)


@_quiet
def cos(angle: ArrayLike) -> F32:
    """Cosine of radians, |angle| <= ANGLE_MAX, NaN beyond. float32 of the argument's shape."""
    x = np.asarray(angle, np.float64)
    # cos(x) = sin(x + pi/2): reduced by an odd number of quarter turns, so its zeros are as exact as those of sin.
    turns = np.empty_like(x)
    np.multiply(x, 1.0 / _PI, out=turns)
    np.floor(turns, out=turns)
    quarters = np.empty_like(x)
    np.multiply(turns, 2.0, out=quarters)
    quarters += 1.0
    turns += 1.0
    return _sine(x, quarters, turns)


def sincos(angle: ArrayLike) -> tuple[F32, F32]:
    """(sin(angle), cos(angle)), each exactly as the single function gives it."""
    return sin(angle), cos(angle)


@_quiet
def atan2(y: ArrayLike, x: ArrayLike) -> F32:
    """The direction of the vector: radians in [-pi, pi], 0 along +x. y and x broadcast; of no vector at all, 0."""
    ys, xs = np.broadcast_arrays(np.asarray(y, np.float64), np.asarray(x, np.float64))
    ay = np.empty_like(ys, subok=False, order="C")
    ax = np.empty_like(ay)
    np.abs(ys, out=ay)
    np.abs(xs, out=ax)
    steep = ay > ax
    low, high = np.empty_like(ay), np.empty_like(ay)
    np.minimum(ax, ay, out=low)
    np.maximum(ax, ay, out=high)
    # Keeps 0/0 at 0 and inf/inf at 1; no float32 lies outside these bounds but 0 and inf.
    np.clip(high, 1e-300, 1e300, out=high)
    np.minimum(low, 1e300, out=low)
    low /= high
    np.multiply(low, low, out=high)
    result = ax
    _horner(high, _ATAN, result)
    result *= low
    np.subtract(_HALF_PI, result, out=result, where=steep)
    np.subtract(_PI, result, out=result, where=np.signbit(xs))
    np.copysign(result, ys, out=result)
    return _finish(result)


@_quiet
def exp(x: ArrayLike) -> F32:
    """The exponential. float32 of the argument's shape; inf above 88.72, 0 below -103.97."""
    r = np.array(x, np.float64)
    # Beyond these the float32 is inf or 0 anyway, and the exponent below stays in range.
    np.clip(r, -150.0, 150.0, out=r)
    k = np.empty_like(r)
    np.multiply(r, 1.0 / (_LOG2_HIGH + _LOG2_LOW), out=k)
    k += 0.5
    np.floor(k, out=k)
    work = np.empty_like(r)
    np.multiply(k, _LOG2_HIGH, out=work)
    r -= work
    np.multiply(k, _LOG2_LOW, out=work)
    r -= work
    _horner(r, _EXP, work)
    # 2**k, made from its bits. NaN becomes some integer or other, and work is NaN there already.
    power = np.asarray(k.astype(np.int64))
    power += _ONE_EXPONENT
    power <<= _EXPONENT_SHIFT
    work *= power.view(np.float64)
    return _finish(work)


@_quiet
def log(x: ArrayLike) -> F32:
    """The natural logarithm. float32 of the argument's shape; -inf at 0, NaN below."""
    values = np.asarray(x, np.float64)
    bits = np.array(values).view(np.int64)
    # x = 2**k * m with sqrt(1/2) <= m < sqrt(2); float32 subnormals are normal in float64.
    k = np.empty_like(bits)
    np.subtract(bits, _SQRT_HALF_BITS, out=k)
    k >>= _EXPONENT_SHIFT
    exponent = np.empty_like(values)
    exponent[...] = k
    k <<= _EXPONENT_SHIFT
    bits -= k
    m = bits.view(np.float64)
    s, work = np.empty_like(values), k.view(np.float64)
    np.add(m, 1.0, out=work)
    np.subtract(m, 1.0, out=s)
    s /= work
    np.multiply(s, s, out=m)
    _horner(m, _LOG, work)
    work *= s
    np.multiply(exponent, _LOG2_LOW, out=s)
    work += s
    exponent *= _LOG2_HIGH
    work += exponent
    ordinary = (values > 0.0) & (values < np.inf)
    if not ordinary.all():
        np.copyto(work, np.nan, where=np.logical_not(ordinary))
        np.copyto(work, -np.inf, where=values == 0.0)
        np.copyto(work, np.inf, where=values == np.inf)
    return _finish(work)


def _length(x: F64, y: F64) -> F64:
    square = np.asarray(x * x)
    square += y * y
    return np.sqrt(square, out=square)


@_quiet
def hypot(x: ArrayLike, y: ArrayLike) -> F32:
    """The length of (x, y); they broadcast. NaN if either is NaN."""
    return _finish(_length(np.asarray(x, np.float64), np.asarray(y, np.float64)))


@_quiet
def normalise(x: ArrayLike, y: ArrayLike) -> tuple[F32, F32]:
    """(x, y) at length 1; they broadcast. (0, 0) for vectors without a direction: zero, infinite or NaN."""
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
    length = _length(xs, ys)
    has_direction = (length > 0.0) & (length < np.inf)
    if has_direction.all():
        return _finish(np.asarray(xs / length)), _finish(np.asarray(ys / length))
    ux, uy = np.zeros_like(length), np.zeros_like(length)
    np.divide(xs, length, out=ux, where=has_direction)
    np.divide(ys, length, out=uy, where=has_direction)
    return _finish(ux), _finish(uy)


def segment_sum(values: ArrayLike, segment_ids: NDArray[np.integer], n: int) -> F64:
    """(n,) float64: the sum of the `values` of each segment, 0 for a segment without any.

    `values`: (k,) numbers; `segment_ids`: (k,) integers in [0, n), in any order. Adds one by one in
    the order given (np.sum adds in an order that depends on the SIMD width). Raises ValueError for an
    id outside [0, n) or shapes that differ.
    """
    ids: I64 = np.asarray(segment_ids, np.int64)
    sums: F64 = np.asarray(np.bincount(ids, weights=np.asarray(values, np.float64), minlength=n), np.float64)
    if sums.size > n:
        raise ValueError(f"segment id {sums.size - 1} is not below {n}")
    return sums
