"""A node's time with one shard: from the lease that gives it to the moment another may have it.

begin    the machine is brought back, or a standby's is taken over; ticks begin
run      until something fails: the journal says that another has the shard (Fenced), a system of the game raises
end      orderly: a last tick, durable, with a digest; a checkpoint. Otherwise: at once, and nothing is written
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Self

from server.host.checkpoints import Checkpoints
from server.host.follower import Follower
from server.host.host import HostOptions, ShardHost
from server.host.recovery import Recovered, recover
from server.host.worldtime import WorldTime
from server.observe.health import Health
from server.observe.metrics import Metrics
from server.shard.lease import Lease
from server.shard.machine import Machine
from server.shard.ports import Bus, CheckpointStore, Clock, JournalStore
from server.store.errors import Fenced

# Seconds between two looks at a journal that is not durable yet: it may fail without a word.
_LOOK_S: Final = 0.002


@dataclass(frozen=True, slots=True)
class ShardParts:
    """What a shard is run on. Its journal is its own: when it fails, that concerns no other shard."""

    # A fresh machine at tick 0.
    make: Callable[[], Machine]
    journal: JournalStore
    checkpoints: CheckpointStore
    # Called in the end.
    close: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all shards of a process share."""

    bus: Bus
    clock: Clock
    metrics: Metrics
    health: Health
    options: HostOptions
    checkpoint_every_s: float
    checkpoints_kept: int
    # Ticks that are kept for audits, and checkpoints over them; see Checkpoints.
    retain_ticks: int = 0
    retained: int = 24
    # Seconds that an end waits for its store: an orderly one for the last tick, and again for a checkpoint.
    end_timeout_s: float = 5.0
    # See Postman.
    jitter: Callable[[], float] = lambda: 1.0
    world_time: WorldTime = field(default_factory=WorldTime)


class Tenure:
    """Made by `begin`."""

    def __init__(self, lease: Lease, parts: ShardParts, recovered: Recovered[Machine], around: Surroundings) -> None:
        self.lease = lease
        self.report = recovered.report
        self.host = ShardHost(
            recovered.machine,
            parts.journal,
            around.bus,
            around.clock,
            around.options,
            around.metrics,
            around.health,
            claim=recovered.claim,
            jitter=around.jitter,
            world_time=around.world_time,
        )
        self._checkpoints = Checkpoints(
            self.host,
            parts.journal,
            parts.checkpoints,
            around.clock,
            around.metrics,
            every_s=around.checkpoint_every_s,
            kept=around.checkpoints_kept,
            retain_ticks=around.retain_ticks,
            retained=around.retained,
            age_s=self.report.ticks_replayed / around.options.tick_rate_hz,
        )
        self._parts = parts
        self._around = around
        self._ticks: asyncio.Task[None] | None = None
        # While it ends: until when that waits for the store.
        self._until_s: float | None = None
        # What is let go of in the end, last thing first; each once, whatever comes of the others.
        self._open = contextlib.AsyncExitStack()
        self._open.push_async_callback(parts.close)
        self._open.callback(self.host.close)
        self._open.push_async_callback(self._close_checkpoints)

    @classmethod
    async def begin(
        cls,
        lease: Lease,
        parts: ShardParts,
        around: Surroundings,
        follower: Follower[Any] | None = None,
        on_progress: Callable[[], None] = lambda: None,
    ) -> Self:
        """Take the shard over and let it tick. `follower`: a standby that is on its way already.

        `on_progress`: as of `recover`.

        Raises what `recover` and `Checkpoints.begin` raise; `parts` is then closed.
        """
        async with contextlib.AsyncExitStack() as ended:
            ended.push_async_callback(parts.close)
            recovered: Recovered[Machine]
            if follower is not None:
                recovered = await follower.take_over(lease.epoch, on_progress)
            else:
                recovered = await recover(
                    parts.make,
                    parts.journal,
                    parts.checkpoints,
                    around.clock,
                    epoch=lease.epoch,
                    on_progress=on_progress,
                )
            tenure = cls(lease, parts, recovered, around)
            ended.pop_all()
            ended.push_async_callback(tenure._open.aclose)
            await tenure._checkpoints.begin(tenure.report)
            ended.pop_all()
        tenure.host.show()
        tenure._ticks = asyncio.create_task(tenure.host.run(), name=f"ticks-{lease.shard}")
        # Whatever ended them: letting go of the rest takes as long as its store does, up to half a minute, and another
        # may have the shard by then. What gateways say would be answered here, and applied nowhere.
        tenure._ticks.add_done_callback(lambda _: tenure.host.deafen())
        return tenure

    @property
    def failure(self) -> BaseException | None:
        """Why it ticks no more, if it doesn't."""
        ticks = self._ticks
        return ticks.exception() if ticks is not None and ticks.done() and not ticks.cancelled() else None

    @property
    def ending(self) -> bool:
        """Whether `end` was called."""
        return self._until_s is not None

    @property
    def unkept(self) -> str | None:
        """What is not known to be kept, in words; None where everything is, or where another writes by now."""
        if self.host.durable_tick >= self.host.journalled_tick or isinstance(self._parts.journal.failure, Fenced):
            return None
        tick = self.host.machine.tick
        return f"stopped at tick {tick}, and what came after tick {self.host.durable_tick} is not known to be kept"

    async def stop(self) -> int:
        """Make the last tick and wait until it is durable; returns its number. Nothing else of the shard ends by that.

        Raises TimeoutError, StoreError: how far the journal reaches is then not known here. What the ticks failed with,
        where they did.
        """
        await self._halt()
        if self.failure is not None:
            # A tick that failed left half a state. A last tick of it would leave its digest in the journal, and with
            # that no replay would ever agree.
            raise self.failure
        async with asyncio.timeout(self._around.end_timeout_s):
            self.host.finish()
            await self._durable()
        return self.host.machine.tick

    async def end(self, *, orderly: bool) -> None:
        """Let go of it. `orderly`: after a last durable tick and with a checkpoint, as far as the store lets us.

        May be called again, where it was cancelled or raised. Raises what closing the store's parts raises.
        """
        self._until_s = self._around.clock.now_s() + self._around.end_timeout_s * (2 if orderly else 1)
        if orderly:
            with contextlib.suppress(Exception):
                # What the store can't do now, the next owner's recovery does.
                await self.stop()
                await self._checkpoints.take(timeout_s=self._around.end_timeout_s)
        await self._halt()
        await self._open.aclose()

    async def _close_checkpoints(self) -> None:
        """One that is on its way may arrive within the time of the end: it can be done without."""
        left_s = self._around.end_timeout_s
        if self._until_s is not None:
            left_s = max(0.0, self._until_s - self._around.clock.now_s())
        await self._checkpoints.close(timeout_s=left_s)

    async def _halt(self) -> None:
        if self._ticks is not None:
            self._ticks.cancel()
            await asyncio.wait([self._ticks])
        self.host.ticks_no_more()

    async def _durable(self) -> None:
        """Wait for the journal. Raises what it failed with."""
        while self.host.durable_tick < self.host.journalled_tick:
            if self._parts.journal.failure is not None:
                raise self._parts.journal.failure
            await self._around.clock.sleep_until(self._around.clock.now_s() + _LOOK_S)
