"""Sessions: who a connection is, what it may say now, and how fast. Sans-I/O.

A session outlives its connections: it begins with the first HELLO, waits through a broken
connection for the grace time, and ends with LEAVE or when the grace time is over.
"""

from __future__ import annotations

import math
from collections import deque
from enum import Enum
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from protocol.errors import OutOfOrder
from protocol.messages import Check, Hello, Input, Leave, Ping

if TYPE_CHECKING:
    from server.gateway.socket import GameSocket
    from server.gateway.stream import RegionStream

# An input as it is kept: sequence number, command, validated arguments.
Kept = tuple[int, int, tuple[Any, ...]]  # Any: as CommandReader returns them

_number: Final = itemgetter(0)


class SessionState(Enum):
    """Where a session stands."""

    # A connection without a HELLO yet.
    CONNECTING = "connecting"
    # HELLO accepted; the region has not placed the entity yet.
    JOINING = "joining"
    # In the world; every tick's frame is written.
    JOINED = "joined"
    # In the world, but the client does not read: frames are skipped until it does.
    LAGGING = "lagging"
    # In the world without a connection, within the grace time.
    RESUMING = "resuming"
    # Over.
    CLOSED = "closed"


class Happening(Enum):
    """What can happen to a session."""

    # A HELLO was accepted as a new session.
    ADMITTED = "admitted"
    # The region placed its entity.
    BOUND = "bound"
    # Its socket took no more bytes.
    STALLED = "stalled"
    # Its socket is empty again.
    DRAINED = "drained"
    # The connection broke.
    LOST = "lost"
    # A connection came with its resume token, and its entity is there.
    RESUMED = "resumed"
    # The same, before a region placed the entity, or while it is on its way from one to another.
    READMITTED = "readmitted"
    # LEAVE, refusal, or the grace time is over.
    ENDED = "ended"


_S, _H = SessionState, Happening

# What is not in the table can't happen: `Session.on` asserts it.
TRANSITIONS: Final[dict[tuple[SessionState, Happening], SessionState]] = {
    (_S.CONNECTING, _H.ADMITTED): _S.JOINING,
    (_S.CONNECTING, _H.LOST): _S.CLOSED,
    (_S.CONNECTING, _H.ENDED): _S.CLOSED,
    (_S.JOINING, _H.BOUND): _S.JOINED,
    # Its JOIN is under way and can't be called back: the entity will come, and wait.
    (_S.JOINING, _H.LOST): _S.RESUMING,
    (_S.JOINING, _H.READMITTED): _S.JOINING,
    (_S.JOINING, _H.ENDED): _S.CLOSED,
    (_S.JOINED, _H.STALLED): _S.LAGGING,
    (_S.JOINED, _H.LOST): _S.RESUMING,
    (_S.JOINED, _H.RESUMED): _S.JOINED,
    (_S.JOINED, _H.READMITTED): _S.JOINING,
    (_S.JOINED, _H.ENDED): _S.CLOSED,
    (_S.LAGGING, _H.DRAINED): _S.JOINED,
    (_S.LAGGING, _H.LOST): _S.RESUMING,
    (_S.LAGGING, _H.RESUMED): _S.JOINED,
    (_S.LAGGING, _H.READMITTED): _S.JOINING,
    (_S.LAGGING, _H.ENDED): _S.CLOSED,
    (_S.RESUMING, _H.BOUND): _S.RESUMING,
    (_S.RESUMING, _H.RESUMED): _S.JOINED,
    (_S.RESUMING, _H.READMITTED): _S.JOINING,
    (_S.RESUMING, _H.ENDED): _S.CLOSED,
}

# What a client may say in which state.
MAY_SAY: Final[dict[SessionState, tuple[type, ...]]] = {
    _S.CONNECTING: (Hello, Ping),
    _S.JOINING: (Ping, Leave),
    _S.JOINED: (Input, Ping, Check, Leave),
    _S.LAGGING: (Input, Ping, Check, Leave),
    _S.RESUMING: (),
    _S.CLOSED: (),
}


class TokenBucket:
    """Holds `burst` tokens at the most and gains `per_s` each second. Source: the token bucket of RFC 2697."""

    __slots__ = ("_burst", "_per_s", "_stamp_s", "_tokens")

    def __init__(self, per_s: float, burst: int, now_s: float) -> None:
        self._per_s = per_s
        self._burst = float(burst)
        self._tokens = float(burst)
        self._stamp_s = now_s

    def take(self, now_s: float, amount: float = 1.0) -> bool:
        """Take a token, or so many; False, and none is taken, where there are fewer."""
        tokens = self._tokens + (now_s - self._stamp_s) * self._per_s
        self._stamp_s = now_s
        if tokens > self._burst:
            tokens = self._burst
        if tokens < amount:
            self._tokens = tokens
            return False
        self._tokens = tokens - amount
        return True


