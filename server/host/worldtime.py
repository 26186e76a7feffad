"""The world's clock, as a process has it: the latest that any region known here has come to.

No wall clock is asked. Time of the world is made by its regions, tick by tick, and the one that made most of it is
right: whoever slept, was slow, or began later is told by its host, before its next tick, how far it has fallen behind.
All hosts of a process share one WorldTime; nodes tell each other theirs with what they announce of themselves.

What another node announced is a turn old and is taken as it is. Were it reckoned on from, two nodes that each reckon a
little too far would drive each other's regions forward for ever.
"""

from __future__ import annotations


class WorldTime:
    """`latest_tick`: of the world's clock; it never goes back."""

    def __init__(self) -> None:
        self.latest_tick = 0

    def hear(self, world_tick: int) -> None:
        """A region has come to it."""
        self.latest_tick = max(self.latest_tick, world_tick)

    def behind_ticks(self, world_tick: int) -> int:
        """By how much a region whose clock this is has fallen behind."""
        return max(0, self.latest_tick - world_tick)
