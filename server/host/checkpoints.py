"""Checkpoints of one shard, beside its ticks.

Between two ticks the state is copied; that is all a tick waits for. Compressing and writing go on elsewhere,
once the next tick's record is durable, which carries the state's digest: so a checkpoint is never ahead of its
journal, and an owner that has lost its shard writes none. Then the oldest ones go, and the journal that only they
needed.

A checkpoint that can't be written is logged and counted, and tried again next time: the world goes on, on the
journal alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import structlog

from server.host.host import ShardHost
from server.host.recovery import Report
from server.host.retention import worth_keeping
from server.observe.metrics import Metrics
from server.shard.checkpoint import encode
from server.shard.machine import Capture
from server.shard.ports import CheckpointStore, Clock, JournalStore
from server.store.errors import StoreError, StoreFailed

_log = structlog.get_logger(__name__)

# The niceness of the thread that compresses: a tenth of the ticks' share where they have one core between them. At
# equal shares a tick of 10 ms takes half as long again for as long as a checkpoint is compressed.
_NICENESS: Final = 10
# Multiples of it lie evenly between two whole numbers, however many there are.
_GOLDEN: Final = 0.6180339887498949
# The part of the time between two checkpoints after which one is taken when its shard falls asleep.
_BEFORE_SLEEP: Final = 0.1


@dataclass(frozen=True, slots=True)
class _Taken:
    """A state that waits to be written."""

    capture: Capture
    digest: int
    # Its last record's tick.
    previous: int
    # It is written once the record of this tick is durable.
    proof_tick: int
    at_s: float


class Checkpoints:
    """Takes them while the host runs. `every_s`: seconds between two; `kept`: how many stay, at least 2.

    `retain_ticks`: the last ticks to which a replay is to lead, beyond what recovery needs; `retained`: how many more
    stay for that, about evenly spread. `age_s`: seconds of play since the newest checkpoint, as recovery found it. So a
    world that is killed again and again before its next is due gets one all the same, and does not replay ever more.

    The second one comes earlier, by another time for each shard: those that begin together have theirs one after the
    other, for a store that is given all of them at once keeps every journal waiting.
    """

    def __init__(
        self,
        host: ShardHost,
        journal: JournalStore,
        store: CheckpointStore,
        clock: Clock,
        metrics: Metrics,
        *,
        every_s: float,
        kept: int,
        retain_ticks: int = 0,
        retained: int = 24,
        age_s: float = 0.0,
    ) -> None:
        assert kept >= 2, "with one alone there is nothing to fall back to"
        self._host = host
        self._journal = journal
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._every_s = every_s
        self._kept = kept
        self._retain_ticks = retain_ticks
        self._spacing_ticks = max(1, retain_ticks // retained)
        # When the last one was taken, in seconds that the host was awake: what sleeps does not grow older.
        self._last_s = host.slumber.awake_s() - age_s
        # By how much the next one comes earlier, and the one after it.
        self._early_s, self._then_early_s = 0.0, host.machine.shard * _GOLDEN % 1.0 * every_s
        # Tick of the newest that is durable, once there is one.
        self.tick: int | None = None
        self._waiting: _Taken | None = None
        self._task: asyncio.Task[bool] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint", initializer=_give_way)
        # The memory of the last one, to be written over. The first is asked for here, while no tick waits: the system
        # takes several times as long to hand out memory as copying into it takes.
        self._spare: Capture | None = host.machine.capture()
        host.digest_wanted = self._due
        host.stay_awake = self._overtaken
        host.on_digest.append(self._on_digest)
        host.after_durable.append(self._write_if_durable)
        age_seconds = metrics.checkpoint_age_seconds.labels(host.machine.shard)
        age_seconds.set_function(self._age_s)

    async def begin(self, report: Report) -> None:
        """The first one, where nothing that is kept is of this world, or of this version of it, yet; else nothing.

        Nothing may follow what another version wrote, so this one begins with a checkpoint of its own. And a new world
        says in one what it is: started again with another seed, say, it is refused by name.

        Raises StoreFailed where there would be no way back without it and the store does not take it.
        """
        if not (report.fresh or report.upgraded) or await self.take():
            return
        if report.written_elsewhere:
            # What this machine would journal on top of that state can be replayed by neither.
            raise StoreFailed(
                f"no checkpoint of shard {report.shard} could be kept, and it can't go on without one: "
                + "; ".join(report.written_elsewhere)
            )

    async def take(self, *, timeout_s: float = 30.0) -> bool:
        """One now, between ticks: before the first, or after the last of a clean shutdown. Whether it was written.

        Waits `timeout_s` at the most for the journal to be durable up to here and for the store to take it.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._take()
        except TimeoutError:
            _log.warning("no checkpoint: the store did not answer in time", shard=self._host.machine.shard)
            return False

    async def _take(self) -> bool:
        await self.settle()
        # No record may follow: an upgrade begins where nothing is to be replayed. So this one has no proof that it is
        # of the shard's history; what recovery makes of that stands in `rebuild`.
        taken = self._capture(self._host.machine.digest(), self._host.journalled_tick)
        durable = asyncio.Event()
        self._host.after_durable.append(durable.set)
        try:
            while self._host.durable_tick < taken.proof_tick:
                durable.clear()
                await durable.wait()
        finally:
            self._host.after_durable.remove(durable.set)
        return await self._write(taken)

    async def close(self, *, timeout_s: float = 30.0) -> None:
        """Take no more, and let the one on its way arrive. One whose journal is not durable is given up.

        So is one that the store does not take within `timeout_s`.
        """
        self._host.digest_wanted = self._host.stay_awake = lambda: False
        self._host.on_digest.remove(self._on_digest)
        self._host.after_durable.remove(self._write_if_durable)
        self._waiting = None
        try:
            async with asyncio.timeout(timeout_s):
                await self.settle()
        except TimeoutError:
            if self._task is not None:
                self._task.cancel()
                await self.settle()
        finally:
            # It may be compressing one that was given up: other shards' ticks are not to wait for that.
            self._thread.shutdown(wait=False)

    @property
    def busy(self) -> bool:
        """Whether a state is on its way to the store."""
        return self._waiting is not None or self._task is not None

    async def settle(self) -> None:
        """Wait for the one that is being written, if any."""
        while self._task is not None:
            await asyncio.wait([self._task])

    # -- inside ------------------------------------------------------------------

    def _due(self) -> bool:
        idle = self._waiting is None and self._task is None
        # What is replayed in no time needs none of its own: a shard that sleeps wakes for a few ticks with each letter.
        wait_s = self._every_s * _BEFORE_SLEEP if self._host.falls_asleep else self._every_s
        return idle and self._age_s() >= wait_s - self._early_s

    def _overtaken(self) -> bool:
        """Whether one is on its way that is older by now than what a shard may fall asleep with."""
        return self.busy and self._age_s() >= self._every_s * _BEFORE_SLEEP

    def _age_s(self) -> float:
        return self._host.slumber.awake_s() - self._last_s

    def _on_digest(self, digest: int) -> None:
        if self._due():
            # The tick that begins has a record with this very digest.
            self._waiting = self._capture(digest, self._host.machine.tick + 1)
            self._write_if_durable()

    def _capture(self, digest: int, proof_tick: int) -> _Taken:
        began_s = self._clock.now_s()
        capture = self._host.machine.capture(self._spare)
        self._spare = None
        at_s = self._clock.now_s()
        self._last_s = self._host.slumber.awake_s()
        self._early_s, self._then_early_s = self._then_early_s, 0.0
        self._metrics.checkpoint_capture_seconds.observe(at_s - began_s)
        return _Taken(capture, digest, self._host.journalled_tick, proof_tick, at_s)

    def _write_if_durable(self) -> None:
        taken = self._waiting
        if taken is not None and self._task is None and self._host.durable_tick >= taken.proof_tick:
            self._waiting = None
            self._task = asyncio.create_task(self._write(taken), name="checkpoint")
            self._task.add_done_callback(lambda _task: setattr(self, "_task", None))

    async def _write(self, taken: _Taken) -> bool:
        shard, tick = self._host.machine.shard, taken.capture.tick
        try:
            encoding = functools.partial(
                encode,
                taken.capture,
                shard=shard,
                epoch=self._host.epoch,
                previous=taken.previous,
                digest=taken.digest,
            )
            manifest, chunks = await asyncio.get_running_loop().run_in_executor(self._thread, encoding)
            self._spare = taken.capture
            await self._store.write(manifest, chunks)
            self.tick = tick
            await self._tidy()
        except Exception as error:  # noqa: BLE001  # whatever a store or its driver raises: players are not sent away
            unforeseen = not isinstance(error, StoreError)
            _log.error("checkpoint failed", shard=shard, tick=tick, reason=str(error), exc_info=unforeseen)
            self._metrics.checkpoint_failures_total.inc()
            if self._host.slumber.asleep:
                # It has played since the newest, and may do so for moments at a time: its first tick tries again.
                self._last_s -= self._every_s
            return False
        else:
            took_s = self._clock.now_s() - taken.at_s
            self._metrics.checkpoint_seconds.observe(took_s)
            self._metrics.checkpoint_bytes.labels(shard).set(manifest.stored_bytes)
            _log.info("checkpoint", shard=shard, tick=tick, bytes=manifest.stored_bytes, took_s=round(took_s, 3))
            return True

    async def _tidy(self) -> None:
        """Let go of what nobody needs: older checkpoints, and the journal behind the oldest that stays."""
        shard, durable_tick = self._host.machine.shard, self._host.durable_tick
        # Whatever another owner wrote comes after our last durable record. Counting checkpoints from beyond it, an
        # owner that was stopped while idle could trim the other's records behind a state that is not of their history.
        known = [m for m in await self._store.manifests(shard) if m.tick <= durable_tick]
        kept = worth_keeping(
            known,
            newest=self._kept,
            horizon_tick=durable_tick - self._retain_ticks,
            spacing_ticks=self._spacing_ticks,
        )
        for manifest in known:
            if manifest not in kept:
                await self._store.delete(shard, manifest.tick)
        # Where there is one alone, the way back past it is the whole journal.
        if len(kept) >= 2:
            await self._journal.trim(shard, kept[-1].tick)


def _give_way() -> None:
    """Have this thread run when nothing else wants to. Elsewhere than on Linux a priority is the whole process's."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + _NICENESS)
