"""The gateway: connections become sessions, messages become commands; regions are the router's.

A long module: what a connection may say, what becomes of its session, and how either ends, is one story.
Single-threaded and without `await`: everything happens in a callback of a socket, of the bus or of the sweep.
"""

from __future__ import annotations

import functools
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import structlog

from protocol.codec import (
    decode_client,
    encode_bye,
    encode_error,
    encode_pong,
    encode_welcome,
)
from protocol.commands import CommandReader
from protocol.errors import CloseCode, ErrorCode, OutOfOrder, ProtocolError, RateExceeded
from protocol.limits import VERSION
from protocol.messages import Check, ClientMessage, Hello, Input, Leave, Ping, SessionLimits, Welcome
from protocol.schema import Schema
from server.gateway.auth import Authenticator, Player, is_guest
from server.gateway.errors import ResumeFailed, ResumeUnsure, Unauthorised
from server.gateway.fanout import websocket_frame
from server.gateway.interest import ViewSpec
from server.gateway.router import Router, RouterOptions, Sent
from server.gateway.search import Found, Searches
from server.gateway.session import Happening, Session, SessionState, TokenBucket
from server.gateway.socket import GameSocket
from server.gateway.stream import StreamLimits
from server.observe.health import Health
from server.observe.metrics import Metrics
from server.regions.atlas import Atlas
from server.regions.frame import SESSION_OVER
from server.shard.machine import NAME_BYTES
from server.shard.ports import Bus, Clock
from server.sim.game import text

_log = structlog.get_logger(__name__)

# Session ids fit the integers a browser's JavaScript has; numbers of gateways are not told, and drawn alike.
_SESSION_BITS: Final = 53
_NUMBER_BITS: Final = 53
# What the count of a session's connections begins with where it is taken over; it has room for as many again.
_CONNECTION_BITS: Final = 31
# Seconds after which one malformed message is forgotten.
_FORGIVE_MALFORMED_SWEEPS: Final = 10


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """Limits; see config/settings.py for meaning and units."""

    connections_max: int
    connections_per_address_max: int
    loopback_exempt: bool
    handshake_timeout_s: float
    idle_timeout_s: float
    frame_bytes_max: int
    receive_bytes_per_s: float
    receive_burst_bytes: int
    inputs_per_s: float
    inputs_burst: int
    flood_strikes_max: int
    malformed_max: int
    lag_timeout_s: float
    send_buffer_bytes: int
    receipts_max: int
    events_per_write_max: int
    grace_s: float
    quiet_ticks_max: int
    inputs_unacked_max: int
    crossing_hold_ticks: int
    watch_linger_s: float
    tick_rate_hz: float
    # Commands that may wait to be handed to a region.
    link_max: int


