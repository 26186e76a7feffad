"""What is told: commands that players give, events that they hear, mail between the regions of a world.

A class declares a message; an instance, or one call that makes them, holds many of a kind as arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from protocol.schema import Argument
from server.sim.component import F32, U32, U64, Rows
from server.sim.errors import DeclarationError

# Lanes do not wait for each other; where they share, the first goes first, and the others are never starved.
Lane = Literal["urgent", "normal", "bulk"]


@dataclass(frozen=True, slots=True)
class Arg:
    """A declared argument, before it has its name."""

    type: str
    minimum: float | None
    maximum: float | None
    size: int


def arg(type: str, *, min: float | None = None, max: float | None = None, size: int = 0) -> Any:
    """Declare an argument of a command or event: a type of `protocol.schema`, bounds inclusive.

    Returns Any so that the annotation beside it is the type games see.
    """
    return Arg(type, min, max, size)


def collect(cls: type) -> tuple[Argument, ...]:
    """What a message's class declares with `arg`, in order."""
    declared: dict[str, Arg] = {}
    for base in reversed(cls.__mro__):
        declared.update({name: a for name, a in vars(base).items() if isinstance(a, Arg)})
    return tuple(Argument(name, a.type, a.minimum, a.maximum, a.size) for name, a in declared.items())


class Command:
    """Base of a game's commands. An instance is one tick's commands of that kind, as arrays.

    class Move(Command):
        latest_wins = True
        dx: F32 = arg("f32", min=-1, max=1)

    An argument of type "entity" is the number of the one whom a client named, (n,) uint64, in this region or another;
    0 for nobody. `World.known` has the rows of those who are here, and `Tick.send` reaches the others. It is not to be
    kept: of another region it may stand for a handle there.
    """

    # Of several in one tick only each session's newest counts.
    latest_wins: ClassVar[bool] = False
    # Answered with a RECEIPT once durable; applied exactly once.
    reliable: ClassVar[bool] = False
    args: ClassVar[tuple[Argument, ...]] = ()

    # (n,) uint64: who asked. Sorted by (session, seq).
    session: U64
    # (n,) uint32: the session's sequence number.
    seq: U32
    # (n,) int64: the session's entity, alive.
    row: Rows

    def __init_subclass__(cls) -> None:
        cls.args = collect(cls)

    def __init__(self, rows: Rows, records: NDArray[np.void]) -> None:
        self.row = rows
        self.session = records["session"]
        self.seq = records["seq"]
        for a in self.args:
            setattr(self, a.name, records[a.name])

    def __len__(self) -> int:
        return int(self.row.size)


class Event:
    """Base of a game's events. Declared like a Command; emitted with `Tick.emit`."""

    args: ClassVar[tuple[Argument, ...]] = ()

    def __init_subclass__(cls) -> None:
        cls.args = collect(cls)


@dataclass(frozen=True, slots=True)
class Emitted:
    """Events of one kind from one call of `Tick.emit`."""

    event: type[Event]
    # (n,) int64 rows whose owners hear it, or None.
    to: Rows | None
    # ((n,), (n,)) world units: those who see the place hear it, or None. Neither: everyone.
    at: tuple[NDArray[np.float32], NDArray[np.float32]] | None
    # One (n,) array per argument, in order.
    values: tuple[NDArray[Any], ...]


class Mail:
    """Base of a game's mail: what the systems of one region tell those of another, or their own.

    class Hurt(Mail):
        damage: U8 = arg("u8")
        by: U64 = arg("entity")

    Sent with `Tick.send`; each arrives once, a tick later or more. An instance is one tick's mail of that kind, as
    arrays, in the order of the regions that sent it. An argument of type "entity" is an entity's number
    (`World.id_of`), (n,) uint64, which holds in every region; a handle would not.
    """

    # What finds nobody, or is refused, comes back to the region that sent it; see `Tick.returned`. Not for places.
    returns: ClassVar[bool] = False
    args: ClassVar[tuple[Argument, ...]] = ()

    # (n,) int64: the entity it is for, alive as the tick began; -1 where it is for a place, for the region, or has come
    # back.
    row: Rows
    # (n,) uint64: the number of the entity it is for, 0 where it is for none.
    to: U64
    # (n,) uint32: the region whose system sent it; of what has come back, the one from which it did.
    source: U32
    # (n,) float32, world units: the circle it is for; NaN where it is for no place.
    x: F32
    y: F32
    radius: F32

    def __init_subclass__(cls) -> None:
        cls.args = collect(cls)
        for a in cls.args:
            if a.minimum is not None or a.maximum is not None:
                raise DeclarationError(f"{cls.__name__}.{a.name}: mail is from the game itself and has no bounds")

    def __init__(
        self, row: Rows, to: U64, source: U32, place: tuple[F32, F32, F32], values: tuple[NDArray[Any], ...]
    ) -> None:
        self.row = row
        self.to = to
        self.source = source
        self.x, self.y, self.radius = place
        for a, array in zip(self.args, values, strict=True):
            setattr(self, a.name, array)

    def __len__(self) -> int:
        return int(self.row.size)

    @classmethod
    def dtypes(cls) -> tuple[np.dtype[Any], ...]:
        """Of its arguments, in order."""
        return tuple(np.dtype(a.dtype) for a in cls.args)

    @classmethod
    def none(cls) -> Self:
        """No mail of this kind."""
        nowhere = np.zeros(0, np.float32)
        return cls(
            np.zeros(0, np.int64),
            np.zeros(0, np.uint64),
            np.zeros(0, np.uint32),
            (nowhere, nowhere, nowhere),
            tuple(np.zeros(0, dtype) for dtype in cls.dtypes()),
        )


@dataclass(frozen=True, slots=True)
class Sent:
    """Mail of one kind from one call of `Tick.send`. Exactly one of `to` and `at` is there, or neither."""

    kind: type[Mail]
    lane: Lane
    # (n,) uint64 numbers of entities.
    to: U64 | None
    # ((n,), (n,), (n,)) x, y and radius, world units: all regions that such a circle touches.
    at: tuple[F32, F32, F32] | None
    # (n,) uint32: the region it is for, or, with `to`, where the entity was last heard of.
    region: U32 | None
    # Whether this region is among those that a circle touches.
    here: bool
    # One (n,) array per argument, in order.
    values: tuple[NDArray[Any], ...]
    n: int
