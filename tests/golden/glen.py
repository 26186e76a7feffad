"""The glen: a frozen game. What released versions journalled of it has to replay to the same states for ever.

Nothing here may come to compute anything else: its journals are in the directories beside it. Names may follow
the engine's. It uses all that a state can depend on: randomness, deterministic maths, the grid, the past of
things, references, spawning and ending, commands of every kind, joins, leaves, and connections that come and go.
"""

from __future__ import annotations

import numpy as np

from protocol.schema import Wire
from server.regions.frame import RegionSpec
from server.regions.machine import RegionMachine
from server.sim import (
    F32,
    I32,
    U8,
    U32,
    U64,
    Archetype,
    Bytes,
    Command,
    Component,
    Event,
    Game,
    Grid,
    History,
    Rows,
    Tick,
    World,
    arg,
    column,
    dmath,
)
from tests.support.life import SHARD


class Position(Component):
    x: F32 = column(np.float32, wire=Wire("u16", scale=1 / 64, axis="x"))
    y: F32 = column(np.float32, wire=Wire("u16", scale=1 / 64, axis="y"))


class Flight(Component):
    # Radians, and units per second.
    way: F32 = column(np.float32)
    pace: F32 = column(np.float32, default=2.0)
    # Who is followed.
    after: U64 = column(np.uint64)


class Purse(Component):
    coins: U32 = column(np.uint32, wire=Wire("u32"))
    name: Bytes = column("S16", wire=Wire("utf8", size=16))
    here: U8 = column(np.uint8, default=1, wire=Wire("u8"))


class Glow(Component):
    light: F32 = column(np.float32, default=1.0, wire=Wire("f32"))
    hits: I32 = column(np.int32)


PAST = History(Position, ticks=6)
MOTH = Archetype("moth", Position, Flight, Glow, PAST.trail)
WALKER = Archetype("walker", Position, Flight, Purse, PAST.trail)


class Turn(Command):
    latest_wins = True
    dx: F32 = arg("f32", min=-1, max=1)
    dy: F32 = arg("f32", min=-1, max=1)


class Catch(Command):
    """A moth, where it was some ticks ago."""

    whom: Rows = arg("entity")
    ago: U8 = arg("u8", max=8)


class Pay(Command):
    reliable = True
    amount: U8 = arg("u8", max=100)


class Sing(Command):
    text: Bytes = arg("utf8", size=16)


class Sung(Event):
    text: Bytes = arg("utf8", size=16)


def setup(world: World, tick: Tick) -> None:
    rows = world.spawn(MOTH, 40)
    x0, y0, x1, y1 = world.bounds
    world[Position].x[rows] = tick.random("x").uniform(rows, x0, x1)
    world[Position].y[rows] = tick.random("y").uniform(rows, y0, y1)
    world[Flight].way[rows] = tick.random("way").uniform(rows, -3.0, 3.0)


def join(world: World, tick: Tick, session: int, name: str) -> int:
    rows = world.spawn(WALKER)
    x0, y0, x1, y1 = world.bounds
    world[Position].x[rows] = tick.random("x").uniform(rows, x0, x1)
    world[Position].y[rows] = tick.random("y").uniform(rows, y0, y1)
    world[Purse].name[rows] = name.encode()[:16]
    return int(rows[0])


def away(world: World, tick: Tick, row: int) -> None:
    world[Purse].here[row] = 0


def back(world: World, tick: Tick, row: int) -> None:
    world[Purse].here[row] = 1


def turn(world: World, tick: Tick) -> None:
    turns = tick.commands(Turn)
    world[Flight].way[turns.row] = dmath.atan2(turns.dy, turns.dx)
    world[Flight].pace[turns.row] = np.minimum(dmath.hypot(turns.dx, turns.dy), np.float32(1.0)) * np.float32(5.0)


def flutter(world: World, tick: Tick) -> None:
    """Moths turn at random, and after whom they follow."""
    rows = world.rows_of(MOTH)
    flight, place = world[Flight], world[Position]
    whims = rows[tick.random("whim").chance(rows, 0.2)]
    flight.way[whims] += tick.random("turn").uniform(whims, -0.7, 0.7)
    led = world.resolve(flight.after[rows])
    rows, led = rows[led >= 0], led[led >= 0]
    dx, dy = dmath.normalise(place.x[led] - place.x[rows], place.y[led] - place.y[rows])
    flight.way[rows] = dmath.atan2(dy, dx)


