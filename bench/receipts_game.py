"""A crowd that also does things which count: reliable commands, each of which is in the world's books."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from bench import crowd_game
from bench.crowd_game import Heading, Mark, Position
from server.sim.component import U32, Archetype, Component, column
from server.sim.game import FIRST_COMMAND, Command, Tick
from server.sim.world import World


class Deeds(Component):
    """How many an avatar has done, private."""

    count: U32 = column(np.uint32)


class Do(Command):
    """Do a deed."""

    reliable = True


AVATAR = Archetype("avatar", Position, Heading, Mark, Deeds)


def join(world: World, tick: Tick, _session: int, _name: str) -> int:
    """An avatar somewhere."""
    return crowd_game.come(world, tick, AVATAR)


def count(world: World, tick: Tick) -> None:
    """Every deed, also several of one avatar in a tick."""
    np.add.at(world[Deeds].count, tick.commands(Do).row, np.uint32(1))


GAME = replace(
    crowd_game.GAME,
    name="receipts",
    archetypes=(AVATAR,),
    commands=(*crowd_game.GAME.commands, Do),
    systems=(*crowd_game.GAME.systems, count),
    join=join,
)
DO: Final = FIRST_COMMAND + 2
