"""A small game for tests of several regions: walkers with purses, who go where they are told, pay and are hit.

Coins are conserved: what one gives another gets, wherever it is.
"""

from __future__ import annotations

import numpy as np

from server.regions.atlas import Atlas
from server.regions.frame import RegionSpec
from server.regions.machine import RegionMachine
from server.sim import (
    F32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Archetype,
    Command,
    Component,
    Event,
    Game,
    Mail,
    Rows,
    Tick,
    Wire,
    World,
    arg,
    column,
)

COINS = 100


class Position(Component):
    x: F32 = column(np.float32, wire=Wire("u16", scale=1 / 64, axis="x"))
    y: F32 = column(np.float32, wire=Wire("u16", scale=1 / 64, axis="y"))


class Going(Component):
    vx: F32 = column(np.float32)
    vy: F32 = column(np.float32)


class Body(Component):
    health: U8 = column(np.uint8, default=100, wire=Wire("u8"))
    # Private.
    scars: U16 = column(np.uint16, shape=(3,))


class Purse(Component):
    """Private."""

    coins: I64 = column(np.int64, default=COINS)
    # Tick at which it was last filled, and a reference to who sits beside it.
    filled_tick: I64 = column(np.int64)
    beside: U64 = column(np.uint64)


class Go(Command):
    """At this speed, units per tick."""

    latest_wins = True
    vx: F32 = arg("f32")
    vy: F32 = arg("f32")


class Pay(Command):
    """So many coins to the entity of this number, given as two halves."""

    reliable = True
    coins: U8 = arg("u8")
    low: U32 = arg("u32")
    high: U32 = arg("u32")


class Burst(Command):
    """Hit all within a radius of oneself."""

    radius: F32 = arg("f32")


class Coins(Mail):
    coins: U8 = arg("u8")
    payer: U64 = arg("entity")


class Hit(Mail):
    damage: U8 = arg("u8")


class Bell(Mail):
    """Without arguments."""


class Rang(Event):
    """A bell was heard."""


WALKER = Archetype("walker", Position, Going, Body, Purse)
SHEEP = Archetype("sheep", Position, Going, Body)
STONE = Archetype("stone", Position)
# Without a place: it goes nowhere.
SKY = Archetype("sky", Body)


def setup(world: World, tick: Tick) -> None:
    world.spawn(SKY)
    place(world, tick, world.spawn(STONE, 3))


def place(world: World, tick: Tick, rows: Rows) -> None:
    x0, y0, x1, y1 = world.bounds
    world[Position].x[rows] = tick.random("x").uniform(rows, x0, x1)
    world[Position].y[rows] = tick.random("y").uniform(rows, y0, y1)


def join(world: World, tick: Tick, session: int, name: str) -> int:
    rows = world.spawn(WALKER)
    place(world, tick, rows)
    return int(rows[0])


def away(world: World, tick: Tick, row: int) -> None:
    world[Body].scars[row, 2] += 1


def arrive(world: World, tick: Tick, rows: Rows, ticks: I64) -> None:
    purse = world[Purse]
    filled = rows[(purse.filled_tick[rows] > 0) & world.is_a(rows, WALKER)]
    purse.filled_tick[filled] += ticks[np.isin(rows, filled)]
    purse.beside[rows] = 0


def hear(world: World, tick: Tick) -> None:
    coins = tick.mail(Coins)
    np.add.at(world[Purse].coins, coins.row, coins.coins.astype(np.int64))
    world[Purse].filled_tick[coins.row] = tick.number
    hits = tick.mail(Hit)
    px, py = world[Position].x, world[Position].y
    bodies = world.rows(Position, Body)
    for row, x, y, radius, damage in zip(hits.row, hits.x, hits.y, hits.radius, hits.damage, strict=True):
        near = np.array([row])
        if row < 0:
            dx, dy = px[bodies] - x, py[bodies] - y
            near = bodies[dx * dx + dy * dy <= radius * radius]
        world[Body].health[near] -= np.minimum(damage, world[Body].health[near])
        world[Body].scars[near, 0] += 1
    if len(tick.mail(Bell)):
        tick.emit(Rang)


def give(world: World, tick: Tick) -> None:
    """Coins leave a purse here, and come into another wherever that is; and bursts."""
    pays = tick.commands(Pay)
    np.subtract.at(world[Purse].coins, pays.row, pays.coins.astype(np.int64))
    payees = pays.low.astype(np.uint64) | pays.high.astype(np.uint64) << np.uint64(32)
    tick.send(Coins, to=payees, coins=pays.coins, payer=world.id_of(pays.row))
    bursts = tick.commands(Burst)
    position = world[Position]
    tick.send(Hit, at=(position.x[bursts.row], position.y[bursts.row], bursts.radius), damage=7)


def go(world: World, tick: Tick) -> None:
    orders = tick.commands(Go)
    world[Going].vx[orders.row] = orders.vx
    world[Going].vy[orders.row] = orders.vy
    rows = world.rows(Position, Going)
    x0, y0, x1, y1 = world.limits
    position, going = world[Position], world[Going]
    position.x[rows] = np.clip(position.x[rows] + going.vx[rows], x0, x1)
    position.y[rows] = np.clip(position.y[rows] + going.vy[rows], y0, y1)


def pay(session: int, seq: int, coins: int, payee: int) -> tuple[object, ...]:
    """An order to pay an entity, by its number."""
    return ("Pay", session, seq, coins, payee & 0xFFFFFFFF, payee >> 32)


GAME = Game(
    name="march",
    version=1,
    position=Position,
    archetypes=(WALKER, SHEEP, STONE, SKY),
    commands=(Go, Pay, Burst),
    events=(Rang,),
    mail=(Coins, Hit, Bell),
    systems=(hear, give, go),
    setup=setup,
    join=join,
    away=away,
    arrive=arrive,
)
# Two by two regions of 64 by 64, numbered 3 to 6.
ATLAS = Atlas.grid(RegionSpec(3, -64.0, -64.0, 128.0, 128.0, 64, 8.0), columns=2, rows=2, forward_ticks=50)


def region(number: int, *, game: Game = GAME, atlas: Atlas = ATLAS, seed: int = 5) -> RegionMachine:
    """A fresh region of this game. Every fifth frame carries a digest."""
    return RegionMachine(game, atlas[number], seed=seed, tick_rate_hz=20.0, digest_every_ticks=5, atlas=atlas)
