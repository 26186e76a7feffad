"""The router: which region has each session's entity, and of which regions each session sees something.

A long module: a session is told of everywhere, or it is somewhere else than is believed.

It has a link to every region, and a stream of every region that somebody sees something of. What a session says while
its entity is on its way between two regions is kept with what was not acknowledged yet, and said to the region that
has the entity next. What that one knows already, it drops by its number.

The parts that a region may be divided into are regions like any other, but for this: while it is not divided they are
empty and sleep, and nobody is shown them. A region's frames say that it is about to be divided some time before
anybody goes to its parts; and a part is shown until the last one has left it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from protocol.messages import RegionInfo
from protocol.schema import Schema
from server.gateway.auth import is_guest
from server.gateway.interest import Mosaic, ViewSpec
from server.gateway.link import Link
from server.gateway.replica import Overtaken
from server.gateway.search import Found, Searches
from server.gateway.session import Seat, Session, SessionState
from server.gateway.stream import RegionStream, StreamLimits, acknowledge, mark_home
from server.regions.atlas import Atlas
from server.regions.frame import SESSION_OVER, RegionSpec
from server.shard.errors import BatchError
from server.shard.machine import AWAY, CLAIM, HERE, JOIN, LEAVE, LET_GO, PRESENCE, Records, command_shapes
from server.shard.ports import Bus, Clock, links_topic
from server.shard.uplink import Answer
from server.sim.world import number_of_handle

_log = structlog.get_logger(__name__)

# Seconds for which a session that left is known: its LEAVE may have missed an entity that was crossing a border.
_LEFT_S: Final = 60.0
# Seconds an entity may be on its way, or out of a newcomer's sight, before it is asked who has it.
_CROSSING_S: Final = 2.0
# Seconds after which one is given up whom no region that answers has, at the least: one that does not may be on its way
# to another node.
_LOST_S: Final = 30.0
# Seconds after which who asked for an entity comes again: for so long a region that took the JOIN remembers it, also of
# one who was found there through another gateway, and has gone on. Later it would take it for another one.
_JOINING_S: Final = 20.0
# And an account, where its region answers nothing for so long: nor would others who look for the account hear of us.
_UNHEARD_S: Final = 1.0
# Seconds that the oldest input may be unheard of before all that is kept is said again; twice as many each time.
_REPEAT_S: Final = 1.0
_REPEATS_MAX: Final = 4
# Repetitions that are in vain before it is asked who has the session.
_VAIN_REPEATS: Final = 2
# Seconds after which a keyframe is asked for again, where no frames come either.
_KEYFRAME_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class RouterOptions:
    """See config/settings.py."""

    # Commands that may wait to be handed to one region.
    link_max: int
    # Inputs of one session that may wait to be acknowledged.
    unacked_max: int
    # Seconds for which a region is watched after nobody sees it any more.
    linger_s: float
    # Seconds for which the world waits for a player; one whom no region has is waited for alike.
    grace_s: float


class RouterListener(Protocol):
    """What a router tells its gateway of sessions."""

    def bound(self, session: Session, *, resumed: bool) -> None:
        """A session that waited for its entity has one. `resumed`: it had one before."""

    def refused(self, session: Session, reason: str) -> None:
        """It will have none, or has none any more."""


@dataclass(slots=True)
class Sent:
    """What went to clients since the start, and of how many regions' frames that was made."""

    heard: int = 0
    frames: int = 0
    skipped: int = 0
    octets: int = 0


