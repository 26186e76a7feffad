"""What all creatures share: when they think, where the wind leads them, how they walk, how many there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from games.frontier.avatar import coarse_angle
from games.frontier.components import (
    AVATAR,
    CAMPFIRE,
    CREATURES,
    Heading,
    Health,
    Mind,
    Mood,
    Motion,
    Position,
    State,
)
from games.frontier.constants import ticks
from games.frontier.world import PLACINGS, Placing, around, clamped, put, spawn_if_room, target_count
from server.sim import F32, Bool, Far, Random, Rows, Tick, World
from server.sim.grid import Grid

# A creature thinks every so many ticks: predators at one of them, herd animals at the others, those of one strip of the
# region together. So who thinks together is near together: what they look each other up in holds few besides them, and
# each pair is compared once.
THINK_EVERY_TICKS: Final = 5
PREDATORS_TURN: Final = THINK_EVERY_TICKS - 1
# Strips, and from how many herd animals on there are more: then every tick has as much to do. With fewer it is the
# number of batches that costs, not that of animals: four cost half as much again as two.
STRIPS: Final = 2
STRIPS_OF_MANY: Final = THINK_EVERY_TICKS - 1
MANY: Final = 8192
# Calm creatures farther than this from every player walk once in so many ticks: outside of what is shown at every tick,
# where no more is shown of them than that.
FAR_UNITS: Final = 104.0
FAR_EVERY_TICKS: Final = 4
# Herd animals among them think at every second of their turns: at every fourth a third of their frights did not happen.
FAR_EVERY_THOUGHTS: Final = 2
# A creature's heading takes one of 16 values.
HEADING_STEPS: Final = 16
# All of a kind that are in one square of this side are drawn the same way, for so long.
WIND_CELL_UNITS: Final = 128.0
WIND_HOLDS_S: Final = 15.0
# From here on creatures turn back from the world's edge.
SHY_OF_EDGE_UNITS: Final = 20.0
# Slower than this is standing still.
STANDSTILL_UNITS_PER_S: Final = 0.35

BIRTHS_EVERY_S: Final = 1.0
BIRTHS_MAX: Final = 6
BIRTH_SPREAD_UNITS: Final = 6.0
# No animal appears nearer than this to a player or a fire.
BIRTH_AWAY_UNITS: Final = 72.0


# -- systems -------------------------------------------------------------------


def walk_creatures(world: World, tick: Tick) -> None:
    """Everything that moves on its own does."""
    who, n = world.mask_of(*CREATURES), world.high_water
    motion, position = world[Motion], world[Position]
    step_s = tick.steps_s(world)
    # All rows in place, for most of them are creatures; the others are left as they are.
    x, y = clamped(world, position.x[:n] + motion.vx[:n] * step_s, position.y[:n] + motion.vy[:n] * step_s)
    np.copyto(position.x[:n], x, where=who)
    np.copyto(position.y[:n], y, where=who)


def breed(world: World, tick: Tick) -> None:
    """Where a kind has grown rare, young appear beside their kin, out of players' sight."""
    if tick.number % ticks(BIRTHS_EVERY_S, tick):
        return
    for placing in PLACINGS:
        if placing.archetype in CREATURES:
            x, y = births(world, tick.random(placing.archetype.name), placing)
            young = spawn_if_room(world, placing.archetype, x.size)
            put(world, young, x[: young.size], y[: young.size])


# -- leaves --------------------------------------------------------------------


def strip(world: World, number: int, strips: int) -> tuple[np.float32, np.float32]:
    """From which y up to which y the region's strip of this number reaches, of so many from its top to its bottom."""
    _, top, _, bottom = world.bounds
    height = (bottom - top) / strips
    # Who is just past the region's border is still its own.
    low = top + height * number if number else -np.inf
    high = top + height * (number + 1) if number < strips - 1 else np.inf
    return np.float32(low), np.float32(high)


def calm(world: World) -> Bool:
    """(high_water,) bool: creatures that hunt nobody and fear nobody. A chase is as exact where no one sees it."""
    mind, n = world[Mind], world.high_water
    mood = mind.mood[:n]
    result: Bool = world.mask_of(*CREATURES) & (mind.alarm[:n] == 0) & (mood != Mood.STALK) & (mood != Mood.CHASE)
    return result


FAR: Final = Far(FAR_EVERY_TICKS, FAR_UNITS, calm)


def places(world: World, rows: Rows) -> tuple[F32, F32]:
    """Where they are, (n,) float32 each."""
    position = world[Position]
    return position.x[rows], position.y[rows]


