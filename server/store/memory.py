"""The in-memory journal: a store whose medium is this process.

It forgets with the process, so it is for tests and for worlds that need no memory. With
`hold=True` records wait for `sync`, as they would for a disk: the seam between
taken and durable, made visible.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from server.shard.journal import JournalRecord
from server.store.errors import OutOfSequence, StoreClosed


class MemoryJournal:
    """A JournalStore. `keep_max`: records kept per shard, oldest dropped first (0: none are kept)."""

    def __init__(self, *, hold: bool = False, keep_max: int = 0) -> None:
        self._hold = hold
        self._keep_max = keep_max
        self._records: dict[int, deque[JournalRecord]] = {}
        self._last: dict[int, int] = {}
        self._waiting: deque[tuple[JournalRecord, Callable[[], None]]] = deque()
        self._closed = False

    def append(self, record: JournalRecord, on_durable: Callable[[], None]) -> None:
        """Take a record. Raises OutOfSequence for a tick not above the last, StoreClosed."""
        if self._closed:
            raise StoreClosed("the journal is closed")
        last = self._last.get(record.shard, -1)
        if record.tick <= last:
            raise OutOfSequence(f"shard {record.shard}: tick {record.tick} after tick {last}")
        self._last[record.shard] = record.tick
        self._waiting.append((record, on_durable))
        if not self._hold:
            self.sync()

    def sync(self, records_max: int | None = None) -> None:
        """Make what waits durable, oldest first, `records_max` at the most."""
        n = len(self._waiting) if records_max is None else min(records_max, len(self._waiting))
        for _ in range(n):
            record, on_durable = self._waiting.popleft()
            if self._keep_max:
                self._records.setdefault(record.shard, deque(maxlen=self._keep_max)).append(record)
            on_durable()

    @property
    def backlog(self) -> int:
        """Records taken and not yet durable."""
        return len(self._waiting)

    def read(self, shard: int, after_tick: int) -> Iterator[JournalRecord]:
        """The durable records kept of a shard with a tick above `after_tick`."""
        yield from (r for r in tuple(self._records.get(shard, ())) if r.tick > after_tick)

    def close(self) -> None:
        """Take no more. What waits is lost, as it would be with a power cut."""
        self._closed = True
        self._waiting.clear()
