"""Who may append what: the part of a journal store that needs no medium."""

from __future__ import annotations

from dataclasses import dataclass

from server.shard.journal import JournalRecord
from server.shard.ports import Claim
from server.store.errors import Fenced, OutOfSequence


@dataclass(slots=True)
class _Writer:
    epoch: int
    # Of the last record taken.
    tick: int


class Writers:
    """The writer of each shard, as claimed in this process."""

    def __init__(self) -> None:
        self._writers: dict[int, _Writer] = {}

    def revoke(self, shard: int) -> None:
        """Nobody writes this shard until it is claimed."""
        self._writers.pop(shard, None)

    def grant(self, shard: int, claim: Claim) -> None:
        """From here on the shard is this writer's."""
        self._writers[shard] = _Writer(claim.epoch, claim.tick)

    def admit(self, record: JournalRecord) -> None:
        """Note the record as taken. Raises Fenced, OutOfSequence; nothing is noted then."""
        writer = self._writers.get(record.shard)
        if writer is None:
            raise Fenced(f"shard {record.shard}: tick {record.tick} of epoch {record.epoch}, and nobody claimed it")
        if record.epoch != writer.epoch:
            raise Fenced(f"shard {record.shard}: tick {record.tick} of epoch {record.epoch} in epoch {writer.epoch}")
        if record.previous != writer.tick or record.tick <= writer.tick:
            raise OutOfSequence(
                f"shard {record.shard}: tick {record.tick}, which follows {record.previous}, after tick {writer.tick}"
            )
        writer.tick = record.tick


def next_epoch(shard: int, last: int, wanted: int | None) -> int:
    """The epoch of a new writer. `last`: the newest so far, 0 for none. Raises Fenced."""
    if wanted is not None and wanted <= last:
        raise Fenced(f"shard {shard}: epoch {wanted} claims it after epoch {last}", newest=last)
    return last + 1 if wanted is None else wanted
