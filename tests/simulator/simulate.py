"""One seed, from start to verdict."""

from __future__ import annotations

import asyncio
import logging
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import structlog

from server.host.host import ShardHost
from tests.simulator.check import Violated
from tests.simulator.cluster import Cluster
from tests.simulator.desks import number
from tests.simulator.game import LAST_STEP
from tests.simulator.plan import FAULTS_S, Fault, Plan
from tests.simulator.process import track
from tests.support.virtual_loop import VirtualLoop

SETTLE_S = 60.0
STEP_S = 0.2


@dataclass
class Outcome:
    seed: int
    violation: str | None = None
    # Entities, coins or commands, where that is what was violated.
    lost: int = 0
    doubled: int = 0
    # CRC over every message that was published, and when: two runs of one seed have the same.
    trace: int = 0
    messages: int = 0
    acknowledged: int = 0
    ticks: int = 0
    checks: int = 0
    # Times that a region which was there in the end had slept.
    slept: int = 0
    ended_s: float = 0.0
    # Receipts, letters and acknowledgements of mail: by an owner, or by one of before.
    promises: dict[str, int] = field(default_factory=dict)


def simulate(plan: Plan, *, log: bool = False, prepare: Callable[[Cluster], None] | None = None) -> Outcome:
    """`log`: have the code under test say what it says, with the virtual time. `prepare`: called before it begins."""
    outcome = Outcome(plan.seed)
    loop = VirtualLoop()
    numbers_end = number(plan.seed)
    loop.set_task_factory(track)
    loop.set_exception_handler(lambda _loop, _context: None)
    level = logging.DEBUG if log else logging.CRITICAL
    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        processors=[
            lambda _logger, _name, event: {"at_s": round(loop.time(), 3), **event},
            _brief,
            structlog.processors.KeyValueRenderer(["at_s", "event"]),
        ],
    )
    try:
        loop.run_until_complete(_run(plan, outcome, prepare))
    except Violated as violated:
        outcome.violation = str(violated)
        outcome.lost, outcome.doubled = violated.lost, violated.doubled
    except Exception as error:  # noqa: BLE001  # whatever the code under test raises is a finding
        outcome.violation = f"{type(error).__name__}: {error}"
    finally:
        outcome.ended_s = loop.time()
        loop.close()
        numbers_end()
        structlog.configure(**before)
    return outcome


async def _run(plan: Plan, outcome: Outcome, prepare: Callable[[Cluster], None] | None) -> None:
    loop = asyncio.get_running_loop()
    cluster = Cluster(plan)

    def note(source, topic, payload):
        outcome.trace = zlib.crc32(
            payload, zlib.crc32(f"{loop.time():.6f} {source.name} {topic}".encode(), outcome.trace)
        )
        outcome.messages += 1

    cluster.network.watchers.append(note)
    if prepare is not None:
        prepare(cluster)
    random = Random(f"run {plan.seed}")
    for name in (*cluster.names, *cluster.gateways):
        cluster.start(name)
    net = cluster.network
    net.loss, net.repetition, net.delay_s = plan.loss, plan.repetition, plan.delay_s
    cluster.medium.latency_s = plan.latency_s
    faults = list(plan.faults)
    ends: list[tuple[float, object]] = []
    try:
        while loop.time() < FAULTS_S + 1.0:
            while faults and faults[0].at_s <= loop.time():
                _inject(cluster, faults.pop(0), ends, loop.time())
            for end in [e for e in ends if e[0] <= loop.time()]:
                ends.remove(end)
                end[1]()
            _restart(cluster, random)
            await asyncio.sleep(STEP_S)
            cluster.checker.check()
        for _, end in ends:
            end()
        net.loss = net.repetition = 0.0
        net.delay_s, cluster.medium.latency_s = 0.002, 0.003
        net.groups, net.up, cluster.medium.up, cluster.medium.sync_fails = [], True, True, 0.0
        for process, _ in (*cluster.nodes.values(), *cluster.desks.values()):
            process.dies_at = process.pauses_at = None
        await _settle(cluster, random)
        await cluster.checker.final()
    finally:
        outcome.acknowledged = len(cluster.checker.promises.receipted)
        outcome.promises = dict(cluster.checker.promises.counts)
        outcome.slept = sum(tenure.host.slumber.count for tenure in cluster.tenures().values())
        outcome.checks = cluster.checker.checks
        outcome.ticks = sum(len(w) for w in cluster.medium.written.values())
        for process, _ in (*cluster.nodes.values(), *cluster.desks.values()):
            process.crash()
        cluster.players.cancel()
        await asyncio.sleep(0)


