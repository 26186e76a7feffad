"""The reception: gateways' batches into a shard's inbox, and whose sessions are here.

A gateway that speaks for a session has it: it says when the player is away, waits for them, and says when they leave
for good. Of several the one has it that its player came to last. A gateway that falls silent has nothing any more: its
players are away, any gateway that they come to later may speak for them, and who is not spoken for when the grace
time is over leaves.

Nothing of this is state. A host that starts anew has heard of nobody, so everyone has the grace time to be heard of.
What follows from it (PRESENCE, LEAVE) goes through the inbox and the journal as if a gateway had sent it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import msgpack
import numpy as np
import structlog

from server.shard.errors import BatchError
from server.shard.inbox import Inbox
from server.shard.machine import AWAY, CLAIM, HERE, JOIN, LEAVE, LET_GO, PRESENCE, Machine, Records, decode_batches
from server.shard.ports import SEEK_TOPIC, Bus, Clock, links_topic, sessions_topic, uplink_topic
from server.shard.uplink import Incoming, Packet

_log = structlog.get_logger(__name__)

# Sweeps for which a claim on a session that is not here is kept: its JOIN may wait for a tick. Not seconds: while time
# waits for the store it waits for as long, and who came then would be nobody's, and thrown out after the grace time.
_CLAIM_SWEEPS: Final = 10
# Seconds that a gateway is told at each sweep that a session of its own is another's now, where it does not answer.
_TAKEN_S: Final = 60.0
# Seconds for which what a gateway said before it fell silent may yet be on its way.
_LATE_S: Final = 60.0
# Seconds per second by which what the fastest packet told of a gateway's clock counts for less: more than two clocks
# part, and little enough that who waited for a stopped host is told from who came late.
_DRIFT: Final = 0.5
# Seconds for which an account that a gateway has asked for is let in by no other one: until that one has been answered,
# and its player is in the world or about to be.
_SOUGHT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class ReceptionOptions:
    """See config/settings.py for meaning and units."""

    gateway_silence_s: float = 2.0
    grace_s: float = 30.0
    sweep_s: float = 0.5


@dataclass(slots=True)
class _Gateway:
    heard_s: float
    # How far this host's clock is ahead of the gateway's: too far by as much as the fastest packet of late was on its
    # way. What one packet says is no measure: it may have waited as this host was stopped, and a batch may be taken
    # with a packet of before it.
    ahead_s: float
    # What its own clock showed when it sent the last packet that was heard.
    sent_ms: int
    incoming: Incoming = field(default_factory=Incoming)


@dataclass(slots=True)
class _Claim:
    gateway: int
    # Sweeps since it spoke for the session last, or the session was seen here last.
    sweeps: int
    # The number of its word that counted last.
    word: int
    # When the player came to it, by the gateway's own clock.
    came_s: float
    # Whether the session was here since the gateway speaks for it, or its JOIN came; and what was said of its presence
    # before that: the gateway took it for being here, as an owner of before told it, and will not say so again.
    here: bool = False
    presence: int | None = None
    # How far this host's clock was ahead of that, once the gateway has fallen silent. It is nobody's claim then, but
    # whoever was left before that has none either, and is told.
    ahead_s: float | None = None


@dataclass(slots=True)
class _Absence:
    """Of a session that nobody speaks for."""

    since_s: float
    # Whether the world knows.
    told: bool = False


@dataclass(slots=True)
class _Taken:
    """A gateway is told that a session is another's: which word of its own counted last, and since when it is told."""

    word: int
    since_s: float


