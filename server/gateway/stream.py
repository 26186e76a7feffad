"""The stream: a region's frames in, one write per viewer and tick out.

A viewer is a seat (`server/gateway/session.py`). Most are at home here: the region has their entity, and their view
moves with it. Guests look over a border: their own cell is the one they have at home, which may lie outside the
region, and is told by the router. What concerns a session as a whole (acks, receipts, events for it alone) goes with
its home's write, so that an ack and the state it led to come together.

Who crosses a border is shown where it was until the next region shows it. Then CROSS, its enter there and its
leave here go out in one write: nobody sees it twice, or not at all.

A long module: what makes up one write, and in which order, is in one place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from protocol.codec import encode_ack, encode_clock, encode_cross, encode_receipt, encode_view_digest, encode_you
from protocol.schema import Schema
from server.gateway.errors import FrameGap
from server.gateway.fanout import Fanout, websocket_frame
from server.gateway.interest import Cells, Interest, ViewSpec
from server.gateway.replica import NO_ARCHETYPE, Change, Replica
from server.gateway.session import Happening, Seat, Session, SessionState
from server.regions.frame import Frame, FrameEvent, RegionSpec
from server.shard.envelope import unseal
from server.shard.errors import BatchError
from server.shard.machine import PROCESSED, Records
from server.shard.ports import Bus, Clock, frames_topic, keyframes_topic, receipts_topic

_log = structlog.get_logger(__name__)

_JOINED: Final = SessionState.JOINED
_LAGGING: Final = SessionState.LAGGING
# Frames that come in vain before a keyframe is asked for again.
_ASK_AGAIN_FRAMES: Final = 10
# Seconds for which nothing was heard of the newest owner, after which an older one is believed: a region that is looked
# at sends frames, so either the world was set back, or what said that there was a newer one was no frame of ours.
_SILENT_S: Final = 5.0
# Seconds of frames by which it is told how fast the region's time goes.
_RATE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """See config/settings.py."""

    quiet_ticks_max: int
    events_per_write_max: int
    receipts_max: int
    crossing_hold_ticks: int


class StreamListener(Protocol):
    """What is made of a region's word on sessions. Called in this order for one frame."""

    def known(self, stream: RegionStream, records: Records) -> None:
        """A keyframe: every session of the region, records of KNOWN."""

    def bound(self, stream: RegionStream, session_id: int, handle: int) -> None:
        """A session's entity is here now."""

    def refused(self, stream: RegionStream, session_id: int, reason: str) -> None:
        """A session has no entity here, or no longer."""

    def arrived(self, stream: RegionStream, records: Records) -> None:
        """Entities came in from other regions: records of ARRIVED."""

    def departed(self, stream: RegionStream, session_id: int, destination: int) -> None:
        """A session's entity is on its way to another region."""

    def moved(self, seat: Seat) -> None:
        """A session's own cell at home is another one."""

    def divided(self, stream: RegionStream) -> None:
        """The region is divided, or about to be, and was not before."""


def _nowhere(_frames: bytes) -> bool:
    return False


