"""The ledger: a game whose state tells what was lost and what was applied twice.

A player's orders are numbered 1, 2, 3 ... by the player, whatever sequence number they travel under, and every
avatar counts them: how often a number came that had been there, how many came for the first time, and a sum of
their hashes. So a client that gives an order another sequence number when it sends it again is found out, too.

Beside the players lie grains, which change with every tick: bytes for a checkpoint to write, and a state that
a replay that strays by one tick does not hit again.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from protocol.schema import Wire
from server.sim.component import F32, U32, U64, Archetype, Component, column
from server.sim.game import Command, Game, Tick, arg
from server.sim.world import World

GRAINS: Final = 40_000
EDGE_UNITS: Final = 256.0
MASK: Final = (1 << 64) - 1
# Knuth's generator (MMIX): full period over 64 bits.
_FACTOR, _STEP = np.uint64(6364136223846793005), np.uint64(1442695040888963407)


class Position(Component):
    """Where an avatar stands: all in one view, so that everybody sees everybody's books."""

    x: F32 = column(np.float32, wire=Wire("u16", scale=1 / 64, axis="x"))
    y: F32 = column(np.float32, wire=Wire("u16", scale=1 / 64, axis="y"))


class Ledger(Component):
    """What was applied of a player's orders."""

    # Numbers that came for the first time.
    count: U32 = column(np.uint32, wire=Wire("u32"))
    # Numbers that had been there before, or came after a higher one.
    again: U32 = column(np.uint32, wire=Wire("u32"))
    # The highest number.
    last: U32 = column(np.uint32)
    # Sum of `order_hash` over the numbers counted, modulo 2**64.
    mix: U64 = column(np.uint64)


class Grain(Component):
    """Noise, so that it does not compress."""

    value: U64 = column(np.uint64)


class Order(Command):
    """Enter this number, exactly once."""

    reliable = True
    number: U32 = arg("u32", min=1)


TELLER = Archetype("teller", Position, Ledger)
SAND = Archetype("sand", Grain)


def order_hash(number: int) -> int:
    """64 bits of a number, spread (SplitMix64's finaliser): sums of different sets of numbers differ."""
    value = (number * 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def setup(world: World, _tick: Tick) -> None:
    """The grains."""
    rows = world.spawn(SAND, GRAINS)
    world[Grain].value[rows] = np.arange(GRAINS, dtype=np.uint64) * _FACTOR


def join(world: World, tick: Tick, _session: int, _name: str) -> int:
    """An avatar with empty books."""
    rows = world.spawn(TELLER)
    x0, y0, x1, y1 = world.bounds
    place = world[Position]
    place.x[rows] = tick.random("x").uniform(rows, x0, x1)
    place.y[rows] = tick.random("y").uniform(rows, y0, y1)
    return int(rows[0])


def enter(world: World, tick: Tick) -> None:
    """Write the orders down."""
    books, orders = world[Ledger], tick.commands(Order)
    for row, number in zip(orders.row.tolist(), orders.number.tolist(), strict=True):
        if number <= books.last[row]:
            books.again[row] += 1
            continue
        books.last[row] = number
        books.count[row] += 1
        books.mix[row] = np.uint64((int(books.mix[row]) + order_hash(number)) & MASK)


def drift(world: World, _tick: Tick) -> None:
    """Every grain changes."""
    rows = world.rows(Grain)
    grain = world[Grain]
    grain.value[rows] = grain.value[rows] * _FACTOR + _STEP


GAME = Game(
    name="ledger",
    version=1,
    position=Position,
    archetypes=(TELLER, SAND),
    commands=(Order,),
    systems=(enter, drift),
    setup=setup,
    join=join,
)
