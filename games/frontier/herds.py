"""Deer and sheep: they keep together, keep apart, go the same way, and run from what hunts them.

After Reynolds 1987, "Flocks, herds and schools": separation, alignment, cohesion over the
neighbours of one's own kind; fear is passed on from one to the next, and dies down.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from games.frontier.components import AVATAR, HERDS, PREDATORS, SHEEP, Mind, Motion, Pose
from games.frontier.creatures import Going, grid_of, inward, living, places, pushed, steer, whose_turn, wind
from server.sim import F32, U8, Rows, Tick, World
from server.sim.dmath import normalise, segment_sum

NEIGHBOUR_UNITS: Final = 7.0
APART_UNITS: Final = 3.0
WALK_UNITS_PER_S: Final = 2.2
DEER_RUN_UNITS_PER_S: Final = 10.5
SHEEP_RUN_UNITS_PER_S: Final = 8.0
# How near a threat must come to frighten. A player frightens by running; one who
# walks (an intent shorter than half) can come close.
WOLF_DREAD_UNITS: Final = 17.0
AVATAR_DREAD_UNITS: Final = 11.0
SNEAK_INTENT: Final = 0.55
# Fright lasts so many thoughts, and each neighbour it is passed on to has so many less.
ALARM_THOUGHTS: Final = 11
ALARM_LOST_PER_NEIGHBOUR: Final = 3
# A wind weaker than this makes nobody walk: the herd grazes.
GRAZING_WIND: Final = 0.55


def think_herds(world: World, tick: Tick) -> None:
    """Decide the velocity of the herd animals whose turn it is."""
    herd = world.rows_of(*HERDS)
    rows = whose_turn(herd, tick)
    if not rows.size:
        return
    x, y = places(world, rows)
    flee_x, flee_y = flight(world, rows)
    apart_x, apart_y, along_x, along_y, together_x, together_y, alarmed = company(world, herd, rows)
    mind, motion = world[Mind], world[Motion]

    mind.alarm[rows] = alarm = next_alarm(mind.alarm[rows], (flee_x != 0) | (flee_y != 0), alarmed)
    scared = alarm > 0
    edge_x, edge_y = inward(world, x, y)
    wind_x, wind_y, strength = wind(world, tick, rows)
    drift = np.where(strength > np.float32(GRAZING_WIND), np.float32(WALK_UNITS_PER_S), np.float32(0))
    run = np.where(world.is_a(rows, SHEEP), np.float32(SHEEP_RUN_UNITS_PER_S), np.float32(DEER_RUN_UNITS_PER_S))
    # The frightened who see nothing to fear any more run on, with their neighbours.
    on_x, on_y = normalise(motion.vx[rows] + along_x, motion.vy[rows] + along_y)
    run_x = run * (on_x + 2 * flee_x + edge_x * 3) + 2 * apart_x + together_x
    run_y = run * (on_y + 2 * flee_y + edge_y * 3) + 2 * apart_y + together_y
    run_x, run_y = normalise(run_x, run_y)
    calm_x = wind_x * drift + along_x * np.float32(0.4) + together_x * np.float32(0.25) + apart_x + edge_x * 4
    calm_y = wind_y * drift + along_y * np.float32(0.4) + together_y * np.float32(0.25) + apart_y + edge_y * 4
    # Half of the old velocity stays: animals have weight.
    half = np.float32(0.5)
    calm_x, calm_y = half * (motion.vx[rows] + calm_x), half * (motion.vy[rows] + calm_y)
    going = Going(
        vx=np.where(scared, run * run_x, calm_x),
        vy=np.where(scared, run * run_y, calm_y),
        speed_max=np.where(scared, run, np.float32(WALK_UNITS_PER_S)),
        moving=np.where(scared, Pose.RUN, Pose.WALK),
        standing=np.where(scared, Pose.IDLE, Pose.EAT),
    )
    steer(world, rows, going)


def flight(world: World, rows: Rows) -> tuple[F32, F32]:
    """Away from what frightens each animal, (n,) float32 each; (0, 0) where nothing does."""
    predators, avatars = world.rows_of(*PREDATORS), living(world, world.rows_of(AVATAR))
    vx, vy = world[Motion].vx[avatars], world[Motion].vy[avatars]
    runners = avatars[vx * vx + vy * vy > np.float32(SNEAK_INTENT * SNEAK_INTENT)]
    threats = np.concatenate([predators, runners])
    dread = np.full(threats.size, WOLF_DREAD_UNITS, np.float32)
    dread[predators.size :] = AVATAR_DREAD_UNITS
    x, y = places(world, rows)
    near = grid_of(world, threats, WOLF_DREAD_UNITS).radius(x, y, WOLF_DREAD_UNITS)
    distance = np.sqrt(near.distance2).astype(np.float32)
    fear = np.maximum(np.float32(0), dread[near.index] - distance)
    tx, ty = places(world, threats)
    dx, dy = normalise(x[near.query] - tx[near.index], y[near.query] - ty[near.index])
    # Who stands exactly on a threat flees along +x.
    dx = np.where((dx == 0) & (dy == 0), np.float32(1), dx)
    return normalise(segment_sum(dx * fear, near.query, rows.size), segment_sum(dy * fear, near.query, rows.size))


def company(world: World, herd: Rows, rows: Rows) -> tuple[F32, F32, F32, F32, F32, F32, U8]:
    """What neighbours of one's kind do to each: separation, alignment, cohesion (x and y), and their worst alarm."""
    x, y = places(world, rows)
    near = grid_of(world, herd, NEIGHBOUR_UNITS).radius(x, y, NEIGHBOUR_UNITS)
    other = herd[near.index]
    kin = (other != rows[near.query]) & (world.archetype[other] == world.archetype[rows[near.query]])
    query, other, distance2 = near.query[kin], other[kin], near.distance2[kin].astype(np.float32)
    n = rows.size
    hx, hy = places(world, other)
    dx, dy = hx - x[query], hy - y[query]
    push_x, push_y = pushed(dx, dy, distance2, other > rows[query], APART_UNITS)
    motion = world[Motion]
    some = np.maximum(np.bincount(query, minlength=n), 1)

    def mean(values: F32) -> F32:
        return (segment_sum(values, query, n) / some).astype(np.float32)

    def total(values: F32) -> F32:
        return segment_sum(values, query, n).astype(np.float32)

    alarmed = np.zeros(n, np.uint8)
    np.maximum.at(alarmed, query, world[Mind].alarm[other])
    return (
        total(push_x),
        total(push_y),
        mean(motion.vx[other]),
        mean(motion.vy[other]),
        mean(dx),
        mean(dy),
        alarmed,
    )


def next_alarm(alarm: U8, threatened: Rows, neighbours: U8) -> U8:
    """One's own fright dies down by one; a threat renews it; neighbours pass on most of theirs."""
    own = np.maximum(alarm, 1) - 1
    heard = np.maximum(neighbours, ALARM_LOST_PER_NEIGHBOUR) - ALARM_LOST_PER_NEIGHBOUR
    return np.where(threatened, ALARM_THOUGHTS, np.maximum(own, heard)).astype(np.uint8)
