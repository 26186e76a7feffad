"""What the frontier's entities are made of."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np

from games.frontier.constants import FULL_HEALTH, NAME_BYTES_MAX, SEEN_AGE_TICKS_MAX
from server.sim import F32, U8, U16, U32, U64, Archetype, Bytes, Component, Wire, column
from server.sim.history import History

# One step of a Heading on the wire: 256 make a full turn.
TURN_STEP_RADIANS: Final = 6.283185307179586 / 256


class Pose(IntEnum):
    """What a client draws; the value of `State.pose`."""

    # Stands.
    IDLE = 0
    # Goes at ease.
    WALK = 1
    # Goes as fast as it can.
    RUN = 2
    # Struck, shot or bit a moment ago.
    ATTACK = 3
    # Grazes, or tears at its kill.
    EAT = 4
    # Lies there.
    DEAD = 5


class Position(Component):
    """Where. Alone in its component, so that a move costs six bytes."""

    x: F32 = column(np.float32, wire=Wire("u16", scale=1 / 64, axis="x"))
    y: F32 = column(np.float32, wire=Wire("u16", scale=1 / 64, axis="y"))


class Heading(Component):
    """Which way it faces: radians from +x towards +y, in [0, 2 pi). Coarse, so that it changes rarely."""

    angle: F32 = column(np.float32, wire=Wire("u8", scale=TURN_STEP_RADIANS))


class State(Component):
    """How to draw it."""

    # A Pose.
    pose: U8 = column(np.uint8, wire=Wire("u8"))


class Health(Component):
    """0 is dead, 100 unhurt, whoever it is."""

    hp: U8 = column(np.uint8, default=FULL_HEALTH, wire=Wire("u8"))
    # Tick of the latest wound, and a reference to who gave it; both 0 before the first.
    hurt_tick: U32 = column(np.uint32)
    hurt_by: U64 = column(np.uint64)
    # Tick until which nobody can hurt it.
    safe_until_tick: U32 = column(np.uint32)


class Name(Component):
    """What players call it."""

    text: Bytes = column(f"S{NAME_BYTES_MAX}", wire=Wire("utf8", size=NAME_BYTES_MAX))


class Score(Component):
    """Points for gathering and hunting, for all to see."""

    points: U16 = column(np.uint16, wire=Wire("u16"))


class Stock(Component):
    """What is left to take from a tree, a rock, a bush or a kill; a fire's fuel."""

    amount: U8 = column(np.uint8, wire=Wire("u8"))
    # What it grows back to.
    full: U8 = column(np.uint8)


class Motion(Component):
    """Where a creature or an avatar is bound. Not on the wire: clients see where it goes."""

    # Creatures: units per second. Avatars: the intent, of length 1 at the most.
    vx: F32 = column(np.float32)
    vy: F32 = column(np.float32)


class Bag(Component):
    """An avatar's own business; the owner hears of it by Gathered."""

    wood: U16 = column(np.uint16)
    stone: U16 = column(np.uint16)
    food: U16 = column(np.uint16)
    # Unit vector it faces: the exact form of Heading.
    face_x: F32 = column(np.float32, default=1)
    face_y: F32 = column(np.float32)
    # First tick at which it can strike or shoot again, or harvest again.
    arm_ready_tick: U32 = column(np.uint32)
    hand_ready_tick: U32 = column(np.uint32)
    # Tick of its death; 0 while it lives.
    died_tick: U32 = column(np.uint32)


class Mood(IntEnum):
    """What a creature is about; the value of `Mind.mood`. Herd animals know only the first."""

    # Drifts with its kind.
    ROAM = 0
    # Has seen prey and creeps up.
    STALK = 1
    # Runs for it.
    CHASE = 2
    # Has killed.
    EAT = 3
    # Is out of breath.
    REST = 4


class Mind(Component):
    """What a creature thinks from one tick to the next."""

    # A Mood.
    mood: U8 = column(np.uint8)
    # Tick at which this mood ends, or until which a roaming predator is not hungry.
    until_tick: U32 = column(np.uint32)
    # Reference to what it hunts, 0 for nothing.
    prey: U64 = column(np.uint64)
    # First tick at which it can bite again.
    bite_ready_tick: U32 = column(np.uint32)
    # How frightened: thoughts until it calms down.
    alarm: U8 = column(np.uint8)


# Where bodies were, for arrows. One more than the oldest tick believed: that tick and now.
HISTORY: Final = History(Position, ticks=SEEN_AGE_TICKS_MAX + 1)

_BODY: Final = (Position, Heading, State, Health, Motion, HISTORY.trail)

AVATAR: Final = Archetype("avatar", *_BODY, Name, Score, Bag)
DEER: Final = Archetype("deer", *_BODY, Mind)
SHEEP: Final = Archetype("sheep", *_BODY, Mind)
WOLF: Final = Archetype("wolf", *_BODY, Mind)
BEAR: Final = Archetype("bear", *_BODY, Mind)
TREE: Final = Archetype("tree", Position, Stock)
ROCK: Final = Archetype("rock", Position, Stock)
BUSH: Final = Archetype("bush", Position, Stock)
MEAT: Final = Archetype("meat", Position, Stock)
CAMPFIRE: Final = Archetype("campfire", Position, Stock)

ARCHETYPES: Final = (AVATAR, DEER, SHEEP, WOLF, BEAR, TREE, ROCK, BUSH, MEAT, CAMPFIRE)
CREATURES: Final = (DEER, SHEEP, WOLF, BEAR)
HERDS: Final = (DEER, SHEEP)
PREDATORS: Final = (WOLF, BEAR)
