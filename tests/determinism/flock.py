"""A small game that leans on everything deterministic: birds that flock, tire, breed and vanish."""

from __future__ import annotations

import numpy as np

from server.sim import (
    F32,
    Archetype,
    Bool,
    Command,
    Component,
    Event,
    Game,
    Grid,
    History,
    Tick,
    Wire,
    World,
    arg,
    column,
    dmath,
)

SIGHT_UNITS = 12.0


class Position(Component):
    x: F32 = column(np.float32, wire=Wire("u16", scale=1 / 64, axis="x"))
    y: F32 = column(np.float32, wire=Wire("u16", scale=1 / 64, axis="y"))


class Flight(Component):
    # Radians, and units per second.
    heading: F32 = column(np.float32)
    speed: F32 = column(np.float32, default=6.0)
    strength: F32 = column(np.float32, default=1.0)
    resting: Bool = column(np.bool_, wire=Wire("bool"))


class Steer(Command):
    latest_wins = True
    heading: F32 = arg("f32", min=-4, max=4)


class Call(Command):
    reliable = True
    number: int = arg("u8", min=1, max=5)


class Startle(Command):
    whom: int = arg("entity")


class Cried(Event):
    loudness: int = arg("u8")


HISTORY = History(Position, ticks=8)
BIRD = Archetype("bird", Position, Flight, HISTORY.trail)
PLAYER = Archetype("player", Position, Flight, HISTORY.trail)


def place(world: World, tick: Tick, rows: np.ndarray, stream: str) -> None:
    x0, y0, x1, y1 = world.bounds
    world[Position].x[rows] = tick.random(f"{stream} x").uniform(rows, x0, x1)
    world[Position].y[rows] = tick.random(f"{stream} y").uniform(rows, y0, y1)
    world[Flight].heading[rows] = tick.random(f"{stream} heading").uniform(rows, -3.0, 3.0)


def setup(world: World, tick: Tick) -> None:
    place(world, tick, world.spawn(BIRD, 300), "birth")


def join(world: World, tick: Tick, session: int, name: str) -> int:
    rows = world.spawn(PLAYER)
    place(world, tick, rows, "join")
    return int(rows[0])


def obey(world: World, tick: Tick) -> None:
    steered = tick.commands(Steer)
    world[Flight].heading[steered.row] = steered.heading
    calls = tick.commands(Call)
    for row, number in zip(calls.row.tolist(), calls.number.tolist(), strict=True):
        if world.count > 500:
            break
        place(world, tick, world.spawn(BIRD, number), "call")
        tick.emit(Cried, at=(world[Position].x[[row]], world[Position].y[[row]]), loudness=number)
    startled = tick.commands(Startle)
    rows = world.known(startled.whom, Flight)
    seen_x, _ = HISTORY.at(world, tick.number - 3, rows[rows >= 0])
    world[Flight].speed[rows[rows >= 0]] += np.where(seen_x > 50, np.float32(2), np.float32(1))


def flock(world: World, tick: Tick) -> None:
    rows = world.rows(Position, Flight)
    position, flight = world[Position], world[Flight]
    x, y = position.x[rows], position.y[rows]
    grid = Grid(x, y, world.bounds, SIGHT_UNITS)
    near = grid.radius(x, y, SIGHT_UNITS)
    count = np.maximum(np.diff(near.offsets), 1)
    sine, cosine = dmath.sincos(flight.heading[rows])
    weight = dmath.exp(-dmath.hypot(x[near.index] - x[near.query], y[near.index] - y[near.query]) * np.float32(0.2))
    ux = dmath.segment_sum(cosine[near.index] * weight, near.query, rows.size) / count
    uy = dmath.segment_sum(sine[near.index] * weight, near.query, rows.size) / count
    first, distance2 = grid.nearest(x, y, 1, SIGHT_UNITS, exclude=np.arange(rows.size))
    close = distance2[:, 0] < 4
    away = np.where(first[:, 0] >= 0, first[:, 0], 0)
    dx, dy = dmath.normalise(x - x[away], y - y[away])
    ux, uy = np.where(close, ux + dx, ux), np.where(close, uy + dy, uy)
    turn = dmath.atan2(uy, ux) + tick.random("turn").uniform(rows, -0.3, 0.3)
    flight.heading[rows] = np.where(tick.random("will").chance(rows, 0.3), turn, flight.heading[rows])


def move(world: World, tick: Tick) -> None:
    rows = world.rows(Position, Flight)
    position, flight = world[Position], world[Flight]
    x0, y0, x1, y1 = world.bounds
    sine, cosine = dmath.sincos(flight.heading[rows])
    step = flight.speed[rows] * np.float32(tick.dt)
    x, y = position.x[rows] + cosine * step, position.y[rows] + sine * step
    outside = (x < x0) | (x > x1) | (y < y0) | (y > y1)
    flight.heading[rows[outside]] *= np.float32(-0.7)
    position.x[rows], position.y[rows] = np.clip(x, x0, x1), np.clip(y, y0, y1)
    flight.speed[rows] = np.minimum(flight.speed[rows], np.float32(9)) * np.float32(0.999) + np.float32(0.005)
    flight.strength[rows] -= dmath.log(1 + flight.speed[rows]) * np.float32(0.0005)
    flight.resting[rows] = flight.strength[rows] < np.float32(0.2)


def live_and_die(world: World, tick: Tick) -> None:
    birds = world.rows_of(BIRD)
    spent = (world[Flight].strength[birds] < 0) | tick.random("fate").chance(birds, 0.002)
    world.despawn(birds[spent])
    missing = 300 - int(np.count_nonzero(~spent))
    if missing > 0:
        place(world, tick, world.spawn(BIRD, missing), "birth")


GAME = Game(
    name="flock",
    version=1,
    position=Position,
    archetypes=(BIRD, PLAYER),
    commands=(Steer, Call, Startle),
    events=(Cried,),
    setup=setup,
    join=join,
    systems=(obey, flock, move, HISTORY.record, live_and_die),
)
