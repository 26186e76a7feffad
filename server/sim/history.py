"""Lag compensation: where entities were some ticks ago, so that a shot is judged by what the shooter saw.

    HISTORY = History(Position, ticks=16)
    AVATAR = Archetype("avatar", Position, Health, HISTORY.trail)
    systems = (move, HISTORY.record, shoot)

    def shoot(world, tick):
        x, y = HISTORY.at(world, shots.seen_tick, targets)

The past lies in a component like any other: the world captures, adopts and digests it,
clears it with its entity, and a History itself holds nothing but its declaration. So a row's next life begins
without a past and never shows where its predecessor was.

It costs every row of the region 8 bytes per tick kept in memory, whether its archetype has the trail or
not, and every checkpoint as much for those that have it, or for all where more than half do. Copying that is
what a tick waits for: keep the ticks few (16 are 0.8 s at 20 Hz), and give the trail to those who can be shot.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from server.sim.component import F32, I64, Component, Rows, column
from server.sim.errors import DeclarationError
from server.sim.game import Tick
from server.sim.world import World


class Trail(Component):
    """The ring of one entity's past positions. Made by `History`, which gives it its length."""

    # (capacity, ticks) float32, world units: the position at the end of tick t lies in column t % ticks.
    x: F32
    y: F32
    # (capacity,) int64: the newest tick recorded.
    newest: I64
    # (capacity,) uint16: how many ticks in a row up to the newest are held, 0 for none.
    held: Any  # Any: U16, which numpy widens in the arithmetic below


class History:
    """Past positions of every entity that has `trail`.

    `position`: the component with x and y. `ticks`: how many are kept. Raises DeclarationError for none.
    """

    def __init__(self, position: type[Component], ticks: int, name: str = "Trail") -> None:
        if not 1 <= ticks <= 1024:
            raise DeclarationError(f"a history keeps 1 to 1024 ticks, not {ticks}")
        self._position = position
        self.ticks = ticks
        ring = column(np.float32, shape=(ticks,))
        columns = {"x": ring, "y": ring, "newest": column(np.int64), "held": column(np.uint16)}
        # The component to give to archetypes that are to be remembered.
        self.trail: type[Trail] = cast("type[Trail]", type(name, (Trail,), {"__doc__": Trail.__doc__, **columns}))

    def record(self, world: World, tick: Tick) -> None:
        """A system: remember where everyone is at this tick. Belongs after the systems that move.

        A tick left out ends what was held: `at` never shows a place from before the gap.
        """
        n = world.high_water
        # Most of a region's rows have the trail: writing them in place takes a third of the time of gathering them.
        who = world.mask(self.trail, self._position)
        trail = world[self.trail]
        position: Any = world[self._position]  # Any: its x and y are the game's declaration
        slot = tick.number % self.ticks
        np.copyto(trail.x[:n, slot], position.x[:n], where=who)
        np.copyto(trail.y[:n, slot], position.y[:n], where=who)
        held, newest = trail.held[:n], trail.newest[:n]
        longer = np.minimum(held + 1, self.ticks)
        np.copyto(held, np.where(newest == tick.number - 1, longer, 1), where=who)
        np.copyto(newest, tick.number, where=who)

    def at(self, world: World, ticks: int | np.integer[Any] | I64, rows: Rows) -> tuple[F32, F32]:
        """Where the entities of `rows`, (n,), were at the end of `ticks`, one or (n,): (x, y), (n,) each.

        A tick before the oldest held gives the oldest, one after the newest the newest; an entity without
        a past (just spawned, or without the trail) is where it is now.
        """
        trail = world[self.trail]
        position: Any = world[self._position]  # Any: its x and y are the game's declaration
        held = trail.held[rows].astype(np.int64)
        newest = trail.newest[rows]
        slots = np.clip(np.asarray(ticks, np.int64), newest - held + 1, newest) % self.ticks
        known = held > 0
        x = np.where(known, trail.x[rows, slots], position.x[rows])
        y = np.where(known, trail.y[rows, slots], position.y[rows])
        return x.astype(np.float32), y.astype(np.float32)
