"""What outlives a process: what journals and checkpoints are kept on, slow and failing as the seed has it; leases."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from random import Random

from server.shard.journal import JournalRecord
from server.shard.lease import Lease
from server.store.errors import Fenced, LeaseStoreAway, StoreFailed
from server.store.leases_memory import MemoryLeases
from server.store.memory import MemoryJournal
from server.store.memory_checkpoints import MemoryCheckpoints
from tests.simulator.process import Process


class Medium:
    """The disk, or the database. It checks what is written: the journal's own invariants, at every record."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.journal = MemoryJournal(keep_max=1_000_000)
        self.checkpoints = MemoryCheckpoints()
        self.latency_s = 0.003
        # Whether it answers at all.
        self.up = True
        # Chance that a sync fails: what was to be durable is not, or is and nobody is told.
        self.sync_fails = 0.0
        # Shard -> (epoch, tick) of every record that became durable, in order of time.
        self.written: dict[int, list[tuple[int, int]]] = defaultdict(list)
        # Told of each of them, and when it was appended, in seconds.
        self.watchers: list[Callable[[JournalRecord, float], None]] = []
        self.broken: list[str] = []

    async def reach(self, process: Process) -> None:
        """Return when it has heard the process, and the process runs."""
        await process.awake()
        while not self.up:  # as a client asks again and again
            await process.loop.sleep(0.05)
        await process.loop.sleep(self.latency_s * self.random.random())
        await process.awake()

    def note(self, record: JournalRecord, appended_s: float) -> None:
        """A record is durable."""
        before = self.written[record.shard]
        last_epoch, last_tick = before[-1] if before else (0, 0)
        if record.epoch < last_epoch:
            self.broken.append(
                f"shard {record.shard}: epoch {record.epoch} wrote tick {record.tick} after {last_epoch}"
            )
        if record.tick <= last_tick:
            self.broken.append(f"shard {record.shard}: tick {record.tick} was written twice, or late")
        if record.previous != last_tick:
            self.broken.append(f"shard {record.shard}: tick {record.tick} follows {record.previous}, not {last_tick}")
        before.append((record.epoch, record.tick))
        for watcher in self.watchers:
            watcher(record, appended_s)


class SimJournal(MemoryJournal):
    """A JournalStore of one shard in one process."""

    def __init__(self, medium: Medium, process: Process) -> None:
        super().__init__(hold=True, keep_max=1_000_000)
        self._medium, self._process = medium, process
        process.on_crash.append(self._interrupted)
        self._kept, self._last = medium.journal._kept, medium.journal._last
        self._syncing = False
        # Records that wait to be told as durable, and are.
        self._written = 0
        # Tick -> when its record was appended, in seconds.
        self._appended_s: dict[int, float] = {}

    async def claim(self, shard, epoch=None):
        await self._medium.reach(self._process)
        with self._process.effect("claim"):
            claimed = self.claim_now(shard, epoch)
        await self._medium.reach(self._process)
        return claimed

    def append(self, record, on_durable):
        self._appended_s[record.tick] = self._process.loop.time()
        with self._process.effect("append", (record,)):
            super().append(record, on_durable)
        if not self._syncing:
            self._syncing = True
            self._process.spawn(self._drain())

    async def _drain(self) -> None:
        """One sync at a time, of all that waits when it begins."""
        try:
            while self._waiting and self._failure is None:
                n = len(self._waiting)
                await self._medium.reach(self._process)
                if self._medium.random.random() < self._medium.sync_fails:
                    self._fail_sync(n)
                    return
                with self._process.effect("sync", tuple(record for record, _ in self._waiting)[:n]):
                    self._write(n)
                await self._process.awake()
                for _ in range(n):
                    if self._waiting and self._failure is None:
                        _, on_durable = self._waiting.popleft()
                        self._written -= 1
                        on_durable()
        except Fenced as fenced:
            self._failure = fenced
            self._waiting.clear()
        finally:
            self._syncing = False

    def _write(self, n: int) -> None:
        """Into the medium; nobody is told yet. Raises Fenced where another writes by now."""
        for record, _ in list(self._waiting)[self._written : n]:
            newest = self._last[record.shard].epoch
            if newest > record.epoch:
                raise Fenced(f"shard {record.shard}: epoch {record.epoch} has ended, {newest} writes")
            self._last[record.shard] = type(self._last[record.shard])(record.epoch, record.tick)
            self.keep(record.shard, record.tick, record.encode())
            self._written += 1
            self._medium.note(record, self._appended_s[record.tick])

    def _fail_sync(self, n: int) -> None:
        if self._medium.random.random() < 0.5:
            # It is on the disk all the same: nobody can tell.
            try:
                self._write(self._medium.random.randint(self._written, n))
            except Fenced as fenced:
                self._failure = fenced
        self._failure = self._failure or StoreFailed("the disk says that it could not sync")
        self._waiting.clear()

    def _interrupted(self) -> None:
        """Its process is dead. What was not synced is lost, or some of it is there, the last of it torn."""
        random = self._medium.random
        if len(self._waiting) <= self._written or not self._medium.up or random.random() < 0.5:
            return
        n = random.randint(self._written, len(self._waiting))
        try:
            self._write(n)
        except Fenced:
            return
        if n < len(self._waiting) and random.random() < 0.5:
            record, _ = self._waiting[n]
            if self._last[record.shard].epoch > record.epoch:
                return
            data = record.encode()
            self.keep(record.shard, record.tick, data[: random.randrange(len(data))])

    async def read(self, shard, after_tick):
        await self._medium.reach(self._process)
        for record in self.records(shard, after_tick):
            yield record

    async def spans(self):
        await self._medium.reach(self._process)
        return await super().spans()

    async def trim(self, shard, up_to_tick):
        await self._medium.reach(self._process)
        with self._process.effect("trim"):
            await super().trim(shard, up_to_tick)


class SimCheckpoints:
    """A CheckpointStore as one process has it."""

    def __init__(self, medium: Medium, process: Process) -> None:
        self._medium, self._process = medium, process

    def __getattr__(self, name):
        method = getattr(self._medium.checkpoints, name)

        async def call(*arguments, **options):
            await self._medium.reach(self._process)
            with self._process.effect(f"checkpoint {name}"):
                return await method(*arguments, **options)

        return call


class SimLeases:
    """A LeaseStore as one process has it."""

    def __init__(
        self, leases: MemoryLeases, network, process: Process, handed: Callable[[Process, Lease], None]
    ) -> None:
        self._leases, self._network, self._process = leases, network, process
        # Told of each lease that it hands over.
        self._handed = handed

    def __getattr__(self, name):
        method = getattr(self._leases, name)

        async def call(*arguments):
            await self._process.awake()
            await self._process.loop.sleep(0.001)
            if not self._network.up or not self._network.reaches(self._process.name, "redis"):
                raise LeaseStoreAway("the simulator has it away")
            with self._process.effect(f"lease {name}"):
                answer = await method(*arguments)
                if name == "hand_over" and answer is not None:
                    self._handed(self._process, answer)
            await self._process.awake()
            if not self._network.up:
                raise LeaseStoreAway("the answer was lost")
            return answer

        return call
