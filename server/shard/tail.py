"""What a journal's bytes amount to: the records to replay, an end that a crash explains, or damage.

| what was read                             | judged                                                        |
|-------------------------------------------|---------------------------------------------------------------|
| clean                                     | the record                                                    |
| torn record, torn page, at the very end   | the end: the write was interrupted, so nobody was told of it  |
| torn record, torn page, with more after   | refused: what follows was written after a whole one           |
| bit flip inside                           | refused                                                       |
| bit flip in the tail                      | refused: no interrupted write leaves it, and it may have been |
|                                           | acknowledged                                                  |
| gap                                       | refused                                                       |
| duplicate tick, same content              | the record, once                                              |
| duplicate tick, other content             | refused: two owners wrote                                     |
| older epoch after newer                   | refused: a stale owner wrote                                  |
| future format version                     | refused                                                       |
| kept under another shard or tick          | refused                                                       |

Source: what tells a crash from corruption is from "Protocol-Aware Recovery for Consensus-Based Storage" (FAST 2018).
"""

from __future__ import annotations

from collections.abc import Sequence

from server.shard.errors import JournalDamaged, RecordError, RecordTorn
from server.shard.journal import JournalRecord


class Tail:
    """Judges one shard's journal, given in the order it is kept, from the first record after `after_tick`.

    `read` each; `cut` then tells what an interrupted write left at the end, if anything.
    """

    def __init__(self, shard: int, after_tick: int) -> None:
        self._shard = shard
        # Up to here nothing is missing.
        self._known = after_tick
        self._epoch = 0
        self._last: bytes | None = None
        # The torn end that was ignored, in words.
        self.cut: str | None = None
        self._cut_tick = 0

    def read(self, tick: int, data: bytes) -> JournalRecord | None:
        """Judge what is kept under `tick`. None: nothing to replay. Raises JournalDamaged."""
        if self.cut is not None:
            raise self._damaged(self._cut_tick, f"{self.cut}; and the record of tick {tick} follows")
        if tick == self._known and data == self._last:
            return None
        try:
            record = JournalRecord.decode(data)
        except RecordTorn as error:
            self._cut_tick, self.cut = tick, str(error)
            return None
        except RecordError as error:
            raise self._damaged(tick, str(error)) from error
        if (record.shard, record.tick) != (self._shard, tick):
            raise self._damaged(tick, f"here lies the record of shard {record.shard}, tick {record.tick}")
        if self._last is not None and tick == self._known:
            raise self._damaged(tick, f"two records differ (epochs {self._epoch} and {record.epoch})")
        if tick <= self._known:
            raise self._damaged(tick, f"it comes after tick {self._known}")
        if record.epoch < self._epoch:
            raise self._damaged(tick, f"epoch {record.epoch} wrote after epoch {self._epoch}")
        if record.previous > self._known or (self._last is not None and record.previous != self._known):
            raise self._damaged(tick, f"a gap: it follows tick {record.previous}, and the last here is {self._known}")
        self._known, self._epoch, self._last = tick, record.epoch, data
        return record

    def _damaged(self, tick: int, reason: str) -> JournalDamaged:
        return JournalDamaged(self._shard, tick, reason)


def last_whole(shard: int, newest: Sequence[tuple[int, bytes]]) -> JournalRecord | None:
    """What a new writer follows: the last record, or the one before it where the last is torn.

    `newest`: the last two of what is kept, in order, as (tick, bytes); fewer where there are fewer. None: nothing
    whole. What is kept above the record returned is torn, and the new writer's to remove. Raises JournalDamaged.
    """
    if not newest:
        return None
    # The first one's predecessor is not at hand and may be trimmed: any tick below is right.
    tail = Tail(shard, after_tick=newest[0][0] - 1)
    judged = [tail.read(tick, data) for tick, data in newest]
    return next((record for record in reversed(judged) if record is not None), None)
