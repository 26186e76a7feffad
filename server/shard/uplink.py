"""Command batches on their way from a gateway to a shard: in order, without a gap, over a bus that promises neither.

A gateway numbers the batches it sends to a shard, in a stream: 1, 2, 3. The shard's host takes the next number and no
other, says how far it is, and the gateway repeats what it has not heard of. A host that does not know the stream,
because the shard has come to it from elsewhere or from its journal, says so; the gateway then begins another, with
what it knows to be missing there. So whatever a session's highest applied number covers was really applied or refused:
a number that is lost alone, and the next one not, would be taken for applied.

Received is not durable: a host may die with what it received. That is why gateways keep a session's commands until the
world acknowledges them (ACK, and RECEIPT for reliable ones), and why a new stream begins with those. A host that
hears the second batch first asks for a new stream as well; that costs a repetition and no more.

A host that was paused may believe for a moment that it has a shard which another has taken. Both hear the gateway, and
what the one says it received, the other may have missed. So answers say whose they are by the owner's epoch: to a newer
owner everything is said anew, and an older one is not listened to.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgpack

from server.shard.errors import BatchError

# Batches that came before their turn, kept at the most; the sender repeats the others.
AHEAD_MAX: Final = 64


class Packet(NamedTuple):
    """From a gateway to a shard."""

    # Another number for each process.
    gateway: int
    # Numbered from 1 by each gateway for each shard.
    stream: int
    # The batch's number; without a batch: the number that the next one will have.
    number: int
    # The gateway's clock when it was sent, in milliseconds: by that the shard knows what it shows at any time.
    sent_ms: int
    batch: bytes | None

    def encode(self) -> bytes:
        """Bytes for the bus."""
        encoded: bytes = msgpack.packb(self)
        return encoded

    @classmethod
    def decode(cls, data: bytes) -> Packet:
        """Read what `encode` wrote. Raises BatchError."""
        return cls(*_checked(data, (int, int, int, int, bytes), last_may_be_nil=True))


class Answer(NamedTuple):
    """From a shard to a gateway: how far its stream was received."""

    shard: int
    stream: int
    # Number of the last batch received of those without a gap; UNKNOWN for a stream the host knows nothing of.
    received: int
    # The game's commands that the shard could take now.
    room: int
    # As whom the host runs the shard; 0 before it does.
    epoch: int = 0

    def encode(self) -> bytes:
        """Bytes for the bus."""
        encoded: bytes = msgpack.packb(self)
        return encoded

    @classmethod
    def decode(cls, data: bytes) -> Answer:
        """Read what `encode` wrote. Raises BatchError."""
        return cls(*_checked(data, (int, int, int, int, int)))


UNKNOWN: Final = -1
# Seconds of silence after which the newest owner is gone for good, and an older epoch counts: a world was set back.
_SILENT_S: Final = 5.0


@dataclass(slots=True)
class _Sent:
    number: int
    batch: bytes


class Outgoing:
    """The gateway's end, for one shard. Times are handed in.

    `window`: batches under way at the most; `retry_s`: until what was not answered is repeated, doubling up to
    `retry_most_s`; `silence_s`: after which the shard is told that the gateway is there.
    """

    def __init__(
        self, gateway: int, *, window: int = 64, retry_s: float = 0.1, retry_most_s: float = 1.0, silence_s: float = 0.5
    ) -> None:
        self._gateway = gateway
        self._window = window
        self._retry_s = retry_s
        self._retry_most_s = retry_most_s
        self._silence_s = silence_s
        self.stream = 1
        self._next = 1
        self._under_way: deque[_Sent] = deque()
        self._wait_s = retry_s
        self._due_s = 0.0
        # When the first of what is under way was sent.
        self._began_s = 0.0
        self._said_s: float | None = None
        # The game's commands that the shard could take when it last answered; None before.
        self.room: int | None = None
        # Of the owner that answers, and when it did last.
        self._epoch: int | None = None
        self._heard_s = 0.0
        # Batches sent again since the start.
        self.repeated = 0

    @property
    def full(self) -> bool:
        """Whether nothing can be sent before something is answered."""
        return len(self._under_way) >= self._window

    def unheard_s(self, now_s: float) -> float:
        """Seconds for which the shard has answered nothing, though something is under way."""
        return now_s - max(self._began_s, self._heard_s) if self._under_way else 0.0

    def begin_anew(self) -> None:
        """A new stream: what is under way is not said again, and not taken where anything of this one came sooner."""
        self.stream += 1
        self._next = 1
        self._under_way.clear()
        self._said_s = None

    def send(self, batch: bytes, now_s: float) -> bytes:
        """The packet for the next batch. It must not be `full`."""
        assert not self.full, "the window is full"
        if not self._under_way:
            self._began_s = now_s
            self._due_s = now_s + self._retry_s
            self._wait_s = self._retry_s
        sent = _Sent(self._next, batch)
        self._under_way.append(sent)
        self._next += 1
        self._said_s = now_s
        return self._packet(sent.number, now_s, batch)

    def here(self, now_s: float) -> bytes:
        """The packet that says that we are there. What is answered tells how much room there is."""
        self._said_s = now_s
        return self._packet(self._next, now_s, None)

    def _packet(self, number: int, now_s: float, batch: bytes | None) -> bytes:
        return Packet(self._gateway, self.stream, number, int(now_s * 1000), batch).encode()

    def due(self, now_s: float, *, silent: bool = False) -> list[bytes]:
        """What is to be said now: repetitions, or that we are there; `silent`: not that."""
        if self._under_way and now_s >= self._due_s:
            self._wait_s = min(self._retry_most_s, self._wait_s * 2)
            self._due_s = now_s + self._wait_s
            self._said_s = now_s
            self.repeated += len(self._under_way)
            return [self._packet(s.number, now_s, s.batch) for s in self._under_way]
        if not silent and (self._said_s is None or now_s - self._said_s >= self._silence_s):
            return [self.here(now_s)]
        return []

    def hear(self, answer: Answer, now_s: float) -> bool:
        """Take an answer. True: the shard may know nothing of us; a new stream has begun, and is empty."""
        before = answer.epoch if self._epoch is None else self._epoch
        if answer.epoch < before and now_s - self._heard_s < _SILENT_S:
            return False
        self._epoch, self._heard_s = answer.epoch, now_s
        other = answer.epoch != before
        if answer.stream != self.stream and not other:
            return False
        self.room = answer.room
        if other or answer.received == UNKNOWN:
            self.begin_anew()
            return True
        while self._under_way and self._under_way[0].number <= answer.received:
            self._under_way.popleft()
            # Something arrives: what follows it is given its time again.
            self._wait_s = self._retry_s
            self._due_s = now_s + self._retry_s
        return False


@dataclass(slots=True)
class Incoming:
    """The host's end, for one gateway."""

    stream: int = 0
    # Number of the last batch received of those without a gap.
    received: int = 0
    # By number: batches that came before their turn.
    ahead: dict[int, bytes] = field(default_factory=dict)

    def hear(self, packet: Packet) -> bytes | None:
        """Note a packet. The batch whose turn it is now, if one is here: say `took`, or leave it and it comes again."""
        if packet.stream < self.stream:
            return None
        if packet.stream > self.stream:
            if packet.number != 1:
                # Its first batches went to another host, or are late.
                return None
            self.stream, self.received = packet.stream, 0
            self.ahead.clear()
        turn = self.received + 1
        # The one whose turn it is always has room: the others wait for it.
        if packet.batch is not None and (
            packet.number == turn or (packet.number > turn and len(self.ahead) < AHEAD_MAX)
        ):
            self.ahead[packet.number] = packet.batch
        return self.ahead.get(self.received + 1)

    def took(self) -> bytes | None:
        """The batch whose turn it was is taken. Returns the one that follows, if it is here."""
        self.received += 1
        self.ahead.pop(self.received, None)
        return self.ahead.get(self.received + 1)

    def answer(self, shard: int, packet: Packet, room: int, epoch: int = 0) -> Answer:
        """What the gateway is to hear after this packet."""
        known = packet.stream == self.stream
        return Answer(shard, packet.stream, self.received if known else UNKNOWN, room, epoch)


def _checked(data: bytes, types: tuple[type, ...], *, last_may_be_nil: bool = False) -> Any:  # Any: as msgpack read it
    try:
        parts = msgpack.unpackb(data)
    except (ValueError, TypeError) as error:
        raise BatchError(f"not a link's message: {error}") from error
    if type(parts) is not list or len(parts) != len(types):
        raise BatchError(f"not a link's message: {str(parts)[:100]}")
    for i, (part, kind) in enumerate(zip(parts, types, strict=True)):
        nil = last_may_be_nil and i == len(types) - 1 and part is None
        if type(part) is not kind and not nil:
            raise BatchError(f"not a link's message: {str(parts)[:100]}")
    return parts
