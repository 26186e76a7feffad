"""`bench density`: a crowd of the same density in a world of one region, of four, of sixteen: what a client costs.

One process, SQLite, one core, as `everstep run` has it: what is compared is what regions, borders and views over
several regions cost, without the machines that they could be spread over.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isqrt

from bench.crowd_game import MOVE, SET_MARK, world_units_for
from bench.figures import percentile
from bench.floor import SERVER_CORE, SWARM_CORE
from bench.processes import Line, Worker

HZ = 20
WARM_UP_S = 5.0


@dataclass(frozen=True, slots=True)
class DensityOptions:
    """What is asked for."""

    # Numbers of regions, each a square: 1, 4, 9, 16.
    regions: Sequence[int]
    clients_per_region: int
    seconds: float
    inputs_per_s: float = 5.0


def swarm_told(port: int, clients: int, inputs_per_s: float) -> Line:
    """For a swarm that only counts: its sample knows worlds of one region alone."""
    return {
        "port": port,
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


def measure(options: DensityOptions, regions: int) -> Line:
    """One world. Raises WorkerError."""
    clients = options.clients_per_region * regions
    with tempfile.TemporaryDirectory(prefix="bench") as directory:
        told: Line = {
            "hz": HZ,
            "directory": directory,
            "divide_every_s": 0,
            "cuts": isqrt(regions),
            "world_units": world_units_for(clients),
        }
        with Worker("bench.crossing_server", told, SERVER_CORE) as server:
            port = server.expect("listening")["port"]
            with Worker("bench.swarm", swarm_told(port, clients, options.inputs_per_s), SWARM_CORE) as swarm:
                swarm.expect("joined")
                time.sleep(WARM_UP_S)
                server.say("start")
                swarm.say("start")
                cpu_s = server.cpu_s()
                time.sleep(options.seconds)
                cpu_s = server.cpu_s() - cpu_s
                server.say("stop")
                swarm.say("stop")
                ticks, seen = server.expect("ticks"), swarm.expect("result")
    client_ticks = clients * max(1, ticks["ticks"])
    return {
        "clients": clients,
        "hz": ticks["hz"],
        "cpu_us_per_client_tick": cpu_s * 1e6 / client_ticks,
        "visible_mean": visible(seen, client_ticks),
        "tick_lateness_ms_p99": percentile(ticks["lateness_ms"], 99),
        "bytes_per_client_tick": seen["bytes"] / client_ticks,
        "lost": seen["lost"],
        "refused": seen["refused"],
        "reasons": seen["reasons"],
    }


def run(options: DensityOptions, glance: Callable[[str], None] = lambda _step: None) -> Line:
    """All worlds, one after the other: the figures of each under its number of regions."""
    figures: Line = {"clients_per_region": options.clients_per_region}
    worlds = []
    for regions in options.regions:
        glance(f"{regions} regions, {regions * options.clients_per_region} clients")
        worlds.append(measure(options, regions))
        figures |= {f"{key}_{regions}": value for key, value in worlds[-1].items()}
    costs = [world["cpu_us_per_client_tick"] for world in worlds]
    figures["last_by_first"] = costs[-1] / costs[0] if costs[0] else 0.0
    figures["lost"] = sum(world["lost"] for world in worlds)
    return figures
