"""The ports: what the shell hands to a shard's host. Each has an in-memory adapter beside its durable one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from server.shard.journal import JournalRecord


class Clock(Protocol):
    """Time, handed in: a test hands in its own."""

    def now_s(self) -> float:
        """Monotonic seconds."""

    async def sleep_until(self, due_s: float) -> None:
        """Return at `due_s` or as soon after as can be; at once where it is past."""


class JournalStore(Protocol):
    """Where records become durable, in order of `append`."""

    def append(self, record: JournalRecord, on_durable: Callable[[], None]) -> None:
        """Take the record and return; call `on_durable` once it would survive a power cut.

        Calls come in order of append, from the loop's thread. Raises StoreError when closed or fenced.
        """

    @property
    def backlog(self) -> int:
        """Records taken and not yet durable."""

    def read(self, shard: int, after_tick: int) -> Iterator[JournalRecord]:
        """The shard's durable records with a tick above `after_tick`, in order."""


class Bus(Protocol):
    """Topics of bytes between shards and gateways. It may lose, repeat and reorder; nothing relies on it not to."""

    def publish(self, topic: str, payload: bytes) -> None:
        """Hand the bytes to everyone who listens."""

    def subscribe(self, topic: str, handler: Callable[[bytes], None]) -> Callable[[], None]:
        """Have `handler` called with each payload; returns what ends it."""


def frames_topic(shard: int) -> str:
    """Where a shard publishes its frames."""
    return f"frames/{shard}"


def commands_topic(shard: int) -> str:
    """Where a shard listens for command batches."""
    return f"commands/{shard}"


def receipts_topic(shard: int) -> str:
    """Where a shard publishes which reliable commands are durable."""
    return f"receipts/{shard}"


def keyframes_topic(shard: int) -> str:
    """Where a replica asks a shard for a keyframe."""
    return f"keyframes/{shard}"
