"""What a client sees of each region: frames in, entities out. No sockets, no clock.

    views = Views(welcome)
    message = views.receive(data)       # any server frame; DELTA and KEYFRAME change a view
    views[0].value(handle, "Position.x")

An entity is kept as the bytes of its full record, and a change overwrites a slice of
them, so that a DELTA costs well under a microsecond per change and the view digest is a CRC
of bytes already at hand. Values are decoded when somebody asks.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from struct import Struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from protocol.codec import decode_server
from protocol.errors import InvalidArgument, MalformedMessage
from protocol.messages import Clock, Delta, Keyframe, RegionInfo, ServerMessage, Welcome, You, full_tick
from protocol.schema import HANDLE_DTYPE, UTF8, Schema, Wire

# Type on the wire -> struct code.
_CODES: Final = {"bool": "B", "u8": "B", "i8": "b", "u16": "H", "i16": "h", "u32": "I", "i32": "i", "f32": "f"}

Value = int | float | bool | str


class Entity:
    """One entity in view."""

    __slots__ = ("archetype", "record")

    def __init__(self, archetype: int, record: bytearray) -> None:
        self.archetype = archetype
        # The full record with the current raw fields; changes overwrite it in place.
        self.record = record

    def __repr__(self) -> str:
        return f"Entity({self.archetype}, {bytes(self.record).hex()})"


class Layouts:
    """A schema's record layouts at one handle width, worked out once."""

    def __init__(self, schema: Schema, handle: str) -> None:
        self.schema = schema
        self.handle_bytes = np.dtype(HANDLE_DTYPE[handle]).itemsize
        self.handles = Struct("<H" if self.handle_bytes == 2 else "<I")
        # (numpy dtype, splitter into whole records) by archetype.
        self.records = [schema.record_dtype(a.id, handle) for a in schema.archetypes]
        self.split_records = [Struct(f"{dtype.itemsize}s") for dtype in self.records]
        # By component: a change record split into handle and the bytes of its fields.
        code = "H" if self.handle_bytes == 2 else "I"
        sizes = [c.dtype.itemsize for c in schema.components]
        self.split_changes = [Struct(f"<{code}{size}s") for size in sizes]
        # [component][archetype]: (start, end) of the component in a full record, or None.
        self.places: list[list[tuple[int, int] | None]] = [[None] * len(schema.archetypes) for _ in sizes]
        # [archetype]["Component.field"]: place in the record, and how it is declared.
        self.fields: list[dict[str, tuple[int, Wire]]] = []
        for a in schema.archetypes:
            at = self.handle_bytes
            fields: dict[str, tuple[int, Wire]] = {}
            for c in a.components:
                self.places[c][a.id] = (at, at + sizes[c])
                for name, wire in schema.components[c].fields:
                    fields[f"{schema.components[c].name}.{name}"] = (at, wire)
                    at += np.dtype(wire.dtype).itemsize
            self.fields.append(fields)


