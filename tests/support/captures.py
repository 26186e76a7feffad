"""Captured states, to be compared and damaged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def frozen(arrays: Mapping[str, NDArray[Any]]) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Captured arrays as something that two can be compared by, down to NaN and minus nought."""
    return {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in arrays.items()}


def damaged(arrays: Mapping[str, NDArray[Any]]) -> list[tuple[str, dict[str, NDArray[Any]]]]:
    """(what is wrong, the arrays): each in turn missing, too short, or of another type; and one too many."""
    found: list[tuple[str, dict[str, NDArray[Any]]]] = []
    for name, array in arrays.items():
        # Without its rows a component is one that all rows have.
        if name.endswith("@rows"):
            continue
        found.append((f"{name} missing", {k: v for k, v in arrays.items() if k != name}))
        if array.size:
            found.append((f"{name} too short", {**arrays, name: array[:-1]}))
        other = np.int8 if array.dtype == np.int16 else np.int16
        found.append((f"{name} of another type", {**arrays, name: np.zeros(array.shape, other)}))
    found.append(("one too many", {**arrays, "Ghost.x": np.zeros(3, np.float32)}))
    return found
