"""Schema evolution: a state of one version of a game as a state of another.

A game declares a migration for each step between two of its versions, forward and, where it
can, back:

    def to_4(saved: Saved) -> None:
        saved.rename_field("Health", "hp", "points")
        saved.add_field("Health", "shield", np.uint8, default=10)
        saved.rename_archetype("rock", "boulder")

    def to_3(saved: Saved) -> None: ...

    GAME = Game(..., version=4, migrations=(Migration(old=3, new=4, forward=to_4, back=to_3),))

The version that goes back has to know the way: ship the step, with its `back`, in the older version's next release too.

What a migration does is checked as a whole: its result must have exactly the columns and archetypes that the
game of that version declares. A migration names only what changed; everything else is carried over.

Mail that is under way while regions change their version has no names in it, and no migration changes it: it is read
where every step says `same_mail`, and is a dead letter elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from server.sim.component import NO_ARCHETYPE, Archetype, Component, Rows
from server.sim.errors import DeclarationError, MigrationError

Values = NDArray[Any]
# Of a column's old values the new ones, (n, ...) both.
Convert = Callable[[Values], Values]


class Saved:
    """A captured state that a migration changes. Columns are arrays of (rows, ...), dead rows zero.

    Every method raises MigrationError for a name that is not there, or one that is taken.
    """

    def __init__(self, arrays: Mapping[str, Values]) -> None:
        try:
            self._own = {name: array.copy() for name, array in arrays.items() if name.startswith("@")}
            self._rows = int(self._own["@world"][1])
            self._archetype = self._own["@archetype"]
            self._names: list[str | None] = [n.decode() for n in self._own.pop("@archetypes").tolist()]
        except (KeyError, IndexError, AttributeError, UnicodeDecodeError) as error:
            raise MigrationError(f"not a captured world: {error!r}") from error
        self._columns: dict[str, Values] = {}
        for name, array in arrays.items():
            if not name.startswith("@") and not name.endswith("@rows"):
                self._columns[name] = self._whole(name, array, arrays.get(f"{name.partition('.')[0]}@rows"))

    # -- reading -------------------------------------------------------------

    @property
    def archetypes(self) -> tuple[str, ...]:
        """Names, in the order of their numbers; those removed are left out."""
        return tuple(name for name in self._names if name is not None)

    @property
    def fields(self) -> tuple[str, ...]:
        """Every column, as `Component.field`."""
        return tuple(self._columns)

    def rows(self, *archetypes: str) -> Rows:
        """Living entities of these archetypes, of any where none is named: ascending, (n,) int64."""
        wanted = [self._number(name) for name in archetypes]
        alive = self._archetype != NO_ARCHETYPE
        return np.flatnonzero(alive & np.isin(self._archetype, wanted) if archetypes else alive)

    def column(self, component: str, field: str) -> Values:
        """The column itself, (rows, ...): write to the rows of living entities to change what they have."""
        return self._columns[self._known(component, field)]

    # -- fields and components -------------------------------------------------

    def add_field(
        self,
        component: str,
        field: str,
        dtype: DTypeLike,
        *,
        default: float | bytes = 0,
        shape: tuple[int, ...] = (),
    ) -> None:
        """A new column; entities that have the component get `default`. A component is made by its first field."""
        name = f"{component}.{field}"
        if name in self._columns:
            raise MigrationError(f"{name} is there already")
        values = np.zeros((self._rows, *shape), dtype)
        if default:
            values[self.rows()] = default
        self._columns[name] = values

    def remove_field(self, component: str, field: str) -> None:
        """The column goes, and what it held."""
        del self._columns[self._known(component, field)]

    def rename_field(self, component: str, old: str, new: str) -> None:
        """The column's values under another name."""
        self._rename(self._known(component, old), f"{component}.{new}")

    def retype_field(self, component: str, field: str, dtype: DTypeLike, convert: Convert | None = None) -> None:
        """The column in another type. Without `convert` a value that the type cannot hold is a MigrationError."""
        name = self._known(component, field)
        values = self._columns[name]
        if convert is not None:
            made = np.ascontiguousarray(convert(values))
            if len(made) != self._rows or made.dtype != np.dtype(dtype):
                raise MigrationError(f"{name}: convert made {made.dtype} {made.shape}, not {np.dtype(dtype)}")
        else:
            with np.errstate(all="ignore"):
                made = values.astype(dtype)
                lost = np.flatnonzero((made.astype(values.dtype) != values).reshape(self._rows, -1).any(axis=1))
            if lost.size:
                raise MigrationError(
                    f"{name}: {values[lost[0]]!r} of row {lost[0]} is lost in {made.dtype}: convert it"
                )
        self._columns[name] = made

    def remove_component(self, component: str) -> None:
        """Every column of it goes."""
        for name in self._of(component):
            del self._columns[name]

    def rename_component(self, old: str, new: str) -> None:
        """The same columns under another component."""
        for name in self._of(old):
            self._rename(name, f"{new}.{name.partition('.')[2]}")

    def fill(self, component: str, field: str, value: float | bytes, *archetypes: str) -> None:
        """Give every entity of these archetypes this value: for an archetype that gains a component."""
        self.column(component, field)[self.rows(*archetypes)] = value

    # -- archetypes and entities -----------------------------------------------

    def add_archetype(self, name: str) -> None:
        """A new archetype, of which nobody is yet."""
        if name in self._names:
            raise MigrationError(f"archetype {name} is there already")
        if len(self._names) >= NO_ARCHETYPE - 1:
            raise MigrationError(f"archetype {name} is one too many")
        self._names.append(name)

    def rename_archetype(self, old: str, new: str) -> None:
        """The same entities under another name."""
        if new in self._names:
            raise MigrationError(f"archetype {new} is there already")
        self._names[self._number(old)] = new

    def remove_archetype(self, name: str, *, become: str | None = None) -> None:
        """The archetype goes; its entities become another's, or go with it."""
        rows = self.rows(name)
        if become is None:
            self.despawn(rows)
        else:
            self._archetype[rows] = self._number(become)
        self._names[self._number(name)] = None

    def despawn(self, rows: Rows) -> None:
        """End these entities. A session that plays one is told in the first tick that the game removed it."""
        rows = np.unique(rows)
        rows = rows[self._archetype[rows] != NO_ARCHETYPE]
        self._archetype[rows] = NO_ARCHETYPE
        self._own["@owner"][rows] = 0
        for values in self._columns.values():
            values[rows] = np.zeros((), values.dtype)
        self._own["@free"] = np.concatenate([self._own["@free"], rows])
        if "@ids.row" in self._own:
            stays = self._archetype[self._own["@ids.row"]] != NO_ARCHETYPE
            for name in ("@ids.row", "@ids.id", "@ids.crossings"):
                if name in self._own:
                    self._own[name] = self._own[name][stays]

    # -- inside ------------------------------------------------------------------

    def _fit(self, components: Sequence[type[Component]], archetypes: Sequence[Archetype]) -> dict[str, Values]:
        """As a world of these adopts it. Raises MigrationError for what is missing or too many."""
        names = [a.name for a in archetypes]
        table = np.full(256, NO_ARCHETYPE, np.uint8)
        for number, name in enumerate(self._names):
            if name in names:
                table[number] = names.index(name)
            elif name is not None and (self._archetype == number).any():
                raise MigrationError(f"there are entities of {name}, an archetype that is not declared")
        self._archetype = self._own["@archetype"] = table[self._archetype]
        self._names = list(names)
        wanted = {f"{c.__name__}.{field}": (c, spec) for c in components for field, spec in c.columns.items()}
        if missing := [name for name in wanted if name not in self._columns]:
            raise MigrationError(f"{', '.join(missing)} is declared, and no migration makes it")
        if extra := [name for name in self._columns if name not in wanted]:
            raise MigrationError(f"{', '.join(extra)} is not declared, and no migration removes it")
        for name, (component, spec) in wanted.items():
            values = self._columns[name]
            if values.dtype != spec.dtype or values.shape[1:] != spec.shape:
                raise MigrationError(
                    f"{name} is {values.dtype} {values.shape[1:]}, and declared as {spec.dtype} {spec.shape}"
                )
            has = np.zeros(256, np.bool_)
            has[[i for i, a in enumerate(archetypes) if component in a.components]] = True
            # A default reaches everyone; only who has the component may keep it.
            values[~has[self._archetype]] = np.zeros((), values.dtype)
        return self._arrays()

    def _arrays(self) -> dict[str, Values]:
        """As `World.capture` would give them."""
        names = np.array([b"" if n is None else n.encode() for n in self._names], np.bytes_)
        return {**self._own, "@archetypes": names, **self._columns}

    def _whole(self, name: str, array: Values, rows: Rows | None) -> Values:
        n = self._rows if rows is None else len(rows)
        if len(array) != n:
            raise MigrationError(f"{name} has {len(array)} rows instead of {n}")
        if rows is None:
            return array.copy()
        whole = np.zeros((self._rows, *array.shape[1:]), array.dtype)
        whole[rows] = array
        return whole

    def _number(self, archetype: str) -> int:
        if archetype not in self._names:
            raise MigrationError(f"there is no archetype {archetype}; there are {', '.join(self.archetypes)}")
        return self._names.index(archetype)

    def _known(self, component: str, field: str) -> str:
        name = f"{component}.{field}"
        if name not in self._columns:
            raise MigrationError(f"there is no {name}")
        return name

    def _of(self, component: str) -> list[str]:
        names = [name for name in self._columns if name.startswith(f"{component}.")]
        if not names:
            raise MigrationError(f"there is no component {component}")
        return names

    def _rename(self, old: str, new: str) -> None:
        if new in self._columns:
            raise MigrationError(f"{new} is there already")
        self._columns[new] = self._columns.pop(old)


