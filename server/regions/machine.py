"""The region machine: one tick of a bounded area of the world, from commands to frame.

Order within a tick, whatever the game: joins and presence, the game's systems in their
visible order, leaves, end of tick, frame.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocol.codec import encode_event
from protocol.schema import UTF8, CommandSchema
from server.regions.frame import BOUND, Frame, FrameBuilder, FrameEvent, RegionSpec
from server.regions.sessions import Sessions
from server.shard.errors import CaptureRefused, MailError
from server.shard.machine import (
    DROP_LETTER,
    JOIN,
    LEAVE,
    NOTHING,
    PRESENCE,
    PROCESSED,
    REPLAY_LETTER,
    Capture,
    Effects,
    Records,
    Terms,
    TickInput,
    command_shapes,
    differences,
    empty_records,
)
from server.shard.mail import REFUSAL, Letter, Post, unwrap_refusal
from server.sim.component import Rows
from server.sim.errors import CapacityError, MigrationError, SnapshotError
from server.sim.fingerprint import fingerprint
from server.sim.game import FIRST_COMMAND, Command, Emitted, Game, Tick
from server.sim.migrate import migrate, path

_NO_ROWS: Rows = np.zeros(0, np.int64)


class RegionMachine:
    """A game's region as a Machine. `seed` names the world; `digest_every_ticks`: how often frames carry a digest."""

    def __init__(
        self, game: Game, region: RegionSpec, *, seed: int, tick_rate_hz: float, digest_every_ticks: int = 20
    ) -> None:
        self.game = game
        self.region = region
        self.seed = seed
        self.dt = 1.0 / tick_rate_hz
        self._terms: Terms = {
            "seed": seed,
            "tick_rate_hz": float(tick_rate_hz),
            "region": region.id,
            "x": float(region.x),
            "y": float(region.y),
            "width": float(region.width),
            "height": float(region.height),
            "entities_max": region.entities_max,
        }
        self._digest_every = digest_every_ticks
        self._shapes = command_shapes(game.schema)
        self._kinds = {FIRST_COMMAND + i: c for i, c in enumerate(game.commands)}
        self._reliable = [c for c in game.commands if c.reliable]
        self._event_ids = {e: i for i, e in enumerate(game.events)}
        self._tick = 0
        self.world = game.world(region.entities_max, region.bounds)
        self.sessions = Sessions()
        self.post = Post(region.id)
        setup = self._tick_context({})
        setup.system = "setup"
        game.setup(self.world, setup)
        self.world.end_tick()
        self._frames = FrameBuilder(game, self.world)
        # Ticks were replayed: the frames' memory of what replicas have is of before.
        self._unseen = False

    # -- Machine -------------------------------------------------------------

    @property
    def shard(self) -> int:
        """The region's number."""
        return self.region.id

    @property
    def tick(self) -> int:
        """Ticks made."""
        return self._tick

    @property
    def simulation(self) -> int:
        """The game's version."""
        return self.game.version

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """See server/sim/fingerprint.py."""
        return fingerprint()

    @property
    def shapes(self) -> Mapping[int, CommandSchema]:
        """The commands it takes, the engine's among them."""
        return self._shapes

    def high_water(self, sessions: NDArray[np.uint64]) -> NDArray[np.int64]:
        """(n,) int64 last applied sequence numbers, -1 for strangers."""
        return self.sessions.seqs(sessions)

    def attending(self) -> Collection[int]:
        """The sessions that are here."""
        return self.sessions.ids

    def find(self, session: int, player: bytes) -> bytes | None:
        """A record of KNOWN, as bytes: of this session, or else of the one that this account plays."""
        return self.sessions.of(session, player)

    def step(self, inputs: TickInput) -> Effects:
        """One tick. A session's command counts only while its entity lives; its sequence number counts always."""
        if self._unseen:
            self._frames.reset()
            self._unseen = False
        tick, bound, refused = self._advance(inputs)
        # Heard by those who are owners now, before the end of tick clears the dead.
        events = [e for emitted in tick.emitted for e in self._events(emitted)]
        self.world.end_tick()
        left, entered, archetypes, changes = self._frames.build()
        digest = self._frames.digest() if self._tick % self._digest_every == 0 else None
        frame = Frame(
            self.region.id,
            self._tick,
            key=False,
            left=left,
            entered=entered,
            archetypes=archetypes,
            changes=changes,
            bound=bound,
            refused=refused,
            acks=inputs.processed,
            events=events,
            digest=digest,
        )
        return Effects(self._tick, frame.encode(), self._receipts(tick), self.post.posted)

    def replay(self, inputs: TickInput) -> None:
        """One tick that had its effects before: the same state, without the frame."""
        self._advance(inputs)
        self.world.end_tick()
        self._unseen = True

    def keyframe(self) -> bytes:
        """Everything, as of the last tick."""
        if self._unseen:
            self._frames.reset()
            self._unseen = False
        entered, archetypes, changes = self._frames.whole()
        return Frame(
            self.region.id,
            self._tick,
            key=True,
            left=np.zeros(0, np.uint32),
            entered=entered,
            archetypes=archetypes,
            changes=changes,
            bound=np.zeros(0, BOUND),
            refused=[],
            acks=NOTHING.processed,
            digest=self._frames.digest(),
            sessions=self.sessions.known(),
        ).encode()

    def capture(self, spare: Capture | None = None) -> Capture:
        """World, sessions and mail, copied. `spare`: an earlier capture that nobody reads any more, to write over."""
        arrays = self.world.capture(spare.arrays if spare else None)
        arrays.update(self.sessions.capture())
        arrays.update(self.post.capture())
        return Capture(self.game.name, self.game.version, self._tick, self._terms, fingerprint(), arrays)

    def adopt(self, capture: Capture) -> None:
        """Become the machine it was taken of. Raises CaptureRefused; the machine is then unchanged."""
        self._check_origin(capture)
        if capture.simulation != self.game.version:
            raise CaptureRefused(
                f"a state of {capture.game} {capture.simulation}, and this is version {self.game.version}"
            )
        own = {name: a for name, a in capture.arrays.items() if not name.startswith(("@sessions.", "@mail."))}
        sessions, post = Sessions(), Post(self.region.id)
        post.adopt(capture.arrays)
        try:
            sessions.adopt(capture.arrays, self.world.capacity)
            self.world.adopt(own)
        except SnapshotError as error:
            raise CaptureRefused(f"not a state of {self.game.name} {self.game.version}: {error}") from error
        self.sessions, self.post = sessions, post
        self._tick = capture.tick
        self._frames.reset()
        self._unseen = False

    def migrated(self, capture: Capture) -> Capture:
        """A capture of another version of the game as one of this, by the game's migrations. Raises CaptureRefused."""
        self._check_origin(capture)
        try:
            changes = path(self.game.migrations, capture.simulation, self.game.version)
            arrays = migrate(capture.arrays, changes, self.game.components, self.game.archetypes)
        except MigrationError as error:
            raise CaptureRefused(f"{self.game.name}: {error}") from error
        return replace(capture, simulation=self.game.version, arrays=arrays)

    def digest(self) -> int:
        """64 bits over tick, sessions, mail and world."""
        return self.world.digest(seed=self.post.digest(seed=zlib.crc32(self.sessions.to_bytes(), self._tick)))

    def _check_origin(self, capture: Capture) -> None:
        if capture.game != self.game.name:
            raise CaptureRefused(f"a state of the game {capture.game}, and this is {self.game.name}")
        if found := differences(capture.terms, self._terms):
            raise CaptureRefused(f"the world was made under other settings: {'; '.join(found)}")

    def gauges(self) -> Mapping[str, float]:
        """Entities and sessions."""
        return {"entities": self.world.count, "sessions": len(self.sessions)}

    # -- the parts of a tick --------------------------------------------------

    def _advance(self, inputs: TickInput) -> tuple[Tick, Records, list[tuple[int, str]]]:
        """A tick up to its end: what systems saw and emitted, who was bound, who was refused."""
        self._tick += 1
        tick = self._tick_context({})
        self.post.take(self._tick, inputs.mail, inputs.acks)
        self._letters(inputs.batches)
        self._mail(inputs.mail)
        bound, refused = self._join(tick, inputs.batches.get(JOIN))
        self._presence(tick, inputs.batches.get(PRESENCE))
        tick.batches = {c: self._batch(k, c, inputs.batches.get(k)) for k, c in self._kinds.items()}
        for system in self.game.systems:
            tick.system = system.__name__
            system(self.world, tick)
        self.sessions.applied(inputs.processed)
        self._leave(tick, inputs.batches.get(LEAVE))
        refused += self._removed()
        return tick, bound, refused

    def _letters(self, batches: Mapping[int, Records]) -> None:
        """What an operator wants done with dead letters."""
        for kind, act in ((REPLAY_LETTER, self.post.replay), (DROP_LETTER, self.post.drop)):
            if (records := batches.get(kind)) is not None:
                for number in records["number"].tolist():
                    act(number)

    def _mail(self, letters: tuple[Letter, ...]) -> None:
        for letter in letters:
            if letter.kind != REFUSAL:
                self.post.refuse(letter, f"{self.game.name} {self.game.version} knows no mail of kind {letter.kind}")
                continue
            try:
                self.post.bury(*unwrap_refusal(letter))
            except MailError as error:
                self.post.bury(letter, str(error))

    def _tick_context(self, batches: dict[type[Command], Command]) -> Tick:
        return Tick(self._tick, self.dt, self.seed, batches)

    def _join(self, tick: Tick, records: Records | None) -> tuple[Records, list[tuple[int, str]]]:
        bound: list[tuple[int, int]] = []
        refused: list[tuple[int, str]] = []
        if records is not None:
            tick.system = "join"
            known = self.sessions.find(records["session"]) >= 0
            for record, already in zip(records.tolist(), known.tolist(), strict=True):
                if already:
                    continue
                session, name = record[0], record[3].decode(UTF8, "replace")
                try:
                    row = self.game.join(self.world, tick, session, name)
                except CapacityError as error:
                    refused.append((session, str(error)))
                    continue
                self.world.owner[row] = session
                self.sessions.add(session, row, int(self.world.generation[row]), record[2], record[3])
                bound.append((session, row))
        return np.array(bound, BOUND), refused

    def _presence(self, tick: Tick, records: Records | None) -> None:
        if records is None:
            return
        tick.system = "presence"
        rows = self._rows(records["session"])
        for row, here in zip(rows.tolist(), records["here"].tolist(), strict=True):
            if row >= 0:
                (self.game.back if here else self.game.away)(self.world, tick, row)

    def _leave(self, tick: Tick, records: Records | None) -> None:
        if records is None:
            return
        tick.system = "leave"
        for row in self._rows(records["session"]).tolist():
            if row >= 0:
                self.game.leave(self.world, tick, row)
                self.world.owner[row] = 0
        self.sessions.remove(records["session"])

    def _removed(self) -> list[tuple[int, str]]:
        """Sessions whose entity the game ended: they are told, and forgotten."""
        gone = self.sessions.whose_entity_ended(self.world)
        if gone.size:
            self.sessions.remove(gone)
        return [(session, "removed by the game") for session in gone.tolist()]

    def _rows(self, sessions: NDArray[np.uint64]) -> Rows:
        """(n,) int64 rows of the sessions' living entities, -1 where there is none."""
        return self.sessions.rows(sessions, self.world)

    def _batch(self, number: int, kind: type[Command], records: Records | None) -> Command:
        if records is None:
            return kind(_NO_ROWS, empty_records(self._shapes[number]))
        rows = self._rows(records["session"])
        alive = rows >= 0
        if not alive.all():
            rows, records = rows[alive], records[alive]
        # As records read back from a journal are: a system that wrote to them would run live and fail in recovery.
        records = records.view()
        records.flags.writeable = False
        return kind(rows, records)

    def _receipts(self, tick: Tick) -> Records:
        """Of the reliable commands that systems were given."""
        done = [tick.batches[c] for c in self._reliable]
        receipts = np.zeros(sum(len(d) for d in done), PROCESSED)
        at = 0
        for d in done:
            receipts["session"][at : at + len(d)] = d.session
            receipts["seq"][at : at + len(d)] = d.seq
            at += len(d)
        return receipts

    def _events(self, emitted: Emitted) -> list[FrameEvent]:
        number = self._event_ids[emitted.event]
        args = list(
            zip(*(_plain(v, a.type) for v, a in zip(emitted.values, emitted.event.args, strict=True)), strict=True)
        )
        # Without arguments nothing says how many there are, but whom they are for.
        n = len(emitted.to) if emitted.to is not None else len(emitted.at[0]) if emitted.at is not None else 1
        messages = [encode_event(self.region.id, number, list(a)) for a in (args or [()] * n)]
        if emitted.to is not None:
            # -1, what `resolve` and `known` return for nobody, would name the last row.
            owners = np.where(emitted.to >= 0, self.world.owner[emitted.to], np.uint64(0)).tolist()
            return [FrameEvent((o,), None, m) for o, m in zip(owners, messages, strict=True) if o]
        if emitted.at is not None:
            xs, ys = self._frames.place(*emitted.at)
            return [FrameEvent((), p, m) for p, m in zip(zip(xs, ys, strict=True), messages, strict=True)]
        return [FrameEvent((), None, m) for m in messages]


def _plain(values: NDArray[Any], type_: str) -> list[Any]:
    """An event argument's (n,) values as msgpack takes them."""
    if type_ == UTF8:
        return [bytes(v).decode(UTF8, "replace") for v in values.tolist()]
    if type_ == "bool":
        return [bool(v) for v in values.tolist()]
    if type_ == "f32":
        return [float(v) for v in values.tolist()]
    return [int(v) for v in values.tolist()]