class Gateway:
    """A socket.Listener and a RouterListener. One per process."""

    def __init__(
        self,
        schema: Schema,
        atlas: Atlas,
        view: ViewSpec,
        bus: Bus,
        clock: Clock,
        authenticator: Authenticator,
        options: GatewayOptions,
        metrics: Metrics,
        health: Health,
    ) -> None:
        self.sessions: dict[int, Session] = {}
        # In order of their coming: whoever closes them all goes the same way every time.
        self.sockets: dict[GameSocket, None] = {}
        # Which of the world's gateways this is: another number for each process.
        number = secrets.randbits(_NUMBER_BITS) or 1
        regions = [region.id for region in atlas.sites]
        self.searches = Searches(number, regions, bus, clock, self._taken, self._joins, self._outdated)
        self.router = Router(
            atlas,
            schema,
            view,
            bus,
            clock,
            self.sessions,
            self.searches,
            StreamLimits(
                # The protocol promises a DELTA per second.
                min(options.quiet_ticks_max, max(1, int(options.tick_rate_hz))),
                options.events_per_write_max,
                options.receipts_max,
                options.crossing_hold_ticks,
            ),
            RouterOptions(options.link_max, options.inputs_unacked_max, options.watch_linger_s, options.grace_s),
            self,
        )
        self._schema = schema
        self._clock = clock
        self._auth = authenticator
        self._options = options
        self._metrics = metrics
        self._health = health
        self._reader = CommandReader(schema, self.router.number_of)
        self._reliable = frozenset(c.id for c in schema.commands if c.reliable)
        self._addresses: Counter[str] = Counter()
        self._by_player: dict[str, Session] = {}
        # Connections whose HELLO waits for regions to say who has the session.
        self._searching: set[GameSocket] = set()
        # Since the last sweep; handed to the metrics there.
        self._inputs = 0
        self._dropped: Counter[str] = Counter()
        self._reported = Sent()
        self._sweeps = 0
        self._limits = SessionLimits(
            frame_bytes_max=options.frame_bytes_max,
            inputs_per_s=options.inputs_per_s,
            inputs_burst=options.inputs_burst,
            grace_s=options.grace_s,
            idle_s=options.idle_timeout_s,
        )

    # -- sockets -------------------------------------------------------------------

    def opened(self, socket: GameSocket) -> None:
        """A connection is there; it has until the handshake timeout for its HELLO."""
        now_s = self._clock.now_s()
        options = self._options
        self.sockets[socket] = None
        self._addresses[socket.address] += 1
        bucket = TokenBucket(options.inputs_per_s, options.inputs_burst, now_s)
        socket.session = Session(secrets.randbits(_SESSION_BITS) or 1, socket, bucket, now_s)
        # Not at HELLO, which may have lain here while this process stood still and its player went elsewhere. HELLO
        # cannot have been sent sooner than this.
        socket.session.came_s = now_s
        if len(self.sockets) > options.connections_max:
            self._end(socket, CloseCode.FULL, "no room: too many connections")
        elif self._addresses[socket.address] > options.connections_per_address_max and not self._exempt(socket):
            self._end(socket, CloseCode.ADDRESS_LIMIT, "too many connections from your address")

    def _exempt(self, socket: GameSocket) -> bool:
        return self._options.loopback_exempt and socket.address in ("127.0.0.1", "::1", "local")

    def received(self, socket: GameSocket, message: bytes) -> None:
        """A message. Whatever it is, it has no effect on anybody else."""
        session: Session = socket.session
        now_s = session.heard_s = self._clock.now_s()
        decoded: ClientMessage | None = None
        try:
            decoded = decode_client(message)
            session.may_say(decoded)
            # Before anything is done for it. What makes no sense was refused above, and has a limit of its own.
            if not session.bucket.take(now_s):
                raise RateExceeded("too many messages")
            match decoded:
                case Input():
                    self._input(session, decoded)
                case Ping():
                    self._pong(socket, decoded)
                case Hello():
                    self._hello(socket, session, decoded, now_s)
                case Check():
                    self.router.check(session)
                case Leave():
                    self._finish(session, CloseCode.NORMAL, "goodbye")
        except RateExceeded as error:
            if isinstance(decoded, Input) and decoded.command in self._reliable:
                # Passed over, with a higher number taken after it, nothing would tell it from one that was applied; a
                # world that starts again would confirm it. So nothing comes after it: the client returns with it.
                self._dropped["rate_exceeded"] += 1
                self._end(socket, CloseCode.FLOOD, f"{error}; a reliable one is not passed over")
                return
            self._flooded(socket, session, error, decoded)
        except ProtocolError as error:
            self._malformed(socket, session, error, decoded)
        except Exception:  # noqa: BLE001  # a bug of ours costs this connection and nobody else, and is logged
            _log.exception("message failed", session=session.id)
            self._end(socket, CloseCode.INTERNAL, "an error of the server's own")

    def received_text(self, socket: GameSocket) -> None:
        """A text frame: the protocol has none."""
        self._end(socket, CloseCode.UNSUPPORTED, "binary frames only")

    def flooded(self, socket: GameSocket) -> None:
        """A connection sent more bytes than anyone may."""
        self._dropped["bytes"] += 1
        self._end(socket, CloseCode.FLOOD, "more bytes came than a client may send")

    def lost(self, socket: GameSocket) -> None:
        """A connection broke or was closed."""
        self.sockets.pop(socket, None)
        self._searching.discard(socket)
        self._addresses[socket.address] -= 1
        if not self._addresses[socket.address]:
            del self._addresses[socket.address]
        if not socket.ending:
            self._metrics.disconnects_total.labels(socket.fault or "client").inc()
        session: Session = socket.session
        if session.socket is not socket:
            return
        session.socket = None
        if session.state is SessionState.CLOSED:
            return
        now_s = self._clock.now_s()
        if session.state is SessionState.CONNECTING:
            session.on(Happening.ENDED, now_s)
            return
        joining = session.state is SessionState.JOINING
        if joining and session.handle < 0 and is_guest(session.player):
            # There is nothing yet by which it could come back: its avatar would wait in the world for nobody.
            self._finish(session, CloseCode.NORMAL, "given up before it began")
            return
        session.on(Happening.LOST, now_s)
        session.outbox.clear()
        self.router.unseat(session)
        # One whose entity is not there yet is told of as away when it comes, if it still is.
        if not joining:
            self.router.presence(session)

    # -- messages --------------------------------------------------------------------

    def _input(self, session: Session, message: Input) -> None:
        # It speaks after WELCOME, so it has the token that WELCOME brought.
        session.nonce_before = 0
        # A bare handle is of the region that the client has been told it is in.
        values = self._reader.read(message, session.counts_in or session.region)
        if message.seq <= session.seq_in:
            # A repetition after a resume: it is, or will be, processed.
            self._dropped["duplicate"] += 1
            if message.command in self._reliable:
                self._ask_again(session, message, values)
            return
        reliable = message.command in self._reliable
        if reliable:
            # However busy the world is: of what is above the limit nothing comes after it, see `received`.
            self._room_for_receipt(session)
        elif self.router.busy(session):
            self._dropped["link_full"] += 1
            if session.socket is not None:
                busy = encode_error(ErrorCode.FULL, "the world is busy: the input was not taken", message.seq)
                session.socket.write(websocket_frame(busy))
            return
        session.seq_in = message.seq
        self._inputs += 1
        self.router.say(session, message.command, message.seq, values, reliable=reliable)

    def _ask_again(self, session: Session, message: Input, values: tuple[Any, ...]) -> None:
        """Whether an input that was processed is durable, its region says: its receipt may have been lost."""
        if message.seq in session.due:
            return
        self._room_for_receipt(session)
        session.due[message.seq] = (message.seq, message.command, values)
        self.router.say_again(session)

    def _room_for_receipt(self, session: Session) -> None:
        if len(session.due) >= self._options.receipts_max:
            raise RateExceeded("too many reliable commands without a receipt")

    def _malformed(self, socket: GameSocket, session: Session, error: ProtocolError, message: object) -> None:
        self._dropped[error.code.name.lower()] += 1
        session.malformed += 1
        if session.malformed > self._options.malformed_max:
            self._end(socket, CloseCode.PROTOCOL, f"too many bad messages; the last: {error}")
        else:
            seq = message.seq if isinstance(message, Input) else None
            socket.write(websocket_frame(encode_error(error.code, str(error), seq)))

    def _flooded(self, socket: GameSocket, session: Session, error: RateExceeded, message: object) -> None:
        self._dropped["rate_exceeded"] += 1
        session.strikes += 1
        if session.strikes > self._options.flood_strikes_max:
            self._end(socket, CloseCode.FLOOD, "inputs kept coming above the limit")
        elif session.strikes & (session.strikes - 1) == 0:
            # Told at the 1st, 2nd, 4th, 8th … strike: answering each would double the flood.
            seq = message.seq if isinstance(message, Input) else None
            socket.write(websocket_frame(encode_error(error.code, str(error), seq)))

    def _pong(self, socket: GameSocket, message: Ping) -> None:
        session: Session = socket.session
        # Not that of the region that has its entity: while YOU waits for a view, the client has not heard of that one.
        stream = self.router.watch(session.counts_in) if session.counts_in else self.router.stream(session)
        since_s = self._clock.now_s() - stream.frame_s
        rate_hz = stream.measured_hz(self._options.tick_rate_hz)
        pong = encode_pong(message.client_time, max(0, stream.tick), int(since_s * 1e6), round(rate_hz * 1000))
        socket.write(websocket_frame(pong))

    def _hello(self, socket: GameSocket, session: Session, hello: Hello, now_s: float) -> None:
        if hello.version != VERSION:
            self._end(socket, CloseCode.VERSION, f"version {VERSION} is spoken here, not {hello.version}")
            return
        if socket in self._searching:
            raise OutOfOrder("the HELLO before is being answered")
        try:
            if hello.resume is not None:
                self._resume(socket, session, hello.resume, now_s)
                return
            player = self._auth.admit(hello.token, session.id)
        except ResumeUnsure:
            self._come_again(socket)
            return
        except ResumeFailed as error:
            self._resume_failed(socket, str(error))
            return
        except Unauthorised as error:
            self._end(socket, CloseCode.UNAUTHORISED, str(error))
            return
        present = self._by_player.get(player.id)
        if present is not None and present.state is not SessionState.CLOSED:
            # An account is in the world once: whoever comes last with its token plays it.
            self._attach(socket, session, present, now_s)
        elif hello.token is None:
            self._admit(socket, session, player, hello)
        else:
            # It may be there through another gateway.
            otherwise = functools.partial(self._admit, socket, session, player, hello)
            self._search(socket, session, 0, 0, player.id, otherwise, functools.partial(self._come_again, socket))

    def _search(
        self,
        socket: GameSocket,
        newcomer: Session,
        session: int,
        nonce: int,
        player: str,
        otherwise: Callable[[], None],
        unsure: Callable[[], None],
    ) -> None:
        """Give a connection the session that a region has, if one has it: of this number, or this account's.

        `nonce`: that of the token it brought, 0 for none.
        `unsure`: instead of `otherwise`, where a region that may have it did not answer.
        """

        def done(found: Found | None, *, sure: bool) -> None:
            self._searching.discard(socket)
            if socket.ending or socket not in self.sockets or newcomer.state is not SessionState.CONNECTING:
                return
            if found is None:
                (otherwise if sure else unsure)()
                return
            known = self.sessions.get(found.session)
            if known is None:
                if len(self.sessions) >= self._options.connections_max:
                    self._end(socket, CloseCode.FULL, "no room: too many sessions")
                    return
                known = self._adopt(found, socket.address)
            known.nonce_before = nonce
            self._attach(socket, newcomer, known, self._clock.now_s())

        self._searching.add(socket)
        self.searches.begin(session, player, done)

    def _adopt(self, found: Found, address: str) -> Session:
        """A session that came into the world through another gateway, or before this one began."""
        now_s, options = self._clock.now_s(), self._options
        bucket = TokenBucket(options.inputs_per_s, options.inputs_burst, now_s)
        session = self.sessions[found.session] = Session(found.session, None, bucket, now_s)
        session.state = SessionState.RESUMING
        session.address = address
        session.player, session.name = text(found.player), text(found.name)
        session.region, session.handle, session.roamed = found.region, found.handle, True
        session.acked = session.seq_in = found.seq
        session.connection = session.began = secrets.randbits(_CONNECTION_BITS)
        self._by_player[session.player] = session
        return session

    def _resume_failed(self, socket: GameSocket, reason: str) -> None:
        # Not the end: the client may say HELLO again, without the token. With others it may not go on for ever: all
        # regions are asked for each.
        session: Session = socket.session
        session.malformed += 1
        if session.malformed > self._options.malformed_max:
            self._end(socket, CloseCode.PROTOCOL, f"too many bad resume tokens; the last: {reason}")
            return
        socket.write(websocket_frame(encode_error(ErrorCode.RESUME_FAILED, reason, None)))

    def _admit(self, socket: GameSocket, session: Session, player: Player, hello: Hello) -> None:
        """A new session, if there is room for one."""
        present = self._by_player.get(player.id)
        if present is not None and present.state is not SessionState.CLOSED:
            # Another connection of the account was here sooner, while both were looked for elsewhere.
            self._attach(socket, session, present, self._clock.now_s())
            return
        if len(self.sessions) >= self._options.connections_max:
            self._end(socket, CloseCode.FULL, "no room: too many sessions")
            return
        # Those who wait for their player count: hanging up is no way to a second avatar.
        if not self._exempt(socket):
            of_address = sum(s.address == socket.address for s in self.sessions.values())
            if of_address >= self._options.connections_per_address_max:
                self._end(socket, CloseCode.ADDRESS_LIMIT, "too many sessions of your address")
                return
        session.player = player.id
        session.address = socket.address
        session.name = _clean_name(player.name or hello.name or f"guest-{session.id % 0x10000:04x}")
        session.on(Happening.ADMITTED, self._clock.now_s())
        self.sessions[session.id] = session
        self._by_player[player.id] = session
        self.router.join(session)

    def _resume(self, socket: GameSocket, session: Session, token: str, now_s: float) -> None:
        session_id, nonce, gateway = self._auth.read_resume(token)
        old = self.sessions.get(session_id)
        if old is None or old.state is SessionState.CLOSED:
            self._search(
                socket,
                session,
                session_id,
                nonce,
                "",
                lambda: self._resume_failed(socket, "the session is over"),
                functools.partial(self._come_again, socket),
            )
            return
        # Of a session from before a restart any token counts, once: which was its last is not known here. And one that
        # another gateway gave: it spoke for the session since, though it was not heard of here.
        if nonce not in (old.nonce, old.nonce_before):
            if old.nonce and (nonce == old.nonce_elsewhere or gateway == self.searches.number):
                raise ResumeFailed("the resume token is spent")
            old.nonce = old.nonce_elsewhere = nonce
        # However many a WELCOME gets lost on its way, what it came with brings it back until it is heard.
        old.nonce_before = nonce
        self._attach(socket, session, old, now_s)

    def _come_again(self, socket: GameSocket) -> None:
        """Nothing is over: the region that has the session may be on its way from a node that died to another."""
        self._end(socket, CloseCode.INTERNAL, "a part of the world does not answer")

    def _attach(self, socket: GameSocket, newcomer: Session, session: Session, now_s: float) -> None:
        """`socket` is the session's connection from now on."""
        if session.socket is not None:
            before = session.socket
            session.socket = None
            self._end(before, CloseCode.REPLACED, "resumed by another connection")
        newcomer.state = SessionState.CLOSED
        socket.session = session
        session.socket = socket
        session.came_s = max(session.came_s, newcomer.came_s)
        # A connection begins with a clean record: what an earlier one did closed that one.
        session.bucket = newcomer.bucket
        session.strikes, session.malformed = newcomer.strikes, newcomer.malformed
        session.heard_s = now_s
        session.outbox.clear()
        self.router.unseat(session)
        there = session.handle >= 0 and not session.crossing
        session.on(Happening.RESUMED if there else Happening.READMITTED, now_s)
        # Where her entity is not there yet, too, as far as is heard here: it may be, and another gateway have it.
        self.router.presence(session)
        # What was said before this is no word on a connection that came after it; see `_taken`.
        session.began = session.connection
        if there:
            self._welcome(session, resumed=True)

    # -- the router's word -------------------------------------------------------------

    def bound(self, session: Session, *, resumed: bool) -> None:
        """A session that waited for its entity has one. `resumed`: it had one before."""
        session.on(Happening.BOUND, self._clock.now_s())
        if session.state is SessionState.JOINED:
            # Its player came more than once until it was heard here that she is there, and may have played elsewhere
            # meanwhile: that this is a new session, in which nothing was sent, would not be true.
            self._welcome(session, resumed=resumed or session.began > 0 or session.acked > 0)
        else:
            self.router.presence(session)

    def refused(self, session: Session, reason: str) -> None:
        """It will have none, or has none any more."""
        code = CloseCode.REMOVED if session.handle >= 0 else CloseCode.FULL
        if reason == SESSION_OVER:
            # Its player came back as it ended, or its end was not heard here: who comes again is told that there is
            # none, and begins a new one.
            code = CloseCode.INTERNAL
        self._finish(session, code, reason, tell_region=False)

    def _joins(self, player: str) -> bool:
        """Whether an account is about to have an entity, as far as is known here."""
        session = self._by_player.get(player)
        if session is None or session.state is SessionState.CLOSED:
            return False
        # Who is on the way may be nowhere, where a region came back from an earlier moment, and join once more.
        return session.handle < 0 or session.crossing > 0

    def _outdated(self, session: int, region: int, epoch: int, tick: int) -> bool:
        """Whether what a region said of who is there is older than what was heard of it since, or was said to it."""
        stream = self.router.streams.get(region)
        return self.router.left(session, region) or (stream is not None and stream.outdates(epoch, tick))

    def _taken(self, region: int, session_id: int, word: int) -> None:
        """Another gateway speaks for a session now. `word`: the last of ours that its region heard."""
        session = self.sessions.get(session_id)
        # Its player may have come back here since.
        over = session is not None and session.began <= word <= session.connection
        self.router.let_go(region, session_id, session.connection if session is not None and over else word)
        if session is None:
            self.router.forget(session_id)
        elif over:
            if session.region != region:
                # Where it has gone since we may have been sooner; who lets go of it here never says that it leaves.
                self.router.let_go(session.region, session_id, session.connection)
            self._finish(session, CloseCode.REPLACED, "resumed at another gateway", tell_region=False)

    def _welcome(self, session: Session, *, resumed: bool) -> None:
        socket = session.socket
        if socket is None:
            return
        stream = self.router.stream(session)
        session.nonce = secrets.randbits(31) or 1
        session.counts_in = session.region
        welcome = Welcome(
            session=session.id,
            resume=self._auth.resume_token(session.id, session.nonce, self.searches.number),
            resumed=resumed,
            ack=session.acked,
            taken=session.seq_in,
            tick=max(0, stream.tick),
            tick_rate_hz=self._options.tick_rate_hz,
            name=session.name,
            regions=self.router.infos,
            entity=(session.region, session.handle),
            limits=self._limits,
            schema=self._schema,
        )
        frame = websocket_frame(encode_welcome(welcome))
        session.welcome = b"" if socket.write(frame) else frame
        if session.welcome:
            # Something waits, such as the pong to a ping that came along. Until it is read no region may show anything.
            session.on(Happening.STALLED, self._clock.now_s())
        elif resumed:
            stream.catch_up(session)
        self.router.seat(session)

    # -- endings -----------------------------------------------------------------------

    def _end(self, socket: GameSocket, code: CloseCode, reason: str) -> None:
        """Close a connection. Its session, if it is in the world, waits for the grace time."""
        if not socket.ending:
            self._metrics.disconnects_total.labels(code.name.lower()).inc()
            socket.end(websocket_frame(encode_bye(code, reason)), code, reason)

    def _finish(self, session: Session, code: CloseCode, reason: str, *, tell_region: bool = True) -> None:
        """End a session, and its connection if it has one."""
        if session.state is SessionState.CLOSED:
            return
        session.on(Happening.ENDED, self._clock.now_s())
        self.router.unseat(session)
        self.sessions.pop(session.id, None)
        if self._by_player.get(session.player) is session:
            del self._by_player[session.player]
        if tell_region:
            self.router.leave(session)
        if session.socket is not None:
            self._end(session.socket, code, reason)

    def flush(self, region: int | None = None) -> None:
        """Send what waits for this region, or for all of them, and ask again what nobody answered."""
        self.searches.turn()
        self.router.flush(region)

    def close(self) -> None:
        """Listen no more."""
        self.searches.close()
        self.router.close()

    def sweep(self) -> None:
        """Once a second: time limits, and numbers for the metrics."""
        # Where no region of this process ticks, because they all sleep, nobody else would.
        self.flush()
        self._sweeps += 1
        now_s, options = self._clock.now_s(), self._options
        for socket in tuple(self.sockets):
            session: Session = socket.session
            if socket.ending:
                continue
            # Forgiven by and by: a slip now and then, over hours, is no flood.
            session.strikes = max(0, session.strikes - 1)
            if session.malformed and self._sweeps % _FORGIVE_MALFORMED_SWEEPS == 0:
                session.malformed -= 1
            if session.state is SessionState.CONNECTING and now_s - session.since_s > options.handshake_timeout_s:
                self._end(socket, CloseCode.HANDSHAKE_TIMEOUT, "no HELLO in time")
            elif session.state is SessionState.LAGGING and now_s - session.since_s > options.lag_timeout_s:
                self._end(socket, CloseCode.TOO_SLOW, "frames were not read in time")
            elif now_s - session.heard_s > options.idle_timeout_s:
                self._end(socket, CloseCode.IDLE_TIMEOUT, "nothing heard in time")
        for session in tuple(self.sessions.values()):
            if session.state is SessionState.RESUMING and now_s - session.since_s > options.grace_s:
                self._finish(session, CloseCode.NORMAL, "the grace time is over")
        self.router.sweep()
        self._report()

    def farewell(self) -> None:
        """The server stops: tell everyone."""
        for socket in tuple(self.sockets):
            self._end(socket, CloseCode.GOING_AWAY, "the server is stopping")

    def _report(self) -> None:
        metrics = self._metrics
        states = Counter(s.session.state for s in self.sockets)
        states[SessionState.RESUMING] = sum(s.state is SessionState.RESUMING for s in self.sessions.values())
        for state in SessionState:
            metrics.sessions.labels(state.value).set(states[state])
        metrics.inputs_total.inc(self._inputs)
        self._inputs = 0
        for reason, n in self._dropped.items():
            metrics.inputs_dropped_total.labels(reason).inc(n)
        self._dropped.clear()
        now, before = self.router.sent, self._reported
        self._reported = now
        metrics.frames_in_total.inc(now.heard - before.heard)
        metrics.frames_out_total.inc(now.frames - before.frames)
        metrics.frames_skipped_total.inc(now.skipped - before.skipped)
        metrics.bytes_out_total.inc(now.octets - before.octets)
        self._health.readers(states[SessionState.JOINED])
        self._health.sent(now.frames - before.frames)


def _clean_name(name: str) -> str:
    """A name fit to be shown: printable, trimmed, at most NAME_BYTES of UTF-8."""
    printable = "".join(c for c in name if c.isprintable()).strip()
    return printable.encode()[:NAME_BYTES].decode("utf-8", "ignore") or "guest"
