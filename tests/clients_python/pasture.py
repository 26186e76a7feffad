"""A small live game for tests of clients: avatars who walk and talk, and sheep that drift."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from protocol.schema import Wire
from server.sim import F32, I64, U32, Archetype, Bytes, Command, Component, Event, Game, Tick, World, arg, column


class Position(Component):
    x: F32 = column(np.float32, wire=Wire("u16", scale=1 / 64, axis="x"))
    y: F32 = column(np.float32, wire=Wire("u16", scale=1 / 64, axis="y"))


class Body(Component):
    name: Bytes = column("S24", wire=Wire("utf8", size=24))
    steps: U32 = column(np.uint32, wire=Wire("u32"))


class Heading(Component):
    dx: F32 = column(np.float32)
    dy: F32 = column(np.float32)


AVATAR = Archetype("Avatar", Position, Body, Heading)
SHEEP = Archetype("Sheep", Position)


class Move(Command):
    latest_wins: ClassVar[bool] = True
    dx: F32 = arg("f32", min=-1, max=1)
    dy: F32 = arg("f32", min=-1, max=1)


class Step(Command):
    """Counted, so that one applied twice or never shows."""

    reliable: ClassVar[bool] = True


class Say(Command):
    text: Bytes = arg("utf8", size=80)


class Said(Event):
    who: I64 = arg("entity")
    text: Bytes = arg("utf8", size=80)


def steer(world: World, tick: Tick) -> None:
    moves = tick.commands(Move)
    world[Heading].dx[moves.row] = moves.dx
    world[Heading].dy[moves.row] = moves.dy


def count_steps(world: World, tick: Tick) -> None:
    np.add.at(world[Body].steps, tick.commands(Step).row, np.uint32(1))


def talk(world: World, tick: Tick) -> None:
    said = tick.commands(Say)
    if len(said):
        tick.emit(Said, who=said.row, text=said.text)


def walk(world: World, tick: Tick) -> None:
    x0, y0, x1, y1 = world.bounds
    position, heading = world[Position], world[Heading]
    rows = world.rows(Position, Heading)
    position.x[rows] = np.clip(position.x[rows] + heading.dx[rows], x0, x1 - 1)
    position.y[rows] = np.clip(position.y[rows] + heading.dy[rows], y0, y1 - 1)
    sheep = world.rows_of(SHEEP)
    position.x[sheep] = np.clip(position.x[sheep] + tick.random("x").uniform(sheep, -1, 1), x0, x1 - 1)


def setup(world: World, tick: Tick) -> None:
    rows = world.spawn(SHEEP, 200)
    x0, y0, x1, y1 = world.bounds
    world[Position].x[rows] = tick.random("x").uniform(rows, x0, x1 - 1)
    world[Position].y[rows] = tick.random("y").uniform(rows, y0, y1 - 1)


def join(world: World, tick: Tick, session: int, name: str) -> int:
    rows = world.spawn(AVATAR)
    x0, y0, x1, y1 = world.bounds
    world[Position].x[rows] = (x0 + x1) / 2
    world[Position].y[rows] = (y0 + y1) / 2
    world[Body].name[rows] = name.encode()
    return int(rows[0])


GAME = Game(
    name="pasture",
    version=1,
    position=Position,
    archetypes=(AVATAR, SHEEP),
    commands=(Move, Step, Say),
    events=(Said,),
    systems=(steer, count_steps, talk, walk),
    setup=setup,
    join=join,
)
