"""A game, declared: components, archetypes, commands, events, and systems in one visible order.

    GAME = Game(
        name="meadow", version=1, position=Position,
        archetypes=(AVATAR, SHEEP), commands=(Move,), events=(Said,),
        systems=(steer, walk, graze),
        setup=setup, join=join,
    )

A system is a function of (world, tick). All of a tick's commands of one kind come
to it at once, as arrays; it may use nothing but its two arguments and constants.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from protocol.schema import (
    UTF8,
    ArchetypeSchema,
    CommandSchema,
    ComponentSchema,
    EventSchema,
    Schema,
)
from server.sim.component import F32, I64, U32, U64, Archetype, Bool, Component, Rows
from server.sim.errors import DeclarationError
from server.sim.far import Far, Turns
from server.sim.messages import Command, Emitted, Event, Lane, Mail, Sent, arg
from server.sim.migrate import Migration
from server.sim.rng import Random
from server.sim.world import World

# What a game is declared with, found here beside Game.
__all__ = [
    "FIRST_COMMAND",
    "Command",
    "Emitted",
    "Event",
    "Far",
    "Game",
    "Join",
    "Leave",
    "Mail",
    "System",
    "Tick",
    "arg",
    "text",
]

# Command numbers below are the engine's own: join, leave, away.
FIRST_COMMAND = 16

# Streams of randomness that are the engine's own, so no system's name.
_STREAMS = ("setup", "arrive", "join", "presence", "leave")
# Names that commands, events and `Tick.emit` use themselves.
_TAKEN = ("session", "seq", "row", "to", "at", "event", "self", "args", "latest_wins", "reliable")
# Names that mail and `Tick.send` use themselves.
_TAKEN_OF_MAIL = (
    "row",
    "source",
    "x",
    "y",
    "radius",
    "kind",
    "to",
    "at",
    "region",
    "here",
    "lane",
    "self",
    "args",
    "returns",
)


K = TypeVar("K", bound=Command)
M = TypeVar("M", bound=Mail)


@dataclass(slots=True)
class Tick:
    """What a system may know beside the world."""

    # Ticks that the region made since it began. One that slept has made fewer than its neighbours; see `world_s`.
    number: int
    # Seconds of game time per tick.
    dt: float
    # The world's seed.
    seed: int
    batches: Mapping[type[Command], Command]
    emitted: list[Emitted] = field(default_factory=list)
    # Name of the running system: its stream of randomness.
    system: str = ""
    # Of a region among several; empty where there is one: what its randomness is keyed by beside.
    place: str = ""
    letters: Mapping[type[Mail], Mail] = field(default_factory=dict)
    # What came back of the mail that this region sent.
    back: Mapping[type[Mail], Mail] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    # Where the game lets who is far from players take fewer turns: whose turn it is.
    turns: Turns | None = None
    # Ticks by which the world's clock is ahead of `number`.
    ahead: int = 0

    @property
    def world_s(self) -> float:
        """Seconds of game time on the world's clock: for the hour of the day, the season, whatever holds everywhere.

        It never goes back, and regions differ by a second or two. In one that slept, or was slow, it jumps forward:
        what is to last for so many seconds is counted in `number`.
        """
        return (self.number + self.ahead) * self.dt

    def commands(self, kind: type[K]) -> K:
        """This tick's commands of a kind, sorted by (session, seq); empty arrays if none came."""
        return self.batches[kind]  # type: ignore[return-value]  # keyed by its own class

    def mail(self, kind: type[M]) -> M:
        """This tick's mail of a kind, in the order of the regions that sent it; empty arrays if none came."""
        return self.letters.get(kind) or kind.none()  # type: ignore[return-value]  # keyed by its own class

    def returned(self, kind: type[M]) -> M:
        """What of this region's mail of a kind has come back at this tick, with `to` and its arguments as sent.

        It reached nobody, was for an entity that is no more, was refused by a region of another version of the game,
        or could not leave for a region that is out of reach. Each message is heard once: by whom it was for, or here.
        Raises DeclarationError for a kind that does not say `returns = True`.
        """
        if not kind.returns:
            raise DeclarationError(f"{kind.__name__} does not come back: it lacks `returns = True`")
        return self.back.get(kind) or kind.none()  # type: ignore[return-value]  # keyed by its own class

    def random(self, stream: str = "") -> Random:
        """Randomness keyed by (seed, tick, this system and `stream`, region, entity)."""
        return Random(self.seed, self.number, f"{self.system}/{stream}{self.place}")

    def due(self, rows: Rows) -> Rows:
        """Those of `rows` that have a turn at this tick, in order: all, but for most of those that are `Game.far`."""
        return rows if self.turns is None else rows[self.turns.due[rows]]

    def step_s(self, rows: Rows) -> F32:
        """(n,) float32 seconds of game time that rows which have a turn go on by: `dt`, and more for the far."""
        return np.full(len(rows), self.dt, np.float32) if self.turns is None else self.turns.step_s(rows)

    def steps_s(self, world: World) -> F32:
        """(high_water,) float32 seconds that each row goes on by at this tick, 0 without a turn: for work in place.

        place.x[:n] += going.vx[:n] * tick.steps_s(world)
        """
        n = world.high_water
        return np.full(n, self.dt, np.float32) if self.turns is None else self.turns.steps_s(n)

    def is_far(self, rows: Rows) -> Bool:
        """(n,) bool: those that have fewer turns, for a game that arranges more by it."""
        return np.zeros(len(rows), np.bool_) if self.turns is None else self.turns.far[rows]

    def emit(
        self,
        event: type[Event],
        *,
        to: Rows | None = None,
        at: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
        **values: Any,  # Any: each is a scalar or an (n,) array of its argument's type
    ) -> None:
        """Tell clients: the owners of rows `to`, or all who see the places `at`, or everyone.

        Every argument is an (n,) array or a scalar for all n. Raises DeclarationError
        for a missing or unknown argument.
        """
        _check_values(event, values)
        # Copies, for the arrays handed in may be views of columns that later systems write to.
        if to is not None:
            to = np.array(to, np.int64)
            n = len(to)
        elif at is not None:
            at = (np.array(at[0], np.float32), np.array(at[1], np.float32))
            n = len(at[0])
        else:
            n = max((len(v) for v in values.values() if isinstance(v, np.ndarray)), default=1)
        if n == 0:
            return
        given = [np.asarray(values[a.name]) for a in event.args]
        arrays = tuple(v.copy() if v.shape == (n,) else np.broadcast_to(v, (n,)).copy() for v in given)
        self.emitted.append(Emitted(event, to, at, arrays))

    def send(
        self,
        kind: type[Mail],
        *,
        to: U64 | None = None,
        at: tuple[F32, F32, F32 | float] | None = None,
        region: U32 | int | None = None,
        here: bool = True,
        lane: Lane = "normal",
        **values: Any,  # Any: each is a scalar or an (n,) array of its argument's type
    ) -> None:
        """Tell systems of this and other regions, which hear it with `mail` a tick later or more, each once.

        To entities, by number (n,); wherever they are: mail follows one that went over borders, however long ago, and
        is nobody's where it is dead. `region` then says where it was last heard of (`Mail.source`), which may be the
        shorter way; without it the region of its birth is asked, which knows. Or to every region that the circles
        `at`, (x, y, radius) (n,) each in world units, touch; without this one where `here` is False. Or to regions by
        number.

        Every argument is an (n,) array or a scalar for all n. What is for a region that has been out of reach for so
        long that no more is kept for it becomes a dead letter, or comes back; see `returned`. Raises DeclarationError
        for a missing or unknown argument, for mail that does not say whom it is for, and for mail to places of a kind
        that comes back: several regions hear it, or none.
        """
        _check_values(kind, values)
        # Copies, as in `emit`.
        if to is not None and at is None:
            to = np.array(to, np.uint64)
            n = len(to)
        elif at is not None and to is None and region is None:
            if kind.returns:
                raise DeclarationError(f"{kind.__name__} comes back: it can be for entities or regions, not for places")
            x, y, radius = np.broadcast_arrays(*(np.asarray(v, np.float32) for v in at))
            at = (x.copy(), y.copy(), radius.copy())
            n = len(x)
        elif region is not None and at is None:
            n = np.size(region)
        else:
            raise DeclarationError(f"{kind.__name__} is for entities, for places, or for regions: say which")
        if n == 0:
            return
        regions = None if region is None else np.broadcast_to(np.asarray(region, np.uint32), (n,)).copy()
        arrays = tuple(
            np.broadcast_to(np.asarray(values[a.name]), (n,)).astype(dtype)
            for a, dtype in zip(kind.args, kind.dtypes(), strict=True)
        )
        self.sent.append(Sent(kind, lane, to, at, regions, here, arrays, n))


