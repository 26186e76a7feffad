"""Percentiles, medians over runs, and the last line of a command."""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.processes import Line


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of them do not exceed; NaN-free: 0 of none."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, max(0, math.ceil(len(ordered) * percent / 100) - 1))]


def median_of(runs: Sequence[Line]) -> Line:
    """Key by key the median of the numbers (of integers one that occurred), else the first run's value."""
    merged: Line = {}
    for key, first in runs[0].items():
        values = [run[key] for run in runs]
        if isinstance(first, bool) or not isinstance(first, int | float):
            merged[key] = first
        elif all(isinstance(v, int) for v in values):
            merged[key] = statistics.median_low(values)
        else:
            merged[key] = statistics.median(values)
    return merged


def rounded(figures: Line) -> Line:
    """Four significant decimals are more than any of them has."""
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in figures.items()}


def hand_over(figures: Line, path: Path | None) -> None:
    """The command's last line, and the file if one is wanted."""
    line = json.dumps(rounded(figures))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(line + "\n", encoding="utf-8")
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
