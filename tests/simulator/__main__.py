"""python -m tests.simulator --seed S | --seeds FIRST:PAST | matrix | pauses, and what `--help` says."""

from __future__ import annotations

import argparse
import functools
import json
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
from tests.simulator.tally import Tally

# Seconds between two lines that say how far it is.
_TELL_S = 30.0


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
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seed", type=int)
    which.add_argument("--seeds", default="0:100", help="FIRST:PAST (0:100); ends with a line of JSON")
    parser.add_argument("--show", action="store_true", help="tell of every seed")
    parser.add_argument("--shrink", action="store_true", help="leave out the faults that a violation does not need")
    parser.add_argument("--log", action="store_true", help="have the code under test say what it does")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--plant", choices=PLANTED, help="with this bug in it; of --seeds those that may find it")
    parser.add_argument("--first", action="store_true", help="stop at the first violation")
    parser.add_argument("--count", type=int, help="seeds per crash of the matrix (20), or pauses (1000)")
    options = parser.parse_args()
    if options.what == "matrix":
        return matrix.main(options.count or 20, options.jobs)
    if options.what == "pauses":
        return pauses.main(options.count or 1000, options.jobs)
    if options.seed is not None:
        text, _, outcome, _ = _judge(options.seed, log=options.log, shrink=options.shrink, show=True)
        print(text)
        return int(outcome.violation is not None)
    seeds = iter(range(*map(int, options.seeds.split(":"))))
    if options.plant:
        seeds = (seed for seed in seeds if PLANTED[options.plant].where(plan_of(seed)))
    tally, told_s = Tally(), time.monotonic()
    judge = functools.partial(_judge, log=options.log, shrink=options.shrink, show=options.show)
    try:
        for text, plan, outcome, cpu_s in spread(judge, seeds, options.jobs, chunk=4):
            tally.add(plan, outcome, cpu_s)
            if text:
                print(text, flush=True)
            if outcome.violation is not None and options.first:
                break
            if time.monotonic() - told_s >= _TELL_S:
                told_s = time.monotonic()
                print(tally.line(), file=sys.stderr, flush=True)
    finally:
        # Of what there was, too, when it is interrupted.
        print(tally.line(), file=sys.stderr)
        print(json.dumps(tally.figures()), flush=True)
    return 1 if tally.violated else 0


def _judge(seed: int, *, log: bool, shrink: bool, show: bool) -> tuple[str, Plan, Outcome, float]:
    """What is told of a seed, nothing where all held and `show` is not wanted; and what it came to."""
    began_s = time.process_time()
    plan = plan_of(seed)
    outcome = simulate(plan, log=log)
    text = told(plan, outcome) if show or outcome.violation is not None else ""
    if outcome.violation is not None and shrink:
        small = shrunk(plan)
        text += "\nshrunk to " + told(small, simulate(small))
    return text, plan, outcome, time.process_time() - began_s


if __name__ == "__main__":
    sys.exit(main())
