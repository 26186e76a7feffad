"""What a shard can refuse.

ShardError
├── BatchError              bytes that are not a command batch of this game
├── MailError               bytes that are no mail
├── RecordError             bytes that are not a journal record
│   ├── RecordTorn          whose end was never written
│   └── RecordOfTheFuture   of a format this program does not know
├── JournalDamaged          a journal whose records are not what was written
├── CheckpointDamaged       a checkpoint whose chunk is missing or is not what was written
└── CaptureRefused          a state that is not one of this machine
"""

from __future__ import annotations


class ShardError(Exception):
    """Root of what a shard refuses."""


class BatchError(ShardError):
    """Bytes that are not a command batch of this game."""


class MailError(ShardError):
    """Bytes that are no letter, no refusal, no packet of them."""


class RecordError(ShardError):
    """Bytes that are not a journal record."""


class RecordTorn(RecordError):
    """A record whose end was never written: what an interrupted write leaves."""


class RecordOfTheFuture(RecordError):
    """A record of a format that this program does not know."""


class JournalDamaged(ShardError):
    """A shard's journal is not what was written; `tick` is where, `reason` what."""

    def __init__(self, shard: int, tick: int, reason: str) -> None:
        super().__init__(f"journal of shard {shard} damaged at tick {tick}: {reason}")
        self.shard = shard
        self.tick = tick
        self.reason = reason


class CheckpointDamaged(ShardError):
    """A checkpoint whose `chunk` is missing or is not what was written."""

    def __init__(self, chunk: str, reason: str) -> None:
        super().__init__(f"checkpoint damaged: {chunk}: {reason}")
        self.chunk = chunk
        self.reason = reason


class CaptureRefused(ShardError):
    """A state that is not one of this machine: of another game, another version, another region."""
