"""The world: entities as rows of numpy columns.

An entity is a row from spawn to despawn. Its row is also its handle on the wire, so
a freed row rests before it is used again (`REST_ROWS`): a late command that names
a handle meets nobody rather than somebody else. `generation` tells two lives of one row apart.

Despawned rows leave every query at once and are cleared by `end_tick`, so that a
system still holding them this tick does no harm and dead rows are always zero:
the same world has the same bytes. For the same reason a component's columns are state only where an
entity has it: what a system writes to other rows is neither kept nor digested.

A row and a reference (`ref`) name an entity in this region. Its number (`id_of`) names it in every region, for life:
an entity that comes from another region, by `insert`, keeps the one it was born with.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import numpy as np
import xxhash
from numpy.typing import NDArray

from server.sim.component import I64, NO_ARCHETYPE, U8, U32, U64, Archetype, Bool, Component, Rows
from server.sim.errors import CapacityError, DeclarationError, SnapshotError

C = TypeVar("C", bound=Component)

# Freed rows that must lie idle before the oldest of them is used again.
REST_ROWS: Final = 1024

# A world's state by name; see `World.capture`.
Arrays = Mapping[str, NDArray[Any]]

# An entity's number: the region of its birth, 16 bits; the life of the row it was born in, 28 bits; that row, 20 bits.
_ID_REGION: Final = np.uint64(48)
_ID_LIFE: Final = np.uint64(20)
_ID_LIVES: Final = np.uint64((1 << 28) - 1)
_ID_ROWS: Final = 1 << 20

# Rows by which room for a capture grows, so that a world that grows does not ask for new memory each time.
_ROOM_ROWS: Final = 4096


class World:
    """Rows and columns of one region.

    `bounds`: (x0, y0, x1, y1), world units: the region's own part of the world. `limits`: the whole world's; without
    it the region is the whole. `capacity`: rows at the most (entities_max). `region`: its number.
    """

    def __init__(
        self,
        components: Sequence[type[Component]],
        archetypes: Sequence[Archetype],
        capacity: int,
        bounds: tuple[float, float, float, float],
        *,
        limits: tuple[float, float, float, float] | None = None,
        region: int = 0,
    ) -> None:
        if not 0 < len(archetypes) < NO_ARCHETYPE:
            raise DeclarationError(f"a game has 1 to {NO_ARCHETYPE - 1} archetypes, not {len(archetypes)}")
        if capacity > _ID_ROWS:
            raise DeclarationError(f"a region has up to {_ID_ROWS} rows, not {capacity}")
        self.capacity = capacity
        self.bounds = bounds
        # Who walks past `bounds` goes on into the next region; past `limits` there is nothing.
        self.limits = limits or bounds
        self.region = region
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
        # Entities that came from elsewhere: their rows, ascending, their numbers, over how many borders they went, and
        # places in these in order of the numbers.
        self._foreign_rows: Rows = np.zeros(0, np.int64)
        self._foreign_ids: U64 = np.zeros(0, np.uint64)
        self._foreign_crossings: U32 = np.zeros(0, np.uint32)
        self._foreign_by_id: Rows = np.zeros(0, np.int64)
        self._dying: list[Rows] = []
        # Rows that began since the tick did.
        self._new: list[Rows] = []
        # Changes with every spawn and despawn.
        self.structure = 0
        # Queries answered since anything they ask for spawned or despawned, each with the archetypes asked for,
        # (256,) bool.
        self._cache: dict[object, tuple[Bool, Rows]] = {}
        self._masks: dict[object, Bool] = {}

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
        rows = self._allot(n)
        self.archetype[rows] = self._archetype_ids[archetype]
        for component in archetype.components:
            columns = self._columns[component]
            for name, spec in component.columns.items():
                if spec.default:
                    getattr(columns, name)[rows] = spec.default
        self._changed([self._archetype_ids[archetype]])
        return rows

    @property
    def room(self) -> int:
        """Entities that can still be made."""
        return self._free.size + self.capacity - self.high_water

    @property
    def new(self) -> Rows:
        """Rows that began this tick, by `spawn` or `insert`, (n,) int64; they may have ended since."""
        return np.concatenate(self._new) if self._new else np.zeros(0, np.int64)

    def _allot(self, n: int) -> Rows:
        """(n,) rows that begin another life. Raises CapacityError."""
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
        self.generation[rows] += np.uint32(1)
        self._new.append(rows)
        return rows

    def despawn(self, rows: Rows) -> None:
        """End these entities. Rows already dead, and -1, are passed over; doubles count once."""
        rows = np.unique(rows)
        rows = rows[(rows >= 0) & (self.archetype[rows] != NO_ARCHETYPE)]
        if rows.size:
            ended = self.archetype[rows]
            self.archetype[rows] = NO_ARCHETYPE
            self._dying.append(rows)
            self._changed(ended)

    def begin_tick(self) -> None:
        """Nobody is `new` yet."""
        self._new.clear()

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
        if self._foreign_rows.size:
            stays = _find(rows, self._foreign_rows) < 0
            self._set_foreign(self._foreign_rows[stays], self._foreign_ids[stays], self._foreign_crossings[stays])

    def rows(self, *components: type[Component]) -> Rows:
        """Living entities that have all these components: ascending, (n,) int64, read-only."""
        key = (World.rows, components)
        found = self._cache.get(key)
        if found is None:
            wanted = np.ones(256, np.bool_)
            wanted[NO_ARCHETYPE] = False
            for c in components:
                wanted &= self._has[c]
            found = self._cache[key] = (wanted, self._select(wanted))
        return found[1]

    def rows_of(self, *archetypes: Archetype) -> Rows:
        """Living entities of these archetypes: ascending, (n,) int64, read-only."""
        key = (World.rows_of, archetypes)
        found = self._cache.get(key)
        if found is None:
            wanted = np.zeros(256, np.bool_)
            wanted[[self._archetype_ids[a] for a in archetypes]] = True
            found = self._cache[key] = (wanted, self._select(wanted))
        return found[1]

    def mask(self, *components: type[Component]) -> Bool:
        """`rows` as (high_water,) bool, read-only: for what is sooner done to all rows in place than to some gathered.

        hp = world[Health].hp[: world.high_water]
        wounded = np.flatnonzero(world.mask(Health) & (hp < 100))
        """
        return self._mask((World.rows, components), self.rows(*components))

    def mask_of(self, *archetypes: Archetype) -> Bool:
        """`rows_of` as (high_water,) bool, read-only; see `mask`."""
        return self._mask((World.rows_of, archetypes), self.rows_of(*archetypes))

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

    def who_has(self, handles: NDArray[Any]) -> U64:
        """(n,) uint64 numbers of those who have these handles here; 0 for nobody."""
        rows = handles.astype(np.int64)
        rows[(rows < 0) | (rows >= self.high_water)] = -1
        return self.id_of(np.where(self.archetype[rows] != NO_ARCHETYPE, rows, -1))

    def named(self, ids: U64) -> U64:
        """(n,) uint64 the same numbers, but for those of `number_of_handle`: the number of who has that handle here.

        0 for nobody. What is a handle of another region stays one: mail to it goes to that region.
        """
        by_handle = (ids >> _ID_LIFE & _ID_LIVES == 0) & (ids >> _ID_REGION == np.uint64(self.region))
        return np.where(by_handle, self.who_has(ids & np.uint64(_ID_ROWS - 1)), ids) if by_handle.any() else ids

    def known(self, ids: U64, component: type[Component]) -> Rows:
        """(n,) int64 rows of the numbers of entities that clients named, -1 where none with `component` is here."""
        rows = self.rows_by_id(ids)
        return np.where((rows >= 0) & self._has[component][self.archetype[rows]], rows, -1)

    # -- over borders --------------------------------------------------------

    def id_of(self, rows: Rows) -> U64:
        """(n,) uint64 numbers that name these entities in every region; 0, which names nobody, for a row of -1."""
        life = self.generation[rows].astype(np.uint64) & _ID_LIVES
        ids: U64 = np.uint64(self.region) << _ID_REGION | life << _ID_LIFE | rows.astype(np.uint64)
        if self._foreign_rows.size:
            at = _find(self._foreign_rows, rows)
            ids = np.where(at >= 0, self._foreign_ids[at], ids)
        return np.where(rows >= 0, ids, np.uint64(0))

    def crossings(self, rows: Rows) -> U32:
        """(n,) uint32 borders that these entities went over in their lives."""
        if not self._foreign_rows.size:
            return np.zeros(rows.size, np.uint32)
        at = _find(self._foreign_rows, rows)
        return np.where(at >= 0, self._foreign_crossings[at], np.uint32(0))

    def rows_by_id(self, ids: U64) -> Rows:
        """(n,) int64 rows of these numbers, -1 where that entity is not here."""
        rows = (ids & np.uint64(_ID_ROWS - 1)).astype(np.int64)
        native = (ids >> _ID_REGION == np.uint64(self.region)) & (rows < self.high_water)
        rows[~native] = 0
        native &= self.generation[rows] & np.uint32(_ID_LIVES) == (ids >> _ID_LIFE & _ID_LIVES).astype(np.uint32)
        if self._foreign_rows.size:
            # Whoever lives in such a row goes by another number.
            native &= _find(self._foreign_rows, rows) < 0
            order = self._foreign_by_id
            at = _find(self._foreign_ids[order], ids)
            rows = np.where(at >= 0, self._foreign_rows[order[at]], rows)
            native |= at >= 0
        return np.where(native & (self.archetype[rows] != NO_ARCHETYPE), rows, -1)

    def foreign(self) -> tuple[Rows, U64]:
        """Those who came from another region: (n,) int64 rows, ascending, and (n,) uint64 numbers; see `id_of`."""
        living = self.archetype[self._foreign_rows] != NO_ARCHETYPE
        return self._foreign_rows[living], self._foreign_ids[living]

    def foreign_ended(self) -> U64:
        """(n,) uint64 numbers of those who came from another region and ended since the last end of a tick."""
        ended: U64 = self._foreign_ids[self.archetype[self._foreign_rows] == NO_ARCHETYPE]
        return ended

    def extract(self, rows: Rows) -> dict[str, NDArray[Any]]:
        """All there is to these living entities, (n,) distinct rows, copied; they stay.

        Names: `@archetype`, `@id`, `@crossings`, `@owner` and every `Component.field`, (n, ...) each in order of
        `rows`; zero for an entity that does not have the component, and empty where none has it.
        """
        archetype = self.archetype[rows]
        arrays: dict[str, NDArray[Any]] = {
            "@archetype": archetype,
            "@id": self.id_of(rows),
            "@crossings": self.crossings(rows),
            "@owner": self.owner[rows],
        }
        for component, columns in self._columns.items():
            having = self._has[component][archetype]
            for name, array in columns.arrays():
                values = arrays[f"{component.__name__}.{name}"] = array[rows if having.any() else rows[:0]]
                if values.size:
                    values[~having] = np.zeros((), array.dtype)
        return arrays

    def insert(self, arrays: Arrays) -> Rows:
        """Make entities of what `extract` gave, in this world or another of the game; returns their rows, (n,) int64.

        Raises CapacityError when they do not all fit and SnapshotError for what `extract` does not give; then
        nothing was made.
        """
        archetype = arrays.get("@archetype", np.zeros(0))
        n = archetype.size
        _check(arrays, "@archetype", np.dtype(np.uint8), (n,))
        _check(arrays, "@id", np.dtype(np.uint64), (n,))
        _check(arrays, "@crossings", np.dtype(np.uint32), (n,))
        _check(arrays, "@owner", np.dtype(np.uint64), (n,))
        if (archetype >= len(self.archetypes)).any():
            raise SnapshotError("@archetype: one that this game does not have")
        if (self.rows_by_id(arrays["@id"]) >= 0).any() or np.unique(arrays["@id"]).size < n:
            raise SnapshotError("@id: an entity that is here already")
        columns: list[tuple[NDArray[Any], NDArray[Any]]] = []
        for component, own in self._columns.items():
            needed = bool(self._has[component][archetype].any())
            for name, target in own.arrays():
                key = f"{component.__name__}.{name}"
                k = n if needed or len(arrays.get(key, ())) else 0
                _check(arrays, key, target.dtype, (k, *target.shape[1:]))
                if needed:
                    columns.append((target, arrays[key]))
        rows = self._allot(n)
        self.archetype[rows] = archetype
        self.owner[rows] = arrays["@owner"]
        for target, values in columns:
            target[rows] = values
        # Whoever went and comes back within a tick: the row it had rests with the end of the tick.
        others = ~np.isin(self._foreign_ids, arrays["@id"])
        foreign = np.concatenate([self._foreign_rows[others], rows])
        order = np.argsort(foreign, kind="stable")
        self._set_foreign(
            foreign[order],
            np.concatenate([self._foreign_ids[others], arrays["@id"]])[order],
            np.concatenate([self._foreign_crossings[others], arrays["@crossings"]])[order],
        )
        self._changed()
        return rows

    # -- state ---------------------------------------------------------------

    def digest(self, seed: int = 0) -> int:
        """64-bit XXH3 over the state's bytes. Call between ticks."""
        h = xxhash.xxh3_64(seed=seed)
        h.update(struct.pack("<II", self.capacity, self.high_water))
        for _, array, rows in self._parts():
            h.update(np.ascontiguousarray(array if rows is None else array[rows]).view(np.uint8).data)
        return h.intdigest()

    def capture(self, spare: Arrays | None = None) -> dict[str, NDArray[Any]]:
        """The whole state, copied, as named arrays; `adopt` makes it again, byte for byte. Call between ticks.

        Names: `Component.field` for columns, `@...` for the world's own. A component that few entities have is kept
        for those alone, in order of the rows in `Component@rows`; the others for all rows below the high water.
        `spare`: an earlier capture that nobody reads any more, to be written over: fresh memory costs more than the
        copying.
        """
        spare = spare or {}
        arrays: dict[str, NDArray[Any]] = {
            "@world": np.array([self.capacity, self.high_water], np.uint64),
            "@archetypes": np.array([a.name.encode() for a in self.archetypes], np.bytes_),
        }
        for component in self._columns:
            rows = self._carriers(component)
            if rows is not None:
                arrays[f"{component.__name__}@rows"] = rows
        for name, array, rows in self._parts():
            n = len(array) if rows is None else rows.size
            copy = _room(spare.get(name), n, array)
            if rows is None:
                np.copyto(copy, array)
            else:
                # "clip" skips the check of rows that a query has just made; "raise" would copy twice.
                np.take(array, rows, axis=0, out=copy, mode="clip")
            arrays[name] = copy
        return arrays

    def adopt(self, arrays: Arrays) -> None:
        """Become the world that `capture` was called on. Raises SnapshotError; the world is then unchanged."""
        high_water = self._check_own(arrays)
        carriers: dict[type[Component], Rows | None] = {}
        known = {"@world", "@archetypes", "@archetype", "@generation", "@owner", "@free"}
        known |= {"@ids.row", "@ids.id", "@ids.crossings"}
        foreign_rows, foreign_ids, crossings = self._check_foreign(arrays, high_water)
        for component in self._columns:
            name = f"{component.__name__}@rows"
            rows = arrays.get(name)
            if rows is not None:
                known.add(name)
                if rows.dtype != np.int64 or rows.ndim != 1 or not _ascending(rows, high_water):
                    raise SnapshotError(f"{name}: not rows of this world")
            carriers[component] = rows
            n = high_water if rows is None else rows.size
            for field, spec in component.columns.items():
                known.add(f"{component.__name__}.{field}")
                _check(arrays, f"{component.__name__}.{field}", spec.dtype, (n, *spec.shape))
        if extra := sorted(set(arrays) - known):
            raise SnapshotError(f"unknown to this game: {', '.join(extra)}")

        own = (("@archetype", self.archetype), ("@generation", self.generation), ("@owner", self.owner))
        for name, target in own:
            target[:high_water] = arrays[name]
            target[high_water:] = NO_ARCHETYPE if name == "@archetype" else 0
        for component, columns in self._columns.items():
            rows = carriers[component]
            for field, target in columns.arrays():
                values = arrays[f"{component.__name__}.{field}"]
                if rows is None:
                    target[:high_water] = values
                    target[high_water:] = np.zeros((), target.dtype)
                else:
                    target[:] = np.zeros((), target.dtype)
                    target[rows] = values
        self._free = arrays["@free"].astype(np.int64)
        self._set_foreign(foreign_rows.copy(), foreign_ids.copy(), crossings.copy())
        self.high_water = high_water
        self._dying.clear()
        self._new.clear()
        self._changed()

    # -- inside --------------------------------------------------------------

    def _parts(self) -> Iterator[tuple[str, NDArray[Any], Rows | None]]:
        """Every array that is state, in a fixed order: its name, itself, and the rows that matter (None: all)."""
        hw = self.high_water
        yield "@archetype", self.archetype[:hw], None
        yield "@generation", self.generation[:hw], None
        yield "@owner", self.owner[:hw], None
        yield "@free", self._free, None
        if self._foreign_rows.size:
            yield "@ids.row", self._foreign_rows, None
            yield "@ids.id", self._foreign_ids, None
            yield "@ids.crossings", self._foreign_crossings, None
        for component, columns in self._columns.items():
            rows = self._carriers(component)
            for field, array in columns.arrays():
                yield f"{component.__name__}.{field}", array[:hw], rows

    def _carriers(self, component: type[Component]) -> Rows | None:
        """The rows that have it, where they are so few that gathering them pays; None: take all rows."""
        rows = self.rows(component)
        return rows if 2 * rows.size < self.high_water else None

    def _check_own(self, arrays: Arrays) -> int:
        """The high water of a capture whose own arrays agree with each other. Raises SnapshotError."""
        _check(arrays, "@world", np.dtype(np.uint64), (2,))
        capacity, high_water = (int(n) for n in arrays["@world"])
        if capacity != self.capacity or high_water > capacity:
            raise SnapshotError(f"a world of {capacity} rows; this one has {self.capacity}")
        names = [a.name.encode() for a in self.archetypes]
        if "@archetypes" not in arrays or arrays["@archetypes"].tolist() != names:
            raise SnapshotError("a world of other archetypes")
        _check(arrays, "@archetype", np.dtype(np.uint8), (high_water,))
        _check(arrays, "@generation", np.dtype(np.uint32), (high_water,))
        _check(arrays, "@owner", np.dtype(np.uint64), (high_water,))
        archetype = arrays["@archetype"]
        if ((archetype >= len(names)) & (archetype != NO_ARCHETYPE)).any():
            raise SnapshotError("@archetype: one that this game does not have")
        freed = arrays.get("@free", np.zeros(0))
        # Every row without an entity is free, once.
        empty = np.flatnonzero(archetype == NO_ARCHETYPE)
        if freed.dtype != np.int64 or not np.array_equal(np.sort(freed, kind="stable"), empty):
            raise SnapshotError("@free: not the rows that are free")
        return high_water

    def _check_foreign(self, arrays: Arrays, high_water: int) -> tuple[Rows, U64, U32]:
        """Rows, numbers and crossings of a capture's entities that came from elsewhere. Raises SnapshotError."""
        rows, ids = arrays.get("@ids.row", np.zeros(0, np.int64)), arrays.get("@ids.id", np.zeros(0, np.uint64))
        # Captures of before crossings were counted have none.
        crossings = arrays.get("@ids.crossings", np.zeros(rows.size, np.uint32))
        if rows.dtype != np.int64 or ids.dtype != np.uint64 or crossings.dtype != np.uint32:
            raise SnapshotError("@ids: not rows and their numbers")
        if rows.ndim != 1 or ids.shape != rows.shape or crossings.shape != rows.shape:
            raise SnapshotError("@ids: not rows and their numbers")
        if not _ascending(rows, high_water) or (arrays["@archetype"][rows] == NO_ARCHETYPE).any():
            raise SnapshotError("@ids.row: not rows of living entities")
        return rows, ids, crossings

    def _set_foreign(self, rows: Rows, ids: U64, crossings: U32) -> None:
        self._foreign_rows, self._foreign_ids, self._foreign_crossings = rows, ids, crossings
        self._foreign_by_id = np.argsort(ids, kind="stable")

    def _select(self, wanted: Bool) -> Rows:
        rows = np.flatnonzero(wanted[self.archetype[: self.high_water]])
        # Shared by all who ask: a system that sorted it in place would change another's query.
        rows.flags.writeable = False
        return rows

    def _mask(self, key: object, rows: Rows) -> Bool:
        found = self._masks.get(key)
        if found is None or found.size != self.high_water:
            found = self._masks[key] = np.zeros(self.high_water, np.bool_)
            found[rows] = True
            found.flags.writeable = False
        return found

    def _changed(self, archetypes: list[int] | U8 | None = None) -> None:
        """Entities of these archetypes began or ended; None: of any."""
        self.structure += 1
        if archetypes is None:
            self._cache.clear()
            self._masks.clear()
            return
        for key in [key for key, (wanted, _) in self._cache.items() if wanted[archetypes].any()]:
            del self._cache[key]
            self._masks.pop(key, None)


