"""Components and archetypes: how a game declares what its entities are made of.

A component is a class whose annotated fields are columns. The class is the
declaration; an instance, made by the World, holds the columns as numpy arrays of
`capacity` rows:

    class Position(Component):
        x: F32 = column(np.float32, wire=Wire("u16", scale=1 / 64, axis="x"))
        y: F32 = column(np.float32, wire=Wire("u16", scale=1 / 64, axis="y"))

    world[Position].x[rows] += 1

A column without `wire` is private: it is state, it is never streamed. Only such a column
may have a `shape`, several numbers per entity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from protocol.schema import UTF8, Wire
from server.sim.errors import DeclarationError

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I8 = NDArray[np.int8]
I16 = NDArray[np.int16]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
Bool = NDArray[np.bool_]
Bytes = NDArray[np.bytes_]
# Entity rows: (n,) int64, ascending where a query returned them.
Rows = NDArray[np.int64]

# Marks a row without an entity in the archetype column.
NO_ARCHETYPE: Final = 255


@dataclass(frozen=True, slots=True)
class Column:
    """One declared column of a component."""

    dtype: np.dtype[Any]  # Any: a column's type is the game's choice
    # What a spawned entity starts with.
    default: float | bytes
    wire: Wire | None
    # Of one entity's value; () for a single number.
    shape: tuple[int, ...] = ()


def column(
    dtype: DTypeLike, *, default: float | bytes = 0, wire: Wire | None = None, shape: tuple[int, ...] = ()
) -> Any:
    """Declare a column, an array of (capacity, *shape).

    Returns Any so that the annotation beside it is the type games see.
    Raises DeclarationError when dtype, default, wire and shape cannot meet.
    """
    kind = np.dtype(dtype)
    if kind.kind not in "fiubS":
        raise DeclarationError(f"a column holds numbers, bools or fixed bytes, not {kind}")
    if wire is not None and (wire.type == UTF8) != (kind.kind == "S"):
        raise DeclarationError("a utf8 wire field needs a bytes column ('S16'), and a bytes column a utf8 wire field")
    if wire is not None and wire.type == UTF8 and wire.size != kind.itemsize:
        raise DeclarationError(f"the column holds {kind.itemsize} bytes, the wire field {wire.size}")
    if kind.kind == "S" and default == 0:
        default = b""
    if wire is not None and shape:
        raise DeclarationError("a column on the wire holds one number per entity")
    if not _holds(kind, default):
        raise DeclarationError(f"a column of {kind} cannot hold its default, {default!r}")
    return Column(kind, default, wire, shape)


def _holds(kind: np.dtype[Any], default: float | bytes) -> bool:
    """Whether the default survives in a column of this kind (a float may lose digits)."""
    try:
        stored = np.array(default, kind)
    except (OverflowError, ValueError, TypeError):
        return False
    return kind.kind == "f" or bool(stored == default)


class Component:
    """Base of a game's components. Fields: see the module's top."""

    columns: ClassVar[dict[str, Column]] = {}

    def __init_subclass__(cls) -> None:
        columns: dict[str, Column] = {}
        for base in reversed(cls.__mro__):
            columns.update({n: c for n, c in vars(base).items() if isinstance(c, Column)})
        for name in columns:
            if name in ("columns", "arrays"):
                raise DeclarationError(f"{cls.__name__}: {name!r} is taken")
        cls.columns = columns

    def __init__(self, capacity: int) -> None:
        """Allocate (capacity, ...) arrays of zeros; pages are touched only when used."""
        for name, spec in self.columns.items():
            setattr(self, name, np.zeros((capacity, *spec.shape), spec.dtype))

    def arrays(self) -> list[tuple[str, NDArray[Any]]]:  # Any: a column's type is the game's choice
        """The columns in declaration order."""
        return [(name, getattr(self, name)) for name in self.columns]


class Archetype:
    """What an entity is made of, for its whole life.

    Raises DeclarationError for a component named twice.
    """

    def __init__(self, name: str, *components: type[Component]) -> None:
        if len({c.__name__ for c in components}) != len(components):
            raise DeclarationError(f"archetype {name!r} names a component twice")
        self.name = name
        self.components = components

    def __repr__(self) -> str:
        return f"Archetype({self.name!r})"
