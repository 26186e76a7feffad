"""Wolves and bears: they roam, stalk, chase, eat and rest.

    ROAM ──sees prey, hungry──▶ STALK ──near enough──▶ CHASE ──kill──▶ EAT ──sated──▶ ROAM
      ▲                           │ loses it             │ out of breath
      └───────────────────────────┴──────────────────────┴──▶ REST ──▶ ROAM

A fire sends any of them away. Prey that got away over a border is hunted on the way it went: whoever comes to the
other side sees for itself who is there. `next_mood` is that picture as code; the rest are leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from games.frontier.combat import BEAR_BITE_DAMAGE, WOLF_BITE_DAMAGE, wound
from games.frontier.components import (
    AVATAR,
    CAMPFIRE,
    HERDS,
    MEAT,
    PREDATORS,
    WOLF,
    Heading,
    Health,
    Mind,
    Mood,
    Pose,
    State,
)
from games.frontier.constants import BITE_EVERY_S, BITE_REACH_UNITS, FIRE_FEAR_UNITS, is_night, ticks
from games.frontier.creatures import (
    PREDATORS_TURN,
    THINK_EVERY_TICKS,
    Going,
    grid_of,
    inward,
    living,
    nearest_of,
    places,
    pushed,
    steer,
    wind,
)
from server.sim import F32, I64, U64, Bool, Rows, Tick, World
from server.sim.dmath import cos, normalise, segment_sum, sin

# Columns: wolf, bear. Units and units per second.
ROAM_SPEED: Final = np.array([3.2, 1.8], np.float32)
STALK_SPEED: Final = np.array([4.5, 2.5], np.float32)
CHASE_SPEED: Final = np.array([13.0, 10.0], np.float32)
SIGHT_UNITS: Final = np.array([55.0, 16.0], np.float32)
# How far off a player is prey, by day and by night.
AVATAR_SIGHT_DAY_UNITS: Final = np.array([18.0, 16.0], np.float32)
AVATAR_SIGHT_NIGHT_UNITS: Final = np.array([42.0, 24.0], np.float32)
# Nearer than this a stalker breaks cover.
POUNCE_UNITS: Final = np.array([20.0, 14.0], np.float32)
# Farther than this prey has got away.
LOSE_UNITS: Final = 75.0
# A player with this many others as near as this is left alone.
COMPANY: Final = 2
COMPANY_UNITS: Final = 12.0
# Pack mates: they keep together, keep apart, and hunt the same prey.
PACK_UNITS: Final = 26.0
APART_UNITS: Final = 4.0

STALK_S: Final = 20.0
CHASE_S: Final = 7.0
REST_S: Final = 10.0
EAT_S: Final = 12.0
SATED_S: Final = 50.0
WARY_OF_FIRE_S: Final = 8.0


# -- systems -------------------------------------------------------------------


def think_predators(world: World, tick: Tick) -> None:
    """Decide the mood, the prey and the velocity of the predators, when it is their turn."""
    if tick.number % THINK_EVERY_TICKS != PREDATORS_TURN:
        return
    rows = world.rows_of(*PREDATORS)
    if not rows.size:
        return
    kind = kind_of(world, rows)
    away_x, away_y, burnt = from_fire(world, rows)
    apart_x, apart_y, together_x, together_y, shared = pack_mates(world, rows)
    quarry, distance, fell = known_prey(world, rows)
    hungry = (world[Mind].mood[rows] == Mood.ROAM) & (world[Mind].until_tick[rows] <= tick.number) & ~burnt
    found = look_for_prey(world, tick, rows, hungry, shared)
    mood = next_mood(world, tick, rows, Senses(burnt, distance, fell, found))

    hunting = (mood == Mood.STALK) | (mood == Mood.CHASE)
    quarry = np.where(quarry >= 0, quarry, found)
    goal_x, goal_y = towards(world, rows, np.where(hunting, quarry, -1))
    onward_x, onward_y = cos(world[Heading].angle[rows]), sin(world[Heading].angle[rows])
    after = hunting & (quarry < 0)
    goal_x, goal_y = np.where(after, onward_x, goal_x), np.where(after, onward_y, goal_y)
    drift_x, drift_y, strength = wind(world, tick, rows)
    edge_x, edge_y = inward(world, *places(world, rows))
    speed = np.choose(np.minimum(mood, Mood.CHASE), [ROAM_SPEED[kind], STALK_SPEED[kind], CHASE_SPEED[kind]])
    speed = np.where(burnt, CHASE_SPEED[kind] * np.float32(0.8), speed)
    # A roaming pack drifts with the wind, and lies about when there is little.
    lazy = np.where(strength > np.float32(0.35), np.float32(1), np.float32(0))
    lead_x, lead_y = np.where(hunting, goal_x, drift_x * lazy), np.where(hunting, goal_y, drift_y * lazy)
    # A pack closes in on its prey, and spreads out again.
    pull = np.where(hunting, np.float32(0), np.float32(0.08))
    room = np.where(hunting, np.float32(0.3), np.float32(1))
    vx = speed * (lead_x + 2 * edge_x + 3 * away_x) + apart_x * room + together_x * pull * lazy
    vy = speed * (lead_y + 2 * edge_y + 3 * away_y) + apart_y * room + together_y * pull * lazy
    still = ((mood == Mood.EAT) | (mood == Mood.REST)) & ~burnt
    going = Going(
        vx=np.where(still, np.float32(0), vx),
        vy=np.where(still, np.float32(0), vy),
        speed_max=speed,
        moving=np.where((mood == Mood.CHASE) | burnt, Pose.RUN, Pose.WALK),
        standing=np.choose(mood, [Pose.IDLE, Pose.IDLE, Pose.ATTACK, Pose.EAT, Pose.IDLE]),
    )
    steer(world, rows, going)


def bite(world: World, tick: Tick) -> None:
    """Those in chase whose prey is within reach wound it."""
    pack = world.rows_of(*PREDATORS)
    mind = world[Mind]
    rows = pack[(mind.mood[pack] == Mood.CHASE) & (mind.bite_ready_tick[pack] <= tick.number)]
    prey = world.resolve(mind.prey[rows])
    rows, prey = rows[prey >= 0], prey[prey >= 0]
    (x, y), (px, py) = places(world, rows), places(world, prey)
    near = (px - x) * (px - x) + (py - y) * (py - y) <= np.float32(BITE_REACH_UNITS * BITE_REACH_UNITS)
    near &= world[Health].hp[prey] > 0
    rows, prey = rows[near], prey[near]
    if not rows.size:
        return
    mind.bite_ready_tick[rows] = tick.number + ticks(BITE_EVERY_S, tick)
    world[State].pose[rows] = Pose.ATTACK
    wolf = world.is_a(rows, WOLF)
    wound(world, tick, rows[wolf], prey[wolf], WOLF_BITE_DAMAGE)
    wound(world, tick, rows[~wolf], prey[~wolf], BEAR_BITE_DAMAGE)


# -- leaves --------------------------------------------------------------------


def kind_of(world: World, rows: Rows) -> I64:
    """(n,) column of the tables above: 0 for a wolf, 1 for a bear."""
    return np.where(world.is_a(rows, WOLF), 0, 1)


@dataclass(frozen=True, slots=True)
class Senses:
    """What predators know when they decide: (n,) each."""

    # A fire is near.
    burnt: Bool
    # Units to the prey they hunt, 0 where unknown.
    distance: F32
    # The prey they hunted is dead.
    fell: Bool
    # Row of new prey, -1 for none.
    found: I64


def next_mood(world: World, tick: Tick, rows: Rows, senses: Senses) -> I64:
    """One step through the picture at the module's top, written to Mind; returns the moods, (n,)."""
    mind, now, found = world[Mind], tick.number, senses.found
    mood, until, prey = mind.mood[rows].astype(np.int64), mind.until_tick[rows].astype(np.int64), mind.prey[rows]
    due = until <= now
    hunting = (mood == Mood.STALK) | (mood == Mood.CHASE)
    nothing = np.uint64(0)
    # Each row: who changes, to what, for how long, and whether the prey is forgotten. The first that fits counts.
    table = (
        (senses.burnt & (hunting | (mood == Mood.ROAM)), Mood.ROAM, WARY_OF_FIRE_S, True),
        (hunting & senses.fell & (senses.distance <= PACK_UNITS), Mood.EAT, EAT_S, True),
        (hunting & (senses.fell | (senses.distance > LOSE_UNITS)), Mood.ROAM, 1.0, True),
        ((mood == Mood.CHASE) & due, Mood.REST, REST_S, True),
        ((mood == Mood.STALK) & (senses.distance <= POUNCE_UNITS[kind_of(world, rows)]), Mood.CHASE, CHASE_S, False),
        ((mood == Mood.STALK) & due, Mood.ROAM, REST_S, True),
        ((mood == Mood.EAT) & due, Mood.ROAM, SATED_S, True),
        ((mood == Mood.REST) & due, Mood.ROAM, 1.0, True),
        (found >= 0, Mood.STALK, STALK_S, False),
    )
    open_ = np.ones(rows.size, np.bool_)
    for who, to, seconds, forget in table:
        change = who & open_
        open_ &= ~change
        mood[change] = to
        until[change] = now + ticks(seconds, tick)
        if forget:
            prey[change] = nothing
    begins = (mood == Mood.STALK) & (found >= 0) & ~hunting
    prey[begins] = world.ref(found[begins])
    mind.mood[rows], mind.until_tick[rows], mind.prey[rows] = mood, until, prey
    return mood


