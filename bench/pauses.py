"""How long players stand still at borders, and how long all others did at the same time.

A machine that stalls, or the process that plays, makes everyone wait, and whoever happens to be at a border as well. A
step over a border takes two ticks, so it is met twice as often as any other; so what the others waited is looked at
just while somebody crossed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple


class Step(NamedTuple):
    """One player's: from the moment it saw itself move to the next such moment."""

    began_s: float
    ended_s: float
    # Ticks that it took longer than the one it should.
    waited: float
    crossed: bool


class Crossing(NamedTuple):
    """A step over a border."""

    waited: float
    # What the others waited meanwhile, in their middle: the longest step of each that fell into it and crossed nothing.
    others: float


def crossings(players: Sequence[Sequence[Step]]) -> list[Crossing]:
    """All steps over a border. `players`: each one's steps, in order of time."""
    ends = [[step.ended_s for step in steps] for steps in players]
    found: list[Crossing] = []
    for player, steps in enumerate(players):
        for step in steps:
            if step.crossed:
                waits = [
                    _longest(players[other], ends[other], step) for other in range(len(players)) if other != player
                ]
                known = [waited for waited in waits if waited is not None]
                found.append(Crossing(step.waited, median(known) if known else 0.0))
    return found


def _longest(steps: Sequence[Step], ends: Sequence[float], crossing: Step) -> float | None:
    """The longest wait of these steps that overlap the crossing, None where none does. `ends`: when each ended."""
    at, longest = bisect_right(ends, crossing.began_s), None
    while at < len(steps) and steps[at].began_s < crossing.ended_s:
        if not steps[at].crossed:
            longest = max(steps[at].waited, longest or 0.0)
        at += 1
    return longest