def wind(world: World, tick: Tick, rows: Rows) -> tuple[F32, F32, F32]:
    """Which way each creature is drawn, a unit vector, and how strongly, in [0, 1): (n,) float32 each.

    Herds stay together without knowing themselves as herds: all of a kind within one
    square feel the same wind.
    """
    x, y = places(world, rows)
    column = (x / np.float32(WIND_CELL_UNITS)).astype(np.int64)
    row = (y / np.float32(WIND_CELL_UNITS)).astype(np.int64)
    cell = ((row << 20) + column) * 16 + world.archetype[rows]
    # 21 bits of the same draw for each of the three.
    bits = Random(tick.seed, tick.number // ticks(WIND_HOLDS_S, tick), "wind").bits(cell)
    dx, dy, strength = (
        ((bits >> np.uint64(shift)) & np.uint64(0x1FFFFF)).astype(np.float32) * np.float32(2.0**-21)
        for shift in (0, 21, 42)
    )
    dx, dy = unit(np.stack((dx, dy)) - np.float32(0.5))
    return dx, dy, strength


def inward(world: World, x: F32, y: F32) -> tuple[F32, F32]:
    """A push away from the world's edges, 0 where none is near, 1 at the edge itself."""
    x0, y0, x1, y1 = world.limits
    shy = np.float32(SHY_OF_EDGE_UNITS)
    zero = np.float32(0)
    push_x = np.maximum(zero, np.float32(x0) + shy - x) - np.maximum(zero, x - (np.float32(x1) - shy))
    push_y = np.maximum(zero, np.float32(y0) + shy - y) - np.maximum(zero, y - (np.float32(y1) - shy))
    return push_x / shy, push_y / shy


def unit(vectors: F32) -> F32:
    """(2, n) vectors at length 1, (0, 0) for none; `normalise` takes three times as long, and any length."""
    x, y = vectors
    length: F32 = np.sqrt(x * x + y * y)
    divisor: F32 = np.maximum(length, np.float32(1e-12))
    return vectors / divisor


def pushed(dx: F32, dy: F32, distance2: F32, other_is_later: Bool, apart_units: float) -> tuple[F32, F32]:
    """The push away from a neighbour at offset (dx, dy): `apart_units` at the same place, 0 from there on.

    Two at the very same place part along x: who has the later row goes right.
    """
    distance: F32 = np.sqrt(distance2)
    strength = np.maximum(np.float32(0), np.float32(apart_units) - distance).astype(np.float32)
    scale = (strength / np.maximum(distance, np.float32(1e-6))).astype(np.float32)
    aside = np.where(distance2 == 0, np.where(other_is_later, -strength, strength), np.float32(0))
    return aside - dx * scale, -dy * scale


@dataclass(frozen=True, slots=True)
class Going:
    """How creatures want to go: (n,) each. Units per second; poses are what they look like on the move and at rest."""

    vx: F32
    vy: F32
    speed_max: F32
    moving: NDArray[np.integer]
    standing: NDArray[np.integer]


def steer(world: World, rows: Rows, going: Going) -> None:
    """Set creatures going, no faster than they can.

    Those nearly still stop altogether, so that a grazing herd costs nothing on the wire.
    """
    vx, vy = going.vx, going.vy
    speed = np.sqrt(vx * vx + vy * vy)
    still = speed < np.float32(STANDSTILL_UNITS_PER_S)
    within = np.minimum(np.float32(1), going.speed_max / np.maximum(speed, np.float32(1e-6)))
    scale = np.where(still, np.float32(0), within)
    vx, vy = vx * scale, vy * scale
    motion, state = world[Motion], world[State]
    motion.vx[rows], motion.vy[rows] = vx, vy
    state.pose[rows] = np.where(still, going.standing, going.moving)
    world[Heading].angle[rows[~still]] = coarse_angle(vx[~still], vy[~still], HEADING_STEPS)


def births(world: World, random: Random, placing: Placing) -> tuple[F32, F32]:
    """Places for new animals of a kind: beside living ones, or anywhere when none is left."""
    kin = world.rows_of(placing.archetype)
    missing = target_count(world, placing) - kin.size
    n = np.arange(max(0, min(missing, BIRTHS_MAX)))
    if kin.size:
        x, y = places(world, kin[random.integers(8 * n, kin.size)])
    else:
        x0, y0, x1, y1 = world.bounds
        x, y = random.uniform(8 * n, x0, x1), random.uniform(8 * n + 1, y0, y1)
    x, y = clamped(
        world,
        x + around(random, 8 * n + 2, BIRTH_SPREAD_UNITS),
        y + around(random, 8 * n + 4, BIRTH_SPREAD_UNITS),
    )
    apart = far_from(world, x, y, world.rows_of(AVATAR, CAMPFIRE), BIRTH_AWAY_UNITS)
    return x[apart], y[apart]


def far_from(world: World, x: F32, y: F32, others: Rows, distance_units: float) -> Bool:
    """(n,) bool: none of `others` is within the distance. For few places: compares all with all."""
    ox, oy = places(world, others)
    dx, dy = x[:, None] - ox, y[:, None] - oy
    apart = dx * dx + dy * dy > np.float32(distance_units * distance_units)
    result: Bool = np.logical_and.reduce(apart, axis=1)
    return result


def nearest_of(world: World, rows: Rows, others: Rows, distance_units: float) -> Rows:
    """(n,) the nearest of `others` within the distance, -1 for none. For few others: compares all with all."""
    if not rows.size or not others.size:
        return np.full(rows.size, -1, np.int64)
    (x, y), (ox, oy) = places(world, rows), places(world, others)
    dx, dy = x[:, None] - ox, y[:, None] - oy
    distance2 = dx * dx + dy * dy
    pick = np.argmin(distance2, axis=1)
    near = distance2[np.arange(rows.size), pick] <= np.float32(distance_units * distance_units)
    return np.where(near, others[pick], -1)


def grid_of(world: World, rows: Rows, cell_units: float) -> Grid:
    """A grid over these entities; what it finds are places in `rows`."""
    x, y = places(world, rows)
    return Grid(x, y, bounds=world.bounds, cell=cell_units)


def living(world: World, rows: Rows) -> Rows:
    """Those of `rows` with any health left."""
    return rows[world[Health].hp[rows] > 0]
