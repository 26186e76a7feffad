"""What a player can ask for, and what players are told."""

from __future__ import annotations

from enum import IntEnum

from games.frontier.constants import NAME_BYTES_MAX, SAY_BYTES_MAX
from server.sim import F32, U8, U16, U32, Bytes, Command, Event, arg


class Move(Command):
    """Go this way until told otherwise. A vector longer than 1 counts as 1; (0, 0) stands."""

    latest_wins = True
    dx: F32 = arg("f32", min=-1, max=1)
    dy: F32 = arg("f32", min=-1, max=1)


class Strike(Command):
    """Hit whoever stands within reach in the direction faced."""


class Shoot(Command):
    """Shoot an arrow in this direction, as things were at the tick the shooter saw."""

    dx: F32 = arg("f32", min=-1, max=1)
    dy: F32 = arg("f32", min=-1, max=1)
    seen_tick: U32 = arg("u32")


class Harvest(Command):
    """Take one from the nearest tree, rock, bush or kill within reach."""


class Say(Command):
    """Speak to all who are near."""

    text: Bytes = arg("utf8", size=SAY_BYTES_MAX)


class Respawn(Command):
    """Rise again at the nearest hamlet."""


class Build(Command):
    """Light a fire here, for wood and stone; or feed the fire one stands at, for wood. It costs, so it is confirmed."""

    reliable = True


class Goods(IntEnum):
    """What was gathered; the value of `Gathered.kind`."""

    # Nothing new: the totals alone are the news.
    NOTHING = 0
    # From trees.
    WOOD = 1
    # From rocks.
    STONE = 2
    # Berries, from bushes.
    BERRIES = 3
    # From kills.
    MEAT = 4


class Said(Event):
    """Somebody spoke."""

    who: U32 = arg("entity")
    name: Bytes = arg("utf8", size=NAME_BYTES_MAX)
    text: Bytes = arg("utf8", size=SAY_BYTES_MAX)


class Hit(Event):
    """Somebody wounded somebody."""

    attacker: U32 = arg("entity")
    target: U32 = arg("entity")
    damage: U8 = arg("u8")


class Died(Event):
    """Somebody fell."""

    who: U32 = arg("entity")
    killer: U32 = arg("entity")


class Shot(Event):
    """An arrow flew from (x, y), in world units, `length` units along the unit vector (dx, dy)."""

    who: U32 = arg("entity")
    x: F32 = arg("f32")
    y: F32 = arg("f32")
    dx: F32 = arg("f32")
    dy: F32 = arg("f32")
    length: F32 = arg("f32")


class Gathered(Event):
    """To its owner: what came into the bag, and what is in it now."""

    # A Goods.
    kind: U8 = arg("u8")
    amount: U8 = arg("u8")
    wood: U16 = arg("u16")
    stone: U16 = arg("u16")
    food: U16 = arg("u16")


COMMANDS = (Move, Strike, Shoot, Harvest, Say, Respawn, Build)
EVENTS = (Said, Hit, Died, Shot, Gathered)
