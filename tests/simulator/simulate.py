"""One seed, from start to verdict."""

from __future__ import annotations

import asyncio
import logging
import math
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import structlog

from server.host import reception
from server.host.host import ShardHost
from server.regions import division
from tests.simulator.check import Violated, absent, avatars, sessions
from tests.simulator.cluster import Cluster
from tests.simulator.desks import number
from tests.simulator.faults import Ends, inject
from tests.simulator.game import LAST_STEP, NOTICE_TICKS
from tests.simulator.plan import FAULTS_S, Plan
from tests.simulator.process import track
from tests.support.virtual_loop import VirtualLoop

SETTLE_S = 60.0
STEP_S = 0.2
# Sweeps for which a region keeps claims on sessions that are not there: fewer than it does, for a seed is short.
CLAIM_SWEEPS = 3
# What a loop may call for one seed, of which most need less than a hundredth: it ends, whatever happens.
HANDLES_MAX = 1_000_000


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
    loop = VirtualLoop(handles_max=HANDLES_MAX)
    numbers_end = number(plan.seed)
    loop.set_task_factory(track)
    loop.set_exception_handler(lambda _loop, _context: None)
    level = logging.DEBUG if log else logging.CRITICAL
    before, notice_ticks, sweeps = structlog.get_config(), division.NOTICE_TICKS, reception._CLAIM_SWEEPS
    division.NOTICE_TICKS, reception._CLAIM_SWEEPS = NOTICE_TICKS, CLAIM_SWEEPS
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
        division.NOTICE_TICKS, reception._CLAIM_SWEEPS = notice_ticks, sweeps
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
    for name in cluster.everyone:
        cluster.start(name)
    net = cluster.network
    net.loss, net.repetition, net.delay_s = plan.loss, plan.repetition, plan.delay_s
    net.far_s, cluster.medium.latency_s = plan.far_s, plan.latency_s
    faults = list(plan.faults)
    ends: Ends = []
    try:
        while loop.time() < FAULTS_S + 1.0:
            while faults and faults[0].at_s <= loop.time():
                inject(cluster, faults.pop(0), ends, loop.time())
            for end in [e for e in ends if e[0] <= loop.time()]:
                ends.remove(end)
                end[1]()
            _restart(cluster, random)
            cluster.insist()
            await loop.sleep(STEP_S)
            cluster.checker.check()
        for _, end in ends:
            end()
        net.loss = net.repetition = net.far_s = 0.0
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
        cluster.insist()
        await asyncio.sleep(0.5)
        cluster.checker.check()
        _call_back(cluster)
        if not _still(cluster):
            continue
        # Everyone looks once more. Who comes back meanwhile is in the world before a region's next frame shows it.
        for player in cluster.crowd.players:
            player.check()
        await asyncio.sleep(1.5)
        if _still(cluster) and all(player.looked for player in cluster.crowd.players):
            return


def _call_back(cluster: Cluster) -> None:
    """Who stays away for good comes back, as somebody else, when its session is over: or never."""
    tenures = cluster.tenures()
    if set(tenures) == set(cluster.shards):
        here = sessions({shard: tenure.host.machine for shard, tenure in tenures.items()})
        for player in cluster.crowd.players:
            if player.since_s == math.inf and (player.life is None or player.life.session not in here):
                player.since_s = cluster.loop.time()


def _still(cluster: Cluster) -> bool:
    tenures = cluster.tenures()
    # A gateway that stands still has not heard yet whose connections are nobody's any more.
    stands = any(process.paused for process, _ in (*cluster.nodes.values(), *cluster.desks.values()))
    if set(tenures) != set(cluster.shards) or cluster.leaving or stands:
        return False
    if not all(_done(tenure.host) for tenure in tenures.values()):
        return False
    machines = {shard: tenure.host.machine for shard, tenure in tenures.items()}
    if absent(machines):
        return False
    if max(avatars(machines).values(), default=0) > 1:
        # A login that its player gave up came after all, while the account was looked for through another gateway:
        # nobody has heard of it, and it has to go when the grace time is over.
        return False
    if any(tenures[region].host.machine.division.shown != divide for region, divide in cluster.wanted.items()):
        return False
    return all(player.settled for player in cluster.crowd.players)


def _done(host: ShardHost) -> bool:
    """Whether nobody walks there any more, and nothing is under way. Asleep it is as it is for good."""
    still = host.slumber.asleep or host.machine.tick > LAST_STEP
    return still and not host.machine.post.unacked() and not host.machine.restless


def _restart(cluster: Cluster, random: Random) -> None:
    for name in cluster.everyone:
        if cluster.running(name) is None and random.random() < 0.3:
            cluster.start(name)


def _brief(_logger, _name, event):
    """The last line of a traceback says enough, for the seed brings it back."""
    if event.pop("exc_info", None):
        event["error"] = repr(sys.exc_info()[1])
    return event
