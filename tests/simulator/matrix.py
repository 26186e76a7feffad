"""A crash at every step of a handoff: python -m tests.simulator matrix.

Every step (see `steps`), just before it and just after it, of the source's process, of the destination's, and of Redis
with all that it had, each over so many seeds. Then everything goes on, and all that always holds has to hold.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from tests.simulator.cluster import Cluster
from tests.simulator.jobs import spread
from tests.simulator.plan import Plan, calm_of
from tests.simulator.process import Process
from tests.simulator.simulate import simulate
from tests.simulator.steps import STEPS, Effect, Handoff, Recorder, observe

VICTIMS = ("source", "destination", "redis")
# Seconds that Redis is away.
_AWAY_S = 1.0
# Handoffs that may be passed over: not always the first.
_LATER = 4


class Cell(NamedTuple):
    step: int
    after: bool
    victim: str


CELLS = tuple(Cell(step, after, victim) for step in range(len(STEPS)) for after in (False, True) for victim in VICTIMS)


class Met(NamedTuple):
    """What came of one crash."""

    cell: Cell
    seed: int
    sprung: bool
    lost: int
    doubled: int
    # What did not hold, if anything.
    violation: str | None


@dataclass
class Trap:
    """Springs once, at one effect of a run. Give `set` to it as its `prepare`."""

    effect: Effect
    after: bool
    # A node's name, or "redis".
    victim: str
    sprung: bool = False

    def set(self, cluster: Cluster) -> None:
        self._cluster = cluster
        observe(cluster, self._note)

    def _note(self, process: Process, number: int, what: str, _detail: object, *, done: bool) -> None:
        here = (process.name, number, what) == self.effect[:3] and done == self.after
        if here and not self.sprung:
            self.sprung = True
            self._spring(self._cluster)

    def _spring(self, cluster: Cluster) -> None:
        if self.victim != "redis":
            cluster.nodes[self.victim][0].crash("met")
            return
        cluster.leases.forget()
        cluster.network.up = False

        def back() -> None:
            cluster.network.up = True

        cluster.loop.call_later(_AWAY_S, back)


def plan(seed: int) -> Plan:
    """Two nodes, and no fault but the one that is set."""
    return calm_of(seed, nodes=2)


def handoff_of(seed: int) -> Handoff | None:
    """One of the seed's: with a player in it for every other seed, where there is one."""
    recorder = Recorder()
    simulate(plan(seed), prepare=recorder.watch)
    found = list(islice(recorder.handoffs(), 40))
    wanted = [h for h in found if bool(h.passengers) == bool(seed % 2)] or found
    return wanted[seed // 2 % _LATER % len(wanted)] if wanted else None


def meet(seed: int, cells: Sequence[Cell]) -> list[Met]:
    """All these crashes of one seed."""
    handoff = handoff_of(seed)
    if handoff is None:
        return [
            Met(cell, seed, sprung=False, lost=0, doubled=0, violation="no handoff between two nodes") for cell in cells
        ]
    names = {"source": handoff.source, "destination": handoff.destination, "redis": "redis"}
    met = []
    for cell in cells:
        trap = Trap(handoff.effects[cell.step], cell.after, names[cell.victim])
        outcome = simulate(plan(seed), prepare=trap.set)
        met.append(Met(cell, seed, trap.sprung, outcome.lost, outcome.doubled, outcome.violation))
    return met


def main(seeds: int, jobs: int) -> int:
    """Prints the table and a line of JSON. 1 where anything did not hold, or a crash did not come about."""
    met = [m for some in spread(functools.partial(meet, cells=CELLS), range(seeds), jobs) for m in some]
    print(f"{'':45}{'':8}" + "".join(f"{victim:>22}" for victim in VICTIMS))
    print(f"{'step':45}{'crash':8}" + f"{'runs lost doubled':>22}" * len(VICTIMS))
    for step, name in enumerate(STEPS):
        for after in (False, True):
            columns = [[m for m in met if m.cell == (step, after, victim)] for victim in VICTIMS]
            figures = [
                f"{sum(m.sprung for m in c):8}{sum(m.lost for m in c):5}{sum(m.doubled for m in c):9}" for c in columns
            ]
            print(f"{'' if after else name:45}{'after' if after else 'before':8}" + "".join(figures))
    bad = [m for m in met if m.violation is not None or not m.sprung]
    for m in bad:
        when = f"{'after' if m.cell.after else 'before'} the {STEPS[m.cell.step]}"
        print(f"seed {m.seed}, {m.cell.victim} {when}: {m.violation or 'the crash did not come about'}")
    figures = {
        "steps": len(STEPS),
        "crashes": sum(m.sprung for m in met),
        "lost": sum(m.lost for m in met),
        "doubled": sum(m.doubled for m in met),
        "violations": sum(m.violation is not None for m in met),
    }
    print(json.dumps(figures))
    return 1 if bad else 0