def known_prey(world: World, rows: Rows) -> tuple[I64, F32, Bool]:
    """What each hunts already: its row or -1, how far it is (0 where unknown), and whether it has fallen.

    A fallen animal is gone from the world and has left meat, near enough to whoever was upon it.
    """
    refs = world[Mind].prey[rows]
    prey = world.resolve(refs)
    here = prey >= 0
    safe = np.where(here, prey, 0)
    gone = np.flatnonzero((refs != 0) & ~here)
    fell = here & (world[Health].hp[safe] == 0)
    fell[gone] = nearest_of(world, rows[gone], world.rows_of(MEAT), PACK_UNITS) >= 0
    (x, y), (px, py) = places(world, rows), places(world, safe)
    distance = np.sqrt((px - x) * (px - x) + (py - y) * (py - y))
    return prey, np.where(here, distance, np.float32(0)), fell


def look_for_prey(world: World, tick: Tick, rows: Rows, hungry: Bool, shared: U64) -> I64:
    """What each hungry one finds: a pack mate's prey, a lone player, a herd animal; (n,) rows, -1 for nothing."""
    found = np.full(rows.size, -1, np.int64)
    if not hungry.any():
        return found
    found[hungry] = world.resolve(shared[hungry])
    seeking = np.flatnonzero(hungry & (found < 0))
    if not seeking.size:
        return found
    kind = kind_of(world, rows[seeking])
    players = lone_players(world)
    sight = (AVATAR_SIGHT_NIGHT_UNITS if is_night(tick) else AVATAR_SIGHT_DAY_UNITS)[kind]
    herd = world.rows_of(*HERDS)
    found[seeking] = nearest_within(world, herd, rows[seeking], SIGHT_UNITS[kind])
    player = nearest_within(world, players, rows[seeking], sight)
    found[seeking] = np.where(player >= 0, player, found[seeking])
    return found


