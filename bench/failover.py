"""`python -m bench failover`: how long players see nothing move while their regions change nodes.

Two nodes of real processes, each of which follows the other's regions, and one gateway. By turns the one is told to end
(its regions are moved, one after the other) and the other killed (the one, which stands by, takes them), and each is
started again. Players walk in every tick, so one who sees itself stand still has been made to wait; they look for
views that are wrong and inputs that were lost as in `bench crossing`.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from bench.cluster_processes import Cluster, ClusterShape, Member
from bench.crossing_server import settings_for
from bench.crossing_walkers import Walker
from bench.figures import percentile
from bench.pauses import Step
from bench.processes import Line, WorkerError
from clients.python import connect
from clients.python.errors import ClientError

HZ: Final = 20.0
# With standbys, which have a shard in no time, what passes until a node is known to be dead is most of the gap.
LEASE_TTL_S: Final = 0.6
TURN_S: Final = 0.15
_JOIN_WITHIN_S: Final = 60.0
_BACK_WITHIN_S: Final = 30.0
# Seconds between two changes: the node that was started again follows the other, and takes its share back.
_SETTLE_S: Final = 6.0
_LOOK_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class FailoverOptions:
    """What to do: as many kills as moves."""

    rounds: int
    clients: int
    settle_s: float = _SETTLE_S


class _Gap(NamedTuple):
    """The longest that a player saw itself stand still, in seconds."""

    any_s: float
    # … in a step that crossed no border: for so long a region had no frames. A step over a border waits for two
    # regions' records to be durable, whether one of them is moved or not.
    frames_s: float


@dataclass
class _Seen:
    """Of each change."""

    killed: list[_Gap] = field(default_factory=list)
    moved: list[_Gap] = field(default_factory=list)
    # While regions were moved back to the node that was started again.
    balanced: list[_Gap] = field(default_factory=list)


def shape() -> ClusterShape:
    """Two by two regions, so small that everybody sees a border."""
    small = settings_for(round(HZ), "")
    world, view = small.world, small.view
    settings = {
        "WORLD__WIDTH": world.width,
        "WORLD__HEIGHT": world.height,
        "WORLD__COLUMNS": world.columns,
        "WORLD__ROWS": world.rows,
        "WORLD__ENTITIES_MAX": world.entities_max,
        "VIEW__CELL_UNITS": view.cell_units,
        "VIEW__NEAR_CELLS": view.near_cells,
        "VIEW__FAR_CELLS": view.far_cells,
        "NODE__STANDBY": "true",
        "NODE__LEASE_TTL_S": LEASE_TTL_S,
        "NODE__TURN_S": TURN_S,
        "STORE__CHECKPOINT_EVERY_S": 10.0,
    }
    return ClusterShape(2, 1, "bench.crowd_game", {f"EVERSTEP_{name}": str(value) for name, value in settings.items()})


class Failover:
    """One run."""

    def __init__(self, options: FailoverOptions, cluster: Cluster) -> None:
        self._options = options
        self._cluster = cluster
        self._seen = _Seen()
        self._walkers: list[Walker] = []

    async def run(self, glance: Callable[[str], None]) -> Line:
        """Returns the figures. Raises WorkerError."""
        glance("players join")
        url = self._cluster.gateways[0].ws_url
        async with asyncio.timeout(_JOIN_WITHIN_S):
            for n in range(self._options.clients):
                self._walkers.append(Walker(await connect(url, name=f"w{n}"), HZ))
        tasks = [
            asyncio.create_task(task) for w in self._walkers for task in (w.client.until(w.look), w.mark(), w.check())
        ]
        try:
            await self._settled()
            # What the one runs is moved to the other, who then has everything to lose.
            one, other = self._cluster.nodes
            for n in range(self._options.rounds):
                glance(f"{n} of {self._options.rounds} rounds; {one.name} is told to end")
                self._seen.moved.append(await self._gap(one.stop))
                await self._again(one)
                glance(f"{n} of {self._options.rounds} rounds; {other.name} is killed")
                self._seen.killed.append(await self._gap(other.kill))
                await self._again(other)
        finally:
            faults = [repr(task.exception()) for task in tasks if task.done() and not task.cancelled()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for walker in self._walkers:
                walker.client.abort()
        return self._figures(faults)

    async def _gap(self, change: Callable[[], object]) -> _Gap:
        """The longest waits of players from the change on, until all have moved after it."""
        self._forget()
        done = change()
        assert asyncio.iscoroutine(done)
        await done
        over_s = time.perf_counter()
        async with asyncio.timeout(_BACK_WITHIN_S):
            # Twice: a step that was under way may come just after.
            for _ in range(2):
                while any(w.moved_s < over_s for w in self._walkers):
                    self._cluster.check()
                    await asyncio.sleep(_LOOK_S)
                over_s = time.perf_counter()
        return self._longest()

    async def _again(self, node: Member) -> None:
        await node.start()
        self._forget()
        await self._settled()
        self._seen.balanced.append(self._longest())

    async def _settled(self) -> None:
        await asyncio.sleep(self._options.settle_s)
        self._cluster.check()

    def _forget(self) -> None:
        for walker in self._walkers:
            walker.steps.clear()

    def _longest(self) -> _Gap:
        steps = [step for walker in self._walkers for step in walker.steps]
        return _Gap(_longest_s(steps), _longest_s(step for step in steps if not step.crossed))

    def _figures(self, faults: list[str]) -> Line:
        seen, walkers = self._seen, self._walkers
        return {
            "rounds": self._options.rounds,
            "clients": len(walkers),
            **_gaps("kill_gap_s", "kill_frames_s", seen.killed, 1),
            **_gaps("move_gap_ms", "move_frames_ms", seen.moved, 1000),
            **_gaps("balance_gap_ms", "balance_frames_ms", seen.balanced, 1000),
            "lease_ttl_s": LEASE_TTL_S,
            "missing": sum(w.missing for w in walkers),
            "inputs_lost": sum(w.lost for w in walkers),
            "mismatches": sum(w.wrong for w in walkers),
            "digests_checked": sum(w.checks for w in walkers),
            "reconnects": sum(w.client.connections - 1 for w in walkers),
            "faults": len(faults),
            "reasons": faults[:5],
        }


def _longest_s(steps: Iterable[Step]) -> float:
    # A wait is what a step took longer than its tick.
    return (1 + max((step.waited for step in steps), default=0.0)) / HZ


def _gaps(any_key: str, frames_key: str, gaps: list[_Gap], unit: int) -> Line:
    line: Line = {}
    for key, values in ((any_key, [gap.any_s for gap in gaps]), (frames_key, [gap.frames_s for gap in gaps])):
        line[f"{key}_p50"] = unit * percentile(values, 50)
        line[f"{key}_max"] = unit * max(values, default=0.0)
    return line


def failed(figures: Line) -> bool:
    """Whether a player lost something, itself for a moment even, or nothing was looked at."""
    wrong = any(figures[key] for key in ("missing", "inputs_lost", "mismatches", "reconnects", "faults"))
    return bool(wrong or not figures["digests_checked"])


async def run(options: FailoverOptions, glance: Callable[[str], None]) -> Line:
    """One run. Keys: see bench/README.md. Raises WorkerError, MongoUnavailable, RedisUnavailable."""
    with tempfile.TemporaryDirectory(prefix="bench") as directory:
        async with Cluster(shape(), Path(directory)) as cluster:
            try:
                return await Failover(options, cluster).run(glance)
            except (TimeoutError, ClientError) as error:
                raise WorkerError(f"players did not come back: {error!r}") from error
