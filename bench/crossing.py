"""`bench crossing`: players walk over the borders between four regions, over real sockets, and look out for a seam.

Or in a world of one region that is divided into four, and united again, while they walk.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass

from bench import progress
from bench.figures import percentile
from bench.floor import SERVER_CORE, SWARM_CORE
from bench.processes import Line, Worker

# The players begin anywhere: they need so long to reach the border.
WARM_UP_S = 15.0


@dataclass(frozen=True, slots=True)
class CrossingOptions:
    """What is asked for."""

    clients: int
    seconds: float
    hz: int = 20
    # Seconds between a division and a union; 0: four regions for good.
    divide_every_s: float = 0.0
    warm_up_s: float = WARM_UP_S


@dataclass(frozen=True, slots=True)
class CrossingRun:
    """Figures for the last line, and every step's wait for the report, in ticks."""

    figures: Line
    crossing_ticks: list[float]
    plain_ticks: list[float]

    @property
    def failed(self) -> bool:
        """Whether a seam was seen, or nothing was looked at."""
        seen = any(self.figures[key] for key in ("missing", "inputs_lost", "mismatches", "reconnects", "faults"))
        return bool(seen or not self.figures["crossings"] or not self.figures["digests_checked"])


def run(options: CrossingOptions) -> CrossingRun:
    """One run. Keys: see bench/README.md."""
    with (
        tempfile.TemporaryDirectory(prefix="bench") as directory,
        Worker(
            "bench.crossing_server",
            {"hz": options.hz, "directory": directory, "divide_every_s": options.divide_every_s},
            SERVER_CORE,
        ) as server,
    ):
        told = {"ports": [server.expect("listening")["port"]], "clients": options.clients, "hz": options.hz}
        with Worker("bench.crossing_walkers", told, SWARM_CORE) as walkers:
            with progress.steps("crossing") as step:
                step(f"{options.clients} players join")
                walkers.expect("joined")
                step("they walk to the border")
                time.sleep(options.warm_up_s)
            server.say("start")
            walkers.say("start")
            cpu_s = server.cpu_s()
            progress.measure("crossing", options.seconds, lambda: "")
            cpu_s = server.cpu_s() - cpu_s
            server.say("stop")
            walkers.say("stop")
            ticks, seen = server.expect("ticks"), walkers.expect("result")
    return CrossingRun(_figures(options, cpu_s, ticks, seen), seen["crossing"], seen["plain"])


def pauses(seen: Line) -> Line:
    """What walkers waited, in ticks: at borders, meanwhile all others, and everyone elsewhere. See bench/README.md."""
    crossing, others = seen["crossing"], seen["others"]
    return {
        "crossing_pause_ticks_p50": percentile(crossing, 50),
        "crossing_pause_ticks_p99": percentile(crossing, 99),
        "crossing_pause_ticks_max": max(crossing, default=0.0),
        "others_pause_ticks_p99": percentile(others, 99),
        "beyond_others_ticks_p99": percentile([a - b for a, b in zip(crossing, others, strict=True)], 99),
        "plain_pause_ticks_p99": percentile(seen["plain"], 99),
        "walkers_cpu": seen["walkers_cpu"],
    }


def _figures(options: CrossingOptions, cpu_s: float, ticks: Line, seen: Line) -> Line:
    crossing = seen["crossing"]
    return {
        "clients": options.clients,
        "hz": ticks["hz"],
        "divisions": ticks["divisions"],
        "crossings": len(crossing),
        **pauses(seen),
        "crossings_per_s": len(crossing) / options.seconds,
        "durable_ms_p50": percentile(ticks["durable_ms"], 50),
        "durable_ms_p99": percentile(ticks["durable_ms"], 99),
        "durable_ms_max": max(ticks["durable_ms"], default=0.0),
        "missing": seen["missing"],
        "inputs_lost": seen["inputs_lost"],
        "mismatches": seen["mismatches"],
        "digests_checked": seen["checks"],
        "reconnects": seen["reconnects"],
        "faults": len(seen["faults"]),
        "reasons": seen["faults"][:5],
        "cpu_us_per_client_tick": cpu_s * 1e6 / (options.clients * max(1, ticks["ticks"])),
        "tick_lateness_ms_p99": percentile(ticks["lateness_ms"], 99) if ticks["lateness_ms"] else 0.0,
    }
