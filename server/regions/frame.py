"""Frames: what changed this tick, as columns, once per region whatever the number of players.

Change is found by comparing wire-quantised columns with those of the tick before. Games
mark nothing dirty, and a change too small for the wire costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import msgpack
import numpy as np
import xxhash
from numpy.typing import NDArray

from protocol.codec import encode_event
from protocol.schema import UTF8, Schema, Wire
from server.shard.errors import BatchError
from server.shard.machine import NAME_BYTES, PLAYER_BYTES, PROCESSED, Records
from server.sim.component import NO_ARCHETYPE, U8, U64, Bool, Component
from server.sim.errors import DeclarationError
from server.sim.game import Emitted, Game
from server.sim.world import World

# Which entity a session plays: it joined this tick.
BOUND: Final = np.dtype([("session", "<u8"), ("row", "<u4")])

# Every session of the region, in a keyframe: what a gateway that starts anew must know of those it may meet again.
KNOWN: Final = np.dtype(
    [("session", "<u8"), ("row", "<u4"), ("seq", "<u4"), ("player", f"S{PLAYER_BYTES}"), ("name", f"S{NAME_BYTES}")]
)

# Who went over a border this tick, and to which region. Its row was in an earlier frame, and is in `left` too.
# `session`: who plays it, 0 for nobody. `id`: the entity's number, which it keeps; see World.id_of.
DEPARTED: Final = np.dtype([("row", "<u4"), ("id", "<u8"), ("session", "<u8"), ("destination", "<u4")])

# Who came in from another region this tick. Its row is in `entered` too, and its session in `bound`. A region that was
# full sends back whom it can't take: such a one arrives, from there, in the region it had departed from. In a keyframe
# all who ever came in and are there, from 0: whoever is not among them is on the way still.
ARRIVED: Final = np.dtype([("row", "<u4"), ("id", "<u8"), ("source", "<u4")])

# Why a session that left has no entity any more. Whoever still takes it for theirs has to know: a player comes back in
# the very moment in which the grace time ends, or through another gateway than the one that says so.
SESSION_OVER: Final = "the session is over"

HandleRows = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class RegionSpec:
    """A region's place and size, in world units, and how many entities it may hold."""

    id: int
    x: float
    y: float
    width: float
    height: float
    entities_max: int
    # How far past its edges places still travel on the wire: who walks over a border is shown there until the next
    # region has it.
    margin: float = 0.0

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(x0, y0, x1, y1)."""
        return (self.x, self.y, self.x + self.width, self.y + self.height)

    @property
    def origin(self) -> tuple[float, float]:
        """(x, y), world units, that places on the wire are counted from."""
        return (self.x - self.margin, self.y - self.margin)

    @property
    def handle(self) -> str:
        """Width of an entity's handle on the wire."""
        return "u16" if self.entities_max <= 65_536 else "u32"


