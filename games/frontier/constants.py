"""The numbers of the frontier, each with its unit in its name.

Durations are seconds of game time; `ticks` turns them into ticks of the shard's rate.
Everybody's full health is 100, so that a client draws one bar for all; how tough
something is stands in the damage tables of `combat`.
"""

from __future__ import annotations

from typing import Final

from server.sim import Tick

# -- the world --------------------------------------------------------------
# The last place inside the world, from its far edge: the step of the wire, so that the
# far edge itself, which 16 bits cannot say, never occurs. Half of it is float32's
# room at 1024 units.
EDGE_UNITS: Final = 1 / 64
# One day and night.
DAY_S: Final = 240.0
# The part of a day that is light; the rest is night.
DAYLIGHT_FRACTION: Final = 0.65
# One hamlet, a fire that never goes out, per square of this side.
HAMLET_SPACING_UNITS: Final = 256.0
HAMLET_RADIUS_UNITS: Final = 10.0
# Things per million square units (a world of 1000 x 1000); 1024 x 1024 has 5,000 creatures.
CREATURES_PER_MILLION: Final = {"deer": 2480, "sheep": 2030, "wolf": 230, "bear": 29}
NODES_PER_MILLION: Final = {"tree": 1500, "rock": 420, "bush": 460}

# -- avatars ----------------------------------------------------------------
# Nobody runs faster than this: bounds how far lag compensation looks.
RUN_MAX_UNITS_PER_S: Final = 13.0
# A client predicts with this: position += intent * speed * dt, clamped to the world.
AVATAR_SPEED_UNITS_PER_S: Final = 12.0
FULL_HEALTH: Final = 100
# Nobody can hurt one who has just come.
SAFE_AFTER_SPAWN_S: Final = 4.0
RESPAWN_AFTER_S: Final = 1.0
RESPAWN_AT_THE_LATEST_S: Final = 10.0
# Health comes back slowly, and faster by eating food from the bag.
REGENERATE_EVERY_S: Final = 1.0
EAT_EVERY_S: Final = 1.0
EAT_HEALS: Final = 10
# No healing so soon after a wound.
HEAL_AFTER_WOUND_S: Final = 3.0
BAG_MAX: Final = 999
POINTS_MAX: Final = 65_535
NAME_BYTES_MAX: Final = 24
SAY_BYTES_MAX: Final = 200

# -- fighting ---------------------------------------------------------------
STRIKE_REACH_UNITS: Final = 5.0
# Cosine of half the arc: 60 degrees to either side.
STRIKE_ARC_COSINE: Final = 0.5
STRIKE_EVERY_S: Final = 0.5
SHOT_RANGE_UNITS: Final = 48.0
# How far from the line of flight a body is still hit.
SHOT_BODY_UNITS: Final = 1.5
SHOOT_EVERY_S: Final = 0.6
# A shooter is believed to have seen a tick this old at the most.
SEEN_AGE_TICKS_MAX: Final = 16
BITE_REACH_UNITS: Final = 2.5
BITE_EVERY_S: Final = 0.8

# -- gathering and building -------------------------------------------------
HARVEST_REACH_UNITS: Final = 5.0
HARVEST_EVERY_S: Final = 0.4
REGROW_EVERY_S: Final = 12.0
MEAT_ROTS_EVERY_S: Final = 8.0
FIRE_WOOD: Final = 5
FIRE_STONE: Final = 2
# Fuel of a new fire, and the fuel that means it never goes out.
FIRE_FUEL: Final = 100
FIRE_FOR_EVER: Final = 255
FIRE_BURNS_EVERY_S: Final = 1.2
FIRE_APART_UNITS: Final = 6.0
# Predators keep this far from fires; who is nearer to one than the second heals.
FIRE_FEAR_UNITS: Final = 24.0
FIRE_WARMTH_UNITS: Final = 10.0
FIRE_HEALS_EVERY_S: Final = 0.25


def ticks(seconds: float, tick: Tick) -> int:
    """Seconds of game time in ticks, one at the least."""
    return max(1, int(seconds / tick.dt + 0.5))


def is_night(tick: Tick) -> bool:
    """A client knows as well as the server: it follows from the world's clock alone, and so is the same everywhere."""
    return tick.world_s % DAY_S >= DAY_S * DAYLIGHT_FRACTION
