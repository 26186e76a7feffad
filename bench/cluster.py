"""`python -m bench cluster`: a crowd that walks over the borders of a world on several nodes, through several gateways.

Real processes (bench/cluster_processes.py), with the crowd for a game. The mass of the clients only counts what it
receives; walkers beside them go to and fro over a border and look at everything (bench/crossing_walkers.py).
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Final

from bench.cluster_processes import Cluster, ClusterShape, metric
from bench.crossing import pauses
from bench.crowd_game import CELL_UNITS, NEAR_CELLS, world_units_for
from bench.density import swarm_told, visible
from bench.figures import percentile
from bench.floor import SWARM_CORE
from bench.processes import Line, Worker, cpu_s

HZ: Final = 20
# How fast walkers come to the border that is nearest, at most the width of a region away.
_WALK_UNITS_PER_S: Final = 4.0
_ROLES: Final = ("node", "gateway", "redis", "store")
# Clients of a gateway that come in a second: what a newcomer costs is not what is measured.
_JOINS_PER_S: Final = 25.0
_BUCKET: Final = re.compile(r'^everstep_tick_lateness_seconds_bucket{le="([^"]+)"} (\S+)$', re.MULTILINE)
# What a process says in its log -> the figure that counts it.
_EVENTS: Final = {
    "replica starts over": "replicas_started_over",
    "lease lost": "leases_lost",
    "shard handed over": "regions_moved",
}


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """What is asked for."""

    nodes: int
    gateways: int
    # A square: 1, 4, 9, 16.
    regions: int
    clients: int
    # Beside the clients.
    walkers: int
    seconds: float
    inputs_per_s: float = 5.0
    # Before measuring; None: as long as a walker needs to the border that is farthest from it.
    warm_up_s: float | None = None
    checkpoint_every_s: float = 10.0


@dataclass(frozen=True, slots=True)
class _Sample:
    """What processes and Redis have done since their start."""

    at_s: float
    # By role.
    cpu_s: dict[str, float]
    ticks: float
    letters: float
    redis_bytes: float
    # Frames of regions that the gateways decoded.
    decodes: float
    # Ticks that began at most so many seconds late, by that.
    late: dict[float, float]
    # What went wrong in a process, and was mended, by its figure.
    events: dict[str, int]


def shape_of(options: ClusterOptions) -> ClusterShape:
    """The cluster: the crowd's view and room for all from one address."""
    edge_units = world_units_for(options.clients)
    cuts = isqrt(options.regions)
    settings = {
        "WORLD__WIDTH": edge_units,
        "WORLD__HEIGHT": edge_units,
        "WORLD__COLUMNS": cuts,
        "WORLD__ROWS": cuts,
        "WORLD__ENTITIES_MAX": max(4096, options.clients * 2),
        "WORLD__TICK_RATE_HZ": HZ,
        "VIEW__CELL_UNITS": CELL_UNITS,
        "VIEW__NEAR_CELLS": NEAR_CELLS,
        "VIEW__FAR_CELLS": NEAR_CELLS,
        "GATEWAY__CONNECTIONS_PER_ADDRESS_MAX": 1_000_000,
        # The first to connect wait, silent, for the last.
        "GATEWAY__IDLE_TIMEOUT_S": 300.0,
        "GATEWAY__HANDSHAKE_TIMEOUT_S": 60.0,
        "STORE__CHECKPOINT_EVERY_S": options.checkpoint_every_s,
        # All of it is one machine: a node that had to wait for it is not dead.
        "NODE__LEASE_TTL_S": 15.0,
        # Moves are counted from what nodes say.
        "LOG__LEVEL": "info",
    }
    told = {f"EVERSTEP_{name}": str(value) for name, value in settings.items()}
    return ClusterShape(options.nodes, options.gateways, "bench.crowd_game", told)


def _sample(cluster: Cluster) -> _Sample:
    pages = [node.metrics() for node in cluster.nodes]
    said = [member.log.read_text() for member in cluster.members]
    spent = {
        "node": sum(cpu_s(node.pid) for node in cluster.nodes),
        "gateway": sum(cpu_s(gateway.pid) for gateway in cluster.gateways),
        "redis": cpu_s(cluster.redis.pid),
        "store": cpu_s(cluster.store.pid),
    }
    return _Sample(
        time.monotonic(),
        spent,
        sum(metric(page, "everstep_ticks_total") for page in pages),
        sum(metric(page, "everstep_mail_total", 'event="taken"') for page in pages),
        _redis_bytes(cluster.redis.port),
        sum(metric(gateway.metrics(), "everstep_frames_in_total") for gateway in cluster.gateways),
        late(pages),
        {figure: "".join(said).count(words) for words, figure in _EVENTS.items()},
    )


def late(pages: list[str]) -> dict[float, float]:
    """Ticks by how late they began at the most, in seconds: a histogram as the nodes tell it, summed up."""
    counts: dict[float, float] = {}
    for page in pages:
        for bound, count in _BUCKET.findall(page):
            counts[float(bound)] = counts.get(float(bound), 0.0) + float(count)
    return counts


def late_ms(before: dict[float, float], after: dict[float, float], percent: float) -> float:
    """Milliseconds that at least `percent` of the ticks between two histograms were late at the most; inf past them."""
    made = {bound: after[bound] - before.get(bound, 0.0) for bound in sorted(after)}
    total = made.get(math.inf, 0.0)
    return next((bound * 1000 for bound, count in made.items() if count >= total * percent / 100), math.inf)