@dataclass(frozen=True, slots=True)
class FrameEvent:
    """An encoded EVENT message and who hears it."""

    # Sessions, or empty.
    sessions: tuple[int, ...]
    # Raw position numbers, or None; with no sessions and no place, everyone hears it.
    place: tuple[int, int] | None
    message: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """One tick of one region, for replicas. Rows are handles."""

    region: int
    tick: int
    # A whole view: the replica starts over.
    key: bool
    # Rows whose entity ended, ascending. A row may be left and entered in one frame.
    left: HandleRows
    # Rows whose entity began, ascending, and its archetype; `changes` has all their components.
    entered: HandleRows
    archetypes: U8
    # Its number, which it keeps wherever it goes; see World.id_of.
    numbers: U64
    # Component number -> (rows ascending, packed records of ComponentSchema.dtype).
    changes: dict[int, tuple[HandleRows, Records]]
    # Records of BOUND: sessions that joined.
    bound: Records
    # Sessions that could not join, or have no entity any more, and why: SESSION_OVER for those that left.
    refused: list[tuple[int, str]]
    # Records of PROCESSED: inputs whose effect this frame shows.
    acks: Records
    events: list[FrameEvent] = field(default_factory=list)
    # Digest of the replicated state at this tick, on some ticks: a replica that differs starts over.
    digest: int | None = None
    # Records of KNOWN, in a keyframe.
    sessions: Records | None = None
    # Records of DEPARTED, by row, and of ARRIVED, in the order they came in.
    departed: Records = field(default_factory=lambda: np.zeros(0, DEPARTED))
    arrived: Records = field(default_factory=lambda: np.zeros(0, ARRIVED))
    # The region is divided, or about to be: its parts are to be watched too.
    divided: bool = False
    # Ticks by which the world's clock is ahead of `tick`.
    ahead: int = 0

    def encode(self) -> bytes:
        """Bytes for the bus."""
        encoded: bytes = msgpack.packb(
            [
                self.region,
                self.tick,
                self.key,
                self.left.tobytes(),
                self.entered.tobytes(),
                self.archetypes.tobytes(),
                self.numbers.tobytes(),
                [[c, rows.tobytes(), values.tobytes()] for c, (rows, values) in self.changes.items()],
                self.bound.tobytes(),
                self.refused,
                self.acks.tobytes(),
                [[e.sessions, e.place, e.message] for e in self.events],
                self.digest,
                None if self.sessions is None else self.sessions.tobytes(),
                self.departed.tobytes(),
                self.arrived.tobytes(),
                # Absent where nothing is divided, and the world's clock is the tick.
                *([self.divided, self.ahead] if self.ahead else [True] if self.divided else []),
            ]
        )
        return encoded

    @classmethod
    def decode(cls, data: bytes | memoryview, schema: Schema) -> Frame:
        """Read what `encode` wrote; arrays are views of `data`. Raises BatchError."""
        try:
            region, tick, key, left, entered, archetypes, numbers, changes, bound, *rest = msgpack.unpackb(
                data, use_list=False
            )
            refused, acks, events, digest, sessions, departed, arrived, *more = rest
            frame = cls(
                region=region,
                tick=tick,
                key=key,
                left=np.frombuffer(left, "<u4"),
                entered=np.frombuffer(entered, "<u4"),
                archetypes=np.frombuffer(archetypes, "u1"),
                numbers=np.frombuffer(numbers, "<u8"),
                changes={
                    c: (np.frombuffer(rows, "<u4"), np.frombuffer(values, schema.components[c].dtype))
                    for c, rows, values in changes
                },
                bound=np.frombuffer(bound, BOUND),
                refused=list(refused),
                acks=np.frombuffer(acks, PROCESSED),
                events=[FrameEvent(*e) for e in events],
                digest=digest,
                sessions=None if sessions is None else np.frombuffer(sessions, KNOWN),
                departed=np.frombuffer(departed, DEPARTED),
                arrived=np.frombuffer(arrived, ARRIVED),
                divided=bool(more and more[0]),
                ahead=more[1] if len(more) > 1 else 0,
            )
        except (ValueError, TypeError, IndexError) as error:
            raise BatchError(f"not a frame: {error!r}") from error
        if not frame.entered.size == frame.archetypes.size == frame.numbers.size or any(
            r.size != v.size for r, v in frame.changes.values()
        ):
            raise BatchError("not a frame: rows without a record, or records without a row")
        if type(frame.ahead) is not int or frame.ahead < 0:
            raise BatchError(f"not a frame: a clock that is {frame.ahead!r} ahead")
        return frame


class Quantiser:
    """One column's way to its raw number: floor((value - offset - origin) / scale + 1/2), held to the type's range.

    `origins`: (x, y) that a column with an axis is counted from. NaN becomes the lowest raw number, on every CPU
    alike. An f32 is not rounded to whole steps.
    """

    def __init__(self, wire: Wire, source: np.dtype[Any], origins: tuple[float, float]) -> None:
        origin = {"": 0.0, "x": origins[0], "y": origins[1]}[wire.axis]
        self.dtype: np.dtype[Any] = np.dtype(wire.dtype)
        plain = wire.scale == 1.0 and wire.offset + origin == 0
        integers = source.kind in "iu" and self.dtype.kind in "iu"
        boolean = wire.type == "bool"
        self._same = self.dtype.kind == "S" or (
            plain and (source.kind == "b" or (integers and source == self.dtype and not boolean))
        )
        self._integer = plain and integers
        if self.dtype.kind == "S":
            return
        # Above 2**23 a float32 has no halves: adding 1/2 would round to the next even number.
        wide = (self.dtype.kind in "ui" and self.dtype.itemsize == 4) or (source.kind in "iuf" and source.itemsize > 4)
        self._work: type[np.floating[Any]] = np.float64 if wide else np.float32
        self._offset = self._work(wire.offset + origin)
        self._per_unit = self._work(1.0 / wire.scale)
        info: Any = np.iinfo(self.dtype) if self.dtype.kind in "ui" else np.finfo(self.dtype)
        low, high = (0, 1) if boolean else (info.min, info.max)
        self._low, self._high = self._work(low), self._work(high)
        if self._integer:
            # In the column's own type, where both bounds fit.
            held = np.iinfo(source)
            self._integer_bounds = (max(int(low), held.min), min(int(high), held.max))

    def __call__(self, column: NDArray[Any]) -> NDArray[Any]:
        """(n,) raw numbers; always a new array."""
        if self._same:
            return column.astype(self.dtype)
        if self._integer:
            low, high = self._integer_bounds
            held: NDArray[Any] = np.minimum(np.maximum(column, low), high)
            return held.astype(self.dtype)
        # What grows past the largest float, and what is no number, is held to the range at the end.
        with np.errstate(over="ignore", invalid="ignore"):
            raw: NDArray[Any] = column.astype(self._work)
            if self._offset:
                raw -= self._offset
            raw *= self._per_unit
            if self.dtype.kind != "f":
                raw += self._work(0.5)
                np.floor(raw, out=raw)
            np.fmax(raw, self._low, out=raw)
            np.fmin(raw, self._high, out=raw)
        return raw.astype(self.dtype)