def number_of_handle(region: int, handle: int) -> int:
    """What stands for whoever has this handle in this region, where their number is not known; see `World.named`."""
    # As of the life before a row's first one.
    return region << int(_ID_REGION) | handle if region < 1 << 16 and handle < _ID_ROWS else 0


def birth_region(ids: U64) -> I64:
    """(n,) int64 regions in which entities of these numbers were born; see `World.id_of`."""
    return (ids >> _ID_REGION).astype(np.int64)


def _room(spare: NDArray[Any] | None, n: int, like: NDArray[Any]) -> NDArray[Any]:
    """(n, ...) of the type of `like`, in the memory of `spare` where it has enough."""
    whole = None if spare is None else spare.base
    if not isinstance(whole, np.ndarray) or (whole.dtype, whole.shape[1:]) != (like.dtype, like.shape[1:]):
        whole = None
    if whole is None or len(whole) < n or not whole.flags.writeable:
        whole = np.empty(((n // _ROOM_ROWS + 1) * _ROOM_ROWS, *like.shape[1:]), like.dtype)
    return whole[:n]


def _check(arrays: Arrays, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    array = arrays.get(name)
    if array is None:
        raise SnapshotError(f"{name} is missing")
    if array.dtype != dtype or array.shape != shape:
        raise SnapshotError(f"{name} is {array.dtype} {array.shape}; here it is {dtype} {shape}")


def _find(among: NDArray[Any], wanted: NDArray[Any]) -> Rows:
    """(n,) int64 places of `wanted` in `among`, which ascends and is not empty; -1 where it is not there."""
    at = np.minimum(np.searchsorted(among, wanted), among.size - 1)
    return np.where(among[at] == wanted, at, -1)


def _ascending(rows: Rows, below: int) -> bool:
    return not rows.size or bool(rows[0] >= 0 and rows[-1] < below and (rows[1:] > rows[:-1]).all())
