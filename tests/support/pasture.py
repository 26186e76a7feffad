"""A small game for tests of what runs games: sheep that graze, players who move, breed, cull, and talk.

Nothing moves unless a command says so, so that a test can say exactly what a tick changes.
"""

from __future__ import annotations

import numpy as np

from server.regions.frame import RegionSpec
from server.regions.machine import RegionMachine
from server.sim import (
    F32,
    I16,
    U8,
    U64,
    Archetype,
    Bytes,
    Command,
    Component,
    Event,
    Game,
    Tick,
    Wire,
    World,
    arg,
    column,
)
from tests.support.numbers import native


class Position(Component):
    x: F32 = column(np.float32, wire=Wire("u16", scale=1 / 64, axis="x"))
    y: F32 = column(np.float32, wire=Wire("u16", scale=1 / 64, axis="y"))


class Body(Component):
    wool: U8 = column(np.uint8, default=3, wire=Wire("u8"))
    name: Bytes = column("S8", wire=Wire("utf8", size=8))
    heat: F32 = column(np.float32, default=0.5, wire=Wire("f32"))
    # Private: state, never streamed.
    moves: I16 = column(np.int16)


class Weather(Component):
    rain: U8 = column(np.uint8, wire=Wire("u8"))


class Move(Command):
    latest_wins = True
    x: F32 = arg("f32")
    y: F32 = arg("f32")


class Buy(Command):
    """A sheep at the buyer's place. Reliable: sheep are dear."""

    reliable = True
    wool: U8 = arg("u8")


class Cull(Command):
    """This one goes: players too."""

    whom: U64 = arg("entity")


class Say(Command):
    text: Bytes = arg("utf8", size=16)


class Said(Event):
    text: Bytes = arg("utf8", size=16)


class Bleated(Event):
    loudness: U8 = arg("u8")


class Rang(Event):
    """Without arguments."""


PLAYER = Archetype("player", Position, Body)
SHEEP = Archetype("sheep", Position, Body)
STONE = Archetype("stone", Position)
# Without a place: nobody sees it.
SKY = Archetype("sky", Weather)


def setup(world: World, tick: Tick) -> None:
    world.spawn(SKY)
    rows = world.spawn(SHEEP, 5)
    x0, y0, x1, y1 = world.bounds
    world[Position].x[rows] = tick.random("x").uniform(rows, x0, x1)
    world[Position].y[rows] = tick.random("y").uniform(rows, y0, y1)


def join(world: World, tick: Tick, session: int, name: str) -> int:
    rows = world.spawn(PLAYER)
    world[Position].x[rows], world[Position].y[rows] = world.bounds[:2]
    world[Body].name[rows] = name.encode()[:8]
    return int(rows[0])


def away(world: World, tick: Tick, row: int) -> None:
    world[Body].heat[row] = 0.0


def back(world: World, tick: Tick, row: int) -> None:
    world[Body].heat[row] = 1.0


def walk(world: World, tick: Tick) -> None:
    moves = tick.commands(Move)
    world[Position].x[moves.row] = moves.x
    world[Position].y[moves.row] = moves.y
    world[Body].moves[moves.row] += 1


def trade(world: World, tick: Tick) -> None:
    bought = tick.commands(Buy)
    if len(bought):
        rows = world.spawn(SHEEP, len(bought))
        world[Position].x[rows] = world[Position].x[bought.row]
        world[Position].y[rows] = world[Position].y[bought.row]
        world[Body].wool[rows] = bought.wool
        tick.emit(Bleated, at=(world[Position].x[rows], world[Position].y[rows]), loudness=bought.wool)
        tick.emit(Rang)


def cull(world: World, tick: Tick) -> None:
    rows = world.known(tick.commands(Cull).whom, Position)
    tick.emit(Said, to=rows, text=b"farewell")
    world.despawn(rows)


def talk(world: World, tick: Tick) -> None:
    said = tick.commands(Say)
    tick.emit(Said, text=said.text)


GAME = Game(
    name="pasture",
    version=3,
    position=Position,
    archetypes=(PLAYER, SHEEP, STONE, SKY),
    commands=(Move, Buy, Cull, Say),
    events=(Said, Bleated, Rang),
    systems=(walk, trade, cull, talk),
    setup=setup,
    join=join,
    away=away,
    back=back,
)
REGION = RegionSpec(id=4, x=-32.0, y=16.0, width=128.0, height=128.0, entities_max=256)


def one_of_us(row: int, life: int = 1) -> int:
    """The number of who was born in the region."""
    return native(REGION.id, row, life)


def pasture(*, game: Game = GAME, seed: int = 11) -> RegionMachine:
    """A fresh region of this game. Every fifth frame carries a digest."""
    return RegionMachine(game, REGION, seed=seed, tick_rate_hz=20.0, digest_every_ticks=5)
