"""The wire schema: how a game's components, commands and events lie in bytes.

A game declares, WELCOME announces, every client reads. A wire field is a number
of a small type; the value it stands for is

    value = raw * scale + offset (+ the region's origin on `axis`, where one is named)

Records are packed, little endian, without padding, so that records of
neighbouring cells concatenate and a browser reads them with a DataView.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import msgpack
import numpy as np

from protocol.errors import SchemaError

# Type name on the wire -> numpy dtype. `utf8` and `entity` take theirs from the
# field's size and the region's handle width.
NUMBER_TYPES: Final[dict[str, str]] = {
    "bool": "u1",
    "u8": "u1",
    "i8": "i1",
    "u16": "<u2",
    "i16": "<i2",
    "u32": "<u4",
    "i32": "<i4",
    "f32": "<f4",
}
# An argument that names an entity travels as its handle, held as 32 bits.
ENTITY: Final = "entity"
UTF8: Final = "utf8"

HANDLE_DTYPE: Final[dict[str, str]] = {"u16": "<u2", "u32": "<u4"}


@dataclass(frozen=True, slots=True)
class Wire:
    """How one column travels. Source: DESIGN "Wire"."""

    # One of NUMBER_TYPES, or "utf8".
    type: str
    # World units (or whatever the column counts) per step of the raw number.
    scale: float = 1.0
    offset: float = 0.0
    # "x" or "y": the region's origin on that axis is added, so that 16 bits span the region.
    axis: str = ""
    # Bytes of a utf8 field, zero padded.
    size: int = 0

    def __post_init__(self) -> None:
        if self.type not in NUMBER_TYPES and self.type != UTF8:
            raise SchemaError(f"unknown wire type {self.type!r}")
        if self.type == UTF8 and not 1 <= self.size <= 255:
            raise SchemaError("a utf8 field needs a size of 1 to 255 bytes")
        if not self.scale > 0:
            raise SchemaError(f"scale must be above 0, not {self.scale!r}")
        if self.axis not in ("", "x", "y"):
            raise SchemaError(f"axis is 'x', 'y' or nothing, not {self.axis!r}")

    @property
    def dtype(self) -> str:
        """The numpy dtype of the raw number."""
        return f"S{self.size}" if self.type == UTF8 else NUMBER_TYPES[self.type]


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a command or an event."""

    name: str
    # One of NUMBER_TYPES, "utf8" or "entity".
    type: str
    # Inclusive bounds; None: the type's own.
    minimum: float | None = None
    maximum: float | None = None
    # Bytes at the most, for utf8.
    size: int = 0

    def __post_init__(self) -> None:
        if self.type not in NUMBER_TYPES and self.type not in (UTF8, ENTITY):
            raise SchemaError(f"argument {self.name!r}: unknown type {self.type!r}")
        if self.type == UTF8 and not 1 <= self.size <= 1024:
            raise SchemaError(f"argument {self.name!r}: a utf8 argument needs a size of 1 to 1024 bytes")

    @property
    def dtype(self) -> str:
        """The numpy dtype the argument has in a command batch, and in mail."""
        if self.type == UTF8:
            return f"S{self.size}"
        return "<u8" if self.type == ENTITY else NUMBER_TYPES[self.type]


@dataclass(frozen=True)
class ComponentSchema:
    """A replicated component: `id` is its place in `Schema.components`."""

    id: int
    name: str
    # (name, wire) in wire order.
    fields: tuple[tuple[str, Wire], ...]

    @cached_property
    def dtype(self) -> np.dtype[np.void]:
        """Packed record without the handle."""
        return np.dtype([(name, wire.dtype) for name, wire in self.fields])


@dataclass(frozen=True)
class ArchetypeSchema:
    """What an entity is made of: the components of its full record, in order."""

    id: int
    name: str
    components: tuple[int, ...]


@dataclass(frozen=True)
class CommandSchema:
    """What a client may ask for."""

    id: int
    name: str
    args: tuple[Argument, ...]
    # Of several in one tick only the newest counts (movement).
    latest_wins: bool
    # Answered with a RECEIPT once durable; applied exactly once.
    reliable: bool

    @cached_property
    def dtype(self) -> np.dtype[np.void]:
        """Record of one command in a batch: session, sequence number, arguments."""
        head = [("session", "<u8"), ("seq", "<u4")]
        return np.dtype(head + [(a.name, a.dtype) for a in self.args])

    @cached_property
    def handles_dtype(self) -> np.dtype[np.void]:
        """The record that journals of format 1 have: an entity is a handle of the region whose journal it is."""
        fields = [(a.name, "<u4" if a.type == ENTITY else a.dtype) for a in self.args]
        return np.dtype([("session", "<u8"), ("seq", "<u4"), *fields])

    @cached_property
    def entities(self) -> frozenset[int]:
        """Places of the arguments that name an entity."""
        return frozenset(n for n, a in enumerate(self.args) if a.type == ENTITY)


