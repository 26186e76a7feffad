"""The postman: carries a shard's letters over a bus that may lose, repeat and reorder them.

The shard's state says which letters are under way and which were taken (server/shard/mail.py); the postman only sees
to it that they get there. What it forgets when its process dies, the state knows.

    durable letters   → sent, each stream at most a window ahead of its acknowledgements; sent again after a while
    arriving letters  → kept up to a window, given to a tick in their stream's order
    a durable tick    → acknowledges what it took; what arrives again after that is acknowledged again
    acknowledgements  → input of the next tick
    at the start      → every source hears how far we are, and sends at once what it had sent in vain

Where letters share a tick, the lane decides, and age: a letter's turn comes `age_ticks` per lane after it was sent
(or came), so a later one of a better lane may go first, and after that long none does.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgpack
import numpy as np
import structlog

from server.shard.errors import MailError
from server.shard.machine import Machine
from server.shard.mail import ACK, NO_ACKS, Acks, Letter, Stream, letter_of
from server.shard.ports import Bus, Clock, mail_topic

_log = structlog.get_logger(__name__)

# A packet is sent when it has this much.
_PACKET_BYTES: Final = 256 * 1024
# Letters of a stream under way while nothing is heard of the other side: enough to hear again.
_PROBE_LETTERS: Final = 8


@dataclass(frozen=True, slots=True)
class MailOptions:
    """See config/settings.py for meaning and units."""

    letters_per_tick_max: int = 512
    bytes_per_tick_max: int = 4 * 1024 * 1024
    window_letters: int = 1024
    window_bytes: int = 8 * 1024 * 1024
    age_ticks: int = 10
    retry_s: float = 0.5
    retry_max_s: float = 2.0


@dataclass(slots=True)
class _Outgoing:
    """A stream of ours. All its letters are durable, and none is known to be taken."""

    # Number of the last letter that was acknowledged, and of the last one that may have left.
    acked: int
    released: int
    under_way: deque[Letter] = field(default_factory=deque)
    under_way_bytes: int = 0
    waiting: deque[Letter] = field(default_factory=deque)
    # When what is under way counts as lost.
    due_s: float = 0.0
    # How often it did since the last acknowledgement, and when it did last.
    lost: int = 0
    lost_s: float = -math.inf

    def room_for(self, letter: Letter, options: MailOptions) -> bool:
        if not self.under_way:
            return True
        letters_max = min(_PROBE_LETTERS, options.window_letters) if self.lost else options.window_letters
        fits = self.under_way_bytes + len(letter.payload) <= options.window_bytes
        return fits and len(self.under_way) < letters_max


@dataclass(slots=True)
class _Incoming:
    """A stream to us."""

    # Number of the last letter that a tick took, and of the last one that a durable tick took.
    taken: int
    durable: int
    # By number: the letter, and the tick before which it came.
    waiting: dict[int, tuple[Letter, int]] = field(default_factory=dict)
    waiting_bytes: int = 0


class Postman:
    """One shard's. `take` before each tick, `release` once a tick is durable, `deliver` now and then.

    `machine`: at a state that is durable. `jitter`: a number from 0 to 1, another each time, so that those who wait
    for the same bus do not all send at once.
    """

    def __init__(
        self, machine: Machine, bus: Bus, clock: Clock, options: MailOptions, jitter: Callable[[], float]
    ) -> None:
        self.shard = machine.shard
        self._bus = bus
        self._clock = clock
        self._options = options
        self._jitter = jitter
        self._tick = machine.tick
        self._letters_left = options.letters_per_tick_max
        self._bytes_left = options.bytes_per_tick_max
        self._out: dict[Stream, _Outgoing] = {}
        self._in = {stream: _Incoming(seq, seq) for stream, seq in machine.post.received().items()}
        # Streams whose source is to hear how far we are. At the start all: it has sent in vain for a while, perhaps.
        self._ack_due = set(self._in)
        # (peer, lane) -> how far it is, for the next tick.
        self._acks: dict[Stream, int] = {}
        # Streams of which more was acknowledged than was sent here, and the tick that was taken last before that.
        self._doubtful: dict[Stream, int] = {}
        # Reason -> letters or packets; what happened since the start.
        self.counts: Counter[str] = Counter()
        for letter in machine.post.unacked():
            self._enqueue(letter)
        for (peer, lane), seq in machine.post.sent().items():
            self._out.setdefault((peer, lane), _Outgoing(seq, seq))
        self._unsubscribe = bus.subscribe(mail_topic(self.shard), self._on_packet)

    def close(self) -> None:
        """Listen no more."""
        self._unsubscribe()

    @property
    def unacked(self) -> int:
        """Durable letters that are not known to be taken."""
        return sum(len(out.under_way) + len(out.waiting) for out in self._out.values())

    @property
    def busy(self) -> bool:
        """Whether something waits: letters for their acknowledgement, or what came for a tick."""
        return bool(self._acks or self.waiting or self.unacked)

    @property
    def waiting(self) -> int:
        """Letters that came and wait for a tick."""
        return sum(len(stream.waiting) for stream in self._in.values())

    # -- a tick ------------------------------------------------------------------

    def take(self, tick: int) -> tuple[tuple[Letter, ...], Acks]:
        """What tick number `tick` is given: letters by (source, lane, seq), and acknowledgements."""
        self._tick = tick
        self._letters_left = self._options.letters_per_tick_max
        self._bytes_left = self._options.bytes_per_tick_max
        acks = NO_ACKS
        if self._acks:
            acks = np.array([(*stream, seq) for stream, seq in sorted(self._acks.items())], ACK)
            self._acks.clear()
        taken: list[Letter] = []
        size = 0
        # (turn, lane, source) of each stream's next letter, where it is here.
        heads = [head for stream, incoming in self._in.items() if (head := self._head(stream, incoming))]
        heapq.heapify(heads)
        while heads and len(taken) < self._options.letters_per_tick_max:
            _, lane, source = heads[0]
            incoming = self._in[source, lane]
            letter, _ = incoming.waiting[incoming.taken + 1]
            size += len(letter.payload)
            if taken and size > self._options.bytes_per_tick_max:
                break
            taken.append(letter)
            incoming.taken += 1
            incoming.waiting_bytes -= len(letter.payload)
            del incoming.waiting[letter.seq]
            head = self._head((source, lane), incoming)
            if head:
                heapq.heapreplace(heads, head)
            else:
                heapq.heappop(heads)
        self.counts["taken"] += len(taken)
        return tuple(sorted(taken, key=lambda letter: letter[:4])), acks

    def release(self, posted: Iterable[Letter], taken: Iterable[Letter]) -> None:
        """A tick is durable: what it posted may leave, what it took is acknowledged."""
        for letter in posted:
            self._enqueue(letter)
        for letter in taken:
            stream = (letter.source, letter.lane)
            self._in[stream].durable = letter.seq
            self._ack_due.add(stream)

    def durable(self, tick: int) -> None:
        """The journal has the record of this tick: when it was written, nobody else had the shard."""
        for stream, since in tuple(self._doubtful.items()):
            if tick > since:
                del self._doubtful[stream]
                _log.error("mail acknowledged that was never sent", shard=self.shard, peer=stream[0], lane=stream[1])

    def deliver(self) -> None:
        """Send what is due, as far as the tick's share goes; acknowledgements go always."""
        now_s = self._clock.now_s()
        packets: dict[int, list[Letter]] = {}
        heads: list[tuple[int, int, int]] = []
        for stream, out in self._out.items():
            if out.under_way and now_s >= out.due_s:
                self._give_up(out)
            if out.waiting and out.room_for(out.waiting[0], self._options):
                heads.append(self._turn(stream, out))
        heapq.heapify(heads)
        while heads and self._letters_left > 0 and self._bytes_left > 0:
            _, lane, destination = heads[0]
            out = self._out[destination, lane]
            if not out.under_way:
                out.due_s = now_s + self._patience_s(out)
            letter = out.waiting.popleft()
            out.under_way.append(letter)
            out.under_way_bytes += len(letter.payload)
            self._letters_left -= 1
            self._bytes_left -= len(letter.payload)
            packets.setdefault(destination, []).append(letter)
            if out.waiting and out.room_for(out.waiting[0], self._options):
                heapq.heapreplace(heads, self._turn((destination, lane), out))
            else:
                heapq.heappop(heads)
        self._publish(packets)

    # -- sending -------------------------------------------------------------------

    def _enqueue(self, letter: Letter) -> None:
        stream = (letter.destination, letter.lane)
        out = self._out.setdefault(stream, _Outgoing(letter.seq - 1, letter.seq - 1))
        assert letter.seq == out.released + 1, f"{letter[:4]} does not follow number {out.released}"
        out.released = letter.seq
        out.waiting.append(letter)

    def _give_up(self, out: _Outgoing) -> None:
        """What is under way is lost, or so it seems: it waits again, in front."""
        self.counts["resent"] += len(out.under_way)
        out.lost += 1
        out.lost_s = self._clock.now_s()
        out.waiting.extendleft(reversed(out.under_way))
        out.under_way.clear()
        out.under_way_bytes = 0

    def _patience_s(self, out: _Outgoing) -> float:
        # 2.0 ** 1024 is no float; long before that the limit holds.
        patience_s = min(self._options.retry_s * 2.0 ** min(out.lost, 64), self._options.retry_max_s)
        return patience_s * (1.0 + self._jitter()) / 2.0

    def _turn(self, stream: Stream, out: _Outgoing) -> tuple[int, int, int]:
        destination, lane = stream
        return out.waiting[0].tick + lane * self._options.age_ticks, lane, destination

    def _publish(self, packets: dict[int, list[Letter]]) -> None:
        acks: dict[int, list[tuple[int, int, int]]] = {}
        for source, lane in sorted(self._ack_due):
            acks.setdefault(source, []).append((self.shard, lane, self._in[source, lane].durable))
        self._ack_due.clear()
        for peer in sorted({*packets, *acks}):
            for part, letters in enumerate(_parts(packets.get(peer, []))):
                records = np.array(acks.get(peer, []) if part == 0 else [], ACK)
                self.counts["sent"] += len(letters)
                self._bus.publish(mail_topic(peer), encode_packet(self.shard, letters, records))

    # -- arrivals ------------------------------------------------------------------

    def _on_packet(self, data: bytes) -> None:
        try:
            source, letters, acks = decode_packet(data)
        except MailError as error:
            self.counts["unreadable"] += 1
            _log.warning("mail packet refused", shard=self.shard, reason=str(error))
            return
        for _, lane, seq in acks.tolist():
            self._on_ack((source, lane), seq)
        for letter in letters:
            self._on_letter(letter)

    def _on_letter(self, letter: Letter) -> None:
        if letter.destination != self.shard:
            self.counts["misdirected"] += 1
            return
        stream = (letter.source, letter.lane)
        incoming = self._in.setdefault(stream, _Incoming(0, 0))
        if letter.seq <= incoming.taken:
            self.counts["repeated"] += 1
            if letter.seq <= incoming.durable:
                # The acknowledgement was lost, or it is on its way.
                self._ack_due.add(stream)
            return
        if letter.seq in incoming.waiting:
            self.counts["repeated"] += 1
            return
        fits = incoming.waiting_bytes + len(letter.payload) <= self._options.window_bytes
        # The next one is always kept, or a stream whose window later ones fill would stand still.
        if letter.seq > incoming.taken + 1 and not (
            fits and letter.seq <= incoming.taken + self._options.window_letters
        ):
            self.counts["beyond_window"] += 1
            return
        incoming.waiting[letter.seq] = (letter, self._tick)
        incoming.waiting_bytes += len(letter.payload)

    def _head(self, stream: Stream, incoming: _Incoming) -> tuple[int, int, int] | None:
        source, lane = stream
        waiting = incoming.waiting.get(incoming.taken + 1)
        return None if waiting is None else (waiting[1] + lane * self._options.age_ticks, lane, source)

    def _on_ack(self, stream: Stream, seq: int) -> None:
        out = self._out.get(stream)
        if out is None or seq > out.released:
            # Another has the shard by now, and the journal is about to say so. Or one of the two was set back to an
            # earlier time, and what this one sends under old numbers will not be taken: see `durable`.
            self.counts["impossible_acks"] += 1
            self._doubtful.setdefault(stream, self._tick)
            return
        if seq <= out.acked:
            now_s = self._clock.now_s()
            if seq == out.acked and (out.lost or now_s - out.lost_s >= self._options.retry_max_s):
                # It is there again, and lacks what is under way: that may have come while nobody had the shard, as it
                # moved, and nobody wins by our waiting. At worst the bus has repeated itself, and so do we. Once: it
                # acknowledges again what comes again, and for as long as there is mail the two would go on so.
                out.due_s = now_s
            return
        out.acked = self._acks[stream] = seq
        while out.under_way and out.under_way[0].seq <= seq:
            out.under_way_bytes -= len(out.under_way.popleft().payload)
        while out.waiting and out.waiting[0].seq <= seq:
            out.waiting.popleft()
        out.lost = 0
        out.due_s = self._clock.now_s() + self._patience_s(out)


def encode_packet(source: int, letters: Sequence[Letter], acks: Acks) -> bytes:
    """What goes to one shard at once. `acks`: how far `source`, as their peer, has taken what that shard sent."""
    packet: bytes = msgpack.packb([source, letters, acks.tobytes()])
    return packet


def decode_packet(data: bytes) -> tuple[int, list[Letter], Acks]:
    """Read what `encode_packet` wrote. Raises MailError."""
    try:
        source, parts, raw = msgpack.unpackb(data)
        letters, acks = [letter_of(p) for p in parts], np.frombuffer(raw, ACK)
    except (ValueError, TypeError) as error:
        raise MailError(f"not a packet of mail: {error}") from error
    if type(source) is not int or any(letter.source != source for letter in letters) or (acks["peer"] != source).any():
        raise MailError(f"a packet of {source!r} with mail of others")
    return source, letters, acks


def _parts(letters: list[Letter]) -> list[list[Letter]]:
    """Cut so that each part but the last has a packet's worth; one part, empty, of nothing."""
    parts: list[list[Letter]] = [[]]
    size = 0
    for letter in letters:
        if size >= _PACKET_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(letter)
        size += len(letter.payload)
    return parts
