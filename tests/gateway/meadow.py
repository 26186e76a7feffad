"""A region made of dictionaries, and viewers fed by a RegionStream: what the core promise is tested against.

Nothing here is shared with the code under test but the frame format and the schema: positions, views and
digests are worked out entity by entity, in Python's integers.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from clients.python.view import Views
from protocol.codec import decode_server
from protocol.messages import Delta, Keyframe, RegionInfo, SessionLimits, Welcome
from protocol.schema import ArchetypeSchema, ComponentSchema, Schema, Wire
from server.bus.memory import MemoryBus
from server.gateway.interest import Mosaic, ViewSpec
from server.gateway.session import Happening, Seat, Session, SessionState, TokenBucket
from server.gateway.stream import RegionStream, StreamLimits
from server.regions.frame import BOUND, Frame, FrameEvent, RegionSpec, replicated_digest
from server.shard.envelope import seal
from server.shard.machine import PROCESSED, Records
from server.shard.ports import frames_topic, keyframes_topic, receipts_topic

PLACE = ComponentSchema(0, "Place", (("x", Wire("u16", 1 / 64, axis="x")), ("y", Wire("u16", 1 / 64, axis="y"))))
HUE = ComponentSchema(1, "Hue", (("hue", Wire("u8")),))
TAG = ComponentSchema(2, "Tag", (("tag", Wire("utf8", size=3)), ("weight", Wire("i16"))))
SCHEMA = Schema(
    game="dictionaries",
    version=1,
    components=(PLACE, HUE, TAG),
    # Another order than the components', and one with a single component.
    archetypes=(
        ArchetypeSchema(0, "Lamp", (1, 0)),
        ArchetypeSchema(1, "Stone", (0,)),
        ArchetypeSchema(2, "Cat", (0, 2, 1)),
    ),
    commands=(),
    events=(),
    position=0,
)
HANDLES = 200
DIGEST_EVERY = 7

Values = tuple[int | bytes, ...]


@dataclass
class Thing:
    archetype: int
    # Component -> raw values in field order.
    parts: dict[int, Values]

    @property
    def place(self) -> tuple[int, int]:
        x, y = self.parts[0]
        return int(x), int(y)

    def record(self, handle: int, width: str) -> bytes:
        """The full record, packed by hand from docs/protocol.md."""
        data = handle.to_bytes(2 if width == "u16" else 4, "little")
        for component in SCHEMA.archetypes[self.archetype].components:
            for (_, wire), value in zip(SCHEMA.components[component].fields, self.parts[component], strict=True):
                if isinstance(value, bytes):
                    data += value.ljust(wire.size, b"\0")
                else:
                    size = {"u8": 1, "u16": 2, "i16": 2}[wire.type]
                    data += value.to_bytes(size, "little", signed=wire.type == "i16")
        return data


@dataclass
class Region:
    """The truth: entities that move, change, spawn, die and are reused, by a seeded whim."""

    spec: RegionSpec
    random: random.Random
    things: dict[int, Thing] = field(default_factory=dict)
    tick: int = 0
    bound: list[tuple[int, int]] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)
    events: list[FrameEvent] = field(default_factory=list)
    _sent: dict[int, Thing] = field(default_factory=dict)
    _reused: set[int] = field(default_factory=set)

    def anywhere(self) -> tuple[int, int]:
        """A raw place; now and then at or past the region's edge."""
        width, height = int(self.spec.width * 64), int(self.spec.height * 64)
        if self.random.random() < 0.1:
            return self.random.choice((0, width - 1, width, 65_535)), self.random.choice((0, height - 1, 65_535))
        return self.random.randrange(width), self.random.randrange(height)

    def thing(self) -> Thing:
        archetype = self.random.randrange(3)
        values: dict[int, Values] = {0: self.anywhere(), 1: (self.random.randrange(256),)}
        values[2] = (self.random.choice((b"", b"a", b"cat")), self.random.randrange(-500, 500))
        return Thing(archetype, {c: values[c] for c in SCHEMA.archetypes[archetype].components})

    def spawn(self, handle: int, thing: Thing) -> None:
        if handle in self._sent:
            self._reused.add(handle)
        self.things[handle] = thing

    def walk(self, handle: int, dx: int, dy: int) -> None:
        thing = self.things[handle]
        x, y = thing.place
        thing.parts[0] = (min(max(x + dx, 0), 65_535), min(max(y + dy, 0), 65_535))

    def live(self, spare: set[int], *, restless: float = 0.5) -> None:
        """A tick's worth of whims. `spare`: handles that must not die."""
        random = self.random
        for handle in list(self.things):
            whim = random.random()
            if whim < restless:
                self.walk(handle, random.randint(-300, 300), random.randint(-300, 300))
            elif whim < restless + 0.02:
                self.things[handle].parts[0] = self.anywhere()
            elif whim < restless + 0.1:
                thing = self.things[handle]
                fresh = {2: (b"new", random.randrange(99)), 1: (random.randrange(256),)}
                thing.parts.update({c: v for c, v in fresh.items() if c in thing.parts})
            elif whim < restless + 0.14 and handle not in spare:
                del self.things[handle]
                if whim < restless + 0.12:
                    # The same handle, somebody else, in the same tick.
                    self.spawn(handle, self.thing())
        for _ in range(random.randrange(4)):
            handle = random.randrange(HANDLES)
            if handle not in self.things:
                self.spawn(handle, self.thing())

    def frame(self, *, acks: list[tuple[int, int]] | None = None) -> bytes:
        """The tick's frame: what differs from what was sent last."""
        self.tick += 1
        before, now = self._sent, self.things
        left = sorted(h for h in before if h not in now or h in self._reused)
        entered = sorted(h for h in now if h not in before or h in self._reused)
        changed: dict[int, list[int]] = {}
        for handle in sorted(now):
            for component, values in now[handle].parts.items():
                if handle in entered or before[handle].parts[component] != values:
                    changed.setdefault(component, []).append(handle)
        frame = Frame(
            region=self.spec.id,
            tick=self.tick,
            key=False,
            left=np.array(left, "<u4"),
            entered=np.array(entered, "<u4"),
            archetypes=np.array([now[h].archetype for h in entered], "u1"),
            numbers=np.array(entered, "<u8"),
            changes={c: self._rows(c, handles) for c, handles in sorted(changed.items())},
            bound=np.array(self.bound, BOUND),
            refused=list(self.refused),
            acks=np.array(acks or [], PROCESSED),
            events=list(self.events),
            digest=self._digest() if self.tick % DIGEST_EVERY == 0 else None,
        ).encode()
        self._sent = {h: Thing(t.archetype, dict(t.parts)) for h, t in now.items()}
        self._reused.clear()
        self.bound.clear()
        self.refused.clear()
        self.events.clear()
        return frame

    def keyframe(self) -> bytes:
        entered = sorted(self._sent)
        return Frame(
            region=self.spec.id,
            tick=self.tick,
            key=True,
            left=np.zeros(0, "<u4"),
            entered=np.array(entered, "<u4"),
            archetypes=np.array([self._sent[h].archetype for h in entered], "u1"),
            numbers=np.array(entered, "<u8"),
            changes={c: self._rows(c, handles) for c, handles in self._carriers().items()},
            bound=np.zeros(0, BOUND),
            refused=[],
            acks=np.zeros(0, PROCESSED),
            digest=self._digest(),
        ).encode()

    def _carriers(self) -> dict[int, list[int]]:
        carriers = {c: sorted(h for h, t in self.things.items() if c in t.parts) for c in range(3)}
        return {c: handles for c, handles in carriers.items() if handles}

    def _rows(self, component: int, handles: list[int]) -> tuple[np.ndarray, Records]:
        records = np.array([self.things[h].parts[component] for h in handles], SCHEMA.components[component].dtype)
        return np.array(handles, "<u4"), records

    def _digest(self) -> int:
        archetype = np.full(HANDLES, 255, np.uint8)
        for handle, thing in self.things.items():
            archetype[handle] = thing.archetype
        return replicated_digest(archetype, {c: self._rows(c, h) for c, h in self._carriers().items()})


