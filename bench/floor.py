"""`bench floor`: what the same bytes and inputs cost without a game."""

from __future__ import annotations

import time
from dataclasses import dataclass

from bench import progress
from bench.crowd_game import MOVE, SET_MARK
from bench.figures import percentile
from bench.processes import Line, Worker

SERVER_CORE = 0
SWARM_CORE = 1
# Seconds between the last client's coming and the first measured tick.
WARM_UP_S = 1.5


@dataclass(frozen=True, slots=True)
class FloorOptions:
    """What is asked for."""

    clients: int
    seconds: float
    # Bytes per client and tick, the WebSocket header included.
    bytes_per_frame: int = 260
    hz: int = 20
    inputs_per_s: float = 5.0


@dataclass(frozen=True, slots=True)
class FloorRun:
    """Figures for the last line, and every tick for the report."""

    figures: Line
    # Milliseconds, in order of ticks.
    took_ms: list[float]


@dataclass(frozen=True, slots=True)
class Window:
    """What both workers said of the measured seconds, and what the server used."""

    server: Line
    swarm: Line
    cpu_s: float
    rss_before_kib: float
    rss_after_kib: float


def swarm_arguments(options: FloorOptions, port: int) -> Line:
    """For a swarm that meets no game."""
    return {
        "port": port,
        "clients": options.clients,
        "sample": 0,
        "stalled": 0,
        "floor": True,
        "inputs_per_s": options.inputs_per_s,
        "turn": MOVE,
        "mark": SET_MARK,
        "photograph_every_ticks": 1,
        "photographs": "",
    }


def watch(
    title: str,
    server: Worker,
    swarm: Worker,
    rss_before_kib: float,
    clients: int,
    seconds: float,
    warm_up_s: float = WARM_UP_S,
) -> Window:
    """Wait until all are in, let them play for `warm_up_s`, measure for `seconds`, ask both what they saw."""
    with progress.steps(title) as step:
        step(f"{clients} clients connect")
        swarm.expect("joined")
        step("warming up")
        server.say("settle")
        time.sleep(warm_up_s)
    server.say("start")
    swarm.say("start")
    cpu_before_s, began_s = server.cpu_s(), time.monotonic()

    def glance() -> str:
        elapsed_s = max(time.monotonic() - began_s, 1e-3)
        return f"server {100 * (server.cpu_s() - cpu_before_s) / elapsed_s:.0f} % of a core"

    progress.measure(title, seconds, glance)
    cpu_s = server.cpu_s() - cpu_before_s
    server.say("stop")
    swarm.say("stop")
    # The server first: it is the one whose ticks go on meanwhile.
    ticks, seen = server.expect("ticks"), swarm.expect("result")
    return Window(ticks, seen, cpu_s, rss_before_kib, server.rss_kib())


def run(options: FloorOptions) -> FloorRun:
    """One run. Keys: see bench/README.md."""
    told = {"bytes": options.bytes_per_frame, "hz": options.hz}
    with Worker("bench.floor_server", told, SERVER_CORE) as server:
        port = server.expect("listening")["port"]
        before_kib = server.rss_kib()
        with Worker("bench.swarm", swarm_arguments(options, port), SWARM_CORE) as swarm:
            window = watch("floor", server, swarm, before_kib, options.clients, options.seconds)
    client_ticks = options.clients * window.server["ticks"]
    figures = {
        "clients": options.clients,
        "cpu_us_per_client_tick": window.cpu_s * 1e6 / client_ticks,
        "hz": window.server["hz"],
        "bytes_per_client_tick": window.swarm["bytes"] / client_ticks,
        "inputs_per_s": window.server["inputs"] / window.swarm["elapsed_s"],
        "tick_lateness_ms_p99": percentile(window.server["lateness_ms"], 99),
        "rss_kib_per_client": (window.rss_after_kib - window.rss_before_kib) / options.clients,
        "swarm_cpu": window.swarm["swarm_cpu"],
        "lost": window.swarm["lost"],
    }
    return FloorRun(figures, window.server["took_ms"])