class RegionStream:
    """One region's viewers at this gateway. `sessions`: every session of the gateway, by id."""

    def __init__(
        self,
        region: RegionSpec,
        schema: Schema,
        interest: Interest,
        view: ViewSpec,
        bus: Bus,
        clock: Clock,
        sessions: dict[int, Session],
        limits: StreamLimits,
        listener: StreamListener,
    ) -> None:
        self.region = region
        self.replica = Replica(schema, interest, region.entities_max, region.handle)
        self.fanout = Fanout(self.replica, region.id, limits.events_per_write_max)
        self.viewers: list[Seat] = []
        # By place in `viewers`: how to write to it.
        self._writes: list[Callable[[bytes], bool]] = []
        # Seats whose next write is not like their neighbours', in order of marking.
        self._own: dict[Seat, None] = {}
        # Seats that are to be left with their next write.
        self._leaving: dict[Seat, None] = {}
        self.frame_s = clock.now_s()
        # (when it came, its tick) of the last frames that follow on each other.
        self._paced: deque[tuple[float, int]] = deque()
        # Since the start; the gateway hands them to the metrics.
        self.frames_in = 0
        self.frames_out = 0
        self.frames_skipped = 0
        self.bytes_out = 0
        self._schema = schema
        self._view = view
        self._bus = bus
        self._clock = clock
        self._sessions = sessions
        self._limits = limits
        self._listener = listener
        # Whether there are other regions, to look into and to walk to.
        self._bordered = interest.beyond
        # (capacity,) by place in `viewers`: entity (-1 for guests), own cell, the one a guest is to have, ring phase.
        self._handles: NDArray[np.int64] = np.zeros(64, np.int64)
        self._centres: Cells = np.zeros(64, np.int64)
        self._aims: Cells = np.zeros(64, np.int64)
        self._phases: NDArray[np.int64] = np.zeros(64, np.int64)
        self._unsubscribe: list[Callable[[], None]] = []
        # The epoch of the region's owner, and the newest tick of it that was heard of; 0, -1: none yet.
        self.epoch = 0
        self._heard = -1
        # When that was.
        self._heard_s = clock.now_s()
        # Whether the region is divided, or about to be, by its last frame.
        self.divided = False
        # Ticks by which the world's clock is ahead of the region's, by its last frame.
        self.ahead = 0
        self.awaits_key = False
        # Who arrived in frames that could not be used, by number, and where from.
        self.unshown: dict[int, int] = {}
        # Frames that came since it was asked for, and when that was.
        self._unused = 0
        self.asked_s = 0.0
        self.subscribe()
        self.ask_for_keyframe()

    def subscribe(self) -> None:
        """Watch the region."""
        self._unsubscribe = [
            self._bus.subscribe(frames_topic(self.region.id), self._on_frame),
            self._bus.subscribe(receipts_topic(self.region.id), self._on_receipts),
        ]

    def close(self) -> None:
        """Watch no more."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()

    @property
    def tick(self) -> int:
        """The replica's tick; -1 before the first keyframe."""
        return self.replica.tick

    # -- viewers -------------------------------------------------------------------

    def welcome(self, session: Session, handle: int) -> Seat:
        """Show `session` the surroundings of its entity, which is here, from the next frame on."""
        seat = self._seated(session)
        cell = self.replica.interest.cell(*self.replica.position(np.array([handle])))
        seat.centre = self._centres[seat.index] = self._aims[seat.index] = int(cell[0])
        self.settle(seat, handle)
        return seat

    def host(self, session: Session, centre: int) -> Seat:
        """Show `session` what it sees of this region from a cell outside, from the next frame on."""
        seat = self._seated(session)
        seat.handle = self._handles[seat.index] = -1
        seat.centre = self._centres[seat.index] = self._aims[seat.index] = centre
        return seat

    def settle(self, seat: Seat, handle: int) -> None:
        """The seat is home: its entity is here."""
        seat.handle = self._handles[seat.index] = handle
        seat.lost = False
        self._stay(seat)
        self.mark(seat)

    def depart(self, seat: Seat) -> None:
        """The seat is a guest's: its entity went elsewhere."""
        seat.handle = self._handles[seat.index] = -1

    def lose(self, seat: Seat) -> None:
        """Its entity is not here, as was shown, and nobody has said yet where it is.

        Until somebody does it is told that it is nobody: what has its handle here by now is somebody else.
        """
        self.depart(seat)
        seat.lost = True
        self.mark(seat)

    def aim(self, seat: Seat, centre: int) -> None:
        """Give a guest another own cell, with the next frame."""
        self._stay(seat)
        self._aims[seat.index] = centre

    def dismiss(self, seat: Seat) -> None:
        """Nothing of the region is in the guest's view any more: it is told so, and removed."""
        if not seat.leaving:
            seat.leaving = True
            self._leaving[seat] = None
            self.mark(seat)

    def remove(self, seat: Seat) -> None:
        """Show it nothing more."""
        at = seat.index
        if at < 0:
            return
        seat.index = -1
        self._own.pop(seat, None)
        self._leaving.pop(seat, None)
        if seat.session.seats.get(self.region.id) is seat:
            del seat.session.seats[self.region.id]
        last, write = self.viewers.pop(), self._writes.pop()
        if last is not seat:
            self.viewers[at], self._writes[at] = last, write
            last.index = at
            for array in (self._handles, self._centres, self._aims, self._phases):
                array[at] = array[len(self.viewers)]

    def _seated(self, session: Session) -> Seat:
        seat = session.seats.get(self.region.id)
        if seat is None:
            seat = session.seats[self.region.id] = Seat(session, self)
            seat.index = len(self.viewers)
            self.viewers.append(seat)
            self._writes.append(_nowhere)
            if len(self.viewers) > self._handles.size:
                self._handles, self._centres, self._aims, self._phases = (
                    np.concatenate([a, np.zeros_like(a)])
                    for a in (self._handles, self._centres, self._aims, self._phases)
                )
        assert session.socket is not None, "a viewer has somewhere to show things"
        self._writes[seat.index] = session.socket.write
        self._phases[seat.index] = seat.phase % self._view.far_every_ticks
        self._stay(seat)
        self._forget(seat)
        return seat

    def _stay(self, seat: Seat) -> None:
        """One who was about to leave is back before it left."""
        if seat.leaving:
            seat.leaving = False
            del self._leaving[seat]

    def _forget(self, seat: Seat) -> None:
        """The seat gets a fresh view with the next frame that can be shown."""
        seat.fresh = False
        seat.before, seat.after = [], []
        self.mark(seat)

    # -- a tick ----------------------------------------------------------------------

    def _on_frame(self, data: bytes) -> None:
        try:
            epoch, sealed = unseal(data)
            if self._superseded(epoch):
                # The region is another's by now, whatever this one believes.
                return
            self.frames_in += 1
            frame = Frame.decode(sealed, self._schema)
        except BatchError as error:
            self._start_over(str(error))
            return
        self._heard_s = self._clock.now_s()
        other = epoch != self.epoch
        if other:
            self._follow(epoch, frame)
        elif frame.tick < self._heard or (frame.tick == self._heard and not frame.key):
            # Late, or repeated: what it says was heard since, or the keyframe that was asked for tells it.
            self._tell_acks(frame)
            return
        self._heard = frame.tick
        if frame.key and not self.awaits_key and self.replica.same(frame):
            # Another gateway asked for it; or another owner goes on just where the last one stopped.
            if other and frame.sessions is not None:
                self._listener.known(self, frame.sessions)
            return
        if self.awaits_key and not frame.key:
            # What it says of sessions still counts; what it says of entities can't be used.
            self._unused += 1
            if self._unused % _ASK_AGAIN_FRAMES == 0:
                # The question was lost, or the answer.
                self.ask_for_keyframe()
            self._tell_sessions(frame)
            return
        self._make_way(frame)
        try:
            change = self.replica.apply(frame)
        except FrameGap as error:
            self._start_over(str(error))
            self._tell_sessions(frame)
            return
        self._pace(frame)
        try:
            if frame.key:
                self.awaits_key = False
                self._forget_views()
            self._tell_sessions(frame)
            if self.viewers:
                self._write_all(change, frame)
        except Exception:
            # Some have this frame and some do not: nobody's view is to be trusted, and none drifts in silence.
            self._start_over("a frame could not be shown")
            for seat in self.viewers:
                forget_views(seat.session)
            raise

    def _pace(self, frame: Frame) -> None:
        self.frame_s = self._clock.now_s()
        paced = self._paced
        if frame.key:
            paced.clear()
        paced.append((self.frame_s, frame.tick))
        while paced[0][0] < self.frame_s - _RATE_S:
            paced.popleft()

    def measured_hz(self, declared_hz: float) -> float:
        """Ticks per second that the region makes, of late; as declared until that is known, and never more.

        The rate falls while the next frame stays out longer than others did.
        """
        if len(self._paced) < 2:
            return declared_hz
        (first_s, first), (last_s, last) = self._paced[0], self._paced[-1]
        span_s = last_s - first_s
        usual_s = max(1 / declared_hz, span_s / (last - first))
        span_s += max(0.0, self._clock.now_s() - last_s - usual_s)
        # Of a few frames it would be how they jitter.
        return min(declared_hz, (last - first) / span_s) if span_s >= _RATE_S / 2 else declared_hz

    def _superseded(self, epoch: int) -> bool:
        """Whether a newer owner was heard, and not long ago."""
        return epoch < self.epoch and self._clock.now_s() - self._heard_s < _SILENT_S

    def outdates(self, epoch: int, tick: int) -> bool:
        """Whether the region was heard to come further than it was when this owner had made this tick."""
        return self._superseded(epoch) or (epoch == self.epoch and tick < self._heard)

    def _follow(self, epoch: int, frame: Frame) -> None:
        """The region has another owner. What it has made of the last ticks may differ from what was seen of them."""
        anew = self.epoch > 0 and not frame.key and not self.awaits_key
        self.epoch = epoch
        if anew:
            self._start_over("another owner")

    def _start_over(self, reason: str) -> None:
        _log.warning("replica starts over", region=self.region.id, reason=reason)
        self.ask_for_keyframe()

    def _forget_views(self) -> None:
        for seat in self.viewers:
            self._forget(seat)

    def ask_for_keyframe(self) -> None:
        """Begin anew with the region's next keyframe."""
        if not self.awaits_key:
            self._unused = 0
        self.awaits_key = True
        self.asked_s = self._clock.now_s()
        self._bus.publish(keyframes_topic(self.region.id), b"")

    def _tell_sessions(self, frame: Frame) -> None:
        """Entities given and taken, acks, events for one."""
        listener = self._listener
        if frame.sessions is not None:
            listener.known(self, frame.sessions)
        for session_id, row in frame.bound.tolist():
            listener.bound(self, session_id, row)
        for session_id, reason in frame.refused:
            listener.refused(self, session_id, reason)
        if frame.arrived.size:
            listener.arrived(self, frame.arrived)
        for _, _, session_id, destination in frame.departed.tolist():
            if session_id:
                listener.departed(self, session_id, destination)
        self._tell_acks(frame)
        for event in frame.events:
            self._tell_event(event)
        if frame.divided != self.divided:
            self.divided = frame.divided
            if frame.divided:
                listener.divided(self)
        if frame.ahead != self.ahead:
            self.ahead = frame.ahead
            for seat in self.viewers:
                if seat.handle >= 0:
                    # Told with who it is: what time it is there.
                    seat.you = True
                    self.mark(seat)

    def _tell_acks(self, frame: Frame) -> None:
        sessions = self._sessions
        for session_id, seq in frame.acks.tolist():
            session = sessions.get(session_id)
            if session is not None:
                acknowledge(session, seq)

    def _tell_event(self, event: FrameEvent) -> None:
        message = websocket_frame(event.message)
        if event.sessions:
            for session_id in event.sessions:
                session = self._sessions.get(session_id)
                if session is not None:
                    self.tell(session, message)
        elif event.place is None:
            for seat in self.viewers:
                # Of each region one hears what it tells everyone that is in it.
                if seat.handle >= 0:
                    self.tell(seat.session, message)

    def tell(self, session: Session, message: bytes) -> None:
        """Give a session an event with its next write. Full policy: the newest is dropped. Who lags hears nothing."""
        if session.state is _JOINED and len(session.outbox) < self._limits.events_per_write_max:
            session.outbox.append(message)
            mark_home(session)

    def _on_receipts(self, data: bytes) -> None:
        """Receipts leave at once, in a write of their own: the next frame is a tick away."""
        told: dict[Session, list[bytes]] = {}
        for session_id, seq in np.frombuffer(data, PROCESSED).tolist():
            session = self._sessions.get(session_id)
            if session is not None:
                session.due.pop(seq, None)
                if session.durable is None:
                    session.durable = deque(maxlen=self._limits.receipts_max)
                session.durable.append(seq)
                if session.state is _JOINED:
                    told.setdefault(session, []).append(websocket_frame(encode_receipt(seq)))
        for session, frames in told.items():
            written = b"".join(frames)
            # What waits already goes first, a WELCOME perhaps; and one that can take nothing, the next frame finds out.
            if session.outbox or session.socket is None or not session.socket.write(written):
                session.outbox += frames
                mark_home(session)
            else:
                self.bytes_out += len(written)

    def _write_all(self, change: Change, frame: Frame) -> None:
        n = len(self.viewers)
        replica, interest, view = self.replica, self.replica.interest, self._view
        handles, centres = self._handles[:n], self._centres[:n]
        ring_now = np.zeros(n, np.bool_)
        if view.far > view.near:
            ring_now = (replica.tick + self._phases[:n]) % view.far_every_ticks == 0
        cells, slots = np.unique(centres, return_inverse=True)
        wants_near = np.zeros(cells.size, np.bool_)
        wants_near[slots[~ring_now]] = True
        wants_ring = np.zeros(cells.size, np.bool_)
        wants_ring[slots[ring_now]] = True
        near, ring = self.fanout.encode(
            change,
            cells,
            wants_near.tolist(),
            wants_ring.tolist(),
            self._placed(frame),
            view.far_every_ticks,
            speak=replica.tick % self._limits.quiet_ticks_max == 0,
        )
        here = (handles >= 0) & (replica.archetype[handles] != NO_ARCHETYPE)
        moved_to = np.where(here, interest.recentre(centres, *replica.position(handles)), self._aims[:n])
        moved = np.flatnonzero(centres != moved_to)
        shifts = dict(zip(moved.tolist(), moved_to[moved].tolist(), strict=True))
        self._centres[:n] = self._aims[:n] = moved_to
        if ring_now.any():
            frames = [ring[s] if r else near[s] for s, r in zip(slots.tolist(), ring_now.tolist(), strict=True)]
        else:
            frames = [near[s] for s in slots.tolist()]
        # Most viewers need nothing but the shared frame; the others' frames are put in its place.
        own, self._own = self._own, {}
        shifted = [self.viewers[place] for place in shifts]
        own.update(dict.fromkeys(shifted))
        ringless = view.far == view.near
        for seat in own:
            place = seat.index
            if place >= 0:
                whole = ringless or bool(ring_now[place])
                frames[place] = self._own_frames(seat, frames[place], shifts.get(place), whole=whole)
        # The one loop that runs for every client in every tick.
        took = [write(frame) if frame else True for write, frame in zip(self._writes, frames, strict=True)]
        self.frames_out += n - frames.count(b"")
        self.bytes_out += sum(map(len, frames))
        if False in took:
            for place in [p for p, taken in enumerate(took) if not taken]:
                self.frames_out -= 1
                self.bytes_out -= len(frames[place])
                self._stalled(self.viewers[place])
        if self._bordered:
            for seat in [s for s in self._leaving if frames[s.index] and took[s.index]]:
                self.remove(seat)
            for seat in shifted:
                if seat.handle >= 0:
                    self._listener.moved(seat)

    def check(self, seat: Seat) -> None:
        """Tell the viewer its view's digest at the next tick at which the whole view is fresh."""
        seat.check = True
        self.mark(seat)

    def mark(self, seat: Seat) -> None:
        """This seat's next write is not like its neighbours'."""
        self._own[seat] = None

    def _own_frames(self, seat: Seat, shared: bytes, shift: int | None, *, whole: bool) -> bytes:
        """What goes beside the shared frame: acks, events, a moved view, a view digest; or a keyframe in its place."""
        session, home = seat.session, seat.handle >= 0
        before = seat.centre
        if shift is not None:
            seat.centre = shift
        if session.state is _LAGGING:
            # Home tells what was missed first.
            if not home or session.socket is None or session.socket.stalled():
                self.frames_skipped += 1
                self.mark(seat)
                return b""
            session.on(Happening.DRAINED, self.frame_s)
            self.catch_up(session)
        parts = self._what_comes_first(seat)
        you = home and (seat.you or (not seat.fresh and (self._bordered or self.ahead > 0)))
        if you:
            parts.append(websocket_frame(encode_clock(self.region.id, self.ahead)))
        if seat.leaving:
            parts.append(self.fanout.farewell())
        elif not seat.fresh:
            parts.append(self.fanout.keyframe(seat.centre))
            seat.fresh = whole = True
        else:
            parts.append(shared)
            if shift is not None:
                parts.append(self.fanout.shift(before, shift))
        if you:
            # Once it is in view; before what it was goes out of view.
            seat.you = False
            parts.append(websocket_frame(encode_you(self.region.id, seat.handle)))
            session.counts_in = self.region.id
        if seat.after:
            parts += seat.after
            seat.after = []
        if seat.check and not seat.leaving:
            if whole:
                seat.check = False
                count, crc = self.fanout.view_digest(seat.centre)
                parts.append(websocket_frame(encode_view_digest(self.region.id, self.tick, count, crc)))
            else:
                self.mark(seat)
        return b"".join(parts)

    def _what_comes_first(self, seat: Seat) -> list[bytes]:
        """What a seat's session is told before it is shown anything."""
        session = seat.session
        parts: list[bytes] = []
        if seat.handle >= 0:
            parts, session.outbox = session.outbox, []
        if seat.lost:
            seat.lost = False
            # No handle is as high.
            parts.append(websocket_frame(encode_you(self.region.id, self.region.entities_max)))
        parts += seat.before
        seat.before = []
        return parts

    def _stalled(self, seat: Seat) -> None:
        """The socket took nothing: the session has no view until it is read again."""
        session = seat.session
        self.frames_skipped += 1
        forget_views(session)
        if session.state is _JOINED:
            session.on(Happening.STALLED, self.frame_s)

    def catch_up(self, session: Session) -> None:
        """Tell again what a session may have missed while nothing was written to it. Clients take repetitions."""
        session.outbox = [websocket_frame(encode_receipt(seq)) for seq in session.durable or ()]
        session.outbox.append(websocket_frame(encode_ack(session.acked)))
        if session.welcome:
            session.outbox.insert(0, session.welcome)
            session.welcome = b""

    def _placed(self, frame: Frame) -> list[tuple[int, bytes]]:
        """The frame's events that have a place, as (cell, finished frame)."""
        placed = [e for e in frame.events if e.place is not None and not e.sessions]
        if not placed:
            return []
        xy = np.array([e.place for e in placed], np.int64)
        cells = self.replica.interest.cell(xy[:, 0], xy[:, 1])
        return [(c, websocket_frame(e.message)) for c, e in zip(cells.tolist(), placed, strict=True)]

    # -- who crosses a border ----------------------------------------------------------

    def _make_way(self, frame: Frame) -> None:
        """Let go of those whom no region showed in time, and of those whose handle is another's now."""
        late = frame.tick - self._limits.crossing_hold_ticks
        self.replica.forget(late)
        for entity, held in tuple(self.replica.held.items()):
            if held.tick <= late or (frame.entered.size and (frame.entered == held.handle).any()):
                self.release(entity)
                for seat in self.viewers:
                    session = seat.session
                    if session.crossing and (session.region, session.handle) == (self.region.id, held.handle):
                        # Who is not shown any more is nobody, until it is there; its handle may be somebody else's.
                        self.lose(seat)

    def release(self, entity: int, stream: RegionStream | None = None, handle: int = -1) -> None:
        """Show one who departed no longer here: `stream` shows it, under `handle`, with the frame it writes next.

        Without: its leave goes out with this region's own next frame.
        """
        self.release_all([(entity, handle)], stream)

    def release_all(self, those: Iterable[tuple[int, int]], stream: RegionStream | None) -> None:
        """`release` for many: (entity, handle) each. Who stood in one cell is told of at once to all who see it."""
        # Cell -> handles here, and what says who they are in the other stream.
        by_cell: dict[int, tuple[list[int], list[bytes]]] = {}
        onward = stream.region.id if stream is not None else 0
        for entity, handle in those:
            found = self.replica.release(entity)
            if found is not None:
                before, cell = found
                left, crosses = by_cell.setdefault(cell, ([], []))
                left.append(before)
                if stream is not None:
                    crosses.append(websocket_frame(encode_cross(self.region.id, before, onward, handle)))
        centres, interest = self._centres[: len(self.viewers)], self.replica.interest
        for cell, (left, crosses) in by_cell.items():
            leave, cross = self.fanout.without(left), b"".join(crosses)
            for place in np.flatnonzero(interest.distance(centres, np.int64(cell)) <= interest.far).tolist():
                seat = self.viewers[place]
                if not seat.fresh:
                    continue
                there = seat.session.seats.get(onward)
                if there is None or stream is None:
                    seat.before.append(leave)
                    self.mark(seat)
                else:
                    there.before.append(cross)
                    there.after.append(leave)
                    stream.mark(there)


def acknowledge(session: Session, seq: int) -> None:
    """Every input up to `seq` is applied: the session is told, if it was not, with what its home shows it next."""
    if seq > session.acked:
        session.acknowledged(seq)
        if session.state is _JOINED:
            session.outbox.append(websocket_frame(encode_ack(seq)))
            mark_home(session)


def mark_home(session: Session) -> None:
    """What waits for a session goes out with its home's next write; while it has none, with the first of its next."""
    home = session.home
    if home is not None:
        home.stream.mark(home)


def forget_views(session: Session) -> None:
    """The session gets a fresh view of every region it sees."""
    for seat in session.seats.values():
        seat.fresh = False
        seat.before, seat.after = [], []
        # The write that said who it is may be the very one that was refused.
        seat.you = seat.handle >= 0
        seat.stream.mark(seat)
