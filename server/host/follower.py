"""A standby: a machine that replays a shard's journal while its owner writes it.

It sees what is durable and nothing else, checks every digest on the way, and writes nothing; so there may be any
number of them. To take the shard over it claims the journal, which stops the owner if there still is one, and
replays what came between: milliseconds instead of a recovery.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Self, TypeVar

from server.host.recovery import Recovered, Replay, Report, check_end, rebuild, taken_over
from server.shard.machine import Machine
from server.shard.ports import CheckpointStore, Clock, JournalStore

M = TypeVar("M", bound=Machine)


class Follower(Generic[M]):
    """Made by `begin`. One call at a time."""

    def __init__(self, machine: M, report: Report, journal: JournalStore) -> None:
        self.machine = machine
        self._report = report
        self._journal = journal
        self._replay = Replay(machine, report)

    @classmethod
    async def begin(
        cls,
        make: Callable[[], M],
        journal: JournalStore,
        checkpoints: CheckpointStore,
        clock: Clock,
        on_progress: Callable[[], None] = lambda: None,
    ) -> Self:
        """At the last durable record. `on_progress`, and what it raises: as of `rebuild`."""
        machine, report = await rebuild(make, journal, checkpoints, clock, on_progress=on_progress)
        return cls(machine, report, journal)

    @property
    def tick(self) -> int:
        """How far it is."""
        return self.machine.tick

    async def catch_up(self) -> int:
        """Replay what has become durable since; returns the tick.

        Raises RecoveryDiverged, UpgradeRefused, JournalDamaged, StoreErrors.
        """
        async for record in self._journal.read(self.machine.shard, self.machine.tick):
            await self._replay.record(record)
        return self.machine.tick

    async def take_over(self, epoch: int, on_progress: Callable[[], None] = lambda: None) -> Recovered[M]:
        """Become the writer, as of the last durable record. It is of no more use as a follower then.

        `on_progress`: as of `recover`. Raises Fenced where the epoch is too old, and what `catch_up` raises.
        """
        # Before the claim: until then the owner's players notice nothing of it.
        await self.catch_up()
        claim = await self._journal.claim(self.machine.shard, epoch)
        on_progress()
        self._replay.on_progress = on_progress
        await self.catch_up()
        check_end(self._report, claim)
        return taken_over(self.machine, claim, self._report)