async def _settle(cluster: Cluster, random: Random) -> None:
    """Until nothing is under way any more. The players stop first, and the world goes on."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + SETTLE_S
    await asyncio.sleep(1.0)
    cluster.crowd.quiet = True
    while loop.time() < until_s:
        _restart(cluster, random)
        await asyncio.sleep(0.5)
        cluster.checker.check()
        if not _still(cluster):
            continue
        # Everyone looks once more.
        for player in cluster.crowd.players:
            player.check()
        await asyncio.sleep(1.5)
        if _still(cluster):
            return


def _still(cluster: Cluster) -> bool:
    tenures = cluster.tenures()
    if set(tenures) != set(cluster.shards):
        return False
    if not all(_done(tenure.host) for tenure in tenures.values()):
        return False
    return all(player.settled for player in cluster.crowd.players)


def _done(host: ShardHost) -> bool:
    """Whether nobody walks there any more, and nothing is under way. Asleep it is as it is for good."""
    still = host.slumber.asleep or host.machine.tick > LAST_STEP
    return still and not host.machine.post.unacked() and not host.machine.borders.waiting


def _restart(cluster: Cluster, random: Random) -> None:
    for name in (*cluster.names, *cluster.gateways):
        if cluster.running(name) is None and random.random() < 0.3:
            cluster.start(name)


def _inject(cluster: Cluster, fault: Fault, ends: list, now_s: float) -> None:
    net, medium = cluster.network, cluster.medium
    name = (*cluster.names, *cluster.gateways)[fault.node]
    process = cluster.running(name)
    end_s = now_s + fault.amount
    everyone = frozenset({*cluster.names, *cluster.gateways, "redis"})
    match fault.kind:
        case "kill" if process is not None:
            process.crash()
        case "die_at_effect" if process is not None:
            process.dies_at = (process.effects + fault.effects, fault.after)
        case "pause" if process is not None:
            process.pause(fault.amount)
        case "pause_at_effect" if process is not None:
            process.pauses_at = (process.effects + fault.effects, fault.amount)
        case "partition":
            net.groups = [frozenset({name}), everyone - {name}]
            ends.append((end_s, lambda: setattr(net, "groups", [])))
        case "cut":
            # From one other: the leases' store, and then it runs on beyond its leases; or a gateway, or a node.
            others = sorted(everyone - {name})
            other = "redis" if fault.after else others[fault.effects % len(others)]
            net.groups = [everyone - {name}, everyone - {other}]
            ends.append((end_s, lambda: setattr(net, "groups", [])))
        case "hang_up":
            player = cluster.crowd.players[fault.effects % len(cluster.crowd.players)]
            player.leave(now_s, fault.amount if fault.after else 0.0)
        case "redis_away":
            net.up = False
            ends.append((end_s, lambda: setattr(net, "up", True)))
        case "redis_forgets":
            cluster.leases.forget()
        case "store_away":
            medium.up = False
            ends.append((end_s, lambda: setattr(medium, "up", True)))
        case "sync_fails":
            medium.sync_fails = 0.3
            ends.append((end_s, lambda: setattr(medium, "sync_fails", 0.0)))
        case "loss":
            before = net.loss
            net.loss = 0.6
            ends.append((end_s, lambda: setattr(net, "loss", before)))


def _brief(_logger, _name, event):
    """The last line of a traceback says enough, for the seed brings it back."""
    if event.pop("exc_info", None):
        event["error"] = repr(sys.exc_info()[1])
    return event
