"""The world: entities as rows of numpy columns.

An entity is a row from spawn to despawn. Its row is also its handle on the wire, so
a freed row rests before it is used again (`REST_ROWS`): a late command that names
a handle meets nobody rather than somebody else. `generation` tells two lives of one row apart.

Despawned rows leave every query at once and are cleared by `end_tick`, so that a
system still holding them this tick does no harm and dead rows are always zero:
the same world has the same bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import numpy as np
import xxhash
from numpy.typing import NDArray

from server.sim.component import NO_ARCHETYPE, U8, U32, U64, Archetype, Bool, Component, Rows
from server.sim.errors import CapacityError, DeclarationError, SnapshotError

C = TypeVar("C", bound=Component)

# Freed rows that must lie idle before the oldest of them is used again.
REST_ROWS: Final = 1024

_HEAD: Final = struct.Struct("<4sIQIII")
_MAGIC: Final = b"EVW1"


class World:
    """Rows and columns of one region.

    `bounds`: (x0, y0, x1, y1), world units. `capacity`: rows at the most (entities_max).
    """

    def __init__(
        self,
        components: Sequence[type[Component]],
        archetypes: Sequence[Archetype],
        capacity: int,
        bounds: tuple[float, float, float, float],
    ) -> None:
        if not 0 < len(archetypes) < NO_ARCHETYPE:
            raise DeclarationError(f"a game has 1 to {NO_ARCHETYPE - 1} archetypes, not {len(archetypes)}")
        self.capacity = capacity
        self.bounds = bounds
        self.archetypes = tuple(archetypes)
        self.components = tuple(components)
        self._columns: dict[type[Component], Component] = {c: c(capacity) for c in components}
        self._archetype_ids = {a: i for i, a in enumerate(archetypes)}
        # Per component: (256,) bool, True where the archetype has it.
        self._has: dict[type[Component], Bool] = {}
        for c in components:
            table = np.zeros(256, np.bool_)
            table[[i for i, a in enumerate(archetypes) if c in a.components]] = True
            self._has[c] = table
        for a in archetypes:
            for c in a.components:
                if c not in self._columns:
                    raise DeclarationError(f"{a!r} has {c.__name__}, which the game does not list")
        # (capacity,) uint8: NO_ARCHETYPE where no entity is.
        self.archetype: U8 = np.full(capacity, NO_ARCHETYPE, np.uint8)
        # (capacity,) uint32: lives this row has had.
        self.generation: U32 = np.zeros(capacity, np.uint32)
        # (capacity,) uint64: session that plays this entity, 0 for none.
        self.owner: U64 = np.zeros(capacity, np.uint64)
        # Rows at and above were never used.
        self.high_water = 0
        # Freed rows, oldest first.
        self._free: Rows = np.zeros(0, np.int64)
        self._dying: list[Rows] = []
        # Changes with every spawn and despawn; queries are cached under it.
        self.structure = 0
        self._cache: dict[object, Rows] = {}

    def __getitem__(self, component: type[C]) -> C:
        return self._columns[component]  # type: ignore[return-value]  # keyed by its own class

    @property
    def alive(self) -> Bool:
        """(high_water,) bool."""
        alive: Bool = self.archetype[: self.high_water] != NO_ARCHETYPE
        return alive

    @property
    def count(self) -> int:
        """Living entities."""
        return int(np.count_nonzero(self.alive))

    def spawn(self, archetype: Archetype, n: int = 1) -> Rows:
        """Make `n` entities with default columns; returns their rows, (n,) int64.

        Raises CapacityError when fewer than `n` rows are left; then nothing was made.
        """
        free = self._free.size
        room = self.capacity - self.high_water
        if n > free + room:
            raise CapacityError(f"{n} more entities do not fit: {self.capacity} rows, {free + room} free")
        rested = max(0, min(n, free - REST_ROWS))
        fresh = min(n - rested, room)
        reused = n - fresh
        rows = np.concatenate([self._free[:reused], np.arange(self.high_water, self.high_water + fresh)])
        self._free = self._free[reused:]
        self.high_water += fresh
        self.archetype[rows] = self._archetype_ids[archetype]
        self.generation[rows] += np.uint32(1)
        for component in archetype.components:
            columns = self._columns[component]
            for name, spec in component.columns.items():
                if spec.default:
                    getattr(columns, name)[rows] = spec.default
        self._changed()
        return rows

    def despawn(self, rows: Rows) -> None:
        """End these entities. Rows already dead, and -1, are passed over; doubles count once."""
        rows = np.unique(rows)
        rows = rows[(rows >= 0) & (self.archetype[rows] != NO_ARCHETYPE)]
        if rows.size:
            self.archetype[rows] = NO_ARCHETYPE
            self._dying.append(rows)
            self._changed()

    def end_tick(self) -> None:
        """Clear what despawned this tick and let its rows rest."""
        if not self._dying:
            return
        rows = np.sort(np.concatenate(self._dying), kind="stable")
        self._dying.clear()
        for component in self._columns.values():
            for _, array in component.arrays():
                array[rows] = np.zeros((), array.dtype)
        self.owner[rows] = np.uint64(0)
        self._free = np.concatenate([self._free, rows])

    def rows(self, *components: type[Component]) -> Rows:
        """Living entities that have all these components: ascending, (n,) int64, read-only."""
        key = (World.rows, components)
        found = self._cache.get(key)
        if found is None:
            wanted = np.ones(256, np.bool_)
            wanted[NO_ARCHETYPE] = False
            for c in components:
                wanted &= self._has[c]
            found = self._cache[key] = self._select(wanted)
        return found

    def rows_of(self, *archetypes: Archetype) -> Rows:
        """Living entities of these archetypes: ascending, (n,) int64, read-only."""
        key = (World.rows_of, archetypes)
        found = self._cache.get(key)
        if found is None:
            wanted = np.zeros(256, np.bool_)
            wanted[[self._archetype_ids[a] for a in archetypes]] = True
            found = self._cache[key] = self._select(wanted)
        return found

    def is_a(self, rows: Rows, archetype: Archetype) -> Bool:
        """(n,) bool: alive and of this archetype; False for a row of -1."""
        result: Bool = (rows >= 0) & (self.archetype[rows] == self._archetype_ids[archetype])
        return result

    def has(self, component: type[Component]) -> Bool:
        """(256,) bool by archetype number: does it have this component."""
        return self._has[component]

    def ref(self, rows: Rows) -> U64:
        """(n,) uint64 references that outlive the row: generation << 32 | row."""
        return (self.generation[rows].astype(np.uint64) << np.uint64(32)) | rows.astype(np.uint64)

    def resolve(self, refs: U64) -> Rows:
        """(n,) int64 rows of references, -1 where that entity is gone."""
        rows = (refs & np.uint64(0xFFFFFFFF)).astype(np.int64)
        inside = rows < self.high_water
        safe = np.where(inside, rows, 0)
        same = self.generation[safe] == (refs >> np.uint64(32)).astype(np.uint32)
        good = inside & same & (self.archetype[safe] != NO_ARCHETYPE)
        return np.where(good, rows, -1)

    def known(self, handles: NDArray[Any], component: type[Component]) -> Rows:
        """(n,) int64 rows of handles a client named, -1 where no living entity with `component` is there."""
        rows = handles.astype(np.int64)
        safe = np.where(rows < self.high_water, rows, 0)
        good = (rows >= 0) & (rows < self.high_water) & self._has[component][self.archetype[safe]]
        return np.where(good, rows, -1)

    # -- bytes ---------------------------------------------------------------

    def state_arrays(self) -> list[NDArray[Any]]:
        """Every array that is state, in a fixed order. Call between ticks."""
        hw = self.high_water
        arrays: list[NDArray[Any]] = [self.archetype[:hw], self.generation[:hw], self.owner[:hw], self._free]
        for component in self._columns.values():
            arrays += [array[:hw] for _, array in component.arrays()]
        return arrays

    def digest(self, seed: int = 0) -> int:
        """64-bit XXH3 over the state's bytes. Call between ticks."""
        h = xxhash.xxh3_64(seed=seed)
        h.update(struct.pack("<II", self.capacity, self.high_water))
        for array in self.state_arrays():
            h.update(np.ascontiguousarray(array).view(np.uint8).data)
        return h.intdigest()

    def snapshot(self) -> bytes:
        """The whole state. `restore` of a world of the same game makes it again, byte for byte."""
        arrays = self.state_arrays()
        head = _HEAD.pack(_MAGIC, self.capacity, self.structure, self.high_water, self._free.size, len(arrays))
        return b"".join([head, *(np.ascontiguousarray(a).tobytes() for a in arrays)])

    def restore(self, data: bytes | memoryview) -> None:
        """Become the world that `snapshot` wrote. Raises SnapshotError; the world is then unchanged."""
        view = memoryview(data)
        if len(view) < _HEAD.size:
            raise SnapshotError(f"{len(view)} bytes are no world")
        magic, capacity, structure, high_water, free, arrays = _HEAD.unpack_from(view)
        if magic != _MAGIC or capacity != self.capacity or high_water > capacity or free > capacity:
            raise SnapshotError("not a world of this capacity")
        targets: list[NDArray[Any]] = [self.archetype, self.generation, self.owner]
        targets += [array for c in self._columns.values() for _, array in c.arrays()]
        # Bytes per row of each; `target[:1]`, for a column may hold several numbers per row.
        widths = [target[:1].nbytes for target in targets]
        size = _HEAD.size + free * 8 + high_water * sum(widths)  # exact: integers
        if arrays != len(targets) + 1 or size != len(view):
            raise SnapshotError("a world of other components")
        archetype = np.frombuffer(view, np.uint8, high_water, _HEAD.size)
        # The free rows follow archetype, generation and owner.
        freed_at = _HEAD.size + high_water * (widths[0] + widths[1] + widths[2])
        freed = np.frombuffer(view, "<i8", free, freed_at).astype(np.int64)
        if ((archetype >= len(self.archetypes)) & (archetype != NO_ARCHETYPE)).any():
            raise SnapshotError("a world of other archetypes")
        if ((freed < 0) | (freed >= high_water)).any() or (archetype[freed] != NO_ARCHETYPE).any():
            raise SnapshotError("free rows that are not free")
        at = _HEAD.size
        for i, (target, width) in enumerate(zip(targets, widths, strict=True)):
            if i == 3:
                at += free * 8
            values = np.frombuffer(view, target.dtype, high_water * width // target.itemsize, at)
            target[:high_water] = values.reshape(high_water, *target.shape[1:])
            target[high_water:] = NO_ARCHETYPE if i == 0 else np.zeros((), target.dtype)
            at += high_water * width
        self._free = freed
        self.high_water = high_water
        self.structure = structure
        self._dying.clear()
        self._cache.clear()

    # -- inside --------------------------------------------------------------

    def _select(self, wanted: Bool) -> Rows:
        rows = np.flatnonzero(wanted[self.archetype[: self.high_water]])
        # Shared by all who ask: a system that sorted it in place would change another's query.
        rows.flags.writeable = False
        return rows

    def _changed(self) -> None:
        self.structure += 1
        self._cache.clear()
