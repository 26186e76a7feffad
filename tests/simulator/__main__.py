"""python -m tests.simulator --seed S | --seeds FIRST:PAST | matrix | pauses, and what `--help` says."""

from __future__ import annotations

import argparse
import functools
import sys
import time
from dataclasses import replace

from tests.simulator.planted import PLANTED, plant

# Before anything of the server's is imported, or there would be nothing left to patch.
if "--plant" in sys.argv:
    plant(sys.argv[sys.argv.index("--plant") + 1])

from tests.simulator import matrix, pauses
from tests.simulator.jobs import spread
from tests.simulator.plan import Plan, plan_of
from tests.simulator.simulate import Outcome, simulate


def shrunk(plan: Plan) -> Plan:
    """The plan with every fault left out that the violation does not need."""
    kept = plan
    for fault in plan.faults:
        less = replace(kept, faults=tuple(f for f in kept.faults if f is not fault))
        if simulate(less).violation is not None:
            kept = less
    for calmer in (
        {"loss": 0.0},
        {"repetition": 0.0},
        {"delay_s": 0.002},
        {"latency_s": 0.003},
        {"drift": 0.0},
        {"standby": False},
    ):
        less = replace(kept, **calmer)
        if less != kept and simulate(less).violation is not None:
            kept = less
    return kept


def told(plan: Plan, outcome: Outcome) -> str:
    lines = [
        f"seed {plan.seed}: {outcome.violation or 'all held'}",
        f"  {plan.nodes} nodes, {plan.gateways} gateways, {plan.columns} x {plan.rows} regions, standby {plan.standby}",
        f"  loss {plan.loss}, repetition {plan.repetition}, delay {plan.delay_s} s, store {plan.latency_s} s",
        f"  gateways {plan.far_s} s farther",
        f"  clocks' drift {plan.drift}, {plan.players} players, accounts {plan.accounts}, restless {plan.restless}",
        f"  regions sleep after {plan.hibernate_after_s} s, may be divided {bool(plan.split_depth)}",
        *(f"  {fault}" for fault in plan.faults),
        f"  {outcome.ticks} records, {outcome.messages} messages, {outcome.acknowledged} acknowledged",
        f"  {outcome.checks} checks, {outcome.slept} slumbers, {outcome.ended_s:.1f} s, trace {outcome.trace:08x}",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulator")
    parser.add_argument(
        "what",
        nargs="?",
        choices=("seeds", "matrix", "pauses"),
        default="seeds",
        help="faults as the seeds have them, a crash at every step of a handoff, or owners paused beyond their lease",
    )
    parser.add_argument("--seed", type=int)
    parser.add_argument("--seeds", help="FIRST:PAST")
    parser.add_argument("--show", action="store_true", help="tell of every seed")
    parser.add_argument("--shrink", action="store_true", help="leave out the faults that a violation does not need")
    parser.add_argument("--log", action="store_true", help="have the code under test say what it does")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--plant", choices=PLANTED, help="with this bug in it")
    parser.add_argument("--first", action="store_true", help="stop at the first violation")
    parser.add_argument("--count", type=int, help="seeds per crash of the matrix (20), or pauses (1000)")
    options = parser.parse_args()
    if options.what == "matrix":
        return matrix.main(options.count or 20, options.jobs)
    if options.what == "pauses":
        return pauses.main(options.count or 1000, options.jobs)
    first, past = (options.seed, options.seed + 1) if options.seed is not None else map(int, options.seeds.split(":"))
    began_s, violated, done = time.monotonic(), 0, 0
    judge = functools.partial(_judge, log=options.log, shrink=options.shrink)
    for text, bad in spread(judge, range(first, past), options.jobs, chunk=4):
        done += 1
        violated += bad
        if bad or options.show or past - first == 1:
            print(text, flush=True)
        if bad and options.first:
            break
    print(f"{done} seeds, {violated} violated, {time.monotonic() - began_s:.1f} s", file=sys.stderr)
    return 1 if violated else 0


def _judge(seed: int, *, log: bool, shrink: bool) -> tuple[str, bool]:
    plan = plan_of(seed)
    outcome = simulate(plan, log=log)
    text = told(plan, outcome)
    if outcome.violation is not None and shrink:
        small = shrunk(plan)
        text += "\nshrunk to " + told(small, simulate(small))
    return text, outcome.violation is not None


if __name__ == "__main__":
    sys.exit(main())
