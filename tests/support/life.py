"""A shard's lives: it comes back, ticks, and is killed or stopped, over stores that outlive it."""

from __future__ import annotations

from server.bus.memory import MemoryBus
from server.host.checkpoints import Checkpoints
from server.host.host import HostOptions, ShardHost
from server.host.reception import ReceptionOptions
from server.host.recovery import recover
from server.observe.health import Health
from server.observe.metrics import Metrics
from server.shard.ports import commands_topic
from server.store.memory import MemoryJournal
from server.store.memory_checkpoints import MemoryCheckpoints
from tests.support.clock import VirtualClock
from tests.support.orders import batch
from tests.support.pasture import REGION, one_of_us, pasture

SHARD = REGION.id
SESSIONS = (7, 2**64 - 1, 12)


class Life:
    """One process's life over stores that outlive it: comes back, ticks, is killed or stopped."""

    def __init__(self, make=pasture, *, journal=None, checkpoints=None, clock=None, every_s=1e9, kept=2, **retention):
        self.make = make
        self.journal = journal or MemoryJournal(keep_max=100_000)
        self.store = checkpoints or MemoryCheckpoints()
        self.clock = clock or VirtualClock()
        self.every_s, self.kept, self.retention = every_s, kept, retention
        self.digests = {}

    async def __aenter__(self):
        self.recovered = await recover(self.make, self.journal, self.store, self.clock)
        self.machine, self.report = self.recovered.machine, self.recovered.report
        self.metrics = Metrics()
        self.bus = MemoryBus()
        self.host = ShardHost(
            self.machine,
            self.journal,
            self.bus,
            self.clock,
            HostOptions(
                20.0,
                5,
                10_000,
                8,
                "pipelined",
                self.machine.simulation,
                digest_every_ticks=10,
                # Players have no gateway here.
                reception=ReceptionOptions(gateway_silence_s=1e9, grace_s=1e9),
            ),
            self.metrics,
            Health(self.clock.now_s),
            claim=self.recovered.claim,
        )
        self.checkpoints = Checkpoints(
            self.host,
            self.journal,
            self.store,
            self.clock,
            self.metrics,
            every_s=self.every_s,
            kept=self.kept,
            age_s=self.report.ticks_replayed / 20.0,
            **self.retention,
        )
        return self

    async def __aexit__(self, *_):
        await self.checkpoints.close()

    def tick(self, *orders):
        if orders:
            self.bus.publish(commands_topic(SHARD), batch(self.machine.shapes, orders))
        self.clock.work(0.05)
        self.host.tick_once()
        self.digests[self.machine.tick] = self.machine.digest()

    def next(self, **changes):
        """The life after this one."""
        options = {"journal": self.journal.reopened(), "checkpoints": self.store, "clock": self.clock}
        options |= {"every_s": self.every_s, "kept": self.kept, **self.retention}
        return Life(changes.pop("make", self.make), **{**options, **changes})


def orders(n):
    """What three players do at tick `n`, now nothing, now much."""
    if n == 2:
        return [("join", s, 0, b"account", b"Ada") for s in SESSIONS]
    if n % 40 > 28 or n < 3:
        return []
    found = [("Move", SESSIONS[n % 3], 10 * n, n % 90, 20.0)]
    if n % 4 == 0:
        # Ten sheep live at a time, each in the row behind the last one's.
        life, row = divmod(max(0, n // 40 * 8 + n % 40 // 4 - 11), REGION.entities_max - 9)
        whom = one_of_us(9 + row, 1 + life)
        found += [("Buy", SESSIONS[n % 3], 10 * n + 1, n % 200), ("Cull", SESSIONS[n % 3], 10 * n + 2, whom)]
    return found


async def live(life, ticks, checkpoint_at=()):
    for n in range(life.machine.tick + 1, life.machine.tick + ticks + 1):
        life.tick(*orders(n))
        if n in checkpoint_at:
            assert await life.checkpoints.take()
