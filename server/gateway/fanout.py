"""The fan-out: a region's change as finished WebSocket frames, one for each occupied view.

What changed is sorted by cell once per tick. All viewers whose own cell is the same see the same square, so each
square's bytes are put together once, by one vectorised gather, and shared. Entities that cross the edge of a square
are found from the few that changed cell, not by looking at every viewer's surroundings.
"""

from __future__ import annotations

import functools
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocol.messages import MessageType
from protocol.schema import HANDLE_DTYPE
from server.gateway.interest import Cells
from server.gateway.replica import NOWHERE, Change, Handles, Replica, cell_offsets
from server.shard.machine import Records

_NIL: Final = b"\xc0"
# Sizes whose headers are kept: views of one crowd are alike.
_SIZES: Final = 4096


def websocket_frame(payload: bytes) -> bytes:
    """A finished, unmasked binary frame (RFC 6455, 5.2)."""
    return _websocket_header(len(payload)) + payload


def _websocket_header(size: int) -> bytes:
    if size < 126:
        return bytes((0x82, size))
    if size < 65_536:
        return struct.pack(">BBH", 0x82, 126, size)
    return struct.pack(">BBQ", 0x82, 127, size)


@functools.lru_cache(_SIZES)
def _bin_header(size: int) -> bytes:
    if size < 256:
        return bytes((0xC4, size))
    if size < 65_536:
        return struct.pack(">BH", 0xC5, size)
    return struct.pack(">BI", 0xC6, size)


def _number(value: int) -> bytes:
    """A non-negative int below 2**32 as msgpack has it, without the packer that `packb` would make."""
    if value < 128:
        return bytes((value,))
    if value < 65_536:
        return struct.pack(">BH", 0xCD, value) if value > 255 else bytes((0xCC, value))
    return struct.pack(">BI", 0xCE, value)


def _array_header(elements: int) -> bytes:
    return bytes((0x90 | elements,)) if elements < 16 else struct.pack(">BH", 0xDC, elements)


@functools.lru_cache(_SIZES)
def _head(elements: int, size: int) -> bytes:
    """What comes before the elements of a message, which have so many bytes, in a finished frame."""
    array = _array_header(elements)
    return _websocket_header(len(array) + size) + array


class _Slices:
    """One component's changes, cut to each view: `blob[at[i] : at[i + 1]]` are view i's records."""

    __slots__ = ("at", "blob", "head")

    def __init__(self, component: int, blob: bytes, at: list[int]) -> None:
        self.head = _number(component)
        self.blob = blob
        self.at = at