@dataclass(frozen=True)
class EventSchema:
    """What the server tells: chat, a hit, a death."""

    id: int
    name: str
    args: tuple[Argument, ...]


@dataclass(frozen=True)
class Schema:
    """All of a game that a client must know to read and speak."""

    game: str
    version: int
    components: tuple[ComponentSchema, ...]
    archetypes: tuple[ArchetypeSchema, ...]
    commands: tuple[CommandSchema, ...]
    events: tuple[EventSchema, ...]
    # Id of the component whose fields x and y place an entity.
    position: int

    @cached_property
    def command_by_id(self) -> dict[int, CommandSchema]:
        """Commands by wire number."""
        return {c.id: c for c in self.commands}

    def record_dtype(self, archetype: int, handle: str) -> np.dtype[np.void]:
        """Full record of an archetype: the handle, then each component's fields.

        Field names are `handle` and `Component.field`. `handle` is "u16" or "u32".
        """
        fields = [("handle", HANDLE_DTYPE[handle])]
        for c in self.archetypes[archetype].components:
            component = self.components[c]
            fields += [(f"{component.name}.{name}", wire.dtype) for name, wire in component.fields]
        return np.dtype(fields)

    def change_dtype(self, component: int, handle: str) -> np.dtype[np.void]:
        """Record of one component's change: the handle, then its fields."""
        fields = [("handle", HANDLE_DTYPE[handle])]
        fields += [(name, wire.dtype) for name, wire in self.components[component].fields]
        return np.dtype(fields)

    def to_wire(self) -> dict[str, Any]:  # Any: the msgpack tree
        """The map that WELCOME carries."""
        return {
            "game": self.game,
            "version": self.version,
            "position": self.position,
            "components": [
                {
                    "id": c.id,
                    "name": c.name,
                    "fields": [
                        {
                            "name": n,
                            "type": w.type,
                            "scale": w.scale,
                            "offset": w.offset,
                            "axis": w.axis,
                            "size": w.size,
                        }
                        for n, w in c.fields
                    ],
                }
                for c in self.components
            ],
            "archetypes": [{"id": a.id, "name": a.name, "components": list(a.components)} for a in self.archetypes],
            "commands": [
                {
                    "id": c.id,
                    "name": c.name,
                    "latest_wins": c.latest_wins,
                    "reliable": c.reliable,
                    "args": [_argument_to_wire(a) for a in c.args],
                }
                for c in self.commands
            ],
            "events": [
                {"id": e.id, "name": e.name, "args": [_argument_to_wire(a) for a in e.args]} for e in self.events
            ],
        }

    @classmethod
    def from_wire(cls, tree: dict[str, Any]) -> Schema:  # Any: the msgpack tree
        """Read what `to_wire` wrote. Raises SchemaError."""
        try:
            return cls(
                game=tree["game"],
                version=tree["version"],
                position=tree["position"],
                components=tuple(
                    ComponentSchema(
                        c["id"],
                        c["name"],
                        tuple(
                            (f["name"], Wire(f["type"], f["scale"], f["offset"], f["axis"], f["size"]))
                            for f in c["fields"]
                        ),
                    )
                    for c in tree["components"]
                ),
                archetypes=tuple(
                    ArchetypeSchema(a["id"], a["name"], tuple(a["components"])) for a in tree["archetypes"]
                ),
                commands=tuple(
                    CommandSchema(
                        c["id"],
                        c["name"],
                        tuple(_argument_from_wire(a) for a in c["args"]),
                        c["latest_wins"],
                        c["reliable"],
                    )
                    for c in tree["commands"]
                ),
                events=tuple(
                    EventSchema(e["id"], e["name"], tuple(_argument_from_wire(a) for a in e["args"]))
                    for e in tree["events"]
                ),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise SchemaError(f"not a schema: {error!r}") from error

    @cached_property
    def digest(self) -> str:
        """16 hex digits that change whenever a byte on the wire would."""
        return hashlib.blake2b(msgpack.packb(self.to_wire()), digest_size=8).hexdigest()


def _argument_to_wire(a: Argument) -> dict[str, Any]:  # Any: the msgpack tree
    return {"name": a.name, "type": a.type, "min": a.minimum, "max": a.maximum, "size": a.size}


def _argument_from_wire(tree: dict[str, Any]) -> Argument:  # Any: the msgpack tree
    return Argument(tree["name"], tree["type"], tree["min"], tree["max"], tree["size"])
