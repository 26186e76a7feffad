"""The region machine: one tick of a bounded area of the world, from commands to frame.

Order within a tick, whatever the game: arrivals over borders, joins and presence, the game's systems in their
visible order, leaves, departures over borders, mail, end of tick, frame.

A part of a region that is not divided has no ground (server/regions/division.py). No system runs there, and no
command is applied, nor counts as applied: who is still there leaves, and is obeyed where it comes.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protocol.schema import UTF8, CommandSchema
from server.regions.atlas import Atlas
from server.regions.borders import RULES, Arrivals, Borders
from server.regions.division import Division
from server.regions.frame import (
    ARRIVED,
    BOUND,
    DEPARTED,
    SESSION_OVER,
    Frame,
    FrameBuilder,
    HandleRows,
    RegionSpec,
)
from server.regions.letters import Letters
from server.regions.sessions import Sessions
from server.regions.worldclock import WorldClock
from server.shard.errors import BatchError, CaptureRefused, MailError
from server.shard.machine import (
    CLOCK,
    DIVIDE,
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
    decode_batches,
    differences,
    empty_records,
    encode_batches,
)
from server.shard.mail import FOLLOW, GROUND, HANDOFF, REFUSAL, WHEREABOUTS, Lane, Letter, Post, unwrap_refusal
from server.sim.component import U64, Rows
from server.sim.errors import CapacityError, MigrationError, SnapshotError
from server.sim.fingerprint import fingerprint
from server.sim.game import FIRST_COMMAND, Command, Game, Tick
from server.sim.migrate import migrate, path

_NO_ROWS: Rows = np.zeros(0, np.int64)


class _Turn(NamedTuple):
    """What a tick came to, for its frame."""

    # What systems saw and emitted.
    tick: Tick
    # Records of BOUND.
    bound: Records
    refused: list[tuple[int, str]]
    # Records of DEPARTED and ARRIVED.
    departed: Records
    arrived: Records
    # Records of PROCESSED: commands that were applied.
    applied: Records


class RegionMachine:
    """A game's region as a Machine.

    `seed` names the world; `digest_every_ticks`: how often frames carry a digest; `atlas`: the regions of the world,
    this one or what it is a part of among them; without it this one is all there is.
    """

    def __init__(
        self,
        game: Game,
        region: RegionSpec,
        *,
        seed: int,
        tick_rate_hz: float,
        digest_every_ticks: int = 20,
        atlas: Atlas | None = None,
    ) -> None:
        self.game = game
        self.region = region
        self.atlas = atlas or Atlas([region])
        assert self.atlas[region.id] == region, f"region {region.id} is another one in the atlas"
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
        self.clock = WorldClock()
        self.division = Division(self.atlas, region.id)
        part = self.division.whole != region.id
        # That a world may be divided is no part of it: one that was made whole may be divided later.
        if len(self.atlas) > 1 or part:
            self._terms = {**self._terms, "atlas": f"{self.atlas.digest():016x}"}
        # Rows of two regions have the same numbers: drawn by these alone, the regions would look the same.
        self._place = f"@{region.id}" if len(self.atlas) > 1 or part else ""
        self._digest_every = digest_every_ticks
        self._shapes = command_shapes(game.schema)
        self._kinds = {FIRST_COMMAND + i: c for i, c in enumerate(game.commands)}
        self._reliable = [c for c in game.commands if c.reliable]
        self._event_ids = {e: i for i, e in enumerate(game.events)}
        self._tick = 0
        self.world = game.world(
            region.entities_max, region.bounds, limits=self.atlas.limits if self._place else None, region=region.id
        )
        self.sessions = Sessions()
        self.post = Post(region.id)
        self.borders = Borders(game, self.division, region.id)
        self._game_mail = Letters(game, self.division, region.id)
        if not part:
            setup = self._tick_context({})
            setup.system = "setup"
            game.setup(self.world, setup)
            self.world.end_tick()
        self._frames = FrameBuilder(game, self.world, region.margin)
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
    def world_tick(self) -> int:
        """The world's clock as of the last tick, in ticks."""
        return self._tick + self.clock.ahead_ticks

    @property
    def simulation(self) -> int:
        """The game's version."""
        return self.game.version

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """See server/sim/fingerprint.py. And of one region among several, the rules between them.

        Not of a lone one that may be divided, for that may be decided at any start; its parts tell.
        """
        return {**fingerprint(), "rules between regions": str(RULES)} if self._place else fingerprint()

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

    @property
    def restless(self) -> bool:
        """Whether somebody who came over a border waits for room, the region is on its way to be divided or united.

        Or it is a part without ground, and somebody is still there.
        """
        stranded = self.division.ground is None and self.world.count > 0
        return self.borders.waiting > 0 or self.division.pending or stranded

    def find(self, session: int, player: bytes) -> bytes | None:
        """A record of KNOWN, as bytes: of this session, or else of the one that this account plays."""
        return self.sessions.of(session, player)

    def sending(self, session: int, player: bytes) -> bool:
        """Whether this session, or this account's, is on its way from here to another region."""
        return self.borders.sending(self.post, session, player)

    def step(self, inputs: TickInput) -> Effects:
        """One tick. A session's command counts only while its entity lives; its sequence number counts always."""
        if self._unseen:
            self._frames.reset()
            self._unseen = False
        tick, bound, refused, departed, arrived, applied = self._advance(inputs)
        # Heard by those who are owners now, before the end of tick clears the dead.
        events = [e for emitted in tick.emitted for e in self._frames.events(self._event_ids[emitted.event], emitted)]
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
            numbers=self._numbers(entered),
            changes=changes,
            bound=bound,
            refused=refused,
            acks=applied,
            events=events,
            digest=digest,
            departed=departed,
            arrived=arrived,
            divided=self.division.shown,
            ahead=self.clock.ahead_ticks,
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
        rows, ids = self.world.foreign()
        seen = self.world.has(self.game.position)[self.world.archetype[rows]]
        arrived = np.zeros(np.count_nonzero(seen), ARRIVED)
        arrived["row"], arrived["id"] = rows[seen], ids[seen]
        return Frame(
            self.region.id,
            self._tick,
            key=True,
            left=np.zeros(0, np.uint32),
            entered=entered,
            archetypes=archetypes,
            numbers=self._numbers(entered),
            changes=changes,
            bound=np.zeros(0, BOUND),
            refused=[],
            acks=NOTHING.processed,
            digest=self._frames.digest(),
            sessions=self.sessions.known(),
            arrived=arrived,
            divided=self.division.shown,
            ahead=self.clock.ahead_ticks,
        ).encode()

    def capture(self, spare: Capture | None = None) -> Capture:
        """All of the state, copied. `spare`: an earlier capture that nobody reads any more, to be written over."""
        arrays = self.world.capture(spare.arrays if spare else None)
        arrays.update(self.sessions.capture())
        arrays.update(self.post.capture())
        arrays.update(self.borders.capture())
        arrays.update(self.division.capture())
        arrays.update(self.clock.capture())
        return Capture(self.game.name, self.game.version, self._tick, self._terms, self.fingerprint, arrays)

    def adopt(self, capture: Capture) -> None:
        """Become the machine it was taken of. Raises CaptureRefused; the machine is then unchanged."""
        self._check_origin(capture)
        if capture.simulation != self.game.version:
            raise CaptureRefused(
                f"a state of {capture.game} {capture.simulation}, and this is version {self.game.version}"
            )
        others = ("@sessions.", "@mail.", "@borders.", "@division.", "@clock.")
        own = {name: a for name, a in capture.arrays.items() if not name.startswith(others)}
        sessions, post, clock = Sessions(), Post(self.region.id), WorldClock()
        division = Division(self.atlas, self.region.id)
        borders = Borders(self.game, division, self.region.id)
        post.adopt(capture.arrays)
        try:
            clock.adopt(capture.arrays)
            division.adopt(capture.arrays)
            borders.adopt(capture.arrays)
            sessions.adopt(capture.arrays, self.world.capacity)
            self.world.adopt(own)
        except SnapshotError as error:
            raise CaptureRefused(f"not a state of {self.game.name} {self.game.version}: {error}") from error
        self.sessions, self.post, self.borders, self.division = sessions, post, borders, division
        self.clock = clock
        self._game_mail = Letters(self.game, division, self.region.id)
        self._stand()
        self._tick = capture.tick
        self._frames.reset()
        self._unseen = False

    def migrated(self, capture: Capture) -> Capture:
        """A capture of another version of the game as one of this, by the game's migrations. Raises CaptureRefused."""
        self._check_origin(capture)
        try:
            changes = path(self.game.migrations, capture.simulation, self.game.version)
            arrays = migrate(capture.arrays, changes, self.game.components, self.game.archetypes)
            borders = Borders(self.game, self.division, self.region.id)
            borders.adopt(arrays)
        except (MigrationError, SnapshotError) as error:
            raise CaptureRefused(f"{self.game.name}: {error}") from error
        # The homes of those whom a migration ended are told as those of others who end.
        nobody = np.zeros(0, np.uint64)
        borders.end(np.setdiff1d(capture.arrays.get("@ids.id", nobody), arrays.get("@ids.id", nobody)), capture.tick)
        arrays.update(borders.capture())
        return replace(capture, simulation=self.game.version, arrays=arrays)

    def digest(self) -> int:
        """64 bits over tick, sessions, clock, division, borders, mail and world."""
        own = self.clock.digest(seed=zlib.crc32(self.sessions.to_bytes(), self._tick))
        own = self.division.digest(seed=own)
        return self.world.digest(seed=self.post.digest(seed=self.borders.digest(seed=own)))

    def _check_origin(self, capture: Capture) -> None:
        if capture.game != self.game.name:
            raise CaptureRefused(f"a state of the game {capture.game}, and this is {self.game.name}")
        if found := differences(capture.terms, self._terms):
            raise CaptureRefused(f"the world was made under other settings: {'; '.join(found)}")

    def gauges(self) -> Mapping[str, float]:
        """Entities, sessions, 1 where the region is divided or is to be, and messages to nobody since the start."""
        return {
            "entities": self.world.count,
            "sessions": len(self.sessions),
            "divided": float(self.division.shown),
            "to_nobody": self._game_mail.to_nobody,
        }

    # -- the parts of a tick --------------------------------------------------

    def _advance(self, inputs: TickInput) -> _Turn:
        """A tick up to its end."""
        self._tick += 1
        self.world.begin_tick()
        self.post.take(self._tick, inputs.mail, inputs.acks)
        self._orders(inputs.batches)
        tick = self._tick_context({})
        came, followers, stranded = self._take_mail(tick, inputs.mail)
        bound, refused = self._join(tick, inputs.batches.get(JOIN))
        self._presence(tick, inputs.batches.get(PRESENCE))
        grounded = self.division.ground is not None
        commands = inputs.batches if grounded else {}
        tick.batches = {c: self._batch(k, c, commands.get(k)) for k, c in self._kinds.items()}
        if self.game.far is not None:
            tick.turns = self.game.far.turns(self.world, self.game.position, self._tick, self.dt)
        for system in self.game.systems if grounded else ():
            tick.system = system.__name__
            system(self.world, tick)
        applied = inputs.processed if grounded else NOTHING.processed
        self.sessions.applied(applied)
        leaves = _both(followers, inputs.batches.get(LEAVE))
        refused += self._leave(tick, leaves)
        refused += came.refused + self._removed()
        arrived, departed = _NOBODY_CAME, _NOBODY_WENT
        if came.rows:
            arrived = np.concatenate(came.arrived)
            bound = np.concatenate([np.array(came.bound, BOUND), bound])
        if self.borders.open:
            self._send_after(leaves)
            self.division.turn(self.post, self._tick)
            self._stand()
            # Before departures: who goes ends here, too.
            self.borders.end(self.world.foreign_ended(), self._tick)
            departed = self.borders.depart(self.world, self.sessions, self.post, self._tick)
            self.borders.expire(self.post, self._tick)
            # Of those who are still there: what has no place is in nobody's frame.
            arrived = arrived[self.world.has(self.game.position)[self.world.archetype[arrived["row"]]]]
            self._game_mail.send_off(stranded, self.world, self.borders, self.post)
        if tick.sent:
            self._game_mail.send(tick.sent, self.world, self.borders, self.post)
        return _Turn(tick, bound, refused, departed, arrived, applied)

    def _stand(self) -> None:
        """The game's systems see the ground that the region has; on a part without, none runs."""
        self.world.bounds = self.division.ground or self.region.bounds

    def _orders(self, batches: Mapping[int, Records]) -> None:
        """What the host says of the time, and what an operator wants done with dead letters, and with the region."""
        if (told := batches.get(CLOCK)) is not None:
            self.clock.order(told)
        if (orders := batches.get(DIVIDE)) is not None:
            self.division.order(divide=bool(orders["divide"][-1]), tick=self._tick)
        for kind, act in ((REPLAY_LETTER, self.post.replay), (DROP_LETTER, self.post.drop)):
            if (records := batches.get(kind)) is not None:
                for number in records["number"].tolist():
                    act(number)

    def _take_mail(self, tick: Tick, letters: tuple[Letter, ...]) -> tuple[Arrivals, Records | None, Sequence[Letter]]:
        """Who comes in over the borders, and LEAVEs that come after them; the game's mail is for `tick`.

        Without ground that mail is not for here: it is returned.
        """
        came = Arrivals()
        followers: Records | None = None
        if not (letters or self.borders.waiting):
            return came, followers, ()
        self.borders.settle_waiting(came, self.world, self.sessions, self._tick)
        of_the_game: list[Letter] = []
        for letter in letters:
            if letter.kind == HANDOFF:
                self.borders.admit(came, self.world, self.sessions, self.post, letter, self._tick)
            elif letter.kind == REFUSAL:
                self._take_refusal(came, letter)
            elif letter.kind == FOLLOW:
                followers = self._with_followers(followers, letter)
            elif letter.kind == GROUND:
                self._take_ground(letter)
            elif letter.kind == WHEREABOUTS:
                self._hear_whereabouts(letter)
            else:
                of_the_game.append(letter)
        if came.rows:
            tick.system = "arrive"
            self.game.arrive(self.world, tick, np.concatenate(came.rows), np.concatenate(came.ticks))
            for row in came.orphans:
                self.game.leave(self.world, tick, row)
                self.world.owner[row] = 0
        if self.division.ground is None:
            return came, followers, of_the_game
        tick.letters, tick.back = self._game_mail.take(of_the_game, self.world, self.borders, self.post)
        return came, followers, ()

    def _take_ground(self, letter: Letter) -> None:
        try:
            self.division.take(letter)
        except MailError as error:
            self.post.refuse(letter, str(error))
            return
        self._stand()

    def _hear_whereabouts(self, letter: Letter) -> None:
        try:
            self.borders.hear(letter)
        except MailError as error:
            self.post.refuse(letter, str(error))

    def _take_refusal(self, came: Arrivals, letter: Letter) -> None:
        """Who was turned away is back; a game's mail is its sender's again, or dead."""
        try:
            ours, reason = unwrap_refusal(letter)
        except MailError as error:
            self.post.bury(letter, str(error))
            return
        if ours.kind == HANDOFF:
            self.borders.take_back(came, self.world, self.sessions, self.post, ours, reason, self._tick)
        else:
            self._game_mail.refused(ours, reason, self.post)

    def _with_followers(self, followers: Records | None, letter: Letter) -> Records | None:
        try:
            # Letters of before have word of who is away, too: that is said here by whoever speaks for them.
            followers = _both(followers, decode_batches(letter.payload, self._shapes).get(LEAVE))
        except BatchError as error:
            self.post.refuse(letter, str(error))
        return followers

    def _send_after(self, leaves: Records | None) -> None:
        """Send that they leave after sessions that went over a border: on the same lane, so behind.

        Before this tick's departures: who goes now has had it. Not whether they are away: who speaks for them says so
        wherever they come, and by mail a word of before could come after a newer one.
        """
        if leaves is None:
            return
        regions = self.borders.followed(leaves["session"])
        for region in np.unique(regions[regions >= 0]).tolist():
            self.post.send(region, Lane.URGENT, FOLLOW, encode_batches({LEAVE: leaves[regions == region]}))

    def _tick_context(self, batches: dict[type[Command], Command]) -> Tick:
        return Tick(self._tick, self.dt, self.seed, batches, place=self._place, ahead=self.clock.ahead_ticks)

    def _join(self, tick: Tick, records: Records | None) -> tuple[Records, list[tuple[int, str]]]:
        bound: list[tuple[int, int]] = []
        refused: list[tuple[int, str]] = []
        if records is not None:
            tick.system = "join"
            # Whoever joined and went over a border is elsewhere, and here for nobody else.
            known = (self.sessions.find(records["session"]) >= 0) | (self.borders.followed(records["session"]) >= 0)
            # Anywhere in the region: who begins on ground that is a part's goes there, as those do who walk in.
            self.world.bounds = self.region.bounds
            for record, already in zip(records.tolist(), known.tolist(), strict=True):
                if already:
                    continue
                if self.division.ground is None:
                    refused.append((record[0], "this part of the region is not in use"))
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
            self._stand()
        return np.array(bound, BOUND), refused

    def _presence(self, tick: Tick, records: Records | None) -> None:
        if records is None:
            return
        tick.system = "presence"
        rows = self._rows(records["session"])
        for row, here in zip(rows.tolist(), records["here"].tolist(), strict=True):
            if row >= 0:
                (self.game.back if here else self.game.away)(self.world, tick, row)

    def _leave(self, tick: Tick, records: Records | None) -> list[tuple[int, str]]:
        if records is None:
            return []
        # What came after her and what was said here may say the same.
        records = records[np.sort(np.unique(records["session"], return_index=True)[1], kind="stable")]
        tick.system = "leave"
        for row in self._rows(records["session"]).tolist():
            if row >= 0:
                self.game.leave(self.world, tick, row)
                self.world.owner[row] = 0
        left = records["session"][self.sessions.find(records["session"]) >= 0]
        self.sessions.remove(left)
        return [(session, SESSION_OVER) for session in left.tolist()]

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
        if self._shapes[number].entities:
            records = self._named(self._shapes[number], records)
        # As records read back from a journal are: a system that wrote to them would run live and fail in recovery.
        records = records.view()
        records.flags.writeable = False
        return kind(rows, records)

    def _named(self, shape: CommandSchema, records: Records) -> Records:
        """With the numbers of those whom a gateway, or a journal of format 1, knew by their handle alone."""
        numbered = records.astype(shape.dtype)
        for name in (shape.args[place].name for place in shape.entities):
            handles = records[name].dtype.itemsize == 4
            numbered[name] = self.world.who_has(records[name]) if handles else self.world.named(records[name])
        return numbered

    def _numbers(self, entered: HandleRows) -> U64:
        return self.world.id_of(entered.astype(np.int64)) if entered.size else _NO_NUMBERS

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


_NOBODY_CAME: Records = np.zeros(0, ARRIVED)
_NOBODY_WENT: Records = np.zeros(0, DEPARTED)
_NO_NUMBERS: U64 = np.zeros(0, np.uint64)


def _both(first: Records | None, second: Records | None) -> Any:  # Any: Records where either is
    if first is None or second is None:
        return second if first is None else first
    return np.concatenate([first, second])
