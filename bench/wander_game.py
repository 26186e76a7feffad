"""Wanderers: entities as wide as the frontier's avatars, that go where chance has it, over border after border."""

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

# The world: two by two regions, so small that somebody is always at a border.
_SIDE_UNITS: Final = 64.0
_MARGIN_UNITS: Final = 16.0
REGIONS: Final = (1, 2, 3, 4)
# Units of a tick's walk at the most, along each axis.
_STEP_UNITS: Final = 4.0
# Of the wanderers, those who turn in a tick.
_TURNING: Final = 1 / 16
FOR_EVER: Final = 2**62


def atlas(entities: int) -> Atlas:
    """Four regions, with room for all in each."""
    whole = RegionSpec(REGIONS[0], 0.0, 0.0, 2 * _SIDE_UNITS, 2 * _SIDE_UNITS, max(64, entities + 1), _MARGIN_UNITS)
    return Atlas.grid(whole, columns=2, rows=2)


class Wander:
    """One region of wanderers. `seed`: their ways. `until_tick`: after that they stand still; it may be set later."""

    def __init__(self, number: int, entities: int, seed: int, until_tick: int = FOR_EVER) -> None:
        self.entities = entities
        self.seed = seed
        self.until_tick = until_tick
        # Of each arrival: ticks since it left.
        self.pauses: list[int] = []
        regions = atlas(entities)
        self.machine = RegionMachine(self._game(), regions[number], seed=seed, tick_rate_hz=20.0, atlas=regions)

    def again(self) -> RegionMachine:
        """The same at its first tick: what a replay begins with."""
        return Wander(self.machine.shard, self.entities, self.seed, self.until_tick).machine

    def _game(self) -> Game:
        def arrive(world: World, tick: Tick, rows: Rows, ticks: I64) -> None:
            FRONTIER.arrive(world, tick, rows, ticks)
            self.pauses += ticks.tolist()

        return replace(FRONTIER, systems=(self._walk,), setup=self._setup, arrive=arrive)

    def _setup(self, world: World, tick: Tick) -> None:
        x0, y0, x1, y1 = world.bounds
        rows = world.spawn(AVATAR, self.entities // len(REGIONS))
        position = world[Position]
        position.x[rows] = tick.random("x").uniform(rows, x0, x1)
        position.y[rows] = tick.random("y").uniform(rows, y0, y1)
        self._turn(world, tick, rows)
        # What each carries, to be counted in the end.
        world[Bag].wood[rows] = rows % 1000

    @staticmethod
    def _turn(world: World, tick: Tick, rows: Rows) -> None:
        motion = world[Motion]
        motion.vx[rows] = tick.random("vx").uniform(rows, -_STEP_UNITS, _STEP_UNITS)
        motion.vy[rows] = tick.random("vy").uniform(rows, -_STEP_UNITS, _STEP_UNITS)

    def _walk(self, world: World, tick: Tick) -> None:
        if tick.number > self.until_tick:
            return
        rows = world.rows_of(AVATAR)
        self._turn(world, tick, rows[tick.random("turn").uniform(rows, 0.0, 1.0) < _TURNING])
        position, motion = world[Position], world[Motion]
        x0, y0, x1, y1 = world.limits
        for place, way, low, high in ((position.x, motion.vx, x0, x1), (position.y, motion.vy, y0, y1)):
            there = place[rows] + way[rows]
            way[rows[(there < low) | (there > high)]] *= np.float32(-1.0)
            place[rows] = np.minimum(np.maximum(there, np.float32(low)), np.float32(high))
