"""Owners that are paused beyond their lease: python -m tests.simulator pauses.

A node that runs shards is stopped in the middle of what it does, whatever that is, for longer than its leases last.
Others take the shards meanwhile; then it goes on as if no time had passed. It may find out as late as it likes: nothing
that it says may be a promise which the shard's journal does not keep.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass
from random import Random

from tests.simulator.cluster import LEASE_TTL_S, Cluster
from tests.simulator.jobs import spread
from tests.simulator.plan import Plan, calm_of
from tests.simulator.simulate import Outcome, simulate

# Seconds: the first is long enough for the world to have begun.
_FIRST_S, _BETWEEN_S = 2.5, 1.0
_LOOK_S = 0.05


@dataclass
class Pauser:
    """Give `begin` to a run as its `prepare`."""

    seed: int
    # Pauses after which the process went on as the owner of a shard that another had taken.
    fenced: int = 0

    def begin(self, cluster: Cluster) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(cluster))

    async def _run(self, cluster: Cluster) -> None:
        random = Random(f"pauses {self.seed}")
        await asyncio.sleep(_FIRST_S)
        while not cluster.crowd.quiet:
            busiest = max(cluster.nodes.values(), key=lambda pair: len(pair[1].tenures), default=None)
            if busiest is None or not busiest[1].tenures:
                await asyncio.sleep(_LOOK_S)
                continue
            process, node = busiest
            process.pauses_at = (process.effects + random.randint(1, 60), LEASE_TTL_S + random.uniform(0.7, 2.5))
            while process.pauses_at is not None:  # noqa: ASYNC110  # as the world has it
                await asyncio.sleep(_LOOK_S)
            held = {shard: tenure.lease.epoch for shard, tenure in node.tenures.items()}
            # The very last moment before it goes on.
            await asyncio.sleep(process.awake_s - process.loop.time() - 1e-6)
            self.fenced += any(cluster.medium.journal._last[shard].epoch > epoch for shard, epoch in held.items())
            await asyncio.sleep(_BETWEEN_S * random.random())


def plan(seed: int) -> Plan:
    """Three nodes, and no other fault."""
    return calm_of(seed, nodes=3)


def run(seed: int) -> tuple[Outcome, int]:
    """One seed; and how often an owner went on that was none any more."""
    pauser = Pauser(seed)
    outcome = simulate(plan(seed), prepare=pauser.begin)
    return outcome, pauser.fenced


def main(count: int, jobs: int) -> int:
    """As many seeds as `count` pauses take, or until something does not hold. Prints a line of JSON; 1 where it did."""
    pauses, seeds, promises, violations = 0, 0, Counter[str](), 0
    while pauses < count and not violations:
        for outcome, fenced in spread(run, range(seeds, seeds + 20 * jobs), jobs):
            seeds += 1
            pauses += fenced
            promises.update(outcome.promises)
            if outcome.violation is not None:
                violations += 1
                print(f"seed {outcome.seed}: {outcome.violation}")
    figures = {"pauses": pauses, "seeds": seeds, "violations": violations, "promises": dict(sorted(promises.items()))}
    print(json.dumps(figures))
    return 1 if violations else 0
