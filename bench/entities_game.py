"""Many entities in one region, all of them moving every tick: the price of state and frame, without a network."""

from __future__ import annotations

from typing import Final

import numpy as np

from bench.crowd_game import SCALE
from protocol.schema import Wire
from server.sim.component import F32, Archetype, Component, column
from server.sim.game import Game, Tick
from server.sim.world import World

# A square that 16 bits of SCALE span.
WORLD_UNITS: Final = 2047.0
SPEED_UNITS_PER_S: Final = 6.0


class Position(Component):
    """Where a drifter is."""

    x: F32 = column(np.float32, wire=Wire("u16", scale=SCALE, axis="x"))
    y: F32 = column(np.float32, wire=Wire("u16", scale=SCALE, axis="y"))


class Velocity(Component):
    """World units per second, private."""

    x: F32 = column(np.float32)
    y: F32 = column(np.float32)


DRIFTER = Archetype("drifter", Position, Velocity)


def drift(world: World, tick: Tick) -> None:
    """Everyone moves, and turns around at the border.

    There is one archetype and nobody ends, so rows 0 to high_water are all drifters, and whole
    columns are worked on in place: the way a game treats its most numerous kind.
    """
    n = world.high_water
    place, velocity = world[Position], world[Velocity]
    x0, y0, x1, y1 = world.bounds
    for position, speed, low, high in ((place.x, velocity.x, x0, x1), (place.y, velocity.y, y0, y1)):
        there, way = position[:n], speed[:n]
        there += way * np.float32(tick.dt)
        out = (there < np.float32(low)) | (there > np.float32(high))
        np.negative(way, out=way, where=out)
        np.maximum(there, np.float32(low), out=there)
        np.minimum(there, np.float32(high), out=there)


def nobody(_world: World, _tick: Tick, _session: int, _name: str) -> int:
    """No client ever joins."""
    raise AssertionError


def entities_game(count: int) -> Game:
    """The game that begins with `count` drifters."""

    def setup(world: World, tick: Tick) -> None:
        rows = world.spawn(DRIFTER, count)
        x0, y0, x1, y1 = world.bounds
        place, velocity = world[Position], world[Velocity]
        place.x[rows] = tick.random("x").uniform(rows, x0, x1)
        place.y[rows] = tick.random("y").uniform(rows, y0, y1)
        # At least a step of the wire per tick along x, so that everyone's change travels.
        pace = tick.random("pace").uniform(rows, SPEED_UNITS_PER_S / 4, SPEED_UNITS_PER_S)
        velocity.x[rows] = np.where(tick.random("way").chance(rows, 0.5), pace, -pace)
        velocity.y[rows] = tick.random("vy").uniform(rows, -SPEED_UNITS_PER_S, SPEED_UNITS_PER_S)

    return Game(
        name="entities",
        version=1,
        position=Position,
        archetypes=(DRIFTER,),
        systems=(drift,),
        setup=setup,
        join=nobody,
    )
