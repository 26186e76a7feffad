"""The ledger on the road: tellers whose orders are counted, and wanderers with purses, over one border after the other.

Everybody carries what must not be lost: a teller the book of its orders, as in bench/crash_game.py, a wanderer its
coins, which are never made and never lost. Wanderers give coins to each other, wherever they are by then, and some to
nobody there is: a region's keeper has what comes back. A teller who
says Rest has the whole world stand still, so that what is under way can arrive and be counted.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from bench.crash_game import Ledger, Order, Position, enter
from server.sim import F32, I64, U8, U32, U64, Archetype, Command, Component, Game, Mail, Tick, World, arg, column

REGION_UNITS: Final = 64.0
# Of each region at its beginning.
WANDERERS: Final = 24
COINS: Final = 100
_STEP_UNITS_PER_S: Final = 24.0
# Of those who walk, those who turn in a tick; of the wanderers, those who give a coin away.
_TURNING: Final = 1 / 32
_GIVING: Final = 1 / 64
# Of those who give, those who have the wrong number.
_MISTAKEN: Final = 1 / 64
# Of a row's lives, one that none of them comes to.
_NO_SUCH_LIFE: Final = np.uint64(1 << 47)


class Heading(Component):
    """Where it is going, along each axis: -1 to 1."""

    dx: F32 = column(np.float32)
    dy: F32 = column(np.float32)


class Purse(Component):
    """What it has, and whom it gives to: the number of somebody met, wherever that one is now; 0: nobody."""

    coins: I64 = column(np.int64)
    friend: U64 = column(np.uint64)


class Stillness(Component):
    """Of a region: whether nobody moves any more."""

    rest: U8 = column(np.uint8)


class Rest(Command):
    """Let the world stand still."""

    reliable = True


class Gift(Mail):
    """Coins for somebody."""

    returns = True
    coins: U32 = arg("u32")


class Still(Mail):
    """Rest was said somewhere."""


TELLER = Archetype("teller", Position, Heading, Ledger)
WANDERER = Archetype("wanderer", Position, Heading, Purse)
# Has no place: it stays in its region.
KEEPER = Archetype("keeper", Stillness, Purse)


def setup(world: World, tick: Tick) -> None:
    """A keeper, and the wanderers."""
    world.spawn(KEEPER)
    rows = world.spawn(WANDERER, WANDERERS)
    x0, y0, x1, y1 = world.bounds
    world[Position].x[rows] = tick.random("x").uniform(rows, x0, x1)
    world[Position].y[rows] = tick.random("y").uniform(rows, y0, y1)
    world[Purse].coins[rows] = COINS
    # Each the next one's friend.
    world[Purse].friend[rows] = world.id_of(np.concatenate([rows[1:], rows[:1]]))


def join(world: World, tick: Tick, _session: int, _name: str) -> int:
    """A teller with an empty book."""
    rows = world.spawn(TELLER)
    x0, y0, x1, y1 = world.bounds
    world[Position].x[rows] = tick.random("x").uniform(rows, x0, x1)
    world[Position].y[rows] = tick.random("y").uniform(rows, y0, y1)
    return int(rows[0])


def rest(world: World, tick: Tick) -> None:
    """Everybody hears of it."""
    keeper = world.rows_of(KEEPER)
    if len(tick.commands(Rest).row):
        x0, y0, x1, y1 = world.limits
        middle = ((x0 + x1) / 2, (y0 + y1) / 2)
        centre = (np.array([middle[0]], np.float32), np.array([middle[1]], np.float32))
        tick.send(Still, at=(*centre, float(x1 - x0 + y1 - y0)))
    if len(tick.mail(Still)):
        world[Stillness].rest[keeper] = 1


def walk(world: World, tick: Tick) -> None:
    """Straight on, until chance or the world's edge has it otherwise."""
    if world[Stillness].rest[world.rows_of(KEEPER)].any():
        return
    rows = world.rows(Heading)
    place, way = world[Position], world[Heading]
    still = (way.dx[rows] == 0) & (way.dy[rows] == 0)
    turning = rows[still | (tick.random("turn").uniform(rows, 0.0, 1.0) < _TURNING)]
    way.dx[turning] = tick.random("dx").uniform(turning, -1.0, 1.0)
    way.dy[turning] = tick.random("dy").uniform(turning, -1.0, 1.0)
    x0, y0, x1, y1 = world.limits
    step = np.float32(_STEP_UNITS_PER_S * tick.dt)
    for position, heading, low, high in ((place.x, way.dx, x0, x1), (place.y, way.dy, y0, y1)):
        there = position[rows] + heading[rows] * step
        heading[rows[(there < low) | (there > high)]] *= np.float32(-1.0)
        position[rows] = np.minimum(np.maximum(there, np.float32(low)), np.float32(high))


def give(world: World, tick: Tick) -> None:
    """A coin for the friend, wherever that one is."""
    purse = world[Purse]
    gifts = tick.mail(Gift)
    # A wanderer never dies, so there is always somebody.
    here = gifts.row >= 0
    np.add.at(purse.coins, gifts.row[here], gifts.coins[here].astype(np.int64))
    purse.coins[world.rows_of(KEEPER)] += int(tick.returned(Gift).coins.sum())  # exact: integers
    if world[Stillness].rest[world.rows_of(KEEPER)].any():
        return
    rows = world.rows_of(WANDERER)
    chance = tick.random("give").uniform(rows, 0.0, 1.0)
    givers = rows[(chance < _GIVING) & (purse.coins[rows] > 0)]
    if givers.size:
        purse.coins[givers] -= 1
        mistaken = chance[np.searchsorted(rows, givers)] < _GIVING * _MISTAKEN
        friends = np.where(mistaken, purse.friend[givers] | _NO_SUCH_LIFE, purse.friend[givers])
        tick.send(Gift, to=friends, coins=np.ones(givers.size, np.uint32))


GAME = Game(
    name="ledger-on-the-road",
    version=1,
    position=Position,
    archetypes=(TELLER, WANDERER, KEEPER),
    commands=(Order, Rest),
    mail=(Gift, Still),
    systems=(enter, rest, walk, give),
    setup=setup,
    join=join,
)
