"""The vale: a frozen game of four regions. Its journals replay for as long as the rules between regions are the same.

Nothing here may come to compute anything else, as in the glen: between regions it uses all that a state can depend
on. One is divided and united. Entities and players cross borders, are sent mail wherever they went, by orders too
that name them by number or by handle, end on either side, and what was for them comes back.
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
    U32,
    U64,
    Archetype,
    Command,
    Component,
    Game,
    Mail,
    Rows,
    Tick,
    Wire,
    World,
    arg,
    column,
)


class Position(Component):
    x: F32 = column(np.float32, wire=Wire("u16", scale=1 / 64, axis="x"))
    y: F32 = column(np.float32, wire=Wire("u16", scale=1 / 64, axis="y"))


class Going(Component):
    dx: F32 = column(np.float32)
    dy: F32 = column(np.float32)


class Purse(Component):
    coins: I64 = column(np.int64, default=20)
    friend: U64 = column(np.uint64)
    seen_tick: U32 = column(np.uint32)


class Go(Command):
    latest_wins = True
    dx: F32 = arg("f32", min=-1, max=1)
    dy: F32 = arg("f32", min=-1, max=1)


class Give(Command):
    reliable = True
    whom: U64 = arg("entity")


class Coins(Mail):
    returns = True
    coins: U8 = arg("u8")
    giver: U64 = arg("entity")


class Gust(Mail):
    """Blows all that are in it about."""

    strength: F32 = arg("f32")


LEAF = Archetype("leaf", Position, Going, Purse)
RAMBLER = Archetype("rambler", Position, Going, Purse)
# Without a place.
BANK = Archetype("bank", Purse)


def setup(world: World, tick: Tick) -> None:
    world.spawn(BANK)
    rows = world.spawn(LEAF, 12)
    x0, y0, x1, y1 = world.bounds
    world[Position].x[rows] = tick.random("x").uniform(rows, x0, x1)
    world[Position].y[rows] = tick.random("y").uniform(rows, y0, y1)


def join(world: World, tick: Tick, session: int, name: str) -> int:
    rows = world.spawn(RAMBLER)
    x0, y0, x1, y1 = world.bounds
    world[Position].x[rows], world[Position].y[rows] = (x0 + x1) / 2, (y0 + y1) / 2
    return int(rows[0])


def arrive(world: World, tick: Tick, rows: Rows, ticks: I64) -> None:
    world[Purse].seen_tick[rows] = np.maximum(world[Purse].seen_tick[rows] + ticks, 0).astype(np.uint32)


def hear(world: World, tick: Tick) -> None:
    purse, going = world[Purse], world[Going]
    coins = tick.mail(Coins)
    np.add.at(purse.coins, coins.row, coins.coins.astype(np.int64))
    purse.seen_tick[coins.row] = tick.number
    bank = world.rows_of(BANK)
    if bank.size:
        purse.coins[bank] += int(tick.returned(Coins).coins.sum(dtype=np.int64))
    gusts = tick.mail(Gust)
    rows = world.rows(Position, Going)
    for x, y, radius, strength in zip(gusts.x, gusts.y, gusts.radius, gusts.strength, strict=True):
        near = rows[(np.abs(world[Position].x[rows] - x) < radius) & (np.abs(world[Position].y[rows] - y) < radius)]
        going.dx[near] = np.clip(going.dx[near] + strength, -1, 1)


def go(world: World, tick: Tick) -> None:
    orders, going, place = tick.commands(Go), world[Going], world[Position]
    leaves = world.rows_of(LEAF)
    whims = leaves[tick.random("whim").chance(leaves, 0.1)]
    going.dx[whims] = tick.random("dx").uniform(whims, -1.0, 1.0)
    going.dy[whims] = tick.random("dy").uniform(whims, -1.0, 1.0)
    going.dx[orders.row], going.dy[orders.row] = orders.dx, orders.dy
    rows = world.rows(Position, Going)
    x0, y0, x1, y1 = world.limits
    place.x[rows] = np.clip(place.x[rows] + going.dx[rows] * np.float32(3), x0, x1)
    place.y[rows] = np.clip(place.y[rows] + going.dy[rows] * np.float32(3), y0, y1)


def give(world: World, tick: Tick) -> None:
    purse, gives = world[Purse], tick.commands(Give)
    np.subtract.at(purse.coins, gives.row, 1)
    here = world.known(gives.whom, Position)
    np.add.at(purse.coins, here[here >= 0], 1)
    tick.send(Coins, to=gives.whom[here < 0], coins=1, giver=world.id_of(gives.row[here < 0]))
    leaves = world.rows_of(LEAF)
    if tick.number % 5 == 0 and leaves.size > 1:
        purse.friend[leaves] = world.id_of(np.roll(leaves, 1))
    givers = leaves[tick.random("gives").chance(leaves, 0.1) & (purse.friend[leaves] != 0)]
    purse.coins[givers] -= 1
    tick.send(Coins, to=purse.friend[givers], lane="bulk", coins=1, giver=world.id_of(givers))
    if tick.number % 11 == 0 and givers.size:
        place = world[Position]
        tick.send(Gust, at=(place.x[givers[:1]], place.y[givers[:1]], 12.0), strength=0.5)


def fall(world: World, tick: Tick) -> None:
    """Now and then a leaf ends, and another begins."""
    leaves = world.rows_of(LEAF)
    if tick.number % 4 == 0 and leaves.size > 6:
        fallen = leaves[tick.number % leaves.size : tick.number % leaves.size + 1]
        x, y = world[Position].x[fallen], world[Position].y[fallen]
        world.despawn(fallen)
        new = world.spawn(LEAF)
        world[Position].x[new], world[Position].y[new] = x, y


GAME = Game(
    name="vale",
    version=1,
    position=Position,
    archetypes=(LEAF, RAMBLER, BANK),
    commands=(Go, Give),
    mail=(Coins, Gust),
    systems=(hear, go, give, fall),
    setup=setup,
    join=join,
    arrive=arrive,
)
ATLAS = Atlas.grid(
    RegionSpec(3, -48.0, -48.0, 96.0, 96.0, 128, 8.0), columns=2, rows=2, forward_ticks=10, split_depth=1
)


def region(number: int) -> RegionMachine:
    """A fresh region."""
    return RegionMachine(GAME, ATLAS[number], seed=9, tick_rate_hz=20.0, digest_every_ticks=5, atlas=ATLAS)