# Changes a state in place.
Change = Callable[[Saved], None]


@dataclass(frozen=True, slots=True)
class Migration:
    """One step between two versions of a game. Raises DeclarationError where `new` is not above `old`."""

    old: int
    new: int
    forward: Change
    # For going back to `old`, None where there is no way back.
    back: Change | None = None
    # Whether mail that is under way holds in both: each kind of `old` has its place in Game.mail in `new` too, the same
    # arguments and the same meaning; new kinds come last. A version that is played already may not begin to say it, for
    # its journals replay by what it refused; the next one may, of earlier steps too.
    same_mail: bool = False

    def __post_init__(self) -> None:
        if self.new <= self.old:
            raise DeclarationError(
                f"a migration leads from a version to a higher one, not from {self.old} to {self.new}"
            )


def path(migrations: Sequence[Migration], old: int, new: int) -> list[Change]:
    """The changes that lead from version `old` to version `new`, in order. Raises MigrationError."""
    changes: list[Change] = []
    at = old
    while at != new:
        if at < new:
            step = next((m for m in migrations if m.old == at and m.new <= new), None)
            change, beyond = (step.forward, step.new) if step else (None, at)
        else:
            step = next((m for m in migrations if m.new == at and m.old >= new), None)
            change, beyond = (step.back, step.old) if step else (None, at)
        if change is None:
            missing = f"no migration leads from version {at} towards {new}; the state is of version {old}"
            if at > new:
                missing += f". To go back, version {new} of the game has to declare the step itself (Migration.back)"
            raise MigrationError(missing)
        changes.append(change)
        at = beyond
    return changes


