"""Deer and sheep: they keep together, keep apart, go the same way, and run from what hunts them.

After Reynolds 1987, "Flocks, herds and schools": separation, alignment, cohesion over the
neighbours of one's own kind; fear is passed on from one to the next, and dies down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from games.frontier.components import AVATAR, DEER, HERDS, PREDATORS, SHEEP, Mind, Motion, Pose
from games.frontier.creatures import Going, inward, living, places, pushed, steer, their_turn, wind
from server.sim import F32, U8, Archetype, Bool, Rows, Tick, World
from server.sim.dmath import normalise, segment_sum
from server.sim.grid import Grid

NEIGHBOUR_UNITS: Final = 6.0
APART_UNITS: Final = 3.0
WALK_UNITS_PER_S: Final = 2.2
RUN_UNITS_PER_S: Final = {DEER: 10.5, SHEEP: 8.0}
# How near a threat must come to frighten. A player frightens by running; one who
# walks (an intent shorter than half) can come close.
WOLF_DREAD_UNITS: Final = 17.0
AVATAR_DREAD_UNITS: Final = 11.0
SNEAK_INTENT: Final = 0.55
# Fright lasts so many thoughts, and each neighbour it is passed on to has so many less.
ALARM_THOUGHTS: Final = 9
ALARM_LOST_PER_NEIGHBOUR: Final = 2
# How much more the frightened go by their neighbours' course than by their own.
FOLLOW: Final = np.float32(3)
# A wind weaker than this makes nobody walk: the herd grazes.
GRAZING_WIND: Final = 0.55


# -- systems -------------------------------------------------------------------


def think_herds(world: World, tick: Tick) -> None:
    """Decide the velocities of the herd animals whose turn it is."""
    for kind in HERDS:
        if their_turn(kind, tick):
            think_herd(world, tick, kind)


# -- leaves --------------------------------------------------------------------


def think_herd(world: World, tick: Tick, kind: Archetype) -> None:
    """Decide the velocities of all animals of one kind, whom no other kind concerns but as a threat."""
    rows = world.rows_of(kind)
    if not rows.size:
        return
    mind, motion = world[Mind], world[Motion]
    x, y = places(world, rows)
    vx, vy, alarm = motion.vx[rows], motion.vy[rows], mind.alarm[rows]
    grid = Grid(x, y, world.bounds, NEIGHBOUR_UNITS)
    flee_x, flee_y = flight(world, grid, x, y)
    near = company(grid, x, y, vx, vy, alarm)

    alarm = next_alarm(alarm, (flee_x != 0) | (flee_y != 0), near.alarm)
    mind.alarm[rows] = alarm
    scared = alarm > 0
    edge_x, edge_y = inward(world, x, y)
    wind_x, wind_y, strength = wind(world, tick, rows)
    drift = np.where(strength > np.float32(GRAZING_WIND), np.float32(WALK_UNITS_PER_S), np.float32(0))
    run = np.float32(RUN_UNITS_PER_S[kind])
    # The frightened who see nothing to fear any more run on, with their neighbours.
    on_x, on_y = normalise(vx + FOLLOW * near.along_x, vy + FOLLOW * near.along_y)
    run_x = run * (on_x + 2 * flee_x + edge_x * 3) + 2 * near.apart_x + near.together_x
    run_y = run * (on_y + 2 * flee_y + edge_y * 3) + 2 * near.apart_y + near.together_y
    run_x, run_y = normalise(run_x, run_y)
    along, together = np.float32(0.4), np.float32(0.25)
    calm_x = wind_x * drift + near.along_x * along + near.together_x * together + near.apart_x + edge_x * 4
    calm_y = wind_y * drift + near.along_y * along + near.together_y * together + near.apart_y + edge_y * 4
    # Half of the old velocity stays: animals have weight.
    half = np.float32(0.5)
    calm_x, calm_y = half * (vx + calm_x), half * (vy + calm_y)
    going = Going(
        vx=np.where(scared, run * run_x, calm_x),
        vy=np.where(scared, run * run_y, calm_y),
        speed_max=np.where(scared, run, np.float32(WALK_UNITS_PER_S)),
        moving=np.where(scared, Pose.RUN, Pose.WALK),
        standing=np.where(scared, Pose.IDLE, Pose.EAT),
    )
    steer(world, rows, going)


def flight(world: World, grid: Grid, x: F32, y: F32) -> tuple[F32, F32]:
    """Away from what frightens each animal, (n,) float32 each; (0, 0) where nothing does. `grid`: of x and y."""
    predators, avatars = world.rows_of(*PREDATORS), living(world, world.rows_of(AVATAR))
    vx, vy = world[Motion].vx[avatars], world[Motion].vy[avatars]
    runners = avatars[vx * vx + vy * vy > np.float32(SNEAK_INTENT * SNEAK_INTENT)]
    tx, ty = places(world, np.concatenate([predators, runners]))
    dread = np.full(tx.size, WOLF_DREAD_UNITS, np.float32)
    dread[predators.size :] = AVATAR_DREAD_UNITS
    near = grid.radius(tx, ty, dread)
    animal, threat = near.index, near.query
    fear = np.maximum(np.float32(0), dread[threat] - np.sqrt(near.distance2))
    dx, dy = normalise(x[animal] - tx[threat], y[animal] - ty[threat])
    # Who stands exactly on a threat flees along +x.
    dx = np.where((dx == 0) & (dy == 0), np.float32(1), dx)
    return normalise(segment_sum(dx * fear, animal, x.size), segment_sum(dy * fear, animal, x.size))


@dataclass(frozen=True, slots=True)
class Company:
    """What neighbours do to each animal: (n,) each."""

    # Separation: the sum of their pushes.
    apart_x: F32
    apart_y: F32
    # Alignment: their mean velocity, units per second.
    along_x: F32
    along_y: F32
    # Cohesion: the way to their middle, units.
    together_x: F32
    together_y: F32
    # The worst alarm among them.
    alarm: U8


def company(grid: Grid, x: F32, y: F32, vx: F32, vy: F32, alarm: U8) -> Company:
    """What each animal of a kind has from its neighbours; (n,) each. `grid`: of x and y."""
    n = x.size
    # Each pair once: what one has from the other is summed one way, and then the other way round.
    one, two, distance2 = grid.pairs(NEIGHBOUR_UNITS, ordered=False)
    some = np.maximum(np.bincount(one, minlength=n) + np.bincount(two, minlength=n), 1)

    def mean(of_two: F32, of_one: F32) -> F32:
        result: F32 = ((segment_sum(of_two, one, n) + segment_sum(of_one, two, n)) / some).astype(np.float32)
        return result

    dx, dy = x[two] - x[one], y[two] - y[one]
    close = np.flatnonzero(distance2 < np.float32(APART_UNITS * APART_UNITS))
    a, b = one[close], two[close]
    push_x, push_y = pushed(dx[close], dy[close], distance2[close], b > a, APART_UNITS)
    return Company(
        apart_x=(segment_sum(push_x, a, n) - segment_sum(push_x, b, n)).astype(np.float32),
        apart_y=(segment_sum(push_y, a, n) - segment_sum(push_y, b, n)).astype(np.float32),
        along_x=mean(vx[two], vx[one]),
        along_y=mean(vy[two], vy[one]),
        together_x=mean(dx, -dx),
        together_y=mean(dy, -dy),
        alarm=worst(alarm, one, two),
    )


def worst(alarm: U8, one: Rows, two: Rows) -> U8:
    """(n,) the highest alarm among one's neighbours that is worth passing on, 0 for none. Pairs: (k,) each."""
    heard = np.zeros_like(alarm)
    loud = alarm > ALARM_LOST_PER_NEIGHBOUR
    for ears, mouths in ((one, two), (two, one)):
        some = np.flatnonzero(loud[mouths])
        np.maximum.at(heard, ears[some], alarm[mouths[some]])
    return heard


def next_alarm(alarm: U8, threatened: Bool, neighbours: U8) -> U8:
    """One's own fright dies down by one; a threat renews it; neighbours pass on most of theirs."""
    own = np.maximum(alarm, 1) - 1
    heard = np.maximum(neighbours, ALARM_LOST_PER_NEIGHBOUR) - ALARM_LOST_PER_NEIGHBOUR
    return np.where(threatened, ALARM_THOUGHTS, np.maximum(own, heard)).astype(np.uint8)
