"""What many seeds came to: a line now and then while they run, and one of JSON at the end."""

from __future__ import annotations

import time
import zlib
from collections import Counter
from dataclasses import dataclass, field

from tests.simulator.plan import Plan
from tests.simulator.simulate import Outcome

# Seeds that are named, of those in which something did not hold.
_NAMED_MAX = 100


@dataclass
class Tally:
    seeds: int = 0
    violated: int = 0
    # The first of them.
    violating: list[int] = field(default_factory=list)
    # Records, messages, acknowledgements, checks, slumbers.
    totals: Counter[str] = field(default_factory=Counter)
    # By kind, as planned: a node that is dead already can't be killed.
    faults: Counter[str] = field(default_factory=Counter)
    world_s: float = 0.0
    cpu_s: float = 0.0
    # Over the traces in order of the seeds: two runs of the same seeds have the same.
    trace: int = 0
    began_s: float = field(default_factory=time.monotonic)

    def add(self, plan: Plan, outcome: Outcome, cpu_s: float) -> None:
        """Another seed."""
        self.seeds += 1
        if outcome.violation is not None:
            self.violated += 1
            self.violating += [plan.seed] if len(self.violating) < _NAMED_MAX else []
        self.totals.update(
            records=outcome.ticks,
            messages=outcome.messages,
            acknowledged=outcome.acknowledged,
            checks=outcome.checks,
            slumbers=outcome.slept,
        )
        self.faults.update(fault.kind for fault in plan.faults)
        self.world_s += outcome.ended_s
        self.cpu_s += cpu_s
        self.trace = zlib.crc32(outcome.trace.to_bytes(4, "little"), self.trace)

    def line(self) -> str:
        """How far it is."""
        return f"{self.seeds} seeds, {self.violated} violated, {time.monotonic() - self.began_s:.1f} s"

    def figures(self) -> dict[str, object]:
        """Everything, as JSON has it."""
        return {
            "seeds": self.seeds,
            "violated": self.violated,
            "violating": self.violating,
            **self.totals,
            "faults": dict(sorted(self.faults.items())),
            "world_s": round(self.world_s, 1),
            "cpu_s": round(self.cpu_s, 1),
            "elapsed_s": round(time.monotonic() - self.began_s, 1),
            "trace": f"{self.trace:08x}",
        }