def nearest_within(world: World, prey: Rows, rows: Rows, sight: F32) -> I64:
    """The nearest of `prey` to each row, (n,) rows, -1 where it is out of sight."""
    if not prey.size:
        return np.full(rows.size, -1, np.int64)
    x, y = places(world, rows)
    farthest = float(np.max(sight))
    # One cell as wide as the eye sees: found at the first look, or not at all.
    index, distance2 = grid_of(world, prey, farthest).nearest(x, y, 1, farthest)
    seen = (index[:, 0] >= 0) & (distance2[:, 0] <= sight * sight)
    return np.where(seen, prey[index[:, 0]], -1)


def lone_players(world: World) -> Rows:
    """Living players whom wolves dare to hunt: with little company, and away from fires."""
    rows = living(world, world.rows_of(AVATAR))
    if not rows.size:
        return rows
    x, y = places(world, rows)
    near = grid_of(world, rows, COMPANY_UNITS).radius(x, y, COMPANY_UNITS)
    others = np.diff(near.offsets) - 1
    _, _, warm = from_fire(world, rows)
    return rows[(others < COMPANY) & ~warm]


def from_fire(world: World, rows: Rows) -> tuple[F32, F32, Bool]:
    """Away from the nearest fire, a unit vector or (0, 0), (n,) float32 each; and whether there is one near."""
    fire = nearest_of(world, rows, world.rows_of(CAMPFIRE), FIRE_FEAR_UNITS)
    near: Bool = fire >= 0
    (x, y), (fx, fy) = places(world, rows), places(world, np.where(near, fire, rows))
    return *normalise(x - fx, y - fy), near


def pack_mates(world: World, rows: Rows) -> tuple[F32, F32, F32, F32, U64]:
    """Separation and cohesion among one's kind (x and y, float32), and the prey a mate hunts, 0 for none: (n,) each."""
    n, pack = rows.size, world.rows_of(*PREDATORS)
    near = grid_of(world, pack, PACK_UNITS).radius(*places(world, rows), PACK_UNITS)
    other, own = pack[near.index], rows[near.query]
    kin = np.flatnonzero((world.archetype[other] == world.archetype[own]) & (other != own))
    me, other, own = near.query[kin], other[kin], own[kin]
    (x, y), (other_x, other_y) = places(world, own), places(world, other)
    dx, dy = other_x - x, other_y - y
    push_x, push_y = pushed(dx, dy, near.distance2[kin], other > own, APART_UNITS)
    some = np.maximum(np.bincount(me, minlength=n), 1)
    shared = np.zeros(n, np.uint64)
    np.maximum.at(shared, me, world[Mind].prey[other])
    return (
        segment_sum(push_x, me, n).astype(np.float32),
        segment_sum(push_y, me, n).astype(np.float32),
        (segment_sum(dx, me, n) / some).astype(np.float32),
        (segment_sum(dy, me, n) / some).astype(np.float32),
        shared,
    )


def towards(world: World, rows: Rows, goals: I64) -> tuple[F32, F32]:
    """Unit vectors towards the goal rows, (0, 0) for goal -1 or when all but there; (n,) float32 each."""
    some = goals >= 0
    (x, y), (gx, gy) = places(world, rows), places(world, np.where(some, goals, 0))
    dx, dy = gx - x, gy - y
    # Stopping at half the reach of a bite keeps a pack from standing in its prey.
    far = some & (dx * dx + dy * dy > np.float32(BITE_REACH_UNITS * BITE_REACH_UNITS / 4))
    return normalise(np.where(far, dx, np.float32(0)), np.where(far, dy, np.float32(0)))
