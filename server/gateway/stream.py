"""The stream: a region's frames in, one write per viewer and tick out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from protocol.codec import encode_ack, encode_receipt, encode_view_digest
from protocol.schema import Schema
from server.gateway.errors import FrameGap
from server.gateway.fanout import Fanout, websocket_frame
from server.gateway.interest import Cells, Interest, ViewSpec
from server.gateway.replica import NO_ARCHETYPE, Change, Replica
from server.gateway.session import Happening, Session, SessionState
from server.regions.frame import Frame, FrameEvent, RegionSpec
from server.shard.errors import BatchError
from server.shard.machine import PROCESSED, Records
from server.shard.ports import Bus, Clock, frames_topic, keyframes_topic, receipts_topic

_log = structlog.get_logger(__name__)

_JOINED: Final = SessionState.JOINED
_LAGGING: Final = SessionState.LAGGING


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """See config/settings.py."""

    quiet_ticks_max: int
    events_per_write_max: int
    receipts_max: int


def _nowhere(_frames: bytes) -> bool:
    return False


class RegionStream:
    """One region's viewers at this gateway.

    `sessions`: every session of the gateway, by id. `on_bound`, `on_refused`: told when a session's entity is
    there, or that it has none (any more), with the reason. `on_known`: told, with each keyframe, of every session that
    the region has (records of KNOWN).
    """

    def __init__(
        self,
        region: RegionSpec,
        schema: Schema,
        view: ViewSpec,
        bus: Bus,
        clock: Clock,
        sessions: dict[int, Session],
        *,
        limits: StreamLimits,
        on_bound: Callable[[Session, int], None],
        on_refused: Callable[[Session, str], None],
        on_known: Callable[[Records], None],
    ) -> None:
        self.region = region
        self.replica = Replica(
            schema, Interest(view, schema, region.width, region.height), region.entities_max, region.handle
        )
        self.fanout = Fanout(self.replica, region.id, limits.events_per_write_max)
        self.viewers: list[Session] = []
        # By place in `viewers`: how to write to it.
        self._writes: list[Callable[[bytes], bool]] = []
        # Sessions whose next write is not like its neighbours', in order of marking.
        self._own: dict[Session, None] = {}
        self.frame_s = clock.now_s()
        # Since the start; the gateway hands them to the metrics.
        self.frames_out = 0
        self.frames_skipped = 0
        self.bytes_out = 0
        self._schema = schema
        self._view = view
        self._bus = bus
        self._clock = clock
        self._sessions = sessions
        self._limits = limits
        self._on_bound = on_bound
        self._on_refused = on_refused
        self._on_known = on_known
        # (capacity,) by place in `viewers`: entity, own cell, ring phase.
        self._handles: NDArray[np.int64] = np.zeros(64, np.int64)
        self._centres: Cells = np.zeros(64, np.int64)
        self._phases: NDArray[np.int64] = np.zeros(64, np.int64)
        self._unsubscribe = [
            bus.subscribe(frames_topic(region.id), self._on_frame),
            bus.subscribe(receipts_topic(region.id), self._on_receipts),
        ]
        self._awaits_key = False
        self._ask_for_keyframe()

    def close(self) -> None:
        """Watch no more."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()

    @property
    def tick(self) -> int:
        """The replica's tick; -1 before the first keyframe."""
        return self.replica.tick

    # -- viewers -------------------------------------------------------------------

    def add(self, session: Session) -> None:
        """Show `session` the surroundings of its entity, from its next frame on."""
        if session.index < 0:
            session.index = len(self.viewers)
            self.viewers.append(session)
            self._writes.append(_nowhere)
            if len(self.viewers) > self._handles.size:
                self._handles, self._centres, self._phases = (
                    np.concatenate([a, np.zeros_like(a)]) for a in (self._handles, self._centres, self._phases)
                )
        handle = np.array([session.handle])
        assert session.socket is not None, "a viewer has somewhere to show things"
        self._writes[session.index] = session.socket.write
        session.fresh = False
        self.mark(session)
        session.centre = int(self.replica.interest.cell(*self.replica.position(handle))[0])
        self._handles[session.index] = session.handle
        self._centres[session.index] = session.centre
        self._phases[session.index] = session.phase % self._view.far_every_ticks

    def remove(self, session: Session) -> None:
        """Show it nothing more. Harmless for one that is no viewer."""
        at = session.index
        if at < 0:
            return
        session.index = -1
        self._own.pop(session, None)
        last, write = self.viewers.pop(), self._writes.pop()
        if last is not session:
            self.viewers[at], self._writes[at] = last, write
            last.index = at
            for array in (self._handles, self._centres, self._phases):
                array[at] = array[len(self.viewers)]

    # -- a tick ----------------------------------------------------------------------

    def _on_frame(self, data: bytes) -> None:
        try:
            frame = Frame.decode(data, self._schema)
        except BatchError as error:
            self._start_over(str(error))
            return
        if self._awaits_key and not frame.key:
            # What it says of sessions still counts; what it says of entities can't be used.
            self._tell_sessions(frame)
            return
        try:
            change = self.replica.apply(frame)
        except FrameGap as error:
            self._start_over(str(error))
            self._tell_sessions(frame)
            return
        self.frame_s = self._clock.now_s()
        try:
            if frame.key:
                self._awaits_key = False
                self._forget_views()
            self._tell_sessions(frame)
            if self.viewers:
                self._write_all(change, frame)
        except Exception:
            # Some have this frame and some do not: nobody's view is to be trusted, and none drifts in silence.
            self._start_over("a frame could not be shown")
            self._forget_views()
            raise

    def _start_over(self, reason: str) -> None:
        _log.warning("replica starts over", region=self.region.id, reason=reason)
        self._ask_for_keyframe()

    def _forget_views(self) -> None:
        """Everyone gets a fresh view with the next frame that can be shown."""
        for session in self.viewers:
            session.fresh = False
            self.mark(session)

    def _ask_for_keyframe(self) -> None:
        self._awaits_key = True
        self._bus.publish(keyframes_topic(self.region.id), b"")

    def _tell_sessions(self, frame: Frame) -> None:
        """Entities given and taken, acks, events for one."""
        sessions, own = self._sessions, self._own
        if frame.sessions is not None:
            self._on_known(frame.sessions)
        for session_id, row in frame.bound.tolist():
            session = sessions.get(session_id)
            if session is not None:
                self._on_bound(session, row)
        for session_id, reason in frame.refused:
            session = sessions.get(session_id)
            if session is not None:
                self._on_refused(session, reason)
        for session_id, seq in frame.acks.tolist():
            session = sessions.get(session_id)
            if session is not None:
                session.acked = seq
                if session.state is _JOINED:
                    session.outbox.append(websocket_frame(encode_ack(seq)))
                    own[session] = None
        for event in frame.events:
            self._tell_event(event)

    def _tell_event(self, event: FrameEvent) -> None:
        message = websocket_frame(event.message)
        if event.sessions:
            for session_id in event.sessions:
                session = self._sessions.get(session_id)
                if session is not None:
                    self.tell(session, message)
        elif event.place is None:
            for session in self.viewers:
                self.tell(session, message)

    def tell(self, session: Session, message: bytes) -> None:
        """Give a session an event with its next write. Full policy: the newest is dropped. Who lags hears nothing."""
        if session.state is _JOINED and len(session.outbox) < self._limits.events_per_write_max:
            session.outbox.append(message)
            self.mark(session)

    def _on_receipts(self, data: bytes) -> None:
        """Receipts leave at once, in a write of their own: the next frame is a tick away."""
        told: dict[Session, list[bytes]] = {}
        for session_id, seq in np.frombuffer(data, PROCESSED).tolist():
            session = self._sessions.get(session_id)
            if session is not None:
                session.receipts_due -= 1
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
                self.mark(session)
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
        here = replica.archetype[handles] != NO_ARCHETYPE
        moved_to = np.where(here, interest.recentre(centres, *replica.position(handles)), centres)
        moved = np.flatnonzero(centres != moved_to)
        shifts = dict(zip(moved.tolist(), moved_to[moved].tolist(), strict=True))
        self._centres[:n] = moved_to
        if ring_now.any():
            frames = [ring[s] if r else near[s] for s, r in zip(slots.tolist(), ring_now.tolist(), strict=True)]
        else:
            frames = [near[s] for s in slots.tolist()]
        # Most viewers need nothing but the shared frame; the others' frames are put in its place.
        own, self._own = self._own, {}
        own.update((self.viewers[place], None) for place in shifts)
        ringless = view.far == view.near
        for session in own:
            place = session.index
            if place >= 0:
                whole = ringless or bool(ring_now[place])
                frames[place] = self._own_frames(session, frames[place], shifts.get(place), whole=whole)
        # The one loop that runs for every client in every tick.
        took = [write(frame) if frame else True for write, frame in zip(self._writes, frames, strict=True)]
        self.frames_out += n - frames.count(b"")
        self.bytes_out += sum(map(len, frames))
        if False in took:
            for place in [p for p, taken in enumerate(took) if not taken]:
                self.frames_out -= 1
                self.bytes_out -= len(frames[place])
                self._stalled(self.viewers[place])

    def check(self, session: Session) -> None:
        """Tell the session its view's digest at the next tick at which the whole view is fresh."""
        session.check = True
        self.mark(session)

    def mark(self, session: Session) -> None:
        """This session's next write is not like its neighbours'."""
        self._own[session] = None

    def _own_frames(self, session: Session, shared: bytes, shift: int | None, *, whole: bool) -> bytes:
        """What goes beside the shared frame: acks, events, a moved view, a view digest; or a keyframe in its place."""
        before = session.centre
        if shift is not None:
            session.centre = shift
        if session.state is _LAGGING:
            if session.socket is None or session.socket.stalled():
                self.frames_skipped += 1
                self.mark(session)
                return b""
            session.on(Happening.DRAINED, self.frame_s)
            self.catch_up(session)
        parts = session.outbox
        session.outbox = []
        if not session.fresh:
            parts.append(self.fanout.keyframe(session.centre))
            session.fresh = whole = True
        else:
            parts.append(shared)
            if shift is not None:
                parts.append(self.fanout.shift(before, shift))
        if session.check:
            if whole:
                session.check = False
                count, crc = self.fanout.view_digest(session.centre)
                parts.append(websocket_frame(encode_view_digest(self.region.id, self.tick, count, crc)))
            else:
                self.mark(session)
        return b"".join(parts)

    def _stalled(self, session: Session) -> None:
        """The socket took nothing: the session has no view until it is read again."""
        self.frames_skipped += 1
        session.fresh = False
        self.mark(session)
        if session.state is _JOINED:
            session.on(Happening.STALLED, self.frame_s)

    def catch_up(self, session: Session) -> None:
        """Tell again what a session may have missed while nothing was written to it. Clients take repetitions."""
        session.outbox = [websocket_frame(encode_receipt(seq)) for seq in session.durable or ()]
        session.outbox.append(websocket_frame(encode_ack(session.acked)))

    def _placed(self, frame: Frame) -> list[tuple[int, bytes]]:
        """The frame's events that have a place, as (cell, finished frame)."""
        placed = [e for e in frame.events if e.place is not None and not e.sessions]
        if not placed:
            return []
        xy = np.array([e.place for e in placed], np.int64)
        cells = self.replica.interest.cell(xy[:, 0], xy[:, 1])
        return [(c, websocket_frame(e.message)) for c, e in zip(cells.tolist(), placed, strict=True)]
