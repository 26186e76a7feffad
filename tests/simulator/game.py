"""The world that is simulated: wanderers and players with purses, who walk over borders and send each other coins.

Coins are never made and never lost, so their sum tells of anything that was lost or came twice: those for a player who
is gone come back. What a player does reliably is counted by its sequence numbers.
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
    Bool,
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
from server.sim.world import birth_region

COINS = 100
# What a player is given to begin with, of a chest.
ALLOWANCE = 5
WANDERERS = 6
SIDE = 64.0
TICK_RATE_HZ = 3.0
# Between the order to divide a region and its division: shorter than it is, for a seed is short.
NOTICE_TICKS = 4
# From here on nobody gives, and then nobody walks: so that all mail arrives in the end.
LAST_GIFT, LAST_STEP = 28, 31


class Position(Component):
    x: F32 = column(np.float32, wire=Wire("u16", scale=1 / 16, axis="x"))
    y: F32 = column(np.float32, wire=Wire("u16", scale=1 / 16, axis="y"))


class Heading(Component):
    dx: F32 = column(np.float32)
    dy: F32 = column(np.float32)


class Purse(Component):
    coins: I64 = column(np.int64)
    # Number of somebody met, wherever they are now; 0: nobody.
    friend: U64 = column(np.uint64)


class Book(Component):
    """What was done reliably: how often, and the sum of the sequence numbers."""

    count: U32 = column(np.uint32)
    sum: U64 = column(np.uint64)
    # 1 while the world takes the player for away.
    away: U8 = column(np.uint8)


class Steer(Command):
    latest_wins = True
    dx: F32 = arg("f32", min=-1, max=1)
    dy: F32 = arg("f32", min=-1, max=1)


class Enter(Command):
    """An entry in one's book, and a coin for somebody in sight, if one has any."""

    reliable = True
    what: U8 = arg("u8")
    whom: U64 = arg("entity")


class Gift(Mail):
    returns = True
    coins: U32 = arg("u32")


WANDERER = Archetype("wanderer", Position, Heading, Purse)
PLAYER = Archetype("player", Position, Heading, Purse, Book)
# Has what nobody else may have: one in each region, and none in the parts of one.
CHEST = Archetype("chest", Purse)


def setup(world: World, tick: Tick) -> None:
    chest = world.spawn(CHEST)
    world[Purse].coins[chest] = 10 * COINS
    rows = world.spawn(WANDERER, WANDERERS)
    x0, y0, x1, y1 = world.bounds
    world[Position].x[rows] = tick.random("x").uniform(rows, x0, x1)
    world[Position].y[rows] = tick.random("y").uniform(rows, y0, y1)
    world[Purse].coins[rows] = COINS


def join(world: World, tick: Tick, session: int, name: str) -> int:
    rows = world.spawn(PLAYER)
    x0, y0, x1, y1 = world.bounds
    world[Position].x[rows], world[Position].y[rows] = (x0 + x1) / 2, (y0 + y1) / 2
    chest = world.rows_of(CHEST)
    if chest.size and world[Purse].coins[chest[0]] >= ALLOWANCE:
        world[Purse].coins[chest] -= ALLOWANCE
        world[Purse].coins[rows] = ALLOWANCE
    return int(rows[0])


def leave(world: World, tick: Tick, row: int) -> None:
    put_by(world, tick, int(world[Purse].coins[row]))
    world.despawn(np.array([row], np.int64))


def put_by(world: World, tick: Tick, coins: int) -> None:
    """In the chest, or in a region's where there is none here."""
    chest = world.rows_of(CHEST)
    if chest.size:
        world[Purse].coins[chest] += coins
    elif coins:
        tick.send(Gift, region=1, coins=coins)


def away(world: World, tick: Tick, row: int) -> None:
    world[Book].away[row] = 1


def back(world: World, tick: Tick, row: int) -> None:
    world[Book].away[row] = 0


def steer(world: World, tick: Tick) -> None:
    steers = tick.commands(Steer)
    world[Heading].dx[steers.row] = steers.dx
    world[Heading].dy[steers.row] = steers.dy
    wanderers = world.rows_of(WANDERER)
    if tick.number % 5 == 0:
        world[Heading].dx[wanderers] = tick.random("dx").uniform(wanderers, -1.0, 1.0)
        world[Heading].dy[wanderers] = tick.random("dy").uniform(wanderers, -1.0, 1.0)


