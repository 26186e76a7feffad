"""Shuttlers: entities as wide as the frontier's avatars, that walk over a border, turn round, and walk back."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from games.frontier import GAME as FRONTIER
from games.frontier.components import AVATAR, Bag, Motion, Position
from server.regions.atlas import Atlas
from server.regions.frame import RegionSpec
from server.regions.machine import RegionMachine
from server.sim import I64, Game, Rows, Tick, World

# The world: two regions beside each other, the border between them at x = 0.
_SIDE_UNITS: Final = 256.0
_MARGIN_UNITS: Final = 16.0
REGIONS: Final = (1, 2)
# A tick's walk, and how far past the border they go: each crosses every fourth tick.
_STEP_UNITS: Final = 4.0
_REACH_UNITS: Final = 6.0


def atlas(entities: int) -> Atlas:
    """Two regions, with room for all in either."""
    whole = RegionSpec(
        REGIONS[0], -_SIDE_UNITS, 0.0, 2 * _SIDE_UNITS, _SIDE_UNITS, max(64, entities + 1), _MARGIN_UNITS
    )
    return Atlas.grid(whole, columns=len(REGIONS), rows=1)


class Shuttle:
    """One region of shuttlers. `ticks`: after so many they stand still."""

    def __init__(self, number: int, entities: int, ticks: int) -> None:
        self.entities = entities
        self.ticks = ticks
        # Of each arrival: ticks since it left.
        self.pauses: list[int] = []
        regions = atlas(entities)
        self.machine = RegionMachine(self._game(), regions[number], seed=1, tick_rate_hz=20.0, atlas=regions)

    def _game(self) -> Game:
        def arrive(world: World, tick: Tick, rows: Rows, ticks: I64) -> None:
            FRONTIER.arrive(world, tick, rows, ticks)
            self.pauses += ticks.tolist()

        return replace(FRONTIER, systems=(self._walk,), setup=self._setup, arrive=arrive)

    def _setup(self, world: World, tick: Tick) -> None:
        x0, y0, x1, y1 = world.bounds
        rows = world.spawn(AVATAR, self.entities // len(REGIONS))
        position, motion = world[Position], world[Motion]
        # At different distances, so that every tick has its share.
        west = x0 < 0
        away = (rows % 16).astype(np.float32) + np.float32(1)
        position.x[rows] = (x1 - away) if west else (x0 + away)
        position.y[rows] = tick.random("y").uniform(rows, y0, y1)
        motion.vx[rows] = _STEP_UNITS if west else -_STEP_UNITS
        # What each carries, to be counted in the end.
        world[Bag].wood[rows] = rows % 1000

    def _walk(self, world: World, tick: Tick) -> None:
        if tick.number > self.ticks:
            return
        rows = world.rows_of(AVATAR)
        position, motion = world[Position], world[Motion]
        x, vx = position.x[rows], motion.vx[rows]
        motion.vx[rows] = vx = np.where(x > _REACH_UNITS, -abs(vx), np.where(x < -_REACH_UNITS, abs(vx), vx))
        position.x[rows] = x + vx
