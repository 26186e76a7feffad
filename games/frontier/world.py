"""How the frontier looks at tick 0: hamlets, forests, rocks, berries, herds and packs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from games.frontier.components import (
    BEAR,
    BUSH,
    CAMPFIRE,
    DEER,
    ROCK,
    SHEEP,
    TREE,
    WOLF,
    Position,
    Stock,
)
from games.frontier.constants import (
    CREATURES_PER_MILLION,
    EDGE_UNITS,
    FIRE_FOR_EVER,
    HAMLET_SPACING_UNITS,
    NODES_PER_MILLION,
)
from server.sim import F32, Archetype, CapacityError, Random, Rows, Tick, World

# The part of a region's rows that setup may fill; the rest is for players, kills and fires.
FILL_FRACTION: Final = 0.7


@dataclass(frozen=True, slots=True)
class Placing:
    """How one kind of thing lies about."""

    archetype: Archetype
    per_million: int
    # They come in groups of this many, within this distance of the group's middle on either axis.
    group: int
    spread_units: float
    # Of a resource: how often one can take from it.
    stock: int = 0


PLACINGS: Final = (
    Placing(TREE, NODES_PER_MILLION["tree"], 40, 48.0, 8),
    Placing(ROCK, NODES_PER_MILLION["rock"], 6, 14.0, 6),
    Placing(BUSH, NODES_PER_MILLION["bush"], 7, 18.0, 5),
    Placing(DEER, CREATURES_PER_MILLION["deer"], 24, 16.0),
    Placing(SHEEP, CREATURES_PER_MILLION["sheep"], 30, 16.0),
    Placing(WOLF, CREATURES_PER_MILLION["wolf"], 5, 8.0),
    Placing(BEAR, CREATURES_PER_MILLION["bear"], 1, 0.0),
)


def setup(world: World, tick: Tick) -> None:
    """Fill an empty world. Raises nothing: a region of few rows is filled thinner."""
    light_hamlets(world)
    for placing in PLACINGS:
        rows = world.spawn(placing.archetype, target_count(world, placing))
        x, y = in_groups(world, tick.random(placing.archetype.name), rows.size, placing)
        put(world, rows, x, y)
        if placing.stock:
            world[Stock].amount[rows] = world[Stock].full[rows] = placing.stock


def target_count(world: World, placing: Placing) -> int:
    """How many of a kind this region should have."""
    x0, y0, x1, y1 = world.bounds
    millions = (x1 - x0) * (y1 - y0) / 1e6
    total = sum(p.per_million for p in PLACINGS) * millions  # exact: integers
    thinner = min(1.0, world.capacity * FILL_FRACTION / total)
    return int(placing.per_million * millions * thinner)


def hamlets(world: World) -> tuple[F32, F32]:
    """Places of the fires that never go out, (n,) float32 each: a lattice, one at the least."""
    x0, y0, x1, y1 = world.bounds
    across = max(1, int((x1 - x0) / HAMLET_SPACING_UNITS))
    down = max(1, int((y1 - y0) / HAMLET_SPACING_UNITS))
    i = np.arange(across * down)
    x = x0 + (x1 - x0) * ((i % across) + 0.5) / across
    y = y0 + (y1 - y0) * ((i // across) + 0.5) / down
    return x.astype(np.float32), y.astype(np.float32)


def light_hamlets(world: World) -> None:
    """A fire in every hamlet."""
    x, y = hamlets(world)
    rows = world.spawn(CAMPFIRE, x.size)
    put(world, rows, x, y)
    world[Stock].amount[rows] = world[Stock].full[rows] = FIRE_FOR_EVER


def in_groups(world: World, random: Random, n: int, placing: Placing) -> tuple[F32, F32]:
    """Places for `n` things in groups, (n,) float32 each, not yet clamped."""
    x0, y0, x1, y1 = world.bounds
    member = np.arange(n)
    # Streams of numbers far apart: groups first, then members.
    group = member // placing.group
    scatter = 1_000_000 + 4 * member
    spread = placing.spread_units
    x = random.uniform(2 * group, x0, x1) + around(random, scatter, spread)
    y = random.uniform(2 * group + 1, y0, y1) + around(random, scatter + 2, spread)
    return x, y


def around(random: Random, counters: Rows, spread: float) -> F32:
    """(n,) float32 in (-spread, spread), likelier near 0. Draws counters and counters + 1."""
    return random.uniform(counters, -0.5 * spread, 0.5 * spread) + random.uniform(
        counters + 1, -0.5 * spread, 0.5 * spread
    )


def spawn_if_room(world: World, archetype: Archetype, n: int) -> Rows:
    """Like World.spawn, but nothing (no rows) where the region is full: a game goes on without."""
    try:
        return world.spawn(archetype, n)
    except CapacityError:
        return np.zeros(0, np.int64)


def put(world: World, rows: Rows, x: F32, y: F32) -> None:
    """Place entities, inside the world whatever x and y say: outside the region they go over to the next one."""
    position = world[Position]
    position.x[rows], position.y[rows] = clamped(world, x, y)


def clamped(world: World, x: F32, y: F32) -> tuple[F32, F32]:
    """The nearest places inside the world; its far edges are no part of it."""
    x0, y0, x1, y1 = world.limits
    return (
        np.minimum(np.maximum(x, np.float32(x0)), np.float32(x1 - EDGE_UNITS)),
        np.minimum(np.maximum(y, np.float32(y0)), np.float32(y1 - EDGE_UNITS)),
    )
