"""The crowd: N avatars, one per client, every one of them moving every tick.

The plainest game that fills a server's day. What it measures is the engine: one system walks, the other
two take commands.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from protocol.schema import Wire
from server.sim.component import F32, U8, Archetype, Component, Rows, column
from server.sim.game import FIRST_COMMAND, Command, Game, Tick, arg
from server.sim.rng import Random
from server.sim.world import World

# World units per step of a coordinate on the wire: 16 bits span 2,048 units.
SCALE: Final = 1 / 32
SPEED_UNITS_PER_S: Final = 4.0
CELL_UNITS: Final = 32.0
# Cells seen around one's own: a square of 5 by 5.
NEAR_CELLS: Final = 2
VISIBLE: Final = 40.0
_WORLD_UNITS_MAX: Final = 2047.0


class Position(Component):
    """Where an avatar is."""

    x: F32 = column(np.float32, wire=Wire("u16", scale=SCALE, axis="x"))
    y: F32 = column(np.float32, wire=Wire("u16", scale=SCALE, axis="y"))


class Heading(Component):
    """Where it is going: a unit vector, private."""

    dx: F32 = column(np.float32, default=1.0)
    dy: F32 = column(np.float32)


class Mark(Component):
    """A number its client chose: the time until it shows is the time an input takes."""

    value: U8 = column(np.uint8, wire=Wire("u8"))


class Move(Command):
    """Go that way."""

    latest_wins = True
    dx: F32 = arg("f32", min=-1, max=1)
    dy: F32 = arg("f32", min=-1, max=1)


class SetMark(Command):
    """Carry this number."""

    value: U8 = arg("u8")


AVATAR = Archetype("avatar", Position, Heading, Mark)


def setup(_world: World, _tick: Tick) -> None:
    """Nobody is here before the clients."""


def join(world: World, tick: Tick, _session: int, _name: str) -> int:
    """An avatar somewhere."""
    return come(world, tick, AVATAR)


def come(world: World, tick: Tick, archetype: Archetype) -> int:
    """One of this archetype, at a place that depends on its row alone: the crowd is the same however fast it connects.

    The archetype has Position and Heading. Returns its row.
    """
    rows = world.spawn(archetype)
    x0, y0, x1, y1 = world.bounds
    place = world[Position]
    place.x[rows] = Random(tick.seed, 0, "x").uniform(rows, x0, x1)
    place.y[rows] = Random(tick.seed, 0, "y").uniform(rows, y0, y1)
    head_anywhere(world, tick, rows)
    return int(rows[0])


def head_anywhere(world: World, tick: Tick, rows: Rows) -> None:
    """Each of them in a direction that depends on its row alone."""
    way = world[Heading]
    dx = Random(tick.seed, 0, "dx").uniform(rows, 0.25, 1.0)
    dy = Random(tick.seed, 0, "dy").uniform(rows, -1.0, 1.0)
    length = np.sqrt(dx * dx + dy * dy)
    way.dx[rows] = dx / length
    way.dy[rows] = dy / length


def steer(world: World, tick: Tick) -> None:
    """Turn those who asked."""
    moves = tick.commands(Move)
    length = np.sqrt(moves.dx * moves.dx + moves.dy * moves.dy)
    asked = length > np.float32(1e-3)
    way = world[Heading]
    way.dx[moves.row[asked]] = moves.dx[asked] / length[asked]
    way.dy[moves.row[asked]] = moves.dy[asked] / length[asked]


def mark(world: World, tick: Tick) -> None:
    """Write down what they carry; of several in a tick the last."""
    marks = tick.commands(SetMark)
    world[Mark].value[marks.row] = marks.value


def walk(world: World, tick: Tick) -> None:
    """Everyone moves, and turns around at the world's edge."""
    walk_within(world, tick, world.rows(Position, Heading), world.limits)


def walk_within(world: World, tick: Tick, rows: Rows, bounds: tuple[float, float, float, float]) -> None:
    """They move, and turn around at these bounds: x0, y0, x1, y1."""
    place, way = world[Position], world[Heading]
    x0, y0, x1, y1 = bounds
    step = np.float32(SPEED_UNITS_PER_S * tick.dt)
    for position, heading, low, high in ((place.x, way.dx, x0, x1), (place.y, way.dy, y0, y1)):
        there = position[rows] + heading[rows] * step
        out = (there < low) | (there > high)
        heading[rows[out]] *= np.float32(-1.0)
        there[out] = np.minimum(np.maximum(there[out], np.float32(low)), np.float32(high))
        position[rows] = there


GAME = Game(
    name="crowd",
    version=1,
    position=Position,
    archetypes=(AVATAR,),
    commands=(Move, SetMark),
    systems=(steer, mark, walk),
    setup=setup,
    join=join,
)
MOVE: Final = FIRST_COMMAND
SET_MARK: Final = FIRST_COMMAND + 1


def world_units_for(clients: int, visible: float = VISIBLE) -> float:
    """Edge of the square world in which `clients` avatars see `visible` each, themselves among them.

    Those near an edge see less, so the world is smaller than clients / density. A crowd too small
    for that gets the smallest world of five by five cells.
    """
    low, high = 5 * CELL_UNITS, _WORLD_UNITS_MAX
    for _ in range(60):
        middle = (low + high) / 2
        if 1 + (clients - 1) * _share_seen(middle) ** 2 > visible:
            low = middle
        else:
            high = middle
    return round(low, 3)


def _share_seen(edge_units: float) -> float:
    """Along one axis, the share of the world that somebody at an even chance of being anywhere sees."""
    edge = edge_units / CELL_UNITS
    total = 0.0
    for cell in range(int(np.ceil(edge))):
        width = min(cell + 1.0, edge) - cell
        total += width * (min(cell + NEAR_CELLS + 1.0, edge) - max(cell - NEAR_CELLS, 0))
    return total / edge**2
