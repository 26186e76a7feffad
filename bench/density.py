"""`bench density`: what a client costs where the world has one region, and where it has sixteen.

Always as many regions and as many clients in one process, at one density: sixteen worlds of one region each, four of
four, one of sixteen. So the process has the same work but for what a world of several regions adds: borders, mail,
views that are put together of several regions. (One region alone in a process costs more per client than two, because
it finds every cache cold; that is no property of regions.) A rim of others around the crowd lets everybody see as much
in a small world as in a large one: bench/density_game.py. The worlds are measured by turns, because a machine that
others use as well is not the same from one minute to the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isqrt
from statistics import median
from typing import Final

from bench.crowd_game import MOVE, SET_MARK
from bench.density_game import RIM_UNITS, ground_units
from bench.figures import median_of, percentile
from bench.floor import SERVER_CORE, SWARM_CORE
from bench.processes import Line, Worker

HZ: Final = 20
WARM_UP_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class DensityOptions:
    """What is asked for."""

    # Regions of a world, each a square: 1, 4, 16. There are as many worlds as make the largest of these numbers.
    regions: Sequence[int]
    # How many clients a process has for each of its regions.
    clients_per_region: int
    seconds: float
    # Of each; what is told is their median.
    runs: int = 1
    inputs_per_s: float = 5.0
    warm_up_s: float = WARM_UP_S


def swarm_told(ports: Sequence[int], clients: int, inputs_per_s: float) -> Line:
    """For a swarm that only counts: its sample knows worlds of one region alone."""
    return {
        "ports": list(ports),
        "clients": clients,
        "sample": 0,
        "stalled": 0,
        "floor": False,
        "inputs_per_s": inputs_per_s,
        "turn": MOVE,
        "mark": SET_MARK,
        "photograph_every_ticks": 1,
        "photographs": "",
    }


def visible(seen: Line, client_ticks: float) -> float:
    """Position changes per client and tick: at a border they come in several messages."""
    changes: float = seen["visible_mean"] * seen["deltas"] / client_ticks
    return changes


def edge_units(regions: int, clients_per_region: int) -> float:
    """Edge of a world with so many clients on its ground, for each region as much."""
    return isqrt(regions) * ground_units(clients_per_region) + 2 * RIM_UNITS


def measure(options: DensityOptions, regions: int, *, bare: bool = False) -> Line:
    """Worlds of so many regions each. `bare`: with one client for each region. Raises WorkerError."""
    in_all = max(options.regions)
    clients = in_all * (1 if bare else options.clients_per_region)
    told: Line = {
        "hz": HZ,
        "cuts": isqrt(regions),
        "worlds": in_all // regions,
        "world_units": edge_units(regions, options.clients_per_region),
    }
    with Worker("bench.density_server", told, SERVER_CORE) as server:
        ports = server.expect("listening")["ports"]
        with Worker("bench.swarm", swarm_told(ports, clients, options.inputs_per_s), SWARM_CORE) as swarm:
            swarm.expect("joined")
            time.sleep(options.warm_up_s)
            server.say("start")
            swarm.say("start")
            time.sleep(options.seconds)
            server.say("stop")
            swarm.say("stop")
            ticks, seen = server.expect("ticks"), swarm.expect("result")
    made = max(1, ticks["ticks"])
    return {
        "clients": clients,
        "hz": ticks["hz"],
        "cpu_us_per_region_tick": ticks["cpu_s"] * 1e6 / (in_all * made),
        "cpu_us_per_client_tick": ticks["cpu_s"] * 1e6 / (clients * made),
        "visible_mean": visible(seen, clients * made),
        "deltas_per_client_tick": seen["deltas"] / (clients * made),
        "frame_decodes_per_region_tick": ticks["decodes"] / (in_all * made),
        "tick_lateness_ms_p99": percentile(ticks["lateness_ms"], 99),
        "bytes_per_client_tick": seen["bytes"] / (clients * made),
        "swarm_cpu": seen["swarm_cpu"],
        "lost": seen["lost"],
        "refused": seen["refused"],
        "reasons": seen["reasons"],
    }


def run(options: DensityOptions, glance: Callable[[str], None] = lambda _step: None) -> Line:
    """All worlds, one after the other: the figures of each under its number of regions."""
    in_all = max(options.regions)
    figures: Line = {"regions": in_all, "clients_per_region": options.clients_per_region, "lost": 0}
    full: dict[int, list[Line]] = {regions: [] for regions in options.regions}
    for turn in range(options.runs):
        for regions in options.regions:
            glance(f"{in_all // regions} worlds of {regions} regions, {turn + 1} of {options.runs}")
            full[regions].append(measure(options, regions))
    for regions, runs in full.items():
        bare = measure(options, regions, bare=True)
        figures |= {f"{key}_{regions}": value for key, value in median_of(runs).items()}
        figures |= {
            f"bare_{key}_{regions}": bare[key] for key in ("cpu_us_per_region_tick", "frame_decodes_per_region_tick")
        }
        figures["lost"] += sum(run["lost"] for run in runs) + bare["lost"]
    costs = [[run["cpu_us_per_client_tick"] for run in full[regions]] for regions in options.regions]
    figures["last_by_first"] = median(costs[-1]) / median(costs[0])
    # The same, turn by turn: how far apart they are says how far to trust it.
    figures["last_by_first_runs"] = [round(last / first, 3) for first, last in zip(costs[0], costs[-1], strict=True)]
    return figures
