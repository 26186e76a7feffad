"""Counter-based randomness: no generator state, so nothing to save and no order to keep.

A value is a hash of (world seed, tick, stream, entity): drawing for one entity never
shifts what another draws. The mixer is the SplitMix64 finaliser with Stafford's variant 13
constants (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators"), applied
twice over the key; integer operations only, so every CPU draws the same.
"""

from __future__ import annotations

import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from server.sim.component import F32, I64, U64

# Changes when the same key draws another value: worlds are replayed by the version that made them.
VERSION: Final = 1

_MASK: Final = 0xFFFFFFFFFFFFFFFF
_GOLDEN: Final = 0x9E3779B97F4A7C15
_M1: Final = 0xBF58476D1CE4E5B9
_M2: Final = 0x94D049BB133111EB


def _mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * _M1) & _MASK
    z = ((z ^ (z >> 27)) * _M2) & _MASK
    return z ^ (z >> 31)


class Random:
    """One tick's randomness for one stream. `entities`: (n,) rows, the counters."""

    __slots__ = ("_key",)

    def __init__(self, seed: int, tick: int, stream: str) -> None:
        key = _mix((seed + _GOLDEN) & _MASK)
        key = _mix((key ^ (tick * _GOLDEN)) & _MASK)
        self._key = _mix(key ^ zlib.crc32(stream.encode()))

    def bits(self, entities: NDArray[np.integer]) -> U64:
        """(n,) uint64, uniform."""
        z = entities.astype(np.uint64) * np.uint64(_GOLDEN) + np.uint64(self._key)
        for _ in range(2):
            z ^= z >> np.uint64(30)
            z *= np.uint64(_M1)
            z ^= z >> np.uint64(27)
            z *= np.uint64(_M2)
            z ^= z >> np.uint64(31)
        return z

    def uniform(self, entities: NDArray[np.integer], low: float = 0.0, high: float = 1.0) -> F32:
        """(n,) float32 in [low, high); 24 random bits each."""
        unit = (self.bits(entities) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
        values = np.float32(low) + unit * np.float32(high - low)
        # 1 + (1 - 2**-24) * (2 - 1) rounds to 2: the last step below `high` is as far as it goes.
        result: F32 = np.minimum(values, np.nextafter(np.float32(high), np.float32(low)))
        return result

    def integers(self, entities: NDArray[np.integer], n: int) -> I64:
        """(n,) int64 in [0, n), 1 <= n <= 2**32; bias below 2**-32."""
        return (((self.bits(entities) >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32)).astype(np.int64)

    def chance(self, entities: NDArray[np.integer], probability: float) -> NDArray[np.bool_]:
        """(n,) bool, True with this probability."""
        return self.uniform(entities) < np.float32(probability)