class Reception:
    """One shard's. `sweep` before each tick. `epoch`: as whom its host runs it."""

    def __init__(
        self,
        machine: Machine,
        inbox: Inbox,
        bus: Bus,
        clock: Clock,
        options: ReceptionOptions,
        epoch: Callable[[], int] = lambda: 0,
    ) -> None:
        self._machine = machine
        self._inbox = inbox
        self._bus = bus
        self._clock = clock
        self._options = options
        self._epoch = epoch
        self._gateways: dict[int, _Gateway] = {}
        # Those that fell silent: when each was heard last, and what its own clock showed then. Of a copy of its first
        # batch that is late its stream would begin anew here, and never go on, for the gateway has had the answers to
        # all that came after it. And who has left since would join again.
        self._silent: dict[int, tuple[float, int]] = {}
        self._claims: dict[int, _Claim] = {}
        # Session -> since when nobody speaks for it.
        self._away: dict[int, _Absence] = {}
        # (gateway, session), for those that have to hear it.
        self._taken: dict[tuple[int, int], _Taken] = {}
        # Account -> the gateway that is told that nobody has it, and when that asked last; in the order of that.
        self._sought: dict[bytes, tuple[int, float]] = {}
        # Orders PRESENCE of several gateways in one tick: as it came.
        self._presences = 0
        self._swept_s = clock.now_s()
        # What happened since the start: gateways that fell silent though players of theirs are here, sessions that were
        # left alone for too long.
        self.counts: Counter[str] = Counter()
        self._unsubscribe = [
            bus.subscribe(uplink_topic(machine.shard), self._on_packet),
            bus.subscribe(SEEK_TOPIC, self._on_seek),
        ]

    def close(self) -> None:
        """Listen no more."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()

    @property
    def heard(self) -> bool:
        """Whether a gateway is there that looks at the shard, or speaks for one of its sessions."""
        return bool(self._gateways)

    # -- batches -------------------------------------------------------------------

    def _on_packet(self, data: bytes) -> None:
        try:
            packet = Packet.decode(data)
        except BatchError as error:
            _log.warning("packet refused", shard=self._machine.shard, reason=str(error))
            return
        now_s = self._clock.now_s()
        ahead_s = now_s - packet.sent_ms / 1000
        gateway = self._gateways.get(packet.gateway)
        if gateway is None:
            last = self._silent.get(packet.gateway)
            if last is not None and packet.sent_ms <= last[1]:
                return
            gateway = self._gateways[packet.gateway] = _Gateway(now_s, ahead_s, packet.sent_ms)
        gateway.ahead_s = min(gateway.ahead_s + (now_s - gateway.heard_s) * _DRIFT, ahead_s)
        gateway.heard_s = now_s
        gateway.sent_ms = max(gateway.sent_ms, packet.sent_ms)
        batch = gateway.incoming.hear(packet)
        while batch is not None and self._take(packet.gateway, batch):
            batch = gateway.incoming.took()
        answer = gateway.incoming.answer(self._machine.shard, packet, self._inbox.room, self._epoch())
        self._bus.publish(links_topic(packet.gateway), answer.encode())

    def _take(self, gateway: int, data: bytes) -> bool:
        """False: the inbox has no room. Nothing of it is taken: the gateway will send it again.

        Of one that is repeated for as long as the store is away, the engine's commands would pile up, and speak for
        players again who have gone to another gateway meanwhile. And for as long as that lasts players come, wait and
        go again, each with commands of the engine's: where nothing of the game's would be taken, these are not either.
        """
        try:
            batches = decode_batches(data, self._machine.shapes)
        except BatchError as error:
            _log.warning("command batch refused", shard=self._machine.shard, reason=str(error))
            return True
        if not (self._inbox.room and self._inbox.fits(batches)):
            return False
        claims = batches.pop(CLAIM, None)
        told = self._claim(gateway, claims) if claims is not None else frozenset[int]()
        for kind in (JOIN, PRESENCE, LEAVE):
            if kind in batches:
                spoken_for = self._attend(gateway, kind, batches[kind], told)
                if spoken_for.size:
                    batches[kind] = spoken_for
                else:
                    del batches[kind]
        if PRESENCE in batches:
            batches[PRESENCE] = self._numbered(batches[PRESENCE])
        return self._inbox.admit(batches)

    def _numbered(self, records: Records) -> Records:
        """Each gateway counts its own: of what two say in one tick, what came last counts."""
        numbered = records.copy()
        numbered["seq"] = np.arange(self._presences + 1, self._presences + 1 + records.size)
        self._presences += records.size
        return numbered

    def _claim(self, gateway: int, claims: Records) -> frozenset[int]:
        """Give each session to the gateway that its player came to last. Returns those that are another's.

        Whoever speaks of a session may have been cut off while its player went elsewhere, or may have looked for it
        for so long that its player gave up: what counts is neither who says so last nor who says so first.
        """
        now_s, ahead_s = self._clock.now_s(), self._gateways[gateway].ahead_s
        # What its clock shows now: no less than when it said any of this.
        shows_ms = round((now_s - ahead_s) * 1000)
        others: set[int] = set()
        for session, word, came_ms in claims.tolist():
            came_s = (shows_ms - (shows_ms - came_ms) % 2**32) / 1000
            claim = self._claims.get(session)
            if claim is not None and claim.gateway != gateway:
                theirs_s = self._gateways[claim.gateway].ahead_s if claim.ahead_s is None else claim.ahead_s
                if claim.came_s + theirs_s > came_s + ahead_s:
                    others.add(session)
                    self._say_taken(gateway, session, word)
                    continue
                self._say_taken(claim.gateway, session, claim.word)
            self._taken.pop((gateway, session), None)
            here = claim is not None and (claim.gateway, claim.ahead_s) == (gateway, None) and claim.here
            self._claims[session] = _Claim(gateway, 0, word, came_s, here)
        return frozenset(others)

    def _attend(self, gateway: int, kind: int, records: Records, told: frozenset[int]) -> Records:
        """Note what a gateway says of sessions; the records without those of sessions that are another's by now.

        Nor of those that are not here, unless it was the gateway's as it left: the shard has what is said of it follow
        it over a border, beyond which it may be another's. `told`: sessions of which it has been told so, just now.
        """
        now_s, present = self._clock.now_s(), self._machine.attending()
        mine = np.ones(records.size, np.bool_)
        for i, record in enumerate(records.tolist()):
            session, word = record[0], record[1]
            claim = self._claims.get(session)
            if kind == PRESENCE and record[2] == LET_GO:
                mine[i] = False
                taken = self._taken.get((gateway, session))
                if taken is not None and taken.word <= word:
                    del self._taken[gateway, session]
                if claim is not None and (claim.gateway, claim.word) == (gateway, word):
                    # That was in another region, or here before the other one fell silent.
                    del self._claims[session]
            elif claim is not None and claim.gateway != gateway:
                # It was resumed elsewhere. The gateway was cut off when it was told, or that was in another region, and
                # nobody has told it: it would say so wherever she comes, before her own does.
                mine[i] = False
                if session not in told:
                    self._say_taken(gateway, session, word)
            else:
                ours = claim if claim is not None and claim.ahead_s is None else None
                here = kind == JOIN or session in present
                if ours is not None:
                    ours.here = here = ours.here or here
                mine[i] = here
                if kind == LEAVE:
                    self._claims.pop(session, None)
                elif ours is not None:
                    ours.sweeps, ours.word = 0, word
                    ours.presence = record[2] if kind == PRESENCE and not here else None
                    # Her absence is over, also where no sweep sees it: while time waits for the store none is made.
                    absence = self._away.pop(session, None)
                    if kind == JOIN and absence is not None and absence.told:
                        # She joined, then the gateway was not heard for long, and knows of neither: for all that it
                        # has heard this is its first word, and there will be no other.
                        self._order(PRESENCE, [session], HERE)
                elif session in present:
                    # That its player is away makes nobody's session nobody's own: another gateway may have had it by
                    # then, and this one, which has let go of it, would never say that it leaves.
                    self._away[session] = _Absence(now_s, told=True)
        return records if mine.all() else records[mine]

    def _say_taken(self, gateway: int, session: int, word: int) -> None:
        self._taken[gateway, session] = _Taken(word, self._clock.now_s())
        self._tell_taken(gateway, session)

    def _tell_taken(self, gateway: int, session: int) -> None:
        word = self._taken[gateway, session].word
        self._bus.publish(sessions_topic(gateway), msgpack.packb(["taken", self._machine.shard, session, word]))

    # -- who is here ---------------------------------------------------------------

    def _on_seek(self, data: bytes) -> None:
        """A gateway asks who has a session, or an account's."""
        try:
            match msgpack.unpackb(data):
                case [int(gateway), int(session), bytes(player), int(turn), int(arbiter)] if 0 <= session < 2**64:
                    pass
                case other:
                    raise ValueError(str(other)[:100])
            found = self._machine.find(session, player)
            if found is None and (self._machine.sending(session, player) or self._inbox.joins(session, player)):
                # In no region, and not over: nobody may say that there is none before it has come somewhere.
                return
            if found is None and player and arbiter == self._machine.shard and not self._may_let_in(gateway, player):
                # It is in the world soon, through another gateway, and found; or that one gives up.
                return
        except (ValueError, TypeError) as error:
            _log.warning("search refused", shard=self._machine.shard, reason=str(error))
            return
        answer = ["none", self._machine.shard, session, player, turn]
        if found is not None:
            # As of when, for it may be gone by the time that this is heard.
            answer = ["found", self._machine.shard, found, self._epoch(), self._machine.tick]
        self._bus.publish(sessions_topic(gateway), msgpack.packb(answer))

    def _may_let_in(self, gateway: int, player: bytes) -> bool:
        """Of the gateways that look for an account at once only one."""
        now_s = self._clock.now_s()
        before = self._sought.get(player)
        if before is not None and before[0] != gateway and now_s - before[1] < _SOUGHT_S:
            return False
        self._sought.pop(player, None)
        self._sought[player] = (gateway, now_s)
        while now_s - self._sought[oldest := next(iter(self._sought))][1] >= _SOUGHT_S:
            del self._sought[oldest]
        return True

    def sweep(self) -> None:
        """Now and then: who has fallen silent, who has been left alone for too long."""
        now_s = self._clock.now_s()
        if now_s - self._swept_s < self._options.sweep_s:
            return
        self._swept_s = now_s
        silent = {
            g: gateway.ahead_s
            for g, gateway in self._gateways.items()
            if now_s - gateway.heard_s > self._options.gateway_silence_s
        }
        self._silent = {g: last for g, last in self._silent.items() if now_s - last[0] <= _LATE_S}
        here = self._machine.attending()
        # One that merely looks here no more, since nobody of its own sees anything of it, falls silent as well.
        missed = {c.gateway for s, c in self._claims.items() if s in here and c.ahead_s is None}
        for gateway in sorted(silent):
            gone = self._gateways.pop(gateway)
            self._silent[gateway] = (gone.heard_s, gone.sent_ms)
            if gateway in missed:
                self.counts["gateway_silent"] += 1
                _log.info("gateway fell silent", shard=self._machine.shard, gateway=gateway)
        alone: set[int] = set()
        for session, claim in tuple(self._claims.items()):
            claim.sweeps += 1
            if session in here:
                claim.sweeps, claim.here = 0, True
            if claim.ahead_s is None and claim.gateway in silent:
                claim.ahead_s = silent[claim.gateway]
                alone.add(session)
            elif claim.sweeps > _CLAIM_SWEEPS:
                del self._claims[session]
            elif claim.here and claim.presence is not None and claim.ahead_s is None:
                self._order(PRESENCE, [session], claim.presence)
                claim.presence = None
        spoken_for = {session for session, claim in self._claims.items() if claim.ahead_s is None}
        for (gateway, session), taken in tuple(self._taken.items()):
            if now_s - taken.since_s > _TAKEN_S:
                del self._taken[gateway, session]
            elif gateway in self._gateways:
                self._tell_taken(gateway, session)
        self._away = {s: self._away.get(s) or _Absence(now_s) for s in sorted(here) if s not in spoken_for}
        # Whom a gateway has just let go is away; of another one it may speak yet.
        untold = [
            s
            for s, absence in self._away.items()
            if not absence.told and (s in alone or now_s - absence.since_s > self._options.gateway_silence_s)
        ]
        for session in untold:
            # The grace time begins here: until now a gateway that is far may have been about to speak for it.
            self._away[session] = _Absence(now_s, told=True)
        self._order(PRESENCE, untold, AWAY)
        gone_s = {s: now_s - absence.since_s for s, absence in self._away.items() if absence.told}
        over = [s for s, absent_s in gone_s.items() if absent_s > self._options.grace_s]
        self.counts["grace_over"] += len(over)
        self._order(LEAVE, over)

    def _order(self, kind: int, sessions: Iterable[int], *args: int) -> None:
        """Presence with the lowest number, so that a gateway's own word in the same tick counts instead."""
        shape = self._machine.shapes[kind]
        records = [(session, 0, *args) for session in sorted(sessions)]
        if records:
            self._inbox.admit({kind: np.array(records, shape.dtype)})