def walk(world: World, tick: Tick) -> None:
    if tick.number > LAST_STEP:
        return
    rows = world.rows(Heading)
    x0, y0, x1, y1 = world.limits
    step = np.float32(40.0 * tick.dt)
    position, heading = world[Position], world[Heading]
    position.x[rows] = np.clip(position.x[rows] + heading.dx[rows] * step, x0, x1)
    position.y[rows] = np.clip(position.y[rows] + heading.dy[rows] * step, y0, y1)


def enter(world: World, tick: Tick) -> None:
    entries = tick.commands(Enter)
    # Several of one player in a tick: each counts.
    np.add.at(world[Book].count, entries.row, np.uint32(1))
    np.add.at(world[Book].sum, entries.row, entries.seq.astype(np.uint64))
    purse = world[Purse]
    for row, whom, here in zip(entries.row, entries.whom, world.known(entries.whom, Heading), strict=True):
        if purse.coins[row] > 0:
            purse.coins[row] -= 1
            if here >= 0:
                purse.coins[here] += 1
            else:
                tick.send(Gift, to=np.array([whom]), coins=1)


def meet(world: World, tick: Tick) -> None:
    """All take the one after them for a friend, wherever that one will go, and be it out of the world."""
    rows = world.rows(Heading)
    if tick.number % 7 == 0 and rows.size > 1:
        world[Purse].friend[rows] = world.id_of(np.concatenate([rows[1:], rows[:1]]))


def give(world: World, tick: Tick) -> None:
    if tick.number > LAST_GIFT:
        return
    rows = world.rows(Heading)
    purse = world[Purse]
    chance = tick.random().uniform(rows, 0.0, 1.0)
    givers: Rows = rows[(chance < 0.3) & (purse.coins[rows] > 0) & (purse.friend[rows] != 0)]
    if givers.size:
        purse.coins[givers] -= 1
        tick.send(Gift, to=purse.friend[givers], coins=np.ones(givers.size, np.uint32))
    chest = world.rows_of(CHEST)
    if chest.size and tick.number % 9 == 0 and purse.coins[chest[0]] > 0:
        purse.coins[chest] -= 1
        one_of = min(2, regions(world))
        tick.send(Gift, region=np.array([1 + tick.number // 9 % one_of], np.uint32), lane="bulk", coins=1)


def take(world: World, tick: Tick) -> None:
    gifts = tick.mail(Gift)
    rows = gifts.row
    if (rows < 0).any():
        # To a region, and those are whole ones.
        rows = np.where(rows >= 0, rows, int(world.rows_of(CHEST)[0]))
    np.add.at(world[Purse].coins, rows, gifts.coins.astype(np.int64))
    back = tick.returned(Gift)
    # What was for somebody who is there is not put by, so that the sum tells.
    put_by(world, tick, int(back.coins[~is_wanderer(world, back.to)].sum()))


def is_wanderer(world: World, ids: U64) -> Bool:
    """(n,) bool: those of `setup`, who never end."""
    row, life = ids & np.uint64(2**20 - 1), ids >> np.uint64(20) & np.uint64(2**28 - 1)
    return (birth_region(ids) <= regions(world)) & (life == 1) & (row >= 1) & (row <= WANDERERS)


def regions(world: World) -> int:
    """How many there are, not counting parts."""
    x0, y0, x1, y1 = world.limits
    return round((x1 - x0) * (y1 - y0) / SIDE**2)


GAME = Game(
    name="carnival",
    version=1,
    position=Position,
    archetypes=(WANDERER, PLAYER, CHEST),
    commands=(Steer, Enter),
    mail=(Gift,),
    systems=(steer, walk, enter, meet, take, give),
    setup=setup,
    join=join,
    leave=leave,
    away=away,
    back=back,
)


def atlas(columns: int, rows: int, split_depth: int) -> Atlas:
    whole = RegionSpec(1, 0.0, 0.0, columns * SIDE, rows * SIDE, 64, margin=16.0)
    return Atlas.grid(whole, columns=columns, rows=rows, hysteresis_units=2.0, forward_ticks=5, split_depth=split_depth)


def machine(world: Atlas, shard: int) -> RegionMachine:
    return RegionMachine(GAME, world[shard], seed=5, tick_rate_hz=TICK_RATE_HZ, digest_every_ticks=5, atlas=world)
