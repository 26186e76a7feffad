"""Deer and sheep: they keep together, keep apart, go the same way, and run from what hunts them.

After Reynolds 1987, "Flocks, herds and schools": separation, alignment, cohesion over the
neighbours of one's own kind; fear is passed on from one to the next, and dies down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from games.frontier.components import AVATAR, DEER, HERDS, PREDATORS, SHEEP, Mind, Motion, Pose, Position
from games.frontier.creatures import (
    FAR_EVERY_THOUGHTS,
    MANY,
    PREDATORS_TURN,
    STRIPS,
    STRIPS_OF_MANY,
    THINK_EVERY_TICKS,
    Going,
    inward,
    living,
    places,
    pushed,
    steer,
    strip,
    unit,
    wind,
)
from server.sim import F32, F64, U8, Bool, Rows, Tick, World
from server.sim.dmath import segment_sum
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
# How often the frightened go by their neighbours' course once more within a thought.
AGREE_ROUNDS: Final = 2
# A wind weaker than this makes nobody walk: the herd grazes.
GRAZING_WIND: Final = 0.55


# -- systems -------------------------------------------------------------------


def think_herds(world: World, tick: Tick) -> None:
    """Decide the velocities of the herd animals whose turn it is."""
    herd = world.rows_of(*HERDS)
    strips = STRIPS_OF_MANY if herd.size > MANY else STRIPS
    number, between = divmod(tick.number % THINK_EVERY_TICKS, PREDATORS_TURN // strips)
    if between or number == strips:
        return
    rows, thinks = gathered(world, tick, herd, number, strips)
    if not thinks.size:
        return
    near = company(world, rows, thinks)
    rows = rows[thinks]
    mind, motion = world[Mind], world[Motion]
    x, y = places(world, rows)
    velocity = np.stack((motion.vx[rows], motion.vy[rows]))
    flee = flight(world, x, y)

    alarm = next_alarm(mind.alarm[rows], (flee[0] != 0) | (flee[1] != 0), near.alarm)
    mind.alarm[rows] = alarm
    scared = alarm > 0
    edge = np.stack(inward(world, x, y))
    *to, strength = wind(world, tick, rows)
    drift = np.where(strength > np.float32(GRAZING_WIND), np.float32(WALK_UNITS_PER_S), np.float32(0))
    run = np.where(world.is_a(rows, DEER), *(np.float32(RUN_UNITS_PER_S[kind]) for kind in HERDS))
    # The frightened who see nothing to fear any more run on, with their neighbours.
    running = run * unit(run * (near.on + 2 * flee + 3 * edge) + 2 * near.apart + near.together)
    along, together = np.float32(0.4), np.float32(0.25)
    calm = drift * np.stack(to) + along * near.along + together * near.together + near.apart + 4 * edge
    # Half of the old velocity stays: animals have weight.
    vx, vy = np.where(scared, running, np.float32(0.5) * (velocity + calm))
    going = Going(
        vx=vx,
        vy=vy,
        speed_max=np.where(scared, run, np.float32(WALK_UNITS_PER_S)),
        moving=np.where(scared, Pose.RUN, Pose.WALK),
        standing=np.where(scared, Pose.IDLE, Pose.EAT),
    )
    steer(world, rows, going)


# -- leaves --------------------------------------------------------------------


def gathered(world: World, tick: Tick, herd: Rows, number: int, strips: int) -> tuple[Rows, Rows]:
    """The herd animals of a strip with their neighbours, (n,) rows, and the places in it of those who think now.

    The far think at some of the strip's turns. At the others they are not among them, which leaves few or none.
    """
    y = world[Position].y[herd]
    reach = np.float32(NEIGHBOUR_UNITS)
    low, high = strip(world, number, strips)
    in_it = np.flatnonzero((y >= low - reach) & (y < high + reach))
    rows, y = herd[in_it], y[in_it]
    thinks = (y >= low) & (y < high)
    if (tick.number // THINK_EVERY_TICKS + number) % FAR_EVERY_THOUGHTS:
        near = np.logical_not(tick.is_far(rows))
        rows, thinks = rows[near], thinks[near]
    return rows, np.flatnonzero(thinks)


def flight(world: World, x: F32, y: F32) -> F32:
    """Away from what frightens an animal at each place, (2, n); (0, 0) where nothing does."""
    predators, avatars = world.rows_of(*PREDATORS), living(world, world.rows_of(AVATAR))
    vx, vy = world[Motion].vx[avatars], world[Motion].vy[avatars]
    runners = avatars[vx * vx + vy * vy > np.float32(SNEAK_INTENT * SNEAK_INTENT)]
    tx, ty = places(world, np.concatenate([predators, runners]))
    dread = np.full(tx.size, WOLF_DREAD_UNITS, np.float32)
    dread[predators.size :] = AVATAR_DREAD_UNITS
    beside = np.flatnonzero((ty >= y.min() - dread) & (ty <= y.max() + dread))
    tx, ty, dread = tx[beside], ty[beside], dread[beside]
    near = Grid(x, y, extent(world, y), WOLF_DREAD_UNITS).radius(tx, ty, dread)
    animal, threat = near.index, near.query
    fear = np.maximum(np.float32(0), dread[threat] - np.sqrt(near.distance2))
    away = unit(np.stack((x[animal] - tx[threat], y[animal] - ty[threat])))
    # Who stands exactly on a threat flees along +x.
    away[0, near.distance2 == 0] = 1
    away *= fear
    return unit(pair(segment_sum(away[0], animal, x.size), segment_sum(away[1], animal, x.size)))


def extent(world: World, y: F32) -> tuple[float, float, float, float]:
    """The part of the region, from side to side, that these places lie in."""
    x0, _, x1, _ = world.bounds
    return x0, float(y.min()) - 1, x1, float(y.max()) + 1


@dataclass(frozen=True, slots=True)
class Company:
    """What neighbours do to each animal: (2, n) float32, x and y, but for the alarm."""

    # Separation: the sum of their pushes.
    apart: F32
    # Alignment: their mean velocity, units per second.
    along: F32
    # The same for the frightened, who agree on a course: unit vectors.
    on: F32
    # Cohesion: the way to their middle, units.
    together: F32
    # (n,) the worst alarm among them.
    alarm: U8


def company(world: World, rows: Rows, thinks: Rows) -> Company:
    """What those at the places `thinks` of `rows` have from their neighbours: those of `rows` near and of a kind."""
    n = rows.size
    mind, motion = world[Mind], world[Motion]
    x, y = places(world, rows)
    vx, vy, alarm, kind = motion.vx[rows], motion.vy[rows], mind.alarm[rows], world.archetype[rows]
    # Each pair once: what one has from the other is summed one way, and then the other way round.
    one, two, distance2 = Grid(x, y, extent(world, y), NEIGHBOUR_UNITS).pairs(NEIGHBOUR_UNITS, ordered=False)
    kin = np.flatnonzero(kind[one] == kind[two])
    one, two, distance2 = one[kin], two[kin], distance2[kin]
    some = np.maximum(np.bincount(one, minlength=n) + np.bincount(two, minlength=n), 1)

    def mean(of_two: F32, of_one: F32) -> F64:
        result: F64 = (segment_sum(of_two, one, n) + segment_sum(of_one, two, n)) / some
        return result

    dx, dy = x[two] - x[one], y[two] - y[one]
    close = np.flatnonzero(distance2 < np.float32(APART_UNITS * APART_UNITS))
    a, b = one[close], two[close]
    push_x, push_y = pushed(dx[close], dy[close], distance2[close], b > a, APART_UNITS)
    apart = (
        segment_sum(push_x, a, n) - segment_sum(push_x, b, n),
        segment_sum(push_y, a, n) - segment_sum(push_y, b, n),
    )
    along = pair(mean(vx[two], vx[one]), mean(vy[two], vy[one]))
    together = pair(mean(dx, -dx), mean(dy, -dy))
    scared = alarm > 0
    afraid = np.flatnonzero(scared[one] & scared[two])
    on = agreed(unit(np.stack((vx, vy)) + FOLLOW * along), one[afraid], two[afraid])
    return Company(
        pair(*apart)[:, thinks], along[:, thinks], on[:, thinks], together[:, thinks], worst(alarm, one, two)[thinks]
    )


def agreed(course: F32, one: Rows, two: Rows) -> F32:
    """Courses, (2, n) unit vectors, after each has gone by its neighbours' a few times over. Pairs: (k,) each.

    All decide at once: once is not enough, for each would take the course that the other is just leaving.
    """
    if not one.size:
        return course
    # Few are frightened: the rounds are among these.
    place = np.zeros(course.shape[1], np.int64)
    place[one] = place[two] = 1
    among = np.flatnonzero(place)
    place[among] = np.arange(among.size)
    me, other = np.concatenate([place[one], place[two]]), np.concatenate([place[two], place[one]])
    n = among.size
    follow = FOLLOW / np.bincount(me)
    theirs = course[:, among]
    for _ in range(AGREE_ROUNDS):
        x, y = (follow * segment_sum(axis[other], me, n) for axis in theirs)
        theirs = unit(theirs + pair(x, y))
    course[:, among] = theirs
    return course


def pair(x: F64, y: F64) -> F32:
    """(2, n) of (n,) each."""
    return np.stack((x, y)).astype(np.float32)


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
