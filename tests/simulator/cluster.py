"""Nodes, a gateway, a bus, a database and a store of leases, in one process and on one seed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from random import Random

from server.host.host import HostOptions
from server.host.node import Node, NodeOptions
from server.host.reception import ReceptionOptions
from server.host.tenure import ShardParts, Surroundings
from server.observe.health import Health
from server.observe.metrics import Metrics
from server.regions.division import division_order
from server.shard.lease import Lease
from server.shard.ports import commands_topic
from server.store.leases_memory import MemoryLeases
from tests.simulator import game
from tests.simulator.check import Checker
from tests.simulator.desks import Desk
from tests.simulator.disk import Medium, SimCheckpoints, SimJournal, SimLeases
from tests.simulator.network import Network, SimBus
from tests.simulator.plan import GRACE_S, Plan
from tests.simulator.players import Crowd
from tests.simulator.process import Process

OPTIONS = HostOptions(
    tick_rate_hz=game.TICK_RATE_HZ,
    catch_up_ticks_max=5,
    inbox_max=1000,
    commands_per_tick_max=8,
    durability="pipelined",
    simulation=game.GAME.version,
    digest_every_ticks=5,
    # As long as most outages of the store: time waits for it in the others.
    journal_backlog_max=5,
    reception=ReceptionOptions(gateway_silence_s=1.0, grace_s=GRACE_S),
)
LEASE_TTL_S = 1.5
# Nobody reads them, and making them takes as long as many ticks.
_METRICS = Metrics()


class Cluster:
    """As planned; the plan's seed chooses the rest."""

    def __init__(self, plan: Plan) -> None:
        seed = plan.seed
        self.random = Random(f"cluster {seed}")
        self.drift = plan.drift
        self.atlas = game.atlas(plan.columns, plan.rows, plan.split_depth)
        self.shards = [region.id for region in self.atlas.sites]
        # Region -> whether it is to be divided, as its operator has it.
        self.wanted: dict[int, bool] = {}
        self.network = Network(Random(f"network {seed}"))
        self.medium = Medium(Random(f"disk {seed}"))
        self.names = [f"n{i}" for i in range(plan.nodes)]
        self.gateways = [f"g{i}" for i in range(plan.gateways)]
        # Names of what may be killed.
        self.everyone = (*self.names, *self.gateways)
        self.standby = plan.standby
        self.options = replace(OPTIONS, hibernate_after_s=plan.hibernate_after_s)
        self.leases = MemoryLeases(LEASE_TTL_S, asyncio.get_running_loop().time)
        self.nodes: dict[str, tuple[Process, Node]] = {}
        # Of all lives.
        self.node_of: dict[Process, Node] = {}
        # Told of each process of a node before it begins.
        self.on_start: list[Callable[[Process], None]] = []
        self.lives = 0
        # Processes that are to end in order.
        self.leaving: dict[Process, None] = {}
        # Of leases that were handed over, by shard and epoch, the last tick that was made before.
        self.handed: dict[tuple[int, int], int] = {}
        self.checker = Checker(self)
        self.desks: dict[str, tuple[Process, Desk]] = {}
        self.loop = asyncio.get_running_loop()
        self.operator = Process("operator")
        self.crowd = Crowd(plan, lambda: [desk for _, desk in self.desks.values()], self.checker.promises, self.loop)
        self.checker.promises.on_leave.append(self.crowd.left)
        self.players = self.loop.create_task(self.crowd.run())

    def process(self, name: str) -> Process:
        """A process of this name, with a clock that is wrong in its own way."""
        process = Process(name, self.random.uniform(-100, 100), self.random.uniform(1 - self.drift, 1 + self.drift))
        for told in self.on_start:
            told(process)
        return process

    def start(self, name: str) -> None:
        """A node's, or a gateway's, next life."""
        process = self.process(name)
        if name in self.gateways:
            self.desks[name] = (process, Desk(self, process, _METRICS))
            process.on_crash.append(lambda: self.desks.pop(name, None))
            return
        self.lives += 1
        life = self.lives
        bus = SimBus(self.network, process)
        clock = process

        async def open_shard(shard: int) -> ShardParts:
            async def close() -> None:
                pass

            return ShardParts(
                lambda: game.machine(self.atlas, shard),
                SimJournal(self.medium, process),
                SimCheckpoints(self.medium, process),
                close,
            )

        around = Surroundings(
            bus, clock, _METRICS, Health(clock.now_s), self.options, checkpoint_every_s=4.0, checkpoints_kept=2
        )
        options = NodeOptions(lease_ttl_s=LEASE_TTL_S, turn_s=0.5, follow_s=0.2, standby=self.standby)
        leases = SimLeases(self.leases, self.network, process, self._handed)
        node = process.call(lambda: Node(f"{name}.{life}", self.shards, leases, open_shard, around, options))
        self.nodes[name] = (process, node)
        self.node_of[process] = node
        process.on_crash.append(lambda: self.nodes.pop(name, None))
        process.run(node.run)

    def send_away(self, process: Process) -> None:
        """Have a process end in order: a node when it has given away what it runs, a gateway when it has said so."""
        if process in self.leaving:
            return
        self.leaving[process] = None
        process.on_crash.append(lambda: self.leaving.pop(process))
        node = self.node_of.get(process)
        part = node if node is not None else self.desks[process.name][1]
        process.leave(part.drain, part.close)

    def move(self, choice: int) -> None:
        """Have a region run on another node, if there is one."""
        running = [(node, shard) for _, node in self.nodes.values() for shard in node.tenures]
        others = [(n, shard, to) for n, shard in running for _, to in self.nodes.values() if to is not n]
        if others:
            node, shard, target = others[choice % len(others)]
            process = next(p for p, n in self.nodes.values() if n is node)
            process.when_awake(lambda: node.move(shard, target.name))

    def _handed(self, process: Process, lease: Lease) -> None:
        tenure = self.node_of[process].tenures.get(lease.shard)
        if tenure is not None:
            self.handed[lease.shard, lease.epoch] = tenure.host.machine.tick

    def insist(self) -> None:
        """Orders to divide and to unite may be lost: they are given until it is so."""
        tenures = self.tenures()
        for region, divide in self.wanted.items():
            if region in tenures and tenures[region].host.machine.division.shown != divide:
                self.network.publish(self.operator, commands_topic(region), division_order(divide=divide))

    def running(self, name: str) -> Process | None:
        running = self.nodes.get(name) or self.desks.get(name)
        return running[0] if running is not None else None

    def epochs(self, process: Process, shard: int) -> tuple[int, int] | None:
        """As whom it runs the shard, and the newest epoch that the journal knows. None: it does not run it."""
        node = self.node_of.get(process)
        tenure = node.tenures.get(shard) if node is not None else None
        return (tenure.lease.epoch, self.medium.journal._last[shard].epoch) if tenure is not None else None

    def tenures(self):
        """shard -> tenure of the newest epoch that ticks."""
        found = {}
        for process, node in self.nodes.values():
            if process.alive:
                for shard, tenure in node.tenures.items():
                    if tenure.failure is None and (shard not in found or found[shard].lease.epoch < tenure.lease.epoch):
                        found[shard] = tenure
        return found