def crowd(world: World, tick: Tick) -> None:
    """Who is too near to others is pushed away; a moth falls in love with the nearest walker."""
    rows = world.rows(Position)
    place = world[Position]
    x, y = place.x[rows], place.y[rows]
    grid = Grid(x, y, world.bounds, cell=8.0)
    i, j, distance2 = grid.pairs(4.0)
    push = dmath.exp(-distance2)
    dx, dy = dmath.normalise(x[i] - x[j], y[i] - y[j])
    n = len(rows)
    ends = np.concatenate([i, j])
    place.x[rows] += dmath.segment_sum(np.concatenate([push * dx, -push * dx]), ends, n).astype(np.float32)
    place.y[rows] += dmath.segment_sum(np.concatenate([push * dy, -push * dy]), ends, n).astype(np.float32)
    walkers = world.rows_of(WALKER)
    if walkers.size:
        near = Grid(place.x[walkers], place.y[walkers], world.bounds)
        moths = world.rows_of(MOTH)
        found, _ = near.nearest(place.x[moths], place.y[moths], 1, 20.0)
        lovers = (found[:, 0] >= 0) & tick.random("love").chance(moths, 0.05)
        world[Flight].after[moths[lovers]] = world.ref(walkers[found[lovers, 0]])


def fly(world: World, tick: Tick) -> None:
    rows = world.rows(Position, Flight)
    place, flight = world[Position], world[Flight]
    sine, cosine = dmath.sincos(flight.way[rows])
    step = flight.pace[rows] * np.float32(tick.dt)
    x0, y0, x1, y1 = world.bounds
    place.x[rows] = np.clip(place.x[rows] + cosine * step, np.float32(x0), np.float32(x1))
    place.y[rows] = np.clip(place.y[rows] + sine * step, np.float32(y0), np.float32(y1))


def catch(world: World, tick: Tick) -> None:
    """Those that were near enough where the catcher saw them."""
    caught = tick.commands(Catch)
    moths = world.known(caught.whom, Glow)
    good = moths >= 0
    moths, by, ago = moths[good], caught.row[good], caught.ago[good].astype(np.int64)
    x, y = PAST.at(world, tick.number - 1 - ago, moths)
    near = dmath.hypot(x - world[Position].x[by], y - world[Position].y[by]) < np.float32(12.0)
    np.add.at(world[Glow].hits, moths[near], 1)
    np.add.at(world[Purse].coins, by[near], 1)


def trade(world: World, tick: Tick) -> None:
    pays = tick.commands(Pay)
    np.add.at(world[Purse].coins, pays.row, pays.amount.astype(np.uint32))


def sing(world: World, tick: Tick) -> None:
    sung = tick.commands(Sing)
    tick.emit(Sung, text=sung.text)


def fade(world: World, tick: Tick) -> None:
    """Light fades with age and hits; a moth without any ends, and others come."""
    rows = world.rows_of(MOTH)
    glow = world[Glow]
    glow.light[rows] *= dmath.exp(np.float32(-0.002) * (np.float32(1.0) + dmath.log(glow.hits[rows] + np.float32(1.0))))
    world.despawn(rows[glow.light[rows] < np.float32(0.8)])
    if tick.number % 9 == 0:
        new = world.spawn(MOTH, 2)
        x0, y0, x1, y1 = world.bounds
        world[Position].x[new] = tick.random("x").uniform(new, x0, x1)
        world[Position].y[new] = tick.random("y").uniform(new, y0, y1)
        world[Flight].pace[new] = np.float32(1.0) + tick.random("pace").integers(new, 4).astype(np.float32)


GAME = Game(
    name="glen",
    version=1,
    position=Position,
    archetypes=(MOTH, WALKER),
    commands=(Turn, Catch, Pay, Sing),
    events=(Sung,),
    systems=(turn, flutter, crowd, fly, PAST.record, catch, trade, sing, fade),
    setup=setup,
    join=join,
    away=away,
    back=back,
)


def region() -> RegionMachine:
    """The glen at its first tick."""
    return RegionMachine(GAME, RegionSpec(SHARD, -64.0, 32.0, 96.0, 96.0, 256), seed=20_26, tick_rate_hz=20.0)
