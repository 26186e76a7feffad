"""The ports: what the shell hands to a shard's host. Each has an in-memory adapter beside its durable one.

The errors named here are those of server/store/errors.py, and JournalDamaged.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from server.shard.checkpoint import Chunk, Manifest
from server.shard.journal import JournalRecord


class Clock(Protocol):
    """Time, handed in: a test hands in its own."""

    def now_s(self) -> float:
        """Monotonic seconds."""

    async def sleep_until(self, due_s: float) -> None:
        """Return at `due_s` or as soon after as can be; at once where it is past."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a shard's writer has to know."""

    # What it stamps on its records.
    epoch: int
    # Tick of the shard's last durable record, 0 where there is none: what the next one names as its previous.
    tick: int


@dataclass(frozen=True, slots=True)
class Span:
    """What a journal keeps of a shard."""

    # Reading can begin after this tick and misses nothing.
    after_tick: int
    # Tick of the last durable record.
    last_tick: int
    records: int


class JournalReader(Protocol):
    """The records that a recovery or a replay reads."""

    def read(self, shard: int, after_tick: int) -> AsyncIterator[JournalRecord]:
        """The shard's durable records with a tick above `after_tick`, in order.

        What an interrupted write left at the end is no record. Raises JournalDamaged naming the damage.
        """

    async def spans(self) -> dict[int, Span]:
        """What is kept, by shard."""


class JournalStore(JournalReader, Protocol):
    """Where records become durable, in order of `append`, each shard written by one writer at a time."""

    async def claim(self, shard: int, epoch: int | None = None) -> Claim:
        """Become the shard's writer: records of older epochs are refused from now on, whoever appends them.

        `epoch`: above every earlier one; None: one above the last. Raises Fenced, StoreFailed, StoreClosed.
        """

    def append(self, record: JournalRecord, on_durable: Callable[[], None]) -> None:
        """Take the record and return; call `on_durable` once it would survive a power cut.

        Calls come in order of append, from the loop's thread. Raises Fenced for an epoch that is not the claimed one,
        OutOfSequence for a record that does not name the last one as its previous, StoreFailed, StoreClosed.
        """

    @property
    def backlog(self) -> int:
        """Records taken and not yet durable."""

    @property
    def failure(self) -> Exception | None:
        """Why nothing more will become durable; None while all is well.

        Once set it stays: nothing that was not durable by then, and nothing appended after, is ever reported durable.
        What was appended before may be found by whoever reads the store next.
        """

    async def trim(self, shard: int, up_to_tick: int) -> None:
        """Records with a tick of `up_to_tick` and below may go."""

    async def close(self) -> None:
        """Take no more. What was appended becomes durable first, or `failure` says why not."""


class CheckpointReader(Protocol):
    """What a recovery or a replay reads: states, by shard and tick. Raises StoreFailed, StoreClosed."""

    async def shards(self) -> list[int]:
        """Those that have any, ascending."""

    async def manifests(self, shard: int) -> list[Manifest]:
        """Newest first. One that is torn or damaged is left out, as if it did not exist."""

    async def chunk(self, shard: int, tick: int, name: str) -> bytes | None:
        """As it is kept, which may not be as it was written: the manifest tells. None where it is missing."""


class CheckpointStore(CheckpointReader, Protocol):
    """Where states are kept. Raises StoreFailed, StoreClosed."""

    async def write(self, manifest: Manifest, chunks: Sequence[Chunk]) -> None:
        """Keep it, the manifest last: before that it does not exist. It would survive a power cut when this returns.

        One of the same shard and tick is replaced.
        """

    async def delete(self, shard: int, tick: int) -> None:
        """The manifest goes first. Nothing where there is none."""


class Bus(Protocol):
    """Topics of bytes between shards and gateways. It may lose, repeat and reorder; nothing relies on it not to."""

    def publish(self, topic: str, payload: bytes) -> None:
        """Hand the bytes to everyone who listens."""

    def subscribe(self, topic: str, handler: Callable[[bytes], None]) -> Callable[[], None]:
        """Have `handler` called with each payload; returns what ends it."""


# Of what gateways, nodes and operators' commands say to each other on the bus. Another number whenever one of them
# would not understand what was said before; tests/roles/test_world_terms.py notices most of that.
BUS_VERSION: Final = 4


def frames_topic(shard: int) -> str:
    """Where a shard publishes its frames."""
    return f"frames/{shard}"


def commands_topic(shard: int) -> str:
    """Where a shard listens for command batches that are nobody's stream: an operator's orders."""
    return f"commands/{shard}"


def uplink_topic(shard: int) -> str:
    """Where a shard listens for gateways' batches (server/shard/uplink.py)."""
    return f"uplink/{shard}"


def links_topic(gateway: int) -> str:
    """Where a gateway hears how far shards have received its batches."""
    return f"links/{gateway}"


def sessions_topic(gateway: int) -> str:
    """Where a gateway hears of sessions: who has one that it seeks, and that another gateway has one of its own."""
    return f"sessions/{gateway}"


# Where every shard hears which session a gateway seeks.
SEEK_TOPIC: Final = "seek"


def receipts_topic(shard: int) -> str:
    """Where a shard publishes which reliable commands are durable."""
    return f"receipts/{shard}"


def mail_topic(shard: int) -> str:
    """Where a shard listens for mail and for acknowledgements of its own."""
    return f"mail/{shard}"


def keyframes_topic(shard: int) -> str:
    """Where a replica asks a shard for a keyframe."""
    return f"keyframes/{shard}"
