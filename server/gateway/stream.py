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
from server.regions.frame import Frame, RegionSpec
from server.shard.errors import BatchError
from server.shard.machine import PROCESSED
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


class RegionStream:
    """One region's viewers at this gateway.

    `sessions`: every session of the gateway, by id. `on_bound`, `on_refused`: told when a session's entity is
    there, or that it has none (any more), with the reason.
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
    ) -> None:
        self.region = region
        self.replica = Replica(
            schema, Interest(view, schema, region.width, region.height), region.entities_max, region.handle
        )
        self.fanout = Fanout(self.replica, region.id, limits.events_per_write_max)
        self.viewers: list[Session] = []
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
            if len(self.viewers) > self._handles.size:
                self._handles, self._centres, self._phases = (
                    np.concatenate([a, np.zeros_like(a)]) for a in (self._handles, self._centres, self._phases)
                )
        handle = np.array([session.handle])
        session.fresh = False
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
        last = self.viewers.pop()
        if last is not session:
            self.viewers[at] = last
            last.index = at
            for array in (self._handles, self._centres, self._phases):
                array[at] = array[len(self.viewers)]

    # -- a tick ----------------------------------------------------------------------

    def _on_frame(self, data: bytes) -> None:
        try:
            frame = Frame.decode(data, self._schema)
            if self._awaits_key and not frame.key:
                # What it says of sessions still counts; what it says of entities can't be used.
                self._tell_sessions(frame)
                return
            change = self.replica.apply(frame)
        except (BatchError, FrameGap) as error:
            _log.warning("replica starts over", region=self.region.id, reason=str(error))
            self._ask_for_keyframe()
            return
        self.frame_s = self._clock.now_s()
        if frame.key:
            self._awaits_key = False
            for session in self.viewers:
                session.fresh = False
        self._tell_sessions(frame)
        if self.viewers:
            self._write_all(change, frame)

    def _ask_for_keyframe(self) -> None:
        self._awaits_key = True
        self._bus.publish(keyframes_topic(self.region.id), b"")

    def _tell_sessions(self, frame: Frame) -> None:
        """Acks, entities given and taken, events for one."""
        sessions = self._sessions
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
        for event in frame.events:
            if event.sessions:
                for session_id in event.sessions:
                    session = sessions.get(session_id)
                    if session is not None:
                        self.tell(session, websocket_frame(event.message))
            elif event.place is None:
                message = websocket_frame(event.message)
                for session in self.viewers:
                    self.tell(session, message)

    def tell(self, session: Session, message: bytes) -> None:
        """Give a session an event with its next write. Full policy: the newest is dropped. Who lags hears nothing."""
        if session.state is _JOINED and len(session.outbox) < self._limits.events_per_write_max:
            session.outbox.append(message)

    def _on_receipts(self, data: bytes) -> None:
        for session_id, seq in np.frombuffer(data, PROCESSED).tolist():
            session = self._sessions.get(session_id)
            if session is not None:
                session.receipts_due -= 1
                if session.durable is None:
                    session.durable = deque(maxlen=self._limits.receipts_max)
                session.durable.append(seq)
                if session.state is _JOINED:
                    session.outbox.append(websocket_frame(encode_receipt(seq)))

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
        shifted = dict(zip(*(a.tolist() for a in self._shifts(centres, moved_to)), strict=True))
        self._centres[:n] = moved_to
        ringless = view.far == view.near
        for session, slot, with_ring, place in zip(
            self.viewers, slots.tolist(), ring_now.tolist(), range(n), strict=True
        ):
            shared = ring[slot] if with_ring else near[slot]
            # What everyone needs, every tick: nothing but the shared frame.
            if session.fresh and not session.outbox and not session.check and place not in shifted:
                if shared:
                    self._write(session, shared)
                continue
            self._write_own(session, shared, shifted.get(place), whole=with_ring or ringless)

    def _write_own(self, session: Session, shared: bytes, shift: int | None, *, whole: bool) -> None:
        """A write that is not like its neighbours': acks, events, a moved view, a view digest, a keyframe."""
        if session.state is _LAGGING:
            socket = session.socket
            if socket is None or socket.stalled():
                self.frames_skipped += 1
                if shift is not None:
                    session.centre = shift
                return
            session.on(Happening.DRAINED, self.frame_s)
            self.catch_up(session)
        parts = session.outbox
        session.outbox = []
        if shift is not None:
            if session.fresh:
                parts.append(shared)
                parts.append(self.fanout.shift(session.centre, shift))
            session.centre = shift
        elif session.fresh:
            parts.append(shared)
        if not session.fresh:
            parts.append(self.fanout.keyframe(session.centre))
            session.fresh = True
            whole = True
        if session.check and whole:
            session.check = False
            count, crc = self.fanout.view_digest(session.centre)
            parts.append(websocket_frame(encode_view_digest(self.region.id, self.tick, count, crc)))
        frames = b"".join(parts)
        if frames:
            self._write(session, frames)

    def catch_up(self, session: Session) -> None:
        """Tell again what a session may have missed while nothing was written to it. Clients take repetitions."""
        session.outbox = [websocket_frame(encode_receipt(seq)) for seq in session.durable or ()]
        session.outbox.append(websocket_frame(encode_ack(session.acked)))

    def _write(self, session: Session, frames: bytes) -> None:
        socket = session.socket
        if socket is not None and socket.write(frames):
            self.frames_out += 1
            self.bytes_out += len(frames)
            return
        self.frames_skipped += 1
        session.fresh = False
        if session.state is _JOINED:
            session.on(Happening.STALLED, self.frame_s)

    def _shifts(self, old: Cells, new: Cells) -> tuple[NDArray[np.int64], Cells]:
        places = np.flatnonzero(old != new)
        return places, new[places]

    def _placed(self, frame: Frame) -> list[tuple[int, bytes]]:
        """The frame's events that have a place, as (cell, finished frame)."""
        placed = [e for e in frame.events if e.place is not None and not e.sessions]
        if not placed:
            return []
        xy = np.array([e.place for e in placed], np.int64)
        cells = self.replica.interest.cell(xy[:, 0], xy[:, 1])
        return [(c, websocket_frame(e.message)) for c, e in zip(cells.tolist(), placed, strict=True)]
