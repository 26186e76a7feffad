"""Many drifters, and the players among them: a world that takes a while to bring back."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from bench.crowd_game import SPEED_UNITS_PER_S, Move
from bench.entities_game import WORLD_UNITS, Position, Velocity, entities_game
from server.sim.component import Archetype
from server.sim.game import FIRST_COMMAND, Game, Tick
from server.sim.world import World

AVATAR = Archetype("avatar", Position, Velocity)
MOVE: Final = FIRST_COMMAND


def join(world: World, tick: Tick, _session: int, _name: str) -> int:
    """An avatar somewhere, standing."""
    rows = world.spawn(AVATAR)
    world[Position].x[rows] = tick.random("x").uniform(rows, 0.0, WORLD_UNITS)
    world[Position].y[rows] = tick.random("y").uniform(rows, 0.0, WORLD_UNITS)
    return int(rows[0])


def steer(world: World, tick: Tick) -> None:
    """Go where one was told to; `drift` does the going, of avatars too."""
    moves = tick.commands(Move)
    velocity = world[Velocity]
    velocity.x[moves.row] = moves.dx * np.float32(SPEED_UNITS_PER_S)
    velocity.y[moves.row] = moves.dy * np.float32(SPEED_UNITS_PER_S)


def game(count: int) -> Game:
    """The game that begins with `count` drifters."""
    drifters = entities_game(count)
    return replace(
        drifters,
        name="recovery",
        archetypes=(*drifters.archetypes, AVATAR),
        commands=(Move,),
        systems=(steer, *drifters.systems),
        join=join,
    )
