"""The replica: a gateway's read copy of a region, kept by its frames.

A cache, never a source of truth. A frame that does not follow, or a digest that does not hold,
raises FrameGap, and the gateway asks the region for a keyframe.

Who departs to another region is held as it was seen last, until it is released: nobody's view of it ends before
the other region shows it. Where that shows it first, for a bus keeps no order between two regions' frames, it ends with
the frame in which it departs.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protocol.schema import Schema
from server.gateway.errors import FrameGap
from server.gateway.interest import Cells, Interest
from server.regions.frame import Frame, replicated_digest
from server.shard.machine import Records

Handles = NDArray[np.int64]

NO_ARCHETYPE: Final = 255
NOWHERE: Final = -1
# Before every tick: a component that its entity never had does not count as changed lately.
NEVER: Final = -(2**62)


@dataclass(frozen=True, slots=True)
class Change:
    """What a frame did to the replica, as the fan-out needs it."""

    # Handles that moved between cells, began or ended, each once but for a handle that was
    # reused (ended, then began): `before` and `after` are cells, NOWHERE for none.
    moved: Handles
    before: Cells
    after: Cells
    # Component -> (handles ascending, their records), of handles that were there before.
    changes: dict[int, tuple[Handles, Records]]


class Held(NamedTuple):
    """One who departed to another region, and is shown as it was seen last."""

    handle: int
    # When it departed, and where to.
    tick: int
    destination: int


class Overtaken(NamedTuple):
    """One whom another region shows already, though it has not been heard to depart here."""

    # This region's tick when it was shown there, and where that is.
    tick: int
    destination: int


class Replica:
    """One region as its frames tell it."""

    def __init__(self, schema: Schema, interest: Interest, entities_max: int, handle: str) -> None:
        self.schema = schema
        self.interest = interest
        self.handle = handle
        self.tick = -1
        # (entities_max,) uint8, NO_ARCHETYPE where nothing is.
        self.archetype: NDArray[np.uint8] = np.full(entities_max, NO_ARCHETYPE, np.uint8)
        # (entities_max,) uint64: of whoever is there, or went from there to another region lately, see `forget`; 0 for
        # nobody, as far as is known. See World.id_of.
        self.number: NDArray[np.uint64] = np.zeros(entities_max, np.uint64)
        self._departed: deque[tuple[int, Records]] = deque()
        # (entities_max,) int64 cell numbers, NOWHERE where nothing is.
        self.cell: Cells = np.full(entities_max, NOWHERE, np.int64)
        # Per component: (entities_max,) packed records as they travel.
        self.values: list[Records] = [np.zeros(entities_max, c.dtype) for c in schema.components]
        # Per component: (entities_max,) tick of the last change.
        self.changed_tick: list[NDArray[np.int64]] = [np.full(entities_max, NEVER, np.int64) for _ in schema.components]
        self._carries = [
            np.array([c.id in a.components for a in schema.archetypes] + [False] * (256 - len(schema.archetypes)))
            for c in schema.components
        ]
        self._records = [schema.record_dtype(a.id, handle) for a in schema.archetypes]
        # Those who departed and are still shown, by their number.
        self.held: dict[int, Held] = {}
        # Those whose arrival came sooner than their departure, by their number.
        self.overtaken: dict[int, Overtaken] = {}
        self._by_cell: tuple[int, Handles, NDArray[np.int64]] | None = None

    def apply(self, frame: Frame) -> Change:
        """Take a frame in. Raises FrameGap; the replica is then not to be used before a keyframe."""
        if frame.key:
            self._begin_anew(frame)
        elif frame.tick != self.tick + 1:
            raise FrameGap(f"region {frame.region}: tick {frame.tick} after tick {self.tick}")
        left, entered = frame.left.astype(np.int64), frame.entered.astype(np.int64)
        self.number[left] = 0
        if frame.departed.size:
            left = self._hold(frame, left)
            self._departed.append((frame.tick, frame.departed))
            self.number[frame.departed["row"]] = frame.departed["id"]
        left_cells = self.cell[left]
        self.archetype[left] = NO_ARCHETYPE
        self.cell[left] = NOWHERE
        self.archetype[entered] = frame.archetypes
        self.number[entered] = frame.numbers
        began = np.zeros(0, np.bool_)
        changes: dict[int, tuple[Handles, Records]] = {}
        movers = entered
        if entered.size:
            began = np.zeros(self.archetype.size, np.bool_)
            began[entered] = True
            for ticks in self.changed_tick:
                # A handle's earlier life may have had components that this one lacks.
                ticks[entered] = NEVER
        for c, (rows, values) in frame.changes.items():
            handles = rows.astype(np.int64)
            self.values[c][handles] = values
            self.changed_tick[c][handles] = frame.tick
            if c == self.schema.position:
                movers = handles
            if entered.size:
                old = ~began[handles]
                if old.any():
                    changes[c] = (handles[old], values[old])
            elif handles.size:
                changes[c] = (handles, values)
        moved, before, after = self._move(movers)
        if left.size:
            # The ends first: a handle that was reused begins after it ended.
            moved = np.concatenate([left, moved])
            before = np.concatenate([left_cells, before])
            after = np.concatenate([np.full(left.size, NOWHERE, np.int64), after])
        self.tick = frame.tick
        self._by_cell = None
        if frame.digest is not None and frame.digest != self.digest():
            raise FrameGap(f"region {frame.region}: the digest of tick {frame.tick} does not hold")
        return Change(moved, before, after, changes)

    def _begin_anew(self, frame: Frame) -> None:
        """Forget all but those who are held, and are not there again: they are still on their way."""
        there = frame.entered.astype(np.int64)
        # In a world that was set back their time would not be over for long.
        kept = [held._replace(tick=min(held.tick, frame.tick)) for held in self.held.values()]
        self.overtaken = {n: o._replace(tick=min(o.tick, frame.tick)) for n, o in self.overtaken.items()}
        self._departed = deque((min(tick, frame.tick), gone) for tick, gone in self._departed)
        self.number.fill(0)
        for _, gone in self._departed:
            self.number[gone["row"]] = gone["id"]
        self.held = {
            number: held for number, held in zip(self.held, kept, strict=True) if not (there == held.handle).any()
        }
        handles = np.array([held.handle for held in self.held.values()], np.int64)
        archetypes, cells = self.archetype[handles], self.cell[handles]
        self.archetype.fill(NO_ARCHETYPE)
        self.cell.fill(NOWHERE)
        self.archetype[handles], self.cell[handles] = archetypes, cells

    def _hold(self, frame: Frame, left: Handles) -> Handles:
        """Keep who departs and is not shown elsewhere already; the others of `left` are returned."""
        departed = frame.departed
        seen = self.archetype[departed["row"]] != NO_ARCHETYPE
        ending: list[int] = []
        for row, number, _, destination in departed[seen].tolist():
            if number in self.held:
                # It came back in a frame that was lost: the older one is nobody.
                ending.append(self.held.pop(number).handle)
            overtaken = self.overtaken.pop(number, None)
            if overtaken is not None and overtaken.destination == destination:
                ending.append(row)
            else:
                self.held[number] = Held(row, frame.tick, destination)
        return np.union1d(np.setdiff1d(left, departed["row"]), np.array(ending, np.int64))

    def forget(self, before: int) -> None:
        """Wait no longer for departures of which nothing was heard since a tick before this one.

        And who departed before it is named no longer by the handle that it had here.
        """
        if self.overtaken:
            self.overtaken = {n: o for n, o in self.overtaken.items() if o.tick >= before}
        while self._departed and self._departed[0][0] < before:
            _, gone = self._departed.popleft()
            rows = gone["row"][self.number[gone["row"]] == gone["id"]]
            self.number[rows[self.archetype[rows] == NO_ARCHETYPE]] = 0

    def release(self, number: int) -> tuple[int, int] | None:
        """End the entity of this number that was held; (handle, cell) where it stood, None where nobody is held."""
        held = self.held.pop(number, None)
        if held is None:
            return None
        handle = held.handle
        cell = int(self.cell[handle])
        self.archetype[handle] = NO_ARCHETYPE
        self.cell[handle] = NOWHERE
        self._by_cell = None
        return handle, cell

    def _move(self, handles: Handles) -> tuple[Handles, Cells, Cells]:
        if not handles.size:
            return handles, handles, handles
        after = self.interest.cell(*self.position(handles))
        before = self.cell[handles]
        crossed = np.flatnonzero(after != before)
        moved, after, before = handles[crossed], after[crossed], before[crossed]
        self.cell[moved] = after
        return moved, before, after

    @property
    def empty(self) -> bool:
        """Whether nobody is here, nor shown."""
        return bool((self.archetype == NO_ARCHETYPE).all())

    def position(self, handles: Handles) -> tuple[NDArray[Any], NDArray[Any]]:
        """(n,), (n,) raw positions."""
        place = self.values[self.schema.position][handles]
        return place["x"], place["y"]

    def full_records(self, archetype: int, handles: Handles) -> Records:
        """(n,) packed full records of handles of one archetype."""
        records = np.zeros(handles.size, self._records[archetype])
        records["handle"] = handles
        for c in self.schema.archetypes[archetype].components:
            component = self.schema.components[c]
            values = self.values[c][handles]
            for name, _ in component.fields:
                records[f"{component.name}.{name}"] = values[name]
        return records

    def by_cell(self) -> tuple[Handles, NDArray[np.int64]]:
        """Handles sorted by cell, then handle, and (cells + 1,) where each cell's begin. Made once per tick at most."""
        if self._by_cell is None or self._by_cell[0] != self.tick:
            here = np.flatnonzero(self.archetype != NO_ARCHETYPE)
            cells = self.cell[here]
            order = np.argsort(cells.astype(self.interest.sort_dtype), kind="stable")
            self._by_cell = (self.tick, here[order], cell_offsets(cells, self.interest.count))
        return self._by_cell[1], self._by_cell[2]

    def seen_from(self, centre: int) -> Handles:
        """(n,) int64 handles in the far square around a cell, in no particular order."""
        handles, offsets = self.by_cell()
        first, past = self.interest.spans(np.array([centre]), ring=True)
        spans = zip(offsets[first[0]].tolist(), offsets[past[0]].tolist(), strict=True)
        return np.concatenate([handles[a:b] for a, b in spans])

    def same(self, keyframe: Frame) -> bool:
        """Whether a keyframe tells nothing that is not here."""
        return keyframe.tick == self.tick and keyframe.digest is not None and keyframe.digest == self.digest()

    def digest(self) -> int:
        """`replicated_digest` of what is here."""
        archetype = self.archetype
        if self.held:
            # The region has them no more.
            archetype = archetype.copy()
            archetype[[held.handle for held in self.held.values()]] = NO_ARCHETYPE
        used = np.flatnonzero(archetype != NO_ARCHETYPE)
        archetype = archetype[: int(used[-1]) + 1] if used.size else archetype[:0]
        whole = {}
        for c, carries in enumerate(self._carries):
            rows = used[carries[archetype[used]]]
            if rows.size:
                whole[c] = (rows.astype(np.uint32), self.values[c][rows])
        return replicated_digest(archetype, whole)


def cell_offsets(cells: Cells, count: int) -> NDArray[np.int64]:
    """(count + 1,) place of each cell's first element in an array sorted by cell."""
    offsets = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(cells, minlength=count), out=offsets[1:])
    return offsets