class Pipe:
    """A connection in memory, with a socket's contract: a write is taken whole, or refused while bytes wait."""

    def __init__(self) -> None:
        self.reading = True
        self.taken = b""
        self._waiting = b""

    def stalled(self) -> bool:
        return bool(self._waiting)

    def write(self, frames: bytes) -> bool:
        if self._waiting:
            return False
        if self.reading:
            self.taken += frames
        else:
            self._waiting = frames
        return True

    def read_again(self) -> None:
        self.reading = True
        self.taken += self._waiting
        self._waiting = b""


def messages(data: bytes) -> Iterator[bytes]:
    """The payloads of finished WebSocket frames: binary, whole, unmasked."""
    at = 0
    while at < len(data):
        assert data[at] == 0x82, f"byte {data[at]:02x} begins no whole binary frame"
        size, at = data[at + 1], at + 2
        if size == 126:
            size, at = int.from_bytes(data[at : at + 2]), at + 2
        elif size == 127:
            size, at = int.from_bytes(data[at : at + 8]), at + 8
        yield data[at : at + size]
        at += size
        assert at <= len(data), "a frame is cut"


class Viewer:
    """One client: its session, its pipe, and what it made of the bytes."""

    def __init__(self, number: int, handle: int, spec: RegionSpec) -> None:
        self.pipe = Pipe()
        self.session = Session(number, self.pipe, TokenBucket(1.0, 1, 0.0), 0.0)
        self.session.region, self.session.handle = spec.id, handle
        region = RegionInfo(spec.id, spec.x, spec.y, spec.width, spec.height, spec.handle)
        limits = SessionLimits(4096, 40.0, 80, 30.0, 30.0)
        self.views = Views(
            Welcome(
                session=number,
                resume="r",
                resumed=False,
                ack=0,
                tick=0,
                tick_rate_hz=20.0,
                name="v",
                regions=(region,),
                entity=(spec.id, handle),
                limits=limits,
                schema=SCHEMA,
            )
        )
        self.view = self.views[spec.id]
        self.received: list[Delta | Keyframe] = []
        self.others: list[object] = []

    @property
    def seat(self) -> Seat:
        assert self.session.home is not None, "nowhere to look from"
        return self.session.home

    def read(self) -> None:
        """Apply every byte that came. `received`: the DELTAs and KEYFRAMEs of this reading."""
        data, self.pipe.taken = self.pipe.taken, b""
        self.received, self.others = [], []
        for payload in messages(data):
            message = decode_server(payload)
            self.views.apply(message)
            (self.received if isinstance(message, Delta | Keyframe) else self.others).append(message)