class FrameBuilder:
    """Finds what changed since the last call. Holds the last tick's raw columns: a cache, no state.

    `margin`: RegionSpec.margin. Raises DeclarationError where the wire can't reach across the region and its margins.
    """

    def __init__(self, game: Game, world: World, margin: float = 0.0) -> None:
        self._world = world
        self._schema = game.schema
        _check_reach(game, world, margin)
        origins = (world.bounds[0] - margin, world.bounds[1] - margin)
        # Per replicated component: class, archetypes that carry it on the wire, and (column name, quantiser) in order.
        self._plan: list[tuple[type[Component], Bool, list[tuple[str, Quantiser]]]] = []
        for component in game.replicated:
            quantisers = [
                (name, Quantiser(spec.wire, spec.dtype, origins))
                for name, spec in component.columns.items()
                if spec.wire
            ]
            carried = world.has(component) & world.has(game.position)
            self._plan.append((component, carried, quantisers))
        seen = world.has(game.position)
        self._visible: Bool = seen
        self._raw: list[list[NDArray[Any]]] = []
        self._archetype: U8 = np.zeros(0, np.uint8)
        self._generation: NDArray[np.uint32] = np.zeros(0, np.uint32)
        self.reset()

    def reset(self) -> None:
        """Take the world as it is for what replicas have (after a restore)."""
        self._raw = self._quantise()
        hw = self._world.high_water
        self._archetype = self._world.archetype[:hw].copy()
        self._generation = self._world.generation[:hw].copy()

    def build(self) -> tuple[HandleRows, HandleRows, U8, dict[int, tuple[HandleRows, Records]]]:
        """(left, entered, archetypes, changes) since the last call; see Frame."""
        hw = self._world.high_water
        archetype = self._world.archetype[:hw]
        generation = self._world.generation[:hw]
        grown = hw - self._archetype.size
        if grown:
            self._archetype = np.concatenate([self._archetype, np.full(grown, NO_ARCHETYPE, np.uint8)])
            self._generation = np.concatenate([self._generation, np.zeros(grown, np.uint32)])
        turned = (archetype != self._archetype) | (generation != self._generation)
        left = entered = np.zeros(0, np.int64)
        if turned.any():
            left = np.flatnonzero(turned & self._visible[self._archetype])
            entered = np.flatnonzero(turned & self._visible[archetype])
            self._archetype = archetype.copy()
            self._generation = generation.copy()
        raw = self._quantise()
        changes: dict[int, tuple[HandleRows, Records]] = {}
        for c, (_, carried, _quantisers) in enumerate(self._plan):
            changed = np.zeros(hw, np.bool_)
            for new, old in zip(raw[c], self._raw[c], strict=True):
                changed[: old.size] |= _bits(new[: old.size]) != _bits(old)
            if entered.size:
                changed[entered] = True
            rows = np.flatnonzero(changed)
            if rows.size:
                rows = rows[carried[archetype[rows]]]
            if rows.size:
                changes[c] = (rows.astype(np.uint32), self._pack(c, raw[c], rows))
        self._raw = raw
        return left.astype(np.uint32), entered.astype(np.uint32), archetype[entered], changes

    def whole(self) -> tuple[HandleRows, U8, dict[int, tuple[HandleRows, Records]]]:
        """(entered, archetypes, changes) of everything, as of the last `build` or `reset`."""
        entered = np.flatnonzero(self._visible[self._archetype])
        changes: dict[int, tuple[HandleRows, Records]] = {}
        for c, (_, carried, _quantisers) in enumerate(self._plan):
            rows = np.flatnonzero(carried[self._archetype])
            if rows.size:
                changes[c] = (rows.astype(np.uint32), self._pack(c, self._raw[c], rows))
        return entered.astype(np.uint32), self._archetype[entered], changes

    def digest(self) -> int:
        """`replicated_digest` of what replicas have after the last `build`."""
        archetype = np.where(self._visible[self._archetype], self._archetype, np.uint8(NO_ARCHETYPE))
        return replicated_digest(archetype, self.whole()[2])

    def place(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> tuple[list[int], list[int]]:
        """Raw position numbers of places in world units."""
        quantisers = dict(self._plan[self._schema.position][2])
        return quantisers["x"](x).tolist(), quantisers["y"](y).tolist()

    def events(self, number: int, emitted: Emitted) -> list[FrameEvent]:
        """What a system emitted, of the event of this number: one for each who hears it, or for all."""
        args = list(
            zip(*(_plain(v, a.type) for v, a in zip(emitted.values, emitted.event.args, strict=True)), strict=True)
        )
        # Without arguments nothing says how many there are, but whom they are for.
        n = len(emitted.to) if emitted.to is not None else len(emitted.at[0]) if emitted.at is not None else 1
        messages = [encode_event(self._world.region, number, list(a)) for a in (args or [()] * n)]
        if emitted.to is not None:
            # -1, what `resolve` and `known` return for nobody, would name the last row.
            owners = np.where(emitted.to >= 0, self._world.owner[emitted.to], np.uint64(0)).tolist()
            return [FrameEvent((o,), None, m) for o, m in zip(owners, messages, strict=True) if o]
        if emitted.at is not None:
            xs, ys = self.place(*emitted.at)
            return [FrameEvent((), p, m) for p, m in zip(zip(xs, ys, strict=True), messages, strict=True)]
        return [FrameEvent((), None, m) for m in messages]

    def _quantise(self) -> list[list[NDArray[Any]]]:
        hw = self._world.high_water
        return [
            [quantise(getattr(self._world[component], name)[:hw]) for name, quantise in quantisers]
            for component, _, quantisers in self._plan
        ]

    def _pack(self, component: int, columns: list[NDArray[Any]], rows: NDArray[np.int64]) -> Records:
        schema = self._schema.components[component]
        records = np.zeros(rows.size, schema.dtype)
        for (name, _), column in zip(schema.fields, columns, strict=True):
            records[name] = column[rows]
        return records


def _plain(values: NDArray[Any], type_: str) -> list[Any]:
    """An event argument's (n,) values as msgpack takes them."""
    if type_ == UTF8:
        return [bytes(v).decode(UTF8, "replace") for v in values.tolist()]
    if type_ == "bool":
        return [bool(v) for v in values.tolist()]
    if type_ == "f32":
        return [float(v) for v in values.tolist()]
    return [int(v) for v in values.tolist()]


def _bits(raw: NDArray[Any]) -> NDArray[Any]:
    """What is compared: 0.0 equals -0.0 and yet is other bytes, which the digest sees."""
    return raw.view(np.uint32) if raw.dtype.kind == "f" else raw


def _check_reach(game: Game, world: World, margin: float) -> None:
    """Raises DeclarationError where places in the region's far corner, or its margin, would not fit the wire."""
    wire = game.position.columns["x"].wire
    assert wire is not None, "Game has checked that"
    x0, y0, x1, y1 = world.bounds
    reach = (np.iinfo(wire.dtype).max + 1) * wire.scale + wire.offset
    if max(x1 - x0, y1 - y0) + 2 * margin > reach:
        beside = f" and a margin of {margin:g}" if margin else ""
        raise DeclarationError(
            f"{game.position.__name__} as {wire.type} in steps of {wire.scale:g} reaches {reach:g} units; "
            f"the region has {x1 - x0:g} by {y1 - y0:g}{beside}: take a coarser step, u32, or a smaller region"
        )


def replicated_digest(archetype: U8, whole: dict[int, tuple[HandleRows, Records]]) -> int:
    """64-bit XXH3 of what replicas hold: both sides compute it, and it must be the same.

    `archetype`: (n,) by row, trailing rows without entity cut off. `whole`: component -> (rows, records), all entities.
    """
    h = xxhash.xxh3_64(archetype.tobytes().rstrip(bytes([NO_ARCHETYPE])))
    for c in sorted(whole):
        rows, values = whole[c]
        h.update(rows.tobytes())
        h.update(values.tobytes())
    return h.intdigest()