class View:
    """What a client sees of one region."""

    def __init__(self, layouts: Layouts, region: RegionInfo) -> None:
        self.region = region
        self.layouts = layouts
        # Tick of the last DELTA or KEYFRAME; None before the first.
        self.tick: int | None = None
        # Ticks by which the world's clock is ahead of it.
        self.ahead = 0
        # Handle -> entity.
        self.entities: dict[int, Entity] = {}
        self._readers: dict[tuple[int, str], Callable[[bytearray], Value]] = {}

    def __len__(self) -> int:
        return len(self.entities)

    def __contains__(self, handle: object) -> bool:
        return handle in self.entities

    def keyframe(self, message: Keyframe) -> None:
        """Forget everything and start from these. Raises as `delta` does."""
        self.entities.clear()
        self._enter(message.enters)
        self.tick = message.tick

    def delta(self, message: Delta) -> None:
        """Apply leaves, enters, changes.

        Raises MalformedMessage or InvalidArgument for what the schema cannot mean; the view
        is then no longer to be trusted, and a client should connect anew.
        """
        if self.tick is None:
            raise MalformedMessage(f"a DELTA of region {self.region.id} before its first KEYFRAME")
        layouts = self.layouts
        entities = self.entities
        if message.leaves:
            if len(message.leaves) % layouts.handle_bytes:
                raise MalformedMessage(f"leaves of {len(message.leaves)} bytes are no whole handles")
            for (handle,) in layouts.handles.iter_unpack(message.leaves):
                entities.pop(handle, None)
        if message.enters:
            self._enter(message.enters)
        for component, records in message.changes:
            self._change(component, records)
        self.tick = full_tick(self.tick, message.tick_low7)

    def _change(self, component: int, records: bytes) -> None:
        if component >= len(self.layouts.split_changes):
            raise InvalidArgument(f"there is no component {component}")
        split = self.layouts.split_changes[component]
        if len(records) % split.size:
            raise MalformedMessage(f"{len(records)} bytes are no whole changes of {split.size} bytes")
        places = self.layouts.places[component]
        get = self.entities.get
        for handle, fields in split.iter_unpack(records):
            entity = get(handle)
            if entity is None:
                # It left, or the change was shared by a whole cell: not ours to see.
                continue
            place = places[entity.archetype]
            if place is None:
                raise InvalidArgument(f"entity {handle} has no component {component}")
            entity.record[place[0] : place[1]] = fields

    def _enter(self, enters: tuple[tuple[int, bytes], ...]) -> None:
        layouts = self.layouts
        for archetype, records in enters:
            if archetype >= len(layouts.split_records):
                raise InvalidArgument(f"there is no archetype {archetype}")
            split = layouts.split_records[archetype]
            if len(records) % split.size:
                raise MalformedMessage(f"{len(records)} bytes are no whole records of {split.size} bytes")
            for (record,) in split.iter_unpack(records):
                (handle,) = layouts.handles.unpack_from(record)
                self.entities[handle] = Entity(archetype, bytearray(record))

    # -- reading -------------------------------------------------------------

    def value(self, handle: int, field: str) -> Value:
        """The value of `Component.field`: world units where the schema names an axis.

        A number that the schema neither scales nor shifts is an int (or the float that
        travelled), a bool a bool, utf8 text without its padding. Raises KeyError when the
        entity is not in view or has no such field.
        """
        entity = self.entities[handle]
        key = (entity.archetype, field)
        reader = self._readers.get(key)
        if reader is None:
            at, wire = self.layouts.fields[entity.archetype][field]
            reader = self._readers[key] = _reader(at, wire, self.region)
        return reader(entity.record)

    def archetype(self, handle: int) -> str:
        """The name of an entity's archetype. Raises KeyError when it is not in view."""
        return self.layouts.schema.archetypes[self.entities[handle].archetype].name

    def table(self, archetype: int) -> NDArray[np.void]:
        """(n,) full records of an archetype by ascending handle, dtype `Schema.record_dtype`: a copy."""
        entities = self.entities
        handles = sorted(handle for handle, entity in entities.items() if entity.archetype == archetype)
        data = b"".join([entities[handle].record for handle in handles])
        return np.frombuffer(data, self.layouts.records[archetype])

    def digest(self) -> tuple[int, int]:
        """(count, CRC-32) as VIEW_DIGEST counts them: by ascending handle, archetype byte and full record."""
        entities = self.entities
        parts: list[bytes | bytearray] = []
        for handle in sorted(entities):
            entity = entities[handle]
            parts += (_BYTES[entity.archetype], entity.record)
        return len(entities), zlib.crc32(b"".join(parts))


class Views(Mapping[int, View]):
    """The views of every region a WELCOME named, by region number.

    `entity`: (region, handle) of the client's own entity, kept up with YOU.
    """

    def __init__(self, welcome: Welcome) -> None:
        self.schema = welcome.schema
        self.entity = welcome.entity
        widths = {region.handle for region in welcome.regions}
        layouts = {handle: Layouts(welcome.schema, handle) for handle in sorted(widths)}
        self._views = {region.id: View(layouts[region.handle], region) for region in welcome.regions}

    def __getitem__(self, region: int) -> View:
        return self._views[region]

    def __iter__(self) -> Iterator[int]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def receive(self, data: bytes) -> ServerMessage:
        """Read one frame and apply it; returns the message. Raises ProtocolErrors only."""
        message = decode_server(data)
        self.apply(message)
        return message

    def apply(self, message: ServerMessage) -> None:
        """Apply a message; those that change no view pass. Raises MalformedMessage or InvalidArgument."""
        if isinstance(message, Delta):
            self._view(message.region).delta(message)
        elif isinstance(message, Keyframe):
            self._view(message.region).keyframe(message)
        elif isinstance(message, You):
            self._view(message.region)
            self.entity = (message.region, message.handle)
        elif isinstance(message, Clock):
            self._view(message.region).ahead = message.ahead

    def _view(self, region: int) -> View:
        view = self._views.get(region)
        if view is None:
            raise InvalidArgument(f"there is no region {region}")
        return view


_BYTES: Final = [bytes([i]) for i in range(256)]


def _reader(at: int, wire: Wire, region: RegionInfo) -> Callable[[bytearray], Value]:
    if wire.type == UTF8:
        end = at + wire.size
        return lambda record: record[at:end].rstrip(b"\0").decode(errors="replace")
    unpack_from: Callable[[bytearray, int], tuple[Any, ...]] = Struct("<" + _CODES[wire.type]).unpack_from
    if wire.type == "bool":
        return lambda record: unpack_from(record, at)[0] != 0
    scale = wire.scale
    offset = wire.offset + {"": 0.0, "x": region.x, "y": region.y}[wire.axis]
    if scale == 1 and offset == 0 and not wire.axis:
        return lambda record: unpack_from(record, at)[0]
    return lambda record: float(unpack_from(record, at)[0] * scale + offset)
