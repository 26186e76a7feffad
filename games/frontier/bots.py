"""What a bot does: a plausible player, decided from what its client sees.

    brain = Brain()
    for name, args in brain.decide(rng, view, handle): client.send(name, *args)

Called two to five times a second. Bots are clients, outside the world: they may forget, and their
dice are handed in, so the same dice and the same views give the same play.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, Protocol, TypeVar

from games.frontier.constants import HARVEST_REACH_UNITS, SHOT_RANGE_UNITS, STRIKE_REACH_UNITS

T = TypeVar("T")
# A command's name and its arguments, in order.
Order = tuple[str, list[float | str]]
# Handle, and the way to it in units.
Found = tuple[int, float, float]

DANGER: Final = ("wolf", "bear")
GAME_ANIMALS: Final = ("deer", "sheep")
NODES: Final = ("tree", "rock", "bush", "meat")
# Nearer than this a predator ends all other plans.
ALERT_UNITS: Final = 16.0
FIGHT_HEALTH: Final = 55
SIGHT_UNITS: Final = 80.0
# Decisions that a goal or a direction is kept for.
PATIENCE: Final = 30
REMARKS: Final = (
    "hello!",
    "anyone for a hunt?",
    "wolves over here",
    "need stone for a fire",
    "nice herd",
    "stay by the fire tonight",
    "berries!",
    "that was close",
)


class Dice(Protocol):
    """What is needed of random.Random."""

    def random(self) -> float:
        """In [0, 1)."""
        ...

    def uniform(self, a: float, b: float, /) -> float:
        """In [a, b]."""
        ...

    def choice(self, seq: Sequence[T], /) -> T:
        """One of these."""
        ...


class View(Protocol):
    """What is needed of clients.python.table.TableView."""

    @property
    def tick(self) -> int | None:
        """Tick of what is seen."""
        ...

    @property
    def entities(self) -> Collection[int]:
        """Handles in view."""
        ...

    def archetype(self, handle: int, /) -> str:
        """Name of an entity's archetype."""
        ...

    def value(self, handle: int, field: str, /) -> int | float | bool | str:
        """The value of `Component.field`."""
        ...

    def nearest(self, handle: int, archetypes: Collection[str], reach_units: float, /) -> Found | None:
        """The nearest other entity of these archetypes within reach: handle and the way to it in units, or None."""
        ...


class Brain:
    """One bot's memory: what it is after, and which way it was last told to go."""

    def __init__(self) -> None:
        # Handle of the node or animal it is after, or None.
        self.goal: int | None = None
        self.patience = 0
        self.heading = (0.0, 0.0)
        # The Move last sent, so that the same is not sent again.
        self.sent: tuple[float, float] | None = None

    def decide(self, rng: Dice, view: View, me: int) -> list[Order]:
        """The commands to send now: (name, arguments) each. None while its own entity is not in view."""
        if me not in view.entities:
            return []
        if view.value(me, "Health.hp") == 0:
            self.goal = self.sent = None
            return [("Respawn", [])]
        if rng.random() < 0.004:
            return [("Say", [rng.choice(REMARKS)])]
        if rng.random() < 0.005:
            return [("Build", [])]
        danger = view.nearest(me, DANGER, ALERT_UNITS)
        if danger is not None:
            return self._meet(view, me, danger)
        return self._pursue(rng, view, me)

    # -- what it may be doing --------------------------------------------------

    def _meet(self, view: View, me: int, danger: Found) -> list[Order]:
        """Fight while strong, run while weak."""
        _, dx, dy = danger
        if view.value(me, "Health.hp") < FIGHT_HEALTH:  # type: ignore[operator]  # a number
            return self._go(-dx, -dy)
        return [*self._go(dx, dy), attack(view, dx, dy)]

    def _pursue(self, rng: Dice, view: View, me: int) -> list[Order]:
        """Go for the goal; choose another when it is gone, used up, or patience ends."""
        self.patience -= 1
        if self.patience <= 0 or (self.goal is not None and not worth(view, self.goal)):
            self._choose(rng, view, me)
        if self.goal is None:
            return self._go(*self.heading)
        dx, dy = way(view, me, self.goal)
        if view.archetype(self.goal) in NODES:
            if within(dx, dy, HARVEST_REACH_UNITS * 0.8):
                return [*self._go(0, 0), ("Harvest", [])]
            return self._go(dx, dy)
        if within(dx, dy, SHOT_RANGE_UNITS * 0.6):
            return [*self._go(dx, dy), attack(view, dx, dy)]
        return self._go(dx, dy)

    def _choose(self, rng: Dice, view: View, me: int) -> None:
        """A new goal: something to gather, something to hunt, or just a direction."""
        whim = rng.random()
        kinds = NODES if whim < 0.45 else GAME_ANIMALS if whim < 0.65 else ()
        found = view.nearest(me, kinds, SIGHT_UNITS) if kinds else None
        self.goal = found[0] if found is not None and worth(view, found[0]) else None
        self.patience = int(rng.uniform(0.3, 1.0) * PATIENCE)
        self.heading = (rng.uniform(-1, 1), rng.uniform(-1, 1))

    def _go(self, dx: float, dy: float) -> list[Order]:
        """A Move this way, or nothing if it goes that way already."""
        longest = max(abs(dx), abs(dy))
        move = (round(dx / longest, 1), round(dy / longest, 1)) if longest > 0 else (0.0, 0.0)
        if move == self.sent:
            return []
        self.sent = move
        return [("Move", [*move])]


# -- leaves --------------------------------------------------------------------


def attack(view: View, dx: float, dy: float) -> Order:
    """A blow at what is near, an arrow at what is far."""
    if within(dx, dy, STRIKE_REACH_UNITS):
        return ("Strike", [])
    longest = max(abs(dx), abs(dy))
    return ("Shoot", [dx / longest, dy / longest, view.tick or 0])


def worth(view: View, handle: int) -> bool:
    """Still there, and not used up."""
    if handle not in view.entities:
        return False
    return view.archetype(handle) not in NODES or view.value(handle, "Stock.amount") != 0


def way(view: View, me: int, other: int) -> tuple[float, float]:
    """From me to the other, in units."""
    dx = float(view.value(other, "Position.x")) - float(view.value(me, "Position.x"))
    dy = float(view.value(other, "Position.y")) - float(view.value(me, "Position.y"))
    return dx, dy


def within(dx: float, dy: float, units: float) -> bool:
    """Whether (dx, dy) is at most this long."""
    return dx * dx + dy * dy <= units * units