class Clock:
    """Time that stands until it is moved."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now_s(self) -> float:
        return self.seconds

    async def sleep_until(self, due_s: float) -> None:
        self.seconds = max(self.seconds, due_s)


class Stage:
    """A Region, a RegionStream on the same bus, and viewers. `play` makes a tick and has everyone read."""

    def __init__(self, seed: int, view: ViewSpec, spec: RegionSpec, *, quiet_ticks_max: int = 20) -> None:
        self.random = random.Random(seed)
        self.region = Region(spec, self.random)
        self.view = view
        self.bus = MemoryBus()
        self.sessions: dict[int, Session] = {}
        self.viewers: list[Viewer] = []
        self.ended: list[tuple[Session, str]] = []
        self.keyframes_asked = 0
        # The owner's.
        self.epoch = 1
        self._entered = 0
        self.bus.subscribe(keyframes_topic(spec.id), self._on_asked)
        self.clock = Clock()
        self.stream = RegionStream(
            spec,
            SCHEMA,
            Mosaic([spec], view, SCHEMA).interests[spec.id],
            view,
            self.bus,
            self.clock,
            self.sessions,
            StreamLimits(quiet_ticks_max, events_per_write_max=8, receipts_max=16, crossing_hold_ticks=5),
            self,
        )

    # -- a StreamListener ------------------------------------------------------------

    def known(self, stream: RegionStream, records: Records) -> None:
        """Nobody is from before."""

    def bound(self, stream: RegionStream, session_id: int, handle: int) -> None:
        session = self.sessions.get(session_id)
        if session is None:
            return
        assert session.handle == handle
        session.on(Happening.BOUND, 0.0)
        stream.welcome(session, handle)

    def refused(self, stream: RegionStream, session_id: int, reason: str) -> None:
        assert stream is self.stream
        if session_id in self.sessions:
            self.ended.append((self.sessions[session_id], reason))

    def arrived(self, stream: RegionStream, records: Records) -> None:
        """There is one region."""

    def departed(self, stream: RegionStream, session_id: int, destination: int) -> None:
        """There is one region."""

    def moved(self, seat: Seat) -> None:
        """There is one region."""

    def divided(self, stream: RegionStream) -> None:
        """It has no parts."""

    def _on_asked(self, _data: bytes) -> None:
        self.keyframes_asked += 1

    def begin(self) -> None:
        """The first tick and the keyframe that the stream asked for."""
        self.publish(self.region.frame())
        self.publish(self.region.keyframe())

    def publish(self, frame: bytes) -> None:
        self.bus.publish(frames_topic(self.region.spec.id), seal(self.epoch, frame))

    def receipt(self, viewer: Viewer, *seqs: int) -> None:
        data = np.array([(viewer.session.id, seq) for seq in seqs], PROCESSED).tobytes()
        self.bus.publish(receipts_topic(self.region.spec.id), data)

    def enter(self, place: tuple[int, int] | None = None) -> Viewer:
        """A new viewer with an entity of its own; it is bound with the next frame."""
        handle = next(h for h in range(HANDLES) if h not in self.region.things)
        thing = self.region.thing()
        if place is not None:
            thing.parts[0] = place
        self.region.spawn(handle, thing)
        self._entered += 1
        viewer = Viewer(self._entered, handle, self.region.spec)
        viewer.session.on(Happening.ADMITTED, 0.0)
        self.sessions[viewer.session.id] = viewer.session
        self.viewers.append(viewer)
        self.region.bound.append((viewer.session.id, handle))
        return viewer

    def leave(self, viewer: Viewer) -> None:
        if viewer.session.home is not None:
            self.stream.remove(viewer.seat)
        self.viewers.remove(viewer)
        del self.sessions[viewer.session.id]

    def play(self, *, acks: list[tuple[int, int]] | None = None) -> None:
        self.publish(self.region.frame(acks=acks))
        for viewer in self.viewers:
            viewer.read()

    # -- the truth, by brute force ---------------------------------------------------

    def cell(self, place: tuple[int, int]) -> tuple[int, int]:
        """(column, row) of a raw place."""
        size = round(self.view.cell_units * 64)
        columns = -(-int(self.region.spec.width * 64) // size)
        rows = -(-int(self.region.spec.height * 64) // size)
        return min(place[0] // size, columns - 1), min(place[1] // size, rows - 1)

    def centre(self, viewer: Viewer) -> tuple[int, int]:
        """The cell that the stream takes for the viewer's own."""
        row, column = divmod(viewer.seat.centre, self.stream.replica.interest.stride)
        return column - self.view.far, row - self.view.far

    def within(self, viewer: Viewer, reach: int) -> dict[int, Thing]:
        """Handle -> entity within `reach` cells of the viewer's cell."""
        column, row = self.centre(viewer)
        found = {}
        for handle, thing in self.region.things.items():
            c, r = self.cell(thing.place)
            if max(abs(c - column), abs(r - row)) <= reach:
                found[handle] = thing
        return found

    def records(self, things: dict[int, Thing]) -> dict[int, tuple[int, bytes]]:
        width = self.region.spec.handle
        return {h: (t.archetype, t.record(h, width)) for h, t in things.items()}

    def digest(self, things: dict[int, Thing]) -> tuple[int, int]:
        """(count, CRC-32) as docs/protocol.md defines the view digest."""
        records = self.records(things)
        data = b"".join(bytes((records[h][0],)) + records[h][1] for h in sorted(records))
        return len(records), zlib.crc32(data)

    def is_whole(self, viewer: Viewer) -> bool:
        """Whether this tick brings the viewer's whole view up to date."""
        if self.view.far == self.view.near or any(isinstance(m, Keyframe) for m in viewer.received):
            return True
        return (self.region.tick + viewer.seat.phase) % self.view.far_every_ticks == 0

    def expects(self, viewer: Viewer) -> bool:
        """Whether the viewer is sent every tick, so that its view has to be right now."""
        return viewer.session.state is SessionState.JOINED and viewer.pipe.reading


def seen(viewer: Viewer) -> dict[int, tuple[int, bytes]]:
    """Handle -> (archetype, full record) as the client has it."""
    return {h: (e.archetype, bytes(e.record)) for h, e in viewer.view.entities.items()}
