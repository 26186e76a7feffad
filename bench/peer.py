"""`bench peer colyseus`: the same crowd against another server, for a side-by-side table."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.crowd_game import CELL_UNITS, NEAR_CELLS, SCALE, SPEED_UNITS_PER_S, world_units_for
from bench.figures import percentile
from bench.floor import SERVER_CORE, SWARM_CORE, watch
from bench.processes import ROOT, Line, Worker, WorkerError

PEERS: Final = ROOT / "bench" / "peers"


@dataclass(frozen=True, slots=True)
class PeerOptions:
    """What is asked for."""

    name: str
    clients: int
    seconds: float
    sample: int = 16
    hz: int = 20
    inputs_per_s: float = 5.0


def install(name: str) -> Path:
    """The peer's directory, its packages installed. Raises WorkerError where Node is missing or npm fails."""
    directory = PEERS / name
    if not (directory / "server.js").is_file():
        raise WorkerError(f"no peer {name!r}; there are {sorted(p.name for p in PEERS.iterdir() if p.is_dir())}")
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise WorkerError("node and npm are needed for peers, and not installed")
    if not (directory / "node_modules").is_dir():
        done = subprocess.run(  # noqa: S603  # npm, found above
            [npm, "install", "--no-package-lock", "--ignore-scripts"],
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise WorkerError(f"npm install failed: {done.stderr.strip()[-400:]}")
    return directory


def run(options: PeerOptions) -> Line:
    """One run. Keys as of `crowd`, as far as they apply: the peer has no digest to check views with."""
    directory = install(options.name)
    world: Line = {
        "world_units": world_units_for(options.clients),
        "cell_units": CELL_UNITS,
        "near_cells": NEAR_CELLS,
        "scale": SCALE,
        "speed_units_per_s": SPEED_UNITS_PER_S,
        "hz": options.hz,
    }
    with Worker(str(directory / "server.js"), world, SERVER_CORE) as server:
        port = server.expect("listening")["port"]
        before_kib = server.rss_kib()
        told: Line = {
            "port": port,
            "clients": options.clients,
            "sample": min(options.sample, options.clients),
            "inputs_per_s": options.inputs_per_s,
        }
        with Worker(str(directory / "swarm.js"), told, SWARM_CORE) as swarm:
            window = watch(options.name, server, swarm, before_kib, options.clients, options.seconds)
    ticks, seen = window.server, window.swarm
    client_ticks = options.clients * ticks["ticks"]
    visible = seen["sample_visible_mean"]
    return {
        "peer": options.name,
        "clients": options.clients,
        "hz": ticks["hz"],
        "cpu_us_per_client_tick": window.cpu_s * 1e6 / client_ticks,
        "tick_lateness_ms_p50": percentile(ticks["lateness_ms"], 50),
        "tick_lateness_ms_p99": percentile(ticks["lateness_ms"], 99),
        "input_to_visible_ms_p50": percentile(seen["latency_ms"], 50),
        "input_to_visible_ms_p99": percentile(seen["latency_ms"], 99),
        "bytes_per_client_tick": seen["bytes"] / client_ticks,
        "bytes_per_visible_entity": seen["bytes"] / client_ticks / visible if visible else 0.0,
        "visible_mean": visible,
        "rss_kib_per_client": (window.rss_after_kib - window.rss_before_kib) / options.clients,
        "inputs_per_s": ticks["inputs"] / seen["elapsed_s"],
        "tick_ms_p50": percentile(ticks["took_ms"], 50),
        "tick_ms_p99": percentile(ticks["took_ms"], 99),
        "lost": seen["lost"],
        "swarm_cpu": seen["swarm_cpu"],
        "reasons": seen["reasons"],
    }
