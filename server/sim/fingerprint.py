"""What determinism depends on, beside the game: written into every checkpoint and compared before a replay.

Two programs with the same fingerprint make the same state of the same input. The last entry is
no version but a measurement: a fixed sample of all that systems are made of, hashed, so that a CPU, a compiler or
a library that computes differently is found before it computes a world.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import xxhash

from server.sim import dmath
from server.sim.rng import VERSION, Random


@cache
def fingerprint() -> Mapping[str, str]:
    """Name -> value, in words for people; compared as a whole."""
    return {
        "random numbers": str(VERSION),
        # Patch releases keep what ufuncs give; others need not, and say so in their notes.
        "numpy": ".".join(np.__version__.split(".")[:2]),
        "byte order": "little" if np.little_endian else "big",
        "arithmetic": f"{_arithmetic():016x}",
    }


def _arithmetic() -> int:
    """A hash of elementwise arithmetic, conversions, sorting, `dmath` and randomness over a fixed sample."""
    entities = np.arange(1, 1025)
    draw = Random(20_26, 7, "fingerprint")
    x = draw.uniform(entities, -1000.0, 1000.0)
    y = Random(20_26, 8, "fingerprint").uniform(entities, 0.001, 3.0)
    # Subnormals: a CPU told to flush them to zero makes another world.
    tiny = x * np.float32(1e-40)
    wide = x.astype(np.float64)
    h = xxhash.xxh3_64()
    for values in (
        x * y + x,
        x / y,
        np.sqrt(y),
        x - np.floor(x),
        tiny + tiny,
        wide * wide / y,
        np.rint(x),
        x.astype(np.int32),
        draw.bits(entities),
        draw.integers(entities, 1000),
        np.argsort(np.rint(x / np.float32(100)), kind="stable"),
        dmath.sin(x),
        dmath.cos(x),
        dmath.atan2(x, y),
        dmath.exp(y),
        dmath.log(y),
        dmath.hypot(x, y),
    ):
        h.update(np.ascontiguousarray(values).view(np.uint8).data)
    return h.intdigest()