def same_mail(migrations: Sequence[Migration], old: int, new: int) -> bool:
    """Whether mail that version `old` wrote is mail of version `new`, too: all steps that lead there say so."""
    try:
        path([m for m in migrations if m.same_mail], old, new)
    except MigrationError:
        return False
    return True


def migrate(
    arrays: Mapping[str, Values],
    changes: Sequence[Change],
    components: Sequence[type[Component]],
    archetypes: Sequence[Archetype],
) -> dict[str, Values]:
    """A captured world after these changes, as a world of these components and archetypes.

    `arrays`: see World.capture; not changed. Raises MigrationError, also for what a change itself raises.
    """
    saved = Saved(arrays)
    for change in changes:
        try:
            change(saved)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise MigrationError(f"{change.__name__} failed: {error!r}") from error
    return saved._fit(components, archetypes)  # noqa: SLF001  # the other half of this module


def migrate_entities(
    arrays: Mapping[str, Values],
    names: Sequence[str],
    changes: Sequence[Change],
    components: Sequence[type[Component]],
    archetypes: Sequence[Archetype],
) -> dict[str, Values]:
    """Entities on their way, as `World.extract` gave them, after these changes; those that a change ended are left out.

    `names`: the archetypes' of the version they are of, in the order of their numbers. Raises MigrationError.
    """
    n = len(arrays["@archetype"])
    world = {
        "@world": np.array([n, n], np.uint64),
        "@archetypes": np.array([name.encode() for name in names], np.bytes_),
        "@free": np.zeros(0, np.int64),
        **{
            name: array if len(array) else np.zeros((n, *array.shape[1:]), array.dtype)
            for name, array in arrays.items()
        },
    }
    made = migrate(world, changes, components, archetypes)
    lives = made["@archetype"] != NO_ARCHETYPE
    return {name: array[lives] for name, array in made.items() if name not in ("@world", "@archetypes", "@free")}
