"""Far from every player: what nobody sees may take fewer and longer steps.

    GAME = Game(..., far=Far(every_ticks=4, beyond_units=104.0))

    def walk(world: World, tick: Tick) -> None:
        rows = tick.due(world.rows_of(SHEEP))
        step_s = tick.step_s(rows)
        world[Position].x[rows] += world[Motion].vx[rows] * step_s

Who is far is worked out before the tick's systems from where everyone then is, and not remembered: there is nothing to
keep, to hand over or to recover. Far rows have their turns one after the other, so that every tick has as much to do.
Who comes near between two turns has not walked the ticks since the last; who goes far walks as many too many at its
first turn. Both are half a step on average, so that nobody gets ahead or behind by it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from server.sim.component import F32, I64, Bool, Component, Rows
from server.sim.errors import DeclarationError
from server.sim.world import World

# Cells per `beyond_units`: more are nearer to the circle meant, and cost more where many are asked about.
_CELLS_PER_REACH: Final = 4
# Cells along an edge of the region, at the most.
_CELLS_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Turns:
    """Who has a turn at one tick: (capacity,) each. Who begins during the tick is near, and has one."""

    far: Bool
    due: Bool
    # Float32 seconds from one turn to the next: of the near, and of the far.
    near_s: np.float32
    far_s: np.float32

    def step_s(self, rows: Rows) -> F32:
        """(n,) seconds that rows which have a turn go on by."""
        return np.where(self.far[rows], self.far_s, self.near_s)

    def steps_s(self, n: int) -> F32:
        """(n,) seconds that each of the first `n` rows goes on by at this tick, 0 without a turn."""
        return np.where(self.far[:n], self.far_s, self.near_s) * self.due[:n]


@dataclass(frozen=True, slots=True)
class Far:
    """What a game allows for entities far from all players. Raises DeclarationError for what is no distance or pace.

    A player's entity is one with an owner, connected or not. Near a border to another region counts as near a player,
    for who is beyond it is not known here. It is measured in squares of cells: nobody nearer than `beyond_units` is
    far, and everybody farther off than 1.8 times as much is.
    """

    # Ticks from one turn of a far entity to its next.
    every_ticks: int
    # Best farther than what players are shown at every tick: that is [view] of the settings, near_cells and one more
    # cell and the hysteresis.
    beyond_units: float
    # (world) -> (high_water,) bool: who may be far at all. What has to be exact wherever it happens is left out here, a
    # chase for instance. None: whoever has a place.
    who: Callable[[World], Bool] | None = None

    def __post_init__(self) -> None:
        if self.every_ticks < 2:
            raise DeclarationError(f"far entities have a turn every 2 ticks or more, not every {self.every_ticks}")
        if not 0 < self.beyond_units < np.inf:
            raise DeclarationError(f"far begins at a distance, not at {self.beyond_units!r} units")

    def turns(self, world: World, position: type[Component], number: int, dt: float) -> Turns:
        """Who has a turn at tick `number` of `dt` seconds. `position`: the game's."""
        n = world.high_water
        far, due = np.zeros(world.capacity, np.bool_), np.ones(world.capacity, np.bool_)
        place: Any = world[position]  # Any: its x and y are the game's declaration
        away = self._away(world, place.x[:n], place.y[:n])
        if away is not None:
            far[:n] = world.mask(position)
            if self.who is not None:
                far[:n] &= self.who(world)
            far[:n] &= away
            np.logical_not(far[:n], out=due[:n])
            # Rows that a spawn filled together have their turns at different ticks.
            due[-number % self.every_ticks : n : self.every_ticks] = True
        return Turns(far, due, np.float32(dt), np.float32(dt * self.every_ticks))

    def _away(self, world: World, x: F32, y: F32) -> Bool | None:
        """(n,) bool: no player and no other region is near. None: there is no such place."""
        x0, y0, x1, y1 = world.bounds
        cell = max(self.beyond_units / _CELLS_PER_REACH, (x1 - x0) / _CELLS_MAX, (y1 - y0) / _CELLS_MAX)
        columns, rows = int(-((x0 - x1) // cell)), int(-((y0 - y1) // cell))
        reach = int(-(-self.beyond_units // cell))
        players = np.flatnonzero(world.owner[: world.high_water] != 0)

        def cells(x: F32, y: F32) -> I64:
            """The cell of each place: along x, and then row after row."""
            return _along(x, x0, cell, columns) + _along(y, y0, cell, rows) * columns

        count = np.zeros((rows, columns), np.int64)
        count.ravel()[cells(x[players], y[players])] = 1
        near = _around(_around(count, reach).T, reach).T > 0
        left, top, right, bottom = world.limits
        if x0 > left:
            near[:, : reach + 1] = True
        if y0 > top:
            near[: reach + 1] = True
        if x1 < right:
            near[:, max(0, columns - reach - 1) :] = True
        if y1 < bottom:
            near[max(0, rows - reach - 1) :] = True
        # Where players are everywhere, nobody else is looked at.
        return None if near.all() else np.logical_not(near).ravel()[cells(x, y)]


def _along(values: F32, origin: float, cell: float, n: int) -> I64:
    """(m,) which of `n` cells along an axis; what is outside has the edge's, and what is no number the first."""
    work: F32 = values - np.float32(origin)
    work *= np.float32(1 / cell)
    with np.errstate(invalid="ignore"):
        np.fmin(np.fmax(work, np.float32(0), out=work), np.float32(n - 1), out=work)
    return work.astype(np.int64)


def _around(count: Any, reach: int) -> Any:  # Any: (j, i) int64
    """Sums over as many rows before and after each, those beyond the edges being 0."""
    sums = np.zeros((len(count) + 2 * reach + 1, count.shape[1]), np.int64)
    np.cumsum(count, axis=0, dtype=np.int64, out=sums[reach + 1 : reach + 1 + len(count)])
    sums[reach + 1 + len(count) :] = sums[reach + len(count)]
    return sums[2 * reach + 1 :] - sums[: len(count)]