def _redis_bytes(port: int) -> float:
    """Bytes that Redis has read and written."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"INFO stats\r\nQUIT\r\n")
        said = b""
        while data := connection.recv(65_536):
            said += data
    values = dict(line.split(":", 1) for line in said.decode().splitlines() if ":" in line)
    return float(values["total_net_input_bytes"]) + float(values["total_net_output_bytes"])


def _measure(options: ClusterOptions, cluster: Cluster, glance: Callable[[str], None]) -> Line:
    ports = [gateway.port for gateway in cluster.gateways]
    clients = options.clients // options.gateways
    with ExitStack() as stack:
        glance(f"{options.clients} clients and {options.walkers} walkers connect")
        swarms = [
            stack.enter_context(
                Worker(
                    "bench.swarm",
                    swarm_told([port], clients, options.inputs_per_s) | {"joins_per_s": _JOINS_PER_S},
                    SWARM_CORE,
                )
            )
            for port in ports
        ]
        told = {"ports": ports, "clients": options.walkers, "hz": HZ}
        walkers = stack.enter_context(Worker("bench.crossing_walkers", told, SWARM_CORE))
        workers = [*swarms, walkers]
        for worker in workers:
            worker.expect("joined")
        glance("the walkers go to a border")
        way_s = world_units_for(options.clients) / isqrt(options.regions) / _WALK_UNITS_PER_S
        time.sleep(way_s + 2.0 if options.warm_up_s is None else options.warm_up_s)
        glance("measuring")
        for worker in workers:
            worker.say("start")
        before = _sample(cluster)
        time.sleep(options.seconds)
        after = _sample(cluster)
        for worker in workers:
            worker.say("stop")
        return _figures(options, before, after, [swarm.expect("result") for swarm in swarms], walkers.expect("result"))


def _figures(options: ClusterOptions, before: _Sample, after: _Sample, swarms: list[Line], seen: Line) -> Line:
    elapsed_s = after.at_s - before.at_s
    players = options.clients // options.gateways * options.gateways + options.walkers
    hz = (after.ticks - before.ticks) / options.regions / elapsed_s
    client_ticks = max(1.0, players * hz * elapsed_s)
    spent = {role: after.cpu_s[role] - before.cpu_s[role] for role in _ROLES}
    crossing = seen["crossing"]
    return {
        "nodes": options.nodes,
        "gateways": options.gateways,
        "regions": options.regions,
        "clients": players,
        "handoffs_per_s": (after.letters - before.letters) / elapsed_s,
        **pauses(seen),
        "crossings": len(crossing),
        "input_to_visible_ms_p50": percentile(seen["latency_ms"], 50),
        "input_to_visible_ms_p99": percentile(seen["latency_ms"], 99),
        "cpu_us_per_client_tick": sum(spent.values()) * 1e6 / client_ticks,
        **{f"cpu_us_per_client_tick_{role}": spent[role] * 1e6 / client_ticks for role in _ROLES},
        **{f"cores_{role}": spent[role] / elapsed_s for role in _ROLES},
        "hz": hz,
        "tick_lateness_ms_p50": late_ms(before.late, after.late, 50),
        "tick_lateness_ms_p99": late_ms(before.late, after.late, 99),
        # Each gateway that has players near a region decodes its frames, once.
        "frame_decodes_per_region_tick": (after.decodes - before.decodes) / max(1.0, after.ticks - before.ticks),
        **{figure: after.events[figure] - before.events[figure] for figure in _EVENTS.values()},
        "bus_bytes_per_s": (after.redis_bytes - before.redis_bytes) / elapsed_s,
        "bytes_per_client_tick": sum(s["bytes"] for s in swarms) / client_ticks,
        "visible_mean": sum(visible(s, client_ticks) for s in swarms),
        "swarm_cpu": sum(s["swarm_cpu"] for s in swarms),
        "cores": os.cpu_count(),
        "lost": sum(s["lost"] for s in swarms),
        "missing": seen["missing"],
        "inputs_lost": seen["inputs_lost"],
        "mismatches": seen["mismatches"],
        "digests_checked": seen["checks"],
        "reconnects": seen["reconnects"],
        "faults": len(seen["faults"]),
        "reasons": [*(reason for s in swarms for reason in s["reasons"]), *seen["faults"]][:8],
    }


def failed(figures: Line) -> bool:
    """Whether somebody was lost or saw a seam, or nothing was looked at."""
    wrong = ("lost", "missing", "inputs_lost", "mismatches", "reconnects", "faults")
    nothing = not figures["digests_checked"] or (figures["regions"] > 1 and not figures["crossings"])
    return nothing or any(figures[key] for key in wrong)


def run(options: ClusterOptions, glance: Callable[[str], None] = lambda _step: None) -> Line:
    """One run; returns the figures. Raises MongoUnavailable, RedisUnavailable, WorkerError."""

    async def serve(directory: Path) -> Line:
        glance("the cluster starts")
        async with Cluster(shape_of(options), directory) as cluster:
            return await asyncio.to_thread(_measure, options, cluster, glance)

    with tempfile.TemporaryDirectory(prefix="everstep-bench-") as directory:
        return asyncio.run(serve(Path(directory)))