class Router:
    """A StreamListener. `sessions`: every session of the gateway, by id."""

    def __init__(
        self,
        atlas: Atlas,
        schema: Schema,
        view: ViewSpec,
        bus: Bus,
        clock: Clock,
        sessions: dict[int, Session],
        searches: Searches,
        limits: StreamLimits,
        options: RouterOptions,
        listener: RouterListener,
    ) -> None:
        self._atlas = atlas
        self._specs = {region.id: region for region in atlas.sites}
        self._searches = searches
        # Sessions that are looked for.
        self._sought: set[int] = set()
        self._ids = list(self._specs)
        self._schema = schema
        self._view = view
        self._bus = bus
        self._clock = clock
        self._sessions = sessions
        self._limits = limits
        self._options = options
        self._listener = listener
        self._mosaic = Mosaic(self._specs.values(), view, schema)
        shapes = command_shapes(schema)
        self.links = {
            region: Link(searches.number, bus, clock, region, shapes, options.link_max) for region in self._ids
        }
        # What a client has to know of each region.
        self.infos = tuple(_info(region) for region in self._specs.values())
        # Sessions that are to say of their kept inputs what they have not said, or all.
        self._again: dict[Session, None] = {}
        # Sessions that left -> when, in seconds, and the region they were in.
        self._left: dict[int, tuple[float, int]] = {}
        self._unsubscribe = bus.subscribe(links_topic(searches.number), self._on_answer)
        # Region -> when it was last of use to somebody, in seconds.
        self._used_s: dict[int, float] = {}
        # What went out in streams that are watched no more.
        self._past = Sent()
        # Parts of regions, and those of them that somebody may be in.
        self._parts = {part for region in self._ids for part in atlas.parts_of(region)}
        self._used_parts: set[int] = set()
        # Which region a newcomer begins in: they are spread by their number.
        begins = [region.id for region in atlas.regions]
        self.choose: Callable[[Session], int] = lambda session: begins[session.id % len(begins)]
        self.streams: dict[int, RegionStream] = {}
        # All of them at first: whoever comes early meets a world. But parts that nobody is in are let sleep.
        for region in begins:
            self.watch(region)

    def close(self) -> None:
        """Watch nothing more."""
        self._unsubscribe()
        for stream in self.streams.values():
            stream.close()

    def stream(self, session: Session) -> RegionStream:
        """That of the region that has the session's entity, or was asked for one."""
        return self.watch(session.region or self._ids[0])

    def watch(self, region: int) -> RegionStream:
        """The region's stream, from now on where it was not watched."""
        stream = self.streams.get(region)
        if stream is None:
            stream = self.streams[region] = RegionStream(
                self._specs[region],
                self._schema,
                self._mosaic.interests[region],
                self._view,
                self._bus,
                self._clock,
                self._sessions,
                self._limits,
                self,
            )
        self._used_s[region] = self._clock.now_s()
        return stream

    def number_of(self, here: int, region: int, handle: int) -> int:
        """Of the entity that has this handle in this region, or went elsewhere with it lately; 0 for nobody.

        Where none is known here, the region is to say who that is, see `World.named`, if it can be seen from `here`:
        nobody wakes all others by asking for whom they have.
        """
        stream = self.streams.get(region)
        numbers = stream.replica.number if stream is not None else ()
        known = int(numbers[handle]) if handle < len(numbers) else 0
        if known or (stream is None and region in self._parts - self._used_parts):
            return known
        return number_of_handle(region, handle) if region in self._mosaic.near(here) else 0

    # -- what sessions say -----------------------------------------------------------

    def join(self, session: Session) -> None:
        """Ask a region for an entity."""
        session.region = self.choose(session)
        self.watch(session.region)
        self._ask(session)

    def _ask(self, session: Session) -> None:
        session.asked += 1
        self._claim(session)
        self.links[session.region].add(JOIN, session.id, session.connection, _names(session))

    def _claim(self, session: Session) -> None:
        """Say when its player came: the gateway that she came to last speaks for her, also while she is away."""
        came_ms = int(session.came_s * 1000) % 2**32
        self.links[session.region].add(CLAIM, session.id, session.connection, (came_ms,))

    def leave(self, session: Session) -> None:
        """Its entity goes, wherever it is."""
        link = self.links[session.region]
        if session.handle < 0 and session.asked == 1 and link.withdraw(session.id, _names(session)):
            # It never came: its region has no owner, and who comes and goes meanwhile leaves nothing here.
            return
        self._left[session.id] = (self._clock.now_s(), session.region)
        link.add(LEAVE, session.id, 0)

    def left(self, session_id: int, region: int) -> bool:
        """Whether a session is to leave. The region that has it yet hears so; or it is another gateway's, and we do."""
        leaves = session_id in self._left
        if leaves:
            self.links[region].add(LEAVE, session_id, 0)
        return leaves

    def forget(self, session_id: int) -> None:
        """A session that left here is another gateway's, or here again: it is told to leave nowhere any more."""
        self._left.pop(session_id, None)

    def let_go(self, region: int, session_id: int, word: int) -> None:
        """Have a region know that we have heard, since this word of ours, that a session is another gateway's."""
        self.links[region].add(PRESENCE, session_id, word, (LET_GO,))

    def presence(self, session: Session) -> None:
        """Its connection broke, or is back."""
        session.connection += 1
        if not session.crossing:
            self._tell_presence(session)

    def busy(self, session: Session) -> bool:
        """Whether no input of it should be taken now but a reliable one."""
        return self.links[session.region].full or len(session.unacked) >= self._options.unacked_max

    def say(self, session: Session, command: int, seq: int, values: tuple[Any, ...], *, reliable: bool) -> None:
        """Take an input with validated arguments: it reaches the session's entity, wherever that is by then."""
        kept = (seq, command, values)
        if reliable:
            session.due[seq] = kept
        else:
            session.unacked.append(kept)
        if session.crossing or session.again:
            return
        link = self.links[session.region]
        if link.full:
            # It waits here, and so does what comes after it: as many as may be without a receipt.
            self._say_later(session)
            return
        link.say(command, session.id, seq, session.said, values)
        session.said = seq

    def say_again(self, session: Session) -> None:
        """Have its region hear all that is kept, with the next flush: what it had, it drops by its number.

        All, and not what seems to be missing: the region may have begun anew before that, and would take what it is
        told for all there was.
        """
        session.said = 0
        self._say_later(session)

    def _say_later(self, session: Session) -> None:
        session.again = True
        self._again[session] = None

    def _repeat(self, region: int) -> None:
        """Say to this region what is to be said again, or waited."""
        for session in [session for session in self._again if session.region == region]:
            if self._sessions.get(session.id) is not session or session.crossing or session.handle < 0:
                # Once it is bound.
                session.again = False
            else:
                session.again = not self._catch_up(session, self.links[region])
            if session.again:
                break
            del self._again[session]

    def _catch_up(self, session: Session, link: Link) -> bool:
        """Say what it has not said, as far as the link takes it. Returns whether that is all."""
        for seq, command, values in session.unheard():
            if seq > session.said:
                if link.full:
                    return False
                link.say(command, session.id, seq, session.said, values)
                session.said = seq
        return True

    def flush(self, region: int | None = None) -> None:
        """Send what waits: to this region, or to all."""
        for number in self._ids if region is None else (region,):
            link = self.links[number]
            if self._again and not link.stuck:
                self._repeat(number)
            link.flush(watched=number in self.streams)

    def _tell_presence(self, session: Session, *, again: bool = False) -> None:
        # Every word has a number of its own.
        session.connection += again
        here = AWAY if session.state is SessionState.RESUMING else HERE
        self._claim(session)
        self.links[session.region].add(PRESENCE, session.id, session.connection, (here,))

    def _on_answer(self, data: bytes) -> None:
        try:
            answer = Answer.decode(data)
            link = self.links[answer.shard]
        except (BatchError, KeyError) as error:
            _log.warning("answer refused", reason=repr(error))
            return
        if link.hear(answer):
            self._begin_anew(answer.shard)

    def _begin_anew(self, region: int) -> None:
        """The region has another host, or took us for gone: whatever we told it may never have happened."""
        for session in self._sessions.values():
            if session.region == region and not session.crossing:
                if session.handle < 0:
                    self._ask(session)
                else:
                    self._tell_presence(session, again=True)
                    self.say_again(session)
        for session_id, (_, last) in self._left.items():
            if last == region:
                self.links[region].add(LEAVE, session_id, 0)

    # -- what sessions see -----------------------------------------------------------

    def seat(self, session: Session) -> None:
        """Show a session with a connection what is around its entity, from the next frame on."""
        self.unseat(session)
        self._use(session.region)
        self._look(self.watch(session.region).welcome(session, session.handle))

    def unseat(self, session: Session) -> None:
        """Show it nothing more."""
        for seat in tuple(session.seats.values()):
            seat.stream.remove(seat)

    def check(self, session: Session) -> None:
        """Tell it the digests of its views."""
        for seat in session.seats.values():
            seat.stream.check(seat)

    def _look(self, home: Seat) -> None:
        """See of other regions what can be seen from the session's own cell, and no more."""
        if len(self._ids) == 1:
            return
        session, region = home.session, home.stream.region.id
        around = self._mosaic.around(region, home.centre)
        for part in self._parts - self._used_parts:
            around.pop(part, None)
        for other, centre in around.items():
            seat = session.seats.get(other)
            if seat is None:
                self.watch(other).host(session, centre)
            elif seat is not home:
                seat.stream.aim(seat, centre)
        for other, seat in session.seats.items():
            if other not in around:
                seat.stream.dismiss(seat)

    # -- what regions say --------------------------------------------------------------

    def known(self, stream: RegionStream, records: Records) -> None:
        """Every session of the region, those of other gateways among them."""
        region = stream.region.id
        here: set[int] = set()
        for session_id, handle, seq, _, _ in records.tolist():
            here.add(session_id)
            session = self._sessions.get(session_id)
            if session is not None:
                # The frame that said so may not have come through, and a client waits for it.
                acknowledge(session, seq)
                session.applied(seq)
                # The region may have begun anew, without what it was told last.
                self.say_again(session)
            if session is None or (session.region, session.handle, session.crossing) != (region, handle, 0):
                # It was bound in a frame that did not come through; or it left, and the region does not know.
                self.bound(stream, session_id, handle)
        for session in tuple(self._sessions.values()):
            if session.region == region and session.id not in here and session.handle >= 0 and not session.crossing:
                self._miss(session)

    def bound(self, stream: RegionStream, session_id: int, handle: int) -> None:
        """Its entity is there, for the first time or from another region."""
        session, region = self._sessions.get(session_id), stream.region.id
        if session is None:
            if session_id in self._left:
                self.links[region].add(LEAVE, session_id, 0)
            return
        self._use(region)
        came, asked = session.handle >= 0, session.region
        session.roamed |= session.region != region
        if not came:
            session.owner = stream.epoch
        session.region, session.handle, session.crossing = region, handle, 0
        if session.state in (SessionState.JOINING, SessionState.RESUMING):
            self._listener.bound(session, resumed=came)
        else:
            self._come_home(session, stream)
        if came or session.asked > 1 or asked != region:
            # It hears who speaks for her. Asked for again she may have been there, as away while we were not heard.
            self._tell_presence(session, again=True)
            self.say_again(session)

    def _come_home(self, session: Session, stream: RegionStream) -> None:
        for seat in session.seats.values():
            if seat.stream is not stream:
                # Where it left unheard, in a frame that did not come through.
                seat.stream.depart(seat)
                # Found, before it was told there that it is nobody: told after this, it would go on believing so.
                seat.lost = False
        home = session.seats.get(stream.region.id)
        if home is None:
            home = stream.welcome(session, session.handle)
        else:
            stream.settle(home, session.handle)
        home.you = True
        mark_home(session)
        self._look(home)

    def refused(self, stream: RegionStream, session_id: int, reason: str) -> None:
        """It has no entity there, or no longer."""
        session = self._sessions.get(session_id)
        # On its way it is the next region that knows what became of it.
        if session is not None and stream.region.id == (session.crossing or session.region):
            self._listener.refused(session, reason)

    def departed(self, stream: RegionStream, session_id: int, destination: int) -> None:
        """Its entity is on its way to another region."""
        session = self._sessions.get(session_id)
        if session is None or session.region != stream.region.id or destination not in self._specs:
            return
        session.crossing, session.crossing_s = destination, self._clock.now_s()
        self._use(destination)
        self.watch(destination)
        seat = session.seats.get(session.region)
        if seat is not None:
            stream.depart(seat)

    def arrived(self, stream: RegionStream, records: Records) -> None:
        """Who saw them where they were sees them there now: most where they came from, some where they turned back.

        And those of whom a keyframe tells, anywhere: what they did between two frames that came through is not known.
        """
        if stream.awaits_key:
            # Nobody is let go of where it was before it is shown here: the keyframe names it again, and not its source.
            stream.unshown.update((entity, source) for _, entity, source in records.tolist())
            return
        unshown, stream.unshown = stream.unshown, {}
        held: dict[int, list[int]] = {}
        for region, origin in self.streams.items():
            for entity in origin.replica.held:
                held.setdefault(entity, []).append(region)
        those: dict[int, list[tuple[int, int]]] = {}
        for handle, entity, source in records.tolist():
            # Whatever was said of it while it was elsewhere, its next departure from here is another one.
            stream.replica.overtaken.pop(entity, None)
            for region in held.get(entity, ()):
                those.setdefault(region, []).append((entity, handle))
            came_from = self.streams.get(source or unshown.get(entity, 0))
            if entity not in held and came_from is not None:
                # Its departure may be on its way, for what two regions say comes in any order.
                came_from.replica.overtaken[entity] = Overtaken(came_from.tick, stream.region.id)
        for region, arrivals in those.items():
            self.streams[region].release_all(arrivals, stream)

    def moved(self, seat: Seat) -> None:
        """The session sees from another cell."""
        self._look(seat)

    def divided(self, stream: RegionStream) -> None:
        """Everyone who sees something of the region has a view of its parts before anybody is there."""
        for part in self._atlas.parts_of(stream.region.id):
            self._use(part)
        self._look_again(stream)

    def _use(self, region: int) -> None:
        if region in self._parts:
            self._used_parts.add(region)

    def _look_again(self, stream: RegionStream) -> None:
        """Who sees something of this region sees what is to be seen there now."""
        for session in [seat.session for seat in stream.viewers]:
            if (home := session.home) is not None:
                self._look(home)

    def _forget_parts(self) -> None:
        """Show parts no more that are nobody's ground and empty."""
        needed = {region for session in self._sessions.values() for region in (session.region, session.crossing)}
        for part in self._used_parts - needed:
            whole, stream = self.streams.get(self._atlas.whole_of(part)), self.streams.get(part)
            if (whole is None or not whole.divided) and (stream is None or stream.replica.empty):
                self._used_parts.discard(part)
                if stream is not None:
                    self._look_again(stream)

    # -- who is out of sight -------------------------------------------------------------

    def _miss(self, session: Session) -> None:
        """Its region does not know it: it went on unheard, or its region has forgotten its last ticks."""
        session.crossing, session.crossing_s = session.region, self._clock.now_s()
        seat = session.seats.get(session.region)
        if seat is not None:
            seat.stream.lose(seat)
        self.seek(session)

    def seek(self, session: Session) -> None:
        """Ask who has the session."""
        if session.id not in self._sought:
            self._sought.add(session.id)
            self._searches.begin(session.id, "", functools.partial(self._sought_out, session))

    def _sought_out(self, session: Session, found: Found | None, *, sure: bool) -> None:
        self._sought.discard(session.id)
        if self._sessions.get(session.id) is not session:
            return
        if found is None:
            if sure:
                self._nowhere(session)
            return
        acknowledge(session, found.seq)
        session.applied(found.seq)
        if (session.region, session.handle, session.crossing) != (found.region, found.handle, 0):
            self.bound(self.watch(found.region), session.id, found.handle)
        self.say_again(session)

    def _nowhere(self, session: Session) -> None:
        """No region has it, and none sends it to another."""
        if session.handle < 0 or self._never_joined(session):
            self._ask(session)
        elif session.crossing:
            # The frame in which it left did not come through. Should it be somewhere after all, its player finds it by
            # coming again.
            self._listener.refused(session, SESSION_OVER)

    def _never_joined(self, session: Session) -> bool:
        """Whether the tick in which it joined may be gone, or never was: it was not durable when its owner died.

        Not so of one that went anywhere else, or that was told a receipt. And one owner never goes back in time.
        """
        stood = session.crossing == session.region and not session.roamed
        return stood and session.durable is None and session.owner != self.stream(session).epoch

    def _look_after(self, session: Session, now_s: float) -> None:
        """Nothing that it waits for was lost for good."""
        if session.handle < 0:
            if session.state is SessionState.JOINING and now_s - session.since_s > _JOINING_S:
                self.leave(session)
                self._listener.refused(session, SESSION_OVER)
            elif now_s - session.since_s > _CROSSING_S:
                self.seek(session)
        elif session.crossing:
            if now_s - session.crossing_s > max(_LOST_S, self._options.grace_s):
                self._listener.refused(session, SESSION_OVER)
            elif now_s - session.crossing_s > _CROSSING_S:
                self.seek(session)
        elif (oldest := session.waiting) != session.oldest:
            session.oldest, session.oldest_s, session.repeats = oldest, now_s, 0
        elif oldest and now_s - session.oldest_s >= _REPEAT_S * 2**session.repeats:
            session.oldest_s, session.repeats = now_s, min(session.repeats + 1, _REPEATS_MAX)
            self.say_again(session)
            if session.repeats > _VAIN_REPEATS:
                self.seek(session)

    def _withdraw(self) -> None:
        """Accounts' JOINs that a region does not hear: it would take them when their players are there by others.

        One that it has heard all the same is nobody's, and is found when its player comes again.
        """
        unheard = {region for region in self._ids if self.links[region].unheard_s > _UNHEARD_S}
        given_up = [
            s for s in self._sessions.values() if s.region in unheard and s.handle < 0 and not is_guest(s.player)
        ]
        for session in given_up:
            self._listener.refused(session, SESSION_OVER)
        for region in {session.region for session in given_up}:
            self.links[region].begin_anew()
            self._begin_anew(region)
        for session in given_up:
            self.let_go(session.region, session.id, session.connection)

    # -- once a second -------------------------------------------------------------------

    def sweep(self) -> None:
        """Watch no more what is of no use to anybody, and ask after what has been out of sight for too long."""
        now_s = self._clock.now_s()
        self._left = {session: left for session, left in self._left.items() if now_s - left[0] < _LEFT_S}
        self._withdraw()
        for session in tuple(self._sessions.values()):
            self._look_after(session, now_s)
        for stream in self.streams.values():
            if stream.awaits_key and now_s - stream.asked_s > _KEYFRAME_S:
                stream.ask_for_keyframe()
        self._forget_parts()
        for session in self._sessions.values():
            for region in (session.region, session.crossing, *session.seats):
                self._used_s[region] = now_s
        for region, stream in tuple(self.streams.items()):
            if now_s - self._used_s[region] > self._options.linger_s:
                stream.close()
                del self.streams[region]
                self._past = _with(self._past, stream)

    @property
    def sent(self) -> Sent:
        """What came from regions and went to clients since the start."""
        total = self._past
        for stream in self.streams.values():
            total = _with(total, stream)
        return total


def _with(sent: Sent, stream: RegionStream) -> Sent:
    return Sent(
        sent.heard + stream.frames_in,
        sent.frames + stream.frames_out,
        sent.skipped + stream.frames_skipped,
        sent.octets + stream.bytes_out,
    )


def _names(session: Session) -> tuple[bytes, bytes]:
    return session.player.encode(), session.name.encode()


def _info(region: RegionSpec) -> RegionInfo:
    x, y = region.origin
    width, height = region.width + 2 * region.margin, region.height + 2 * region.margin
    return RegionInfo(region.id, x, y, width, height, region.handle, region.margin)