class Fanout:
    """Encodes for the viewers of one region. `events_max`: area events in one view's frame; older ones are dropped."""

    def __init__(self, replica: Replica, region: int, events_max: int) -> None:
        self._replica = replica
        self._interest = replica.interest
        self._events_max = events_max
        self._region = _number(region)
        self._handle_dtype = np.dtype(HANDLE_DTYPE[replica.handle])
        self._change_dtypes = [replica.schema.change_dtype(c.id, replica.handle) for c in replica.schema.components]
        self._ringed = self._interest.far > self._interest.near
        self._slot_of = np.full(self._interest.count, -1, np.int64)

    # -- the shared frames of a tick -------------------------------------------

    def encode(
        self,
        change: Change,
        centres: Cells,
        wants_near: list[bool],
        wants_ring: list[bool],
        events: Iterable[tuple[int, bytes]],
        far_every_ticks: int,
        *,
        speak: bool,
    ) -> tuple[list[bytes], list[bytes]]:
        """Frames for viewers whose own cell is `centres[i]`: (those of this tick, those with the ring's backlog too).

        `centres`: (m,) distinct cells. `wants_*`: which of the two anybody needs; the other is b"". `events`:
        (cell, finished frame). `speak`: say something even where nothing changed.
        """
        self._slot_of[centres] = np.arange(centres.size)
        try:
            extras = self._extras(change, centres)
            sounds = self._sounds(events)
        finally:
            self._slot_of[centres] = -1
        near: list[bytes] = [b""] * len(wants_near)
        ring: list[bytes] = near
        if any(wants_near):
            slices = [self._cut(c, *change.changes[c], centres, ring=False) for c in change.changes]
            near = self._frames(slices, extras, sounds, wants_near, speak=speak)
        if any(wants_ring):
            since = self._replica.tick - far_every_ticks
            backlog = self._backlog(since)
            slices = [self._cut(c, *backlog[c], centres, ring=True) for c in backlog]
            ring = self._frames(slices, extras, sounds, wants_ring, speak=speak)
        return near, ring

    def _frames(
        self,
        slices: list[_Slices],
        extras: dict[int, tuple[bytes, bytes]],
        sounds: dict[int, bytes],
        wanted: list[bool],
        *,
        speak: bool,
    ) -> list[bytes]:
        stamp = bytes((MessageType.DELTA,)) + self._region + bytes((self._replica.tick & 127,))
        # What most views need: no leaves, no enters.
        plain = stamp + _NIL + _NIL
        frames: list[bytes] = []
        for i, want in enumerate(wanted):
            if not want:
                frames.append(b"")
                continue
            extra = extras.get(i)
            body = plain if extra is None else stamp + extra[0] + extra[1]
            elements = 5
            for s in slices:
                begin, end = s.at[i], s.at[i + 1]
                if begin != end:
                    body += s.head + _bin_header(end - begin) + s.blob[begin:end]
                    elements += 2
            sound = sounds.get(i, b"")
            if elements == 5 and extra is None and not speak:
                frames.append(sound)
                continue
            frames.append(_head(elements, len(body)) + body + sound)
        return frames

    def _cut(self, component: int, handles: Handles, values: Records, centres: Cells, *, ring: bool) -> _Slices:
        """Sort a component's changes by cell and gather each view's, all views at once."""
        cells = self._replica.cell[handles]
        order = np.argsort(cells.astype(self._interest.sort_dtype), kind="stable")
        packed = np.empty(handles.size, self._change_dtypes[component])
        packed["handle"] = handles[order]
        for name in values.dtype.names or ():
            packed[name] = values[name][order]
        offsets = cell_offsets(cells, self._interest.count)
        first, past = self._interest.spans(centres, ring=ring)
        begin = offsets[first].ravel()
        lengths = offsets[past].ravel() - begin
        ends = np.cumsum(lengths)
        index = np.repeat(begin - (ends - lengths), lengths) + np.arange(ends[-1] if ends.size else 0)
        # One opaque element per record: numpy then copies whole records.
        opaque = packed.view(np.dtype((np.void, packed.itemsize)))
        blob = opaque[index].tobytes()
        at = np.zeros(centres.size + 1, np.int64)
        at[1:] = ends.reshape(first.shape)[:, -1]
        return _Slices(component, blob, (at * packed.itemsize).tolist())

    def _backlog(self, since: int) -> dict[int, tuple[Handles, Records]]:
        """Component -> what changed after tick `since`."""
        backlog: dict[int, tuple[Handles, Records]] = {}
        for c, ticks in enumerate(self._replica.changed_tick):
            handles = np.flatnonzero((ticks > since) & (self._replica.cell != NOWHERE))
            if handles.size:
                backlog[c] = (handles, self._replica.values[c][handles])
        return backlog

    # -- who crosses the edge of a view ----------------------------------------

    def _extras(self, change: Change, centres: Cells) -> dict[int, tuple[bytes, bytes]]:
        """View -> (leaves, enters) as msgpack, for views in which somebody comes or goes."""
        if not change.moved.size or not centres.size:
            return {}
        near, far = self._interest.near, self._interest.far
        goes: dict[int, list[int]] = defaultdict(list)
        comes: dict[int, list[int]] = defaultdict(list)
        who, slots = self._watchers(change.before)
        if who.size:
            gone = (change.after[who] == NOWHERE) | (self._interest.distance(change.after[who], centres[slots]) > far)
            for slot, handle in zip(slots[gone].tolist(), change.moved[who[gone]].tolist(), strict=True):
                goes[slot].append(handle)
        who, slots = self._watchers(change.after)
        if who.size:
            was = self._interest.distance(change.before[who], centres[slots])
            new = (change.before[who] == NOWHERE) | (was > far)
            if self._ringed:
                # From the ring into the near square: what the ring still owed comes as a full record.
                new |= (was > near) & (self._interest.distance(change.after[who], centres[slots]) <= near)
            for slot, handle in zip(slots[new].tolist(), change.moved[who[new]].tolist(), strict=True):
                comes[slot].append(handle)
        records = self._record_bytes({handle for handles in comes.values() for handle in handles})
        extras = {}
        for slot in goes.keys() | comes.keys():
            leaves = goes.get(slot)
            enters = comes.get(slot)
            extras[slot] = (
                self._leaves(leaves) if leaves else _NIL,
                self._enters(enters, records) if enters else _NIL,
            )
        return extras

    def _watchers(self, cells: Cells) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pairs (place in `cells`, view) of views in whose far square the cell lies."""
        somewhere = np.flatnonzero(cells != NOWHERE)
        slots = self._slot_of[cells[somewhere][:, None] - self._interest.square]
        who, where = np.nonzero(slots >= 0)
        return somewhere[who], slots[who, where]

    def _record_bytes(self, handles: set[int]) -> dict[int, tuple[int, bytes]]:
        """Handle -> (archetype, full record). A set serves only to name each handle once; it is sorted before use."""
        here = np.array(sorted(handles), np.int64)
        archetypes = self._replica.archetype[here]
        found: dict[int, tuple[int, bytes]] = {}
        for archetype in np.unique(archetypes).tolist():
            chosen = here[archetypes == archetype]
            records = self._replica.full_records(archetype, chosen)
            blob, size = records.tobytes(), records.itemsize
            for i, handle in enumerate(chosen.tolist()):
                found[handle] = (archetype, blob[i * size : (i + 1) * size])
        return found

    def _leaves(self, handles: list[int]) -> bytes:
        blob = np.array(handles, self._handle_dtype).tobytes()
        return _bin_header(len(blob)) + blob

    def _enters(self, handles: Iterable[int], records: dict[int, tuple[int, bytes]]) -> bytes:
        grouped: dict[int, list[bytes]] = defaultdict(list)
        for handle in handles:
            archetype, record = records[handle]
            grouped[archetype].append(record)
        return self._grouped({a: b"".join(parts) for a, parts in grouped.items()})

    @staticmethod
    def _grouped(blobs: dict[int, bytes]) -> bytes:
        parts = [_array_header(2 * len(blobs))]
        for archetype, blob in sorted(blobs.items()):
            parts += (_number(archetype), _bin_header(len(blob)), blob)
        return b"".join(parts)

    def _sounds(self, events: Iterable[tuple[int, bytes]]) -> dict[int, bytes]:
        """View -> finished frames of the events within its far square."""
        heard: dict[int, list[bytes]] = defaultdict(list)
        for cell, message in events:
            slots = self._slot_of[cell - self._interest.square]
            for slot in slots[slots >= 0].tolist():
                heard[slot].append(message)
        return {slot: b"".join(messages[-self._events_max :]) for slot, messages in heard.items()}

    # -- what one viewer needs ---------------------------------------------------

    def shift(self, old: int, new: int) -> bytes:
        """A finished frame for a viewer whose own cell becomes `new`: what is no longer in view, what now is."""
        interest = self._interest
        before = self._replica.seen_from(old)
        gone = before[interest.distance(self._replica.cell[before], np.int64(new)) > interest.far]
        gone.sort(kind="stable")
        now = self._replica.seen_from(new)
        cells = self._replica.cell[now]
        was = interest.distance(cells, np.int64(old))
        fresh = was > interest.far
        if self._ringed:
            fresh |= (was > interest.near) & (interest.distance(cells, np.int64(new)) <= interest.near)
        leaves = self._leaves(gone.tolist()) if gone.size else _NIL
        return websocket_frame(self._delta_head() + leaves + self._enters_of(now[fresh]))

    def without(self, handles: list[int]) -> bytes:
        """A finished frame for viewers of entities that are no longer here."""
        return websocket_frame(self._delta_head() + self._leaves(handles) + _NIL)

    def farewell(self) -> bytes:
        """A finished, empty KEYFRAME: nothing of the region is in view any more."""
        return websocket_frame(self._keyframe_head() + _NIL)

    def _delta_head(self) -> bytes:
        return _array_header(5) + bytes((MessageType.DELTA,)) + self._region + bytes((self._replica.tick & 127,))

    def _keyframe_head(self) -> bytes:
        # A region of which no frame came yet is left before its first tick.
        tick = _number(max(0, self._replica.tick))
        return _array_header(4) + bytes((MessageType.KEYFRAME,)) + self._region + tick

    def keyframe(self, centre: int) -> bytes:
        """A finished KEYFRAME of all that is seen from a cell."""
        return websocket_frame(self._keyframe_head() + self._enters_of(self._replica.seen_from(centre)))

    def view_digest(self, centre: int) -> tuple[int, int]:
        """(count, CRC-32) of what a client whose own cell is `centre` must have. See docs/protocol.md."""
        seen = np.sort(self._replica.seen_from(centre), kind="stable")
        records = self._record_bytes(set(seen.tolist()))
        crc = 0
        for handle in seen.tolist():
            archetype, record = records[handle]
            crc = zlib.crc32(record, zlib.crc32(bytes((archetype,)), crc))
        return seen.size, crc

    def _enters_of(self, handles: Handles) -> bytes:
        if not handles.size:
            return _NIL
        handles = np.sort(handles, kind="stable")
        archetypes = self._replica.archetype[handles]
        blobs = {
            a: self._replica.full_records(a, handles[archetypes == a]).tobytes() for a in np.unique(archetypes).tolist()
        }
        return self._grouped(blobs)
