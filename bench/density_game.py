"""The crowd, in the middle of a world whose rim is full of others: nobody's view ends at the edge of the world.

Where a small world is compared with a large one, everybody then sees as much in either, at the same density.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from bench.crowd_game import (
    AVATAR,
    CELL_UNITS,
    NEAR_CELLS,
    SPEED_UNITS_PER_S,
    VISIBLE,
    Heading,
    Mark,
    Position,
    head_anywhere,
    mark,
    steer,
    walk_within,
)
from bench.crowd_game import GAME as CROWD
from server.sim.component import Archetype
from server.sim.game import Tick
from server.sim.rng import Random
from server.sim.world import World

# How wide the rim is: as far as one sees past one's own cell. Cells are cut at the world's corner.
RIM_UNITS: Final = NEAR_CELLS * CELL_UNITS
# Avatars, and others, per cell.
PER_CELL: Final = VISIBLE / (2 * NEAR_CELLS + 1) ** 2
# The others go to and fro, so many ticks each way, and nobody of them comes to another region.
_PACE_TICKS: Final = 16
_PACE_UNITS: Final = 4.0

Bounds = tuple[float, float, float, float]


OTHER: Final = Archetype("other", Position, Mark)


def ground(limits: Bounds) -> Bounds:
    """Where the crowd walks: the world without its rim."""
    x0, y0, x1, y1 = limits
    return x0 + RIM_UNITS, y0 + RIM_UNITS, x1 - RIM_UNITS, y1 - RIM_UNITS


def ground_within(bounds: Bounds, limits: Bounds) -> Bounds:
    """The part of the ground that lies in a region of these bounds."""
    (x0, y0, x1, y1), (left, top, right, bottom) = bounds, ground(limits)
    return max(x0, left), max(y0, top), min(x1, right), min(y1, bottom)


def setup(world: World, tick: Tick) -> None:
    """The others are in the rim, as dense as the crowd will be."""
    x0, y0, x1, y1 = world.bounds
    numbers = np.arange(round((x1 - x0) * (y1 - y0) / CELL_UNITS**2 * PER_CELL))
    x = Random(tick.seed, 0, "other x").uniform(numbers, x0, x1 - _PACE_UNITS)
    y = Random(tick.seed, 0, "other y").uniform(numbers, y0, y1)
    gx0, gy0, gx1, gy1 = ground(world.limits)
    rim = (x < gx0) | (x > gx1) | (y < gy0) | (y > gy1)
    rows = world.spawn(OTHER, int(np.count_nonzero(rim)))
    world[Position].x[rows], world[Position].y[rows] = x[rim], y[rim]


def join(world: World, tick: Tick, _session: int, _name: str) -> int:
    """An avatar somewhere on the ground of its region."""
    rows = world.spawn(AVATAR)
    x0, y0, x1, y1 = ground_within(world.bounds, world.limits)
    world[Position].x[rows] = Random(tick.seed, 0, "x").uniform(rows, x0, x1)
    world[Position].y[rows] = Random(tick.seed, 0, "y").uniform(rows, y0, y1)
    head_anywhere(world, tick, rows)
    return int(rows[0])


def walk(world: World, tick: Tick) -> None:
    """The crowd moves, and turns around where the rim begins."""
    walk_within(world, tick, world.rows(Position, Heading), ground(world.limits))


def pace(world: World, tick: Tick) -> None:
    """The others move as much, and stay where they are."""
    rows = world.rows_of(OTHER)
    way = 1.0 if tick.number // _PACE_TICKS % 2 == 0 else -1.0
    world[Position].x[rows] += np.float32(way * SPEED_UNITS_PER_S * tick.dt)


def ground_units(clients: int) -> float:
    """Edge of a square ground in which so many are as dense as the others, in whole cells."""
    return max(1, round(float(np.sqrt(clients / PER_CELL)))) * CELL_UNITS


GAME: Final = replace(
    CROWD,
    name="density",
    archetypes=(AVATAR, OTHER),
    systems=(steer, mark, walk, pace),
    setup=setup,
    join=join,
)
