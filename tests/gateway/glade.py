"""A small game for the gateway's tests: pebbles that roll, avatars that walk, jump, count, shout and vanish."""

from __future__ import annotations

from typing import Any

import numpy as np

from config.settings import Settings, load
from protocol.schema import Wire
from server.sim.component import F32, U8, U32, Archetype, Bytes, Component, column
from server.sim.game import FIRST_COMMAND, Command, Event, Game, Tick, arg
from server.sim.world import World

WIDTH, HEIGHT = 256.0, 128.0
WEST, NORTH = -512.0, 64.0
REGION = 3


class Position(Component):
    x: F32 = column(np.float32, wire=Wire("u16", scale=1 / 64, axis="x"))
    y: F32 = column(np.float32, wire=Wire("u16", scale=1 / 64, axis="y"))


class Pace(Component):
    dx: F32 = column(np.float32)
    dy: F32 = column(np.float32)


class Body(Component):
    # The sum of what its player added.
    sum: U32 = column(np.uint32, wire=Wire("u32"))
    # 1 while its player's connection is broken.
    away: U8 = column(np.uint8, wire=Wire("u8"))
    name: Bytes = column("S24", wire=Wire("utf8", size=24))


AVATAR = Archetype("Avatar", Position, Pace, Body)
PEBBLE = Archetype("Pebble", Position, Pace)


class Walk(Command):
    latest_wins = True
    dx: F32 = arg("f32", min=-1, max=1)
    dy: F32 = arg("f32", min=-1, max=1)


class Add(Command):
    amount: U8 = arg("u8", max=100)


class Pay(Command):
    reliable = True
    amount: U8 = arg("u8", max=100)


class Jump(Command):
    x: F32 = arg("f32")
    y: F32 = arg("f32")


class Shout(Command):
    text: Bytes = arg("utf8", size=40)


class Vanish(Command):
    pass


# A name so long that a refusal which quotes it does not fit a close frame.
class LongWindedCommandWhoseNameGoesOnAndOn(Command):
    argument_that_is_named_with_as_many_words_as_its_command: F32 = arg("f32", min=0, max=1)


class Said(Event):
    who: U32 = arg("entity")
    text: Bytes = arg("utf8", size=40)


class Told(Event):
    text: Bytes = arg("utf8", size=40)


WALK, ADD, PAY, JUMP, SHOUT, VANISH, LONG_WINDED = range(FIRST_COMMAND, FIRST_COMMAND + 7)
SAID, TOLD = 0, 1


def listen(world: World, tick: Tick) -> None:
    place, pace, body = world[Position], world[Pace], world[Body]
    walk, jump, shout = tick.commands(Walk), tick.commands(Jump), tick.commands(Shout)
    pace.dx[walk.row], pace.dy[walk.row] = walk.dx, walk.dy
    place.x[jump.row], place.y[jump.row] = jump.x, jump.y
    for sums in (tick.commands(Add), tick.commands(Pay)):
        np.add.at(body.sum, sums.row, sums.amount)
    if len(shout):
        tick.emit(Said, at=(place.x[shout.row], place.y[shout.row]), who=shout.row, text=shout.text)
        tick.emit(Told, to=shout.row, text=shout.text)
    world.despawn(tick.commands(Vanish).row)


def roll(world: World, tick: Tick) -> None:
    rows = world.rows(Position, Pace)
    place, pace = world[Position], world[Pace]
    x0, y0, x1, y1 = world.limits
    for at, by, low, high in ((place.x, pace.dx, x0, x1), (place.y, pace.dy, y0, y1)):
        there = at[rows] + by[rows]
        by[rows] = np.where((there < low) | (there >= high), -by[rows], by[rows])
        at[rows] = np.minimum(np.maximum(there, low), np.float32(high - 0.25))


def join(world: World, tick: Tick, session: int, name: str) -> int:
    row = int(world.spawn(AVATAR)[0])
    x0, y0, x1, y1 = world.bounds
    world[Position].x[row], world[Position].y[row] = (x0 + x1) / 2, (y0 + y1) / 2
    world[Body].name[row] = name.encode()
    return row


def away(world: World, tick: Tick, row: int) -> None:
    world[Body].away[row] = 1


def back(world: World, tick: Tick, row: int) -> None:
    world[Body].away[row] = 0


def glade(pebbles: int = 40, *, spread: float = 1.0) -> Game:
    """The game. `spread`: the part of the world, around its middle, that the pebbles begin in."""

    def scatter(world: World, tick: Tick) -> None:
        rows = world.spawn(PEBBLE, pebbles)
        place, pace = world[Position], world[Pace]
        x0, y0, x1, y1 = world.bounds
        random = np.random.default_rng(tick.seed)
        for at, by, low, high in ((place.x, pace.dx, x0, x1), (place.y, pace.dy, y0, y1)):
            middle, half = (low + high) / 2, (high - low) / 2 * spread
            at[rows] = random.uniform(middle - half, middle + half, pebbles)
            by[rows] = random.uniform(-1, 1, pebbles)

    return Game(
        name="glade",
        version=1,
        position=Position,
        archetypes=(AVATAR, PEBBLE),
        commands=(Walk, Add, Pay, Jump, Shout, Vanish, LongWindedCommandWhoseNameGoesOnAndOn),
        events=(Said, Told),
        systems=(listen, roll),
        setup=scatter,
        join=join,
        away=away,
        back=back,
    )


GAME = glade()


def settings(**overrides: Any) -> Settings:
    """For the glade, on a free port, quick. Keys are "section__key"."""
    given = {key.replace("__", "."): value for key, value in overrides.items()}
    defaults = {
        "server.port": 0,
        "server.shutdown_grace_s": 2.0,
        "world.region_id": REGION,
        "world.x": WEST,
        "world.y": NORTH,
        "world.width": WIDTH,
        "world.height": HEIGHT,
        "world.entities_max": 4096,
        "world.tick_rate_hz": 60,
        "view.cell_units": 16.0,
        "view.near_cells": 1,
        "view.far_cells": 3,
        "view.hysteresis_units": 2.0,
    }
    return load(None, {**defaults, **given}, environment={})
