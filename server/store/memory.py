"""The in-memory journal: a store whose medium is this process.

It forgets with the process, so it is for tests and for worlds that need no memory. With
`hold=True` records wait for `sync`, as they would for a disk: the seam between
taken and durable, made visible.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable

from server.shard.journal import JournalRecord
from server.shard.ports import Claim, Span
from server.shard.tail import Tail, last_whole
from server.store.errors import Fenced, StoreClosed, StoreFailed
from server.store.writers import Writers, next_epoch


class MemoryJournal:
    """A JournalStore. `keep_max`: records kept per shard, oldest dropped first (0: none are kept)."""

    def __init__(self, *, hold: bool = False, keep_max: int = 0) -> None:
        self._hold = hold
        self._keep_max = keep_max
        # By shard: (tick, JournalRecord.encode()), as a medium would have them.
        self._kept: dict[int, deque[tuple[int, bytes]]] = {}
        self._last: dict[int, Claim] = {}
        self._writers = Writers()
        self._waiting: deque[tuple[JournalRecord, Callable[[], None]]] = deque()
        self._closed = False
        self._failure: Exception | None = None

    async def claim(self, shard: int, epoch: int | None = None) -> Claim:
        """See JournalStore."""
        return self.claim_now(shard, epoch)

    def claim_now(self, shard: int, epoch: int | None = None) -> Claim:
        """`claim`, for whoever cannot wait. Records of the shard that wait for `sync` become durable first."""
        self._check()
        if any(record.shard == shard for record, _ in self._waiting):
            self.sync()
        last = self._last_of(shard)
        claim = Claim(next_epoch(shard, last.epoch, epoch), last.tick)
        self._last[shard] = claim
        self._writers.grant(shard, claim)
        return claim

    def _last_of(self, shard: int) -> Claim:
        last = self._last.get(shard, Claim(0, 0))
        kept = self._kept.get(shard, deque())
        whole = last_whole(shard, list(kept)[-2:])
        while kept and (whole is None or kept[-1][0] > whole.tick):
            kept.pop()
        return last if whole is None else Claim(max(last.epoch, whole.epoch), whole.tick)

    def append(self, record: JournalRecord, on_durable: Callable[[], None]) -> None:
        """See JournalStore."""
        self._check()
        self._writers.admit(record)
        self._waiting.append((record, on_durable))
        if not self._hold:
            self.sync()

    def sync(self, records_max: int | None = None) -> None:
        """Make what waits durable, oldest first, `records_max` at the most."""
        n = len(self._waiting) if records_max is None else min(records_max, len(self._waiting))
        for _ in range(n):
            record, on_durable = self._waiting.popleft()
            newest = self._last.get(record.shard, Claim(0, 0)).epoch
            if newest > record.epoch:
                # Another store on the same medium was claimed since.
                self._failure = Fenced(f"shard {record.shard}: epoch {record.epoch} has ended, {newest} writes")
                self._waiting.clear()
                raise self._failure
            self._last[record.shard] = Claim(record.epoch, record.tick)
            if self._keep_max:
                self.keep(record.shard, record.tick, record.encode())
            on_durable()

    def keep(self, shard: int, tick: int, data: bytes) -> None:
        """Put bytes into the medium, whatever they are."""
        self._kept.setdefault(shard, deque(maxlen=self._keep_max)).append((tick, data))

    def fail(self, reason: str) -> None:
        """Be a medium that broke: what waits is lost, as with a power cut, and nothing more is taken."""
        self._failure = StoreFailed(reason)
        self._waiting.clear()

    def reopened(self) -> MemoryJournal:
        """Another store on the same medium, as the next process, or another node, would open it."""
        journal = MemoryJournal(hold=self._hold, keep_max=self._keep_max)
        journal._kept, journal._last = self._kept, self._last
        return journal

    @property
    def backlog(self) -> int:
        """Records taken and not yet durable."""
        return len(self._waiting)

    @property
    def failure(self) -> Exception | None:
        """What `fail` was told."""
        return self._failure

    def records(self, shard: int, after_tick: int = 0) -> list[JournalRecord]:
        """What `read` gives, at once. Raises JournalDamaged."""
        tail = Tail(shard, after_tick)
        judged = [tail.read(tick, data) for tick, data in self._kept.get(shard, ()) if tick > after_tick]
        return [record for record in judged if record is not None]

    async def read(self, shard: int, after_tick: int) -> AsyncIterator[JournalRecord]:
        """See JournalStore."""
        for record in self.records(shard, after_tick):
            yield record

    async def spans(self) -> dict[int, Span]:
        """See JournalStore."""
        return {
            shard: Span(JournalRecord.decode(kept[0][1]).previous, kept[-1][0], len(kept))
            for shard, kept in sorted(self._kept.items())
            if kept
        }

    async def trim(self, shard: int, up_to_tick: int) -> None:
        """See JournalStore."""
        self._check()
        kept = self._kept.get(shard, deque())
        while kept and kept[0][0] <= up_to_tick:
            kept.popleft()

    async def close(self) -> None:
        """See JournalStore."""
        self._closed = True
        self.sync()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._closed:
            raise StoreClosed("the journal is closed")