class Seat:
    """A session's place among those who see something of one region.

    Home is where its entity is. Where the view reaches over a border it is a guest of the region beyond.
    """

    __slots__ = (
        "after", "before", "centre", "check", "fresh", "handle", "index", "leaving", "lost", "phase", "session",
        "stream", "you",
    )  # fmt: skip

    def __init__(self, session: Session, stream: RegionStream) -> None:
        self.session = session
        self.stream = stream
        # Its place among the stream's viewers, -1 for none.
        self.index = -1
        # Its entity, -1 for a guest, and the cell whose surroundings it sees.
        self.handle = -1
        self.centre = -1
        # Which of the ticks brings it the outer ring.
        self.phase = session.id
        # False: it has no view, or one with holes; a KEYFRAME comes next.
        self.fresh = False
        # It asked for a VIEW_DIGEST.
        self.check = False
        # Its entity came here from another region: YOU comes next.
        self.you = False
        # Its entity is not here, as was shown: YOU comes next, and names nobody.
        self.lost = False
        # The region is out of view: an empty KEYFRAME comes next, and nothing after it.
        self.leaving = False
        # Finished frames about those who cross a border, just before and just after the region's next frame.
        self.before: list[bytes] = []
        self.after: list[bytes] = []


class Session:
    """One player's presence, across connections."""

    __slots__ = (
        "acked", "address", "again", "asked", "began", "bucket", "came_s", "connection", "counts_in", "crossing",
        "crossing_s",
        "due", "durable", "handle", "heard_s", "id", "malformed", "name", "nonce", "nonce_before", "nonce_elsewhere",
        "oldest", "oldest_s", "outbox", "owner", "player", "region", "repeats", "roamed", "said", "seats",
        "seq_in", "since_s", "socket", "state", "strikes", "unacked", "welcome",
    )  # fmt: skip

    def __init__(self, session_id: int, socket: GameSocket | None, bucket: TokenBucket, now_s: float) -> None:
        self.id = session_id
        self.state = SessionState.CONNECTING
        self.socket = socket
        self.bucket = bucket
        # Seconds: when it was heard last, and since when it is in its state.
        self.heard_s = now_s
        self.since_s = now_s
        # Which of its connections this is, counted: orders its PRESENCE commands. And what it was when its player
        # came here last, which tells it from the same session here before, or at another gateway.
        self.connection = self.began = 0
        # When its player came here last: the connection was opened that its HELLO came over.
        self.came_s = -math.inf
        # What its resume token must name; and the one that it came with, until the client shows that it has the newer.
        self.nonce = 0
        self.nonce_before = 0
        # That of the last token taken here which another gateway gave.
        self.nonce_elsewhere = 0
        self.player = ""
        # Where it came from when it was admitted.
        self.address = ""
        self.name = ""
        # Highest sequence number accepted, and highest that the world has processed.
        self.seq_in = 0
        self.acked = 0
        # The region that has its entity, or that was asked for one; and the entity's handle there, -1 before BOUND.
        self.region = 0
        self.handle = -1
        # The region whose ticks the client counts: WELCOME or YOU named it last; 0 before.
        self.counts_in = 0
        # How often a region was asked for one; and the epoch of the owner that gave it one, the first time.
        self.asked = 0
        self.owner = 0
        # Where its entity is on its way to; `region` itself where that is not known; 0 while it stands in `region`.
        self.crossing = 0
        self.crossing_s = 0.0
        # Whether it was ever anywhere but where it joined, as far as is known here.
        self.roamed = False
        # Region -> its place among those who see something of that region.
        self.seats: dict[int, Seat] = {}
        # Finished frames for this session alone, written before the home region's next frame.
        self.outbox: list[bytes] = []
        # Its WELCOME, where the socket did not take it: the first thing that it hears once it reads.
        self.welcome = b""
        # Inputs accepted and not known to be applied, by rising number: they are said again to the region that has the
        # entity next. The reliable ones, by number, until their receipt.
        self.unacked: deque[Kept] = deque()
        self.due: dict[int, Kept] = {}
        # Number of the input that was said last; 0 where the next one is the first of all that are kept.
        self.said = 0
        # All that is kept is to be said again, from its beginning.
        self.again = False
        # The oldest number that was kept at the last look, since when, and how often all was said again for it.
        self.oldest = 0
        self.oldest_s = 0.0
        self.repeats = 0
        # Sequence numbers of the newest receipts, told again to a client that may have lost one; None: there were none.
        self.durable: deque[int] | None = None
        self.strikes = 0
        self.malformed = 0

    @property
    def home(self) -> Seat | None:
        """Its place in the region that has its entity; None while it has none there, or the entity is on its way."""
        return None if self.crossing else self.seats.get(self.region)

    def acknowledged(self, seq: int) -> None:
        """Every input up to `seq` is applied."""
        self.acked = max(self.acked, seq)
        unacked = self.unacked
        while unacked and unacked[0][0] <= seq:
            unacked.popleft()

    def applied(self, seq: int) -> None:
        """The world has applied every input up to `seq`, whichever gateway took them. Before WELCOME tells `ack`."""
        self.acknowledged(seq)
        self.seq_in = max(self.seq_in, seq)

    @property
    def waiting(self) -> int:
        """The number of the oldest input that is kept; 0 for none."""
        oldest = [next(iter(self.due))] if self.due else []
        if self.unacked:
            oldest.append(self.unacked[0][0])
        return min(oldest, default=0)

    def unheard(self) -> list[Kept]:
        """Inputs to be said again, in order."""
        return sorted((*self.unacked, *self.due.values()), key=_number)

    def on(self, happening: Happening, now_s: float) -> None:
        """Move to the table's next state."""
        before, self.state = self.state, TRANSITIONS[self.state, happening]
        if self.state is not before:
            self.since_s = now_s

    def may_say(self, message: object) -> None:
        """Raises OutOfOrder for a message that has no place in this state."""
        if not isinstance(message, MAY_SAY[self.state]):
            raise OutOfOrder(f"{type(message).__name__} has no place while {self.state.value}")