def _check_values(message: type[Event | Mail], values: Mapping[str, Any]) -> None:
    if set(values) != {a.name for a in message.args}:
        raise DeclarationError(f"{message.__name__} takes {[a.name for a in message.args]}, got {sorted(values)}")


System = Callable[[World, Tick], None]
# (world, tick, session, name) -> the row of the entity this session will play.
Join = Callable[[World, Tick, int, str], int]
Leave = Callable[[World, Tick, int], None]
# (world, tick, rows, ticks): entities came from another region; `ticks`, (n,) int64, is how far this region's tick
# number is ahead of the one they left at.
Arrive = Callable[[World, Tick, Rows, I64], None]


def despawn_on_leave(world: World, tick: Tick, row: int) -> None:
    """The default for `leave`: the entity goes with its player."""
    world.despawn(np.array([row], np.int64))


def stay(world: World, tick: Tick, row: int) -> None:
    """The default for `away` and `back`: nothing happens."""


def as_they_are(world: World, tick: Tick, rows: Rows, ticks: I64) -> None:
    """The default for `arrive`: nothing they carry is about the region they left."""


@dataclass(frozen=True)
class Game:
    """All there is to a game. Raises DeclarationError where parts contradict each other."""

    name: str
    # Changes whenever the same input would give another state: replay needs the version that wrote.
    version: int
    # The component whose columns x and y place an entity; both on the wire.
    position: type[Component]
    archetypes: Sequence[Archetype]
    systems: Sequence[System]
    # Once, at tick 0: fill the world.
    # Makes what a region begins with; not run for the parts that a region may be divided into, which begin empty.
    setup: System
    join: Join
    commands: Sequence[type[Command]] = ()
    events: Sequence[type[Event]] = ()
    # The player left for good: BYE, or the grace time ran out.
    leave: Leave = despawn_on_leave
    # The connection broke; the entity waits in the world.
    away: Leave = stay
    # The player is back within the grace time. Called also for one who was not away: after a walk over a border, say.
    back: Leave = stay
    # Entities came over a border, with all their columns. References to entities (World.ref) and tick numbers are
    # of the region they left: here they are cleared, and moved to this region's time.
    arrive: Arrive = as_they_are
    # What its regions tell each other; see `Tick.send`.
    mail: Sequence[type[Mail]] = ()
    # Whether entities far from every player may have fewer turns; `Tick.due` then says whose it is. None: all have
    # one at every tick.
    far: Far | None = None
    # How states of other versions become states of this one; see server/sim/migrate.py.
    migrations: Sequence[Migration] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,63}", self.name):
            raise DeclarationError(
                f"a game is called by small letters, digits, _ and -, not {self.name!r}: files bear it"
            )
        self._check_position()
        names = [s.__name__ for s in self.systems]
        if len(set(names)) != len(names):
            raise DeclarationError(f"two systems share a name, and so their randomness: {names}")
        if set(names) & set(_STREAMS):
            raise DeclarationError(f"no system can be called any of {_STREAMS}: {names}")
        if len({a.name for a in self.archetypes}) != len(self.archetypes):
            raise DeclarationError("two archetypes share a name")
        declared: list[type] = [*self.components, *self.commands, *self.events, *self.mail]
        if len({d.__name__ for d in declared}) != len(declared):
            raise DeclarationError("components, commands, events and mail need names of their own")
        for c in self.commands:
            if c.reliable and c.latest_wins:
                raise DeclarationError(f"{c.__name__}: of latest_wins some are never applied, of reliable every one is")
        if len({m.old for m in self.migrations}) + len({m.new for m in self.migrations}) < 2 * len(self.migrations):
            raise DeclarationError("two migrations lead from, or to, the same version")
        messages: list[type[Command | Event | Mail]] = [*self.commands, *self.events, *self.mail]
        for d in messages:
            for a in d.args:
                if keyword.iskeyword(a.name) or a.name in (_TAKEN_OF_MAIL if issubclass(d, Mail) else _TAKEN):
                    raise DeclarationError(f"{d.__name__}: an argument can't be called {a.name!r}")

    def _check_position(self) -> None:
        x, y = (self.position.columns.get(n) for n in "xy")
        if x is None or y is None or x.wire is None or y.wire is None or (x.wire.axis, y.wire.axis) != ("x", "y"):
            raise DeclarationError(f"{self.position.__name__} needs columns x and y on the wire, with their axis")
        if x.wire != type(x.wire)(y.wire.type, y.wire.scale, y.wire.offset, "x", y.wire.size):
            raise DeclarationError(f"{self.position.__name__}: x and y must have the same wire type and scale")
        if x.wire.type not in ("u16", "u32"):
            raise DeclarationError(f"{self.position.__name__}: a place travels as u16 or u32 from the region's corner")

    @cached_property
    def components(self) -> tuple[type[Component], ...]:
        """Every component an archetype names, in order of first naming."""
        found = {self.position: None}
        for a in self.archetypes:
            found.update(dict.fromkeys(a.components))
        return tuple(found)

    @cached_property
    def replicated(self) -> tuple[type[Component], ...]:
        """Components with a wire field: a component's place here is its number on the wire."""
        return tuple(c for c in self.components if any(s.wire for s in c.columns.values()))

    @cached_property
    def schema(self) -> Schema:
        """What clients are told."""
        ids = {c: i for i, c in enumerate(self.replicated)}
        return Schema(
            game=self.name,
            version=self.version,
            components=tuple(
                ComponentSchema(i, c.__name__, tuple((n, s.wire) for n, s in c.columns.items() if s.wire))
                for c, i in ids.items()
            ),
            archetypes=tuple(
                # An entity without a place is nobody's to see: no components on the wire.
                ArchetypeSchema(
                    i, a.name, tuple(ids[c] for c in a.components if c in ids) if self.position in a.components else ()
                )
                for i, a in enumerate(self.archetypes)
            ),
            commands=tuple(
                CommandSchema(FIRST_COMMAND + i, c.__name__, c.args, c.latest_wins, c.reliable)
                for i, c in enumerate(self.commands)
            ),
            events=tuple(EventSchema(i, e.__name__, e.args) for i, e in enumerate(self.events)),
            position=ids[self.position],
        )

    def world(
        self,
        capacity: int,
        bounds: tuple[float, float, float, float],
        *,
        limits: tuple[float, float, float, float] | None = None,
        region: int = 0,
    ) -> World:
        """An empty world for this game; see World."""
        return World(self.components, self.archetypes, capacity, bounds, limits=limits, region=region)


def text(value: bytes) -> str:
    """A utf8 argument or column value as str; bytes that are not UTF-8 show as U+FFFD."""
    return value.decode(UTF8, "replace")
