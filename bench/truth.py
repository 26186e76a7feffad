"""Whether the sampled clients saw what there was: whole views against the world itself.

Independent of the gateway's own idea of a view: who must be in it follows from the world's positions and the
grid, and what is shown of each follows from its columns.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.crowd_game import CELL_UNITS, GAME, NEAR_CELLS, SCALE

_RECORD: Final = GAME.schema.record_dtype(0, "u16")
_CELL_RAW: Final = round(CELL_UNITS / SCALE)


def compare(photographs: Path, truth: Path, edge_units: float, hysteresis_units: float) -> tuple[int, list[str]]:
    """(photographs compared, what was wrong with each that differed)."""
    taken, world = np.load(photographs), np.load(truth)
    ends = np.cumsum(taken["size"])
    wrong: list[str] = []
    compared = 0
    edges = np.concatenate([[0], ends])
    for i, (start, end) in enumerate(pairwise(edges.tolist())):
        tick = int(taken["tick"][i])
        if f"rows_{tick}" not in world:
            continue
        compared += 1
        shown = np.frombuffer(taken["records"][start:end].tobytes(), _RECORD)
        fault = _fault(shown, _records(world, tick), int(taken["handle"][i]), edge_units, hysteresis_units)
        if fault:
            wrong.append(f"client {int(taken['client'][i])}, tick {tick}: {fault}")
    return compared, wrong


def _records(world: np.lib.npyio.NpzFile, tick: int) -> NDArray[np.void]:
    """What a client that sees everyone would be shown, by ascending handle."""
    rows = world[f"rows_{tick}"]
    records = np.zeros(rows.size, _RECORD)
    records["handle"] = rows
    records["Position.x"] = np.floor(world[f"x_{tick}"] / np.float32(SCALE) + np.float32(0.5))
    records["Position.y"] = np.floor(world[f"y_{tick}"] / np.float32(SCALE) + np.float32(0.5))
    records["Mark.value"] = world[f"mark_{tick}"]
    return records


def _fault(
    shown: NDArray[np.void], everyone: NDArray[np.void], own: int, edge_units: float, hysteresis_units: float
) -> str:
    """What is wrong with a view; "" for nothing."""
    last = int(np.ceil(edge_units / CELL_UNITS)) - 1
    column = np.minimum(everyone["Position.x"].astype(np.int64) // _CELL_RAW, last)
    row = np.minimum(everyone["Position.y"].astype(np.int64) // _CELL_RAW, last)
    me = everyone[everyone["handle"] == own]
    if me.size != 1:
        return f"its own entity {own} is not in the world"
    slack = round(hysteresis_units / SCALE)
    best = ""
    for centre_column in _centres(int(me["Position.x"][0]), slack, last):
        for centre_row in _centres(int(me["Position.y"][0]), slack, last):
            near = (abs(column - centre_column) <= NEAR_CELLS) & (abs(row - centre_row) <= NEAR_CELLS)
            expected = everyone[near]
            if np.array_equal(expected, shown):
                return ""
            if not best or centre_column == min(int(me["Position.x"][0]) // _CELL_RAW, last):
                best = _difference(expected, shown)
    return best


def _centres(raw: int, slack: int, last: int) -> list[int]:
    """Cells that may be one's own: up to and including `slack` past its border it stays."""
    # A cell's far border is the first place of the next cell, hence the one more.
    cells = {min(max(place, 0) // _CELL_RAW, last) for place in (raw, raw - slack - 1, raw + slack)}
    return sorted(cells)


def _difference(expected: NDArray[np.void], shown: NDArray[np.void]) -> str:
    missing = np.setdiff1d(expected["handle"], shown["handle"])
    extra = np.setdiff1d(shown["handle"], expected["handle"])
    common, there, here = np.intersect1d(expected["handle"], shown["handle"], return_indices=True)
    stale = int(np.count_nonzero(expected[there] != shown[here]))
    return f"{missing.size} missing, {extra.size} too many, {stale} of {common.size} with other values"
