"""`bench receipts`: from sending a reliable command to its RECEIPT, at real clients over real sockets."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import progress
from bench.crowd_game import CELL_UNITS, NEAR_CELLS, world_units_for
from bench.figures import percentile
from bench.floor import SERVER_CORE, SWARM_CORE, WARM_UP_S
from bench.processes import Line, Worker
from bench.receipts_game import DO
from bench.stores import Store, kept_in

SEED: Final = 1
HZ: Final = 20
# Figures that are 0, or the others say nothing.
FAULTS: Final = ("unanswered", "forgotten", "doubled", "lost", "refused")
_GAME: Final = "bench.receipts_game"
_TALLY: Final = "Deeds.count"
_SYNCS: Final = 200
_SYNC_BYTES: Final = 8192


@dataclass(frozen=True, slots=True)
class ReceiptsOptions:
    """What is asked for."""

    clients: int
    # Reliable commands per second, all clients together.
    per_s: float
    seconds: float
    store: Store
    warm_up_s: float = WARM_UP_S


@dataclass(frozen=True, slots=True)
class ReceiptsRun:
    """Figures for the last line, and every receipt and tick for the report."""

    figures: Line
    # Milliseconds, in order of arrival.
    latency_ms: list[float]
    # Milliseconds, in order of ticks.
    lateness_ms: list[float]

    @property
    def failed(self) -> bool:
        """Whether a receipt is missing or said something that is not so."""
        return any(self.figures[key] for key in FAULTS)


def run(options: ReceiptsOptions) -> ReceiptsRun:
    """One run. Then the server is killed and started again, to see whether every receipt was true."""
    with (
        tempfile.TemporaryDirectory(prefix="bench") as directory,
        kept_in(options.store, Path(directory), SWARM_CORE) as kept,
    ):
        told = {"game": _GAME, "settings": _settings(options) | kept, "tally": _TALLY}
        sync_ms = _sync_ms(Path(directory))
        with Worker("bench.kept_server", told, SERVER_CORE) as server:
            swarm_told = {
                "port": server.expect("listening")["port"],
                "clients": options.clients,
                "per_s": options.per_s,
                "command": DO,
                "seed": SEED,
            }
            with Worker("bench.receipts_swarm", swarm_told, SWARM_CORE) as swarm:
                with progress.steps("receipts") as step:
                    step(f"{options.clients} clients connect")
                    swarm.expect("joined")
                    step("warming up")
                    time.sleep(options.warm_up_s)
                server.say("start")
                swarm.say("start")
                cpu_before_s = server.cpu_s()
                progress.measure("receipts", options.seconds, lambda: f"{options.per_s:,.0f} commands/s")
                cpu_s = server.cpu_s() - cpu_before_s
                swarm.say("stop")
                seen = swarm.expect("result")
                server.say("stop")
                ticks = server.expect("ticks")
            server.kill()
        found = _found_again(told) if options.store is not Store.MEMORY else ticks["tally"]
    latency_ms = seen["latency_ms"]
    figures = {
        "store": str(options.store),
        "clients": options.clients,
        "receipt_ms_p50": percentile(latency_ms, 50),
        "receipt_ms_p99": percentile(latency_ms, 99),
        "receipt_ms_max": max(latency_ms, default=0.0),
        "receipts_per_s": len(latency_ms) / options.seconds,
        "sent": seen["sent"],
        "unanswered": seen["unanswered"],
        # Deeds with a receipt that the server, killed and started again, does not know; and deeds beyond those sent.
        "forgotten": max(0, seen["sent"] - seen["unanswered"] - found),
        "doubled": max(0, found - seen["sent"], ticks["tally"] - seen["sent"]),
        "lost": seen["lost"],
        "refused": seen["refused"],
        "tick_ms_p50": percentile(ticks["took_ms"], 50),
        "tick_ms_p99": percentile(ticks["took_ms"], 99),
        "tick_lateness_ms_p99": percentile(ticks["lateness_ms"], 99),
        "server_cpu": cpu_s / options.seconds,
        "sync_ms_p50": percentile(sync_ms, 50),
        "sync_ms_p99": percentile(sync_ms, 99),
        "reasons": seen["reasons"],
    }
    return ReceiptsRun(figures, latency_ms, ticks["lateness_ms"])


def _settings(options: ReceiptsOptions) -> dict[str, Any]:  # Any: checked by the settings
    edge_units = world_units_for(options.clients)
    return {
        "server.port": 0,
        "world.width": edge_units,
        "world.height": edge_units,
        "world.entities_max": max(4096, options.clients * 2),
        "world.tick_rate_hz": HZ,
        "view.cell_units": CELL_UNITS,
        "view.near_cells": NEAR_CELLS,
        "view.far_cells": NEAR_CELLS,
        "gateway.idle_timeout_s": 300.0,
        "gateway.inputs_per_s": 10_000.0,
        "log.level": "warning",
    }


def _found_again(told: Line) -> int:
    """The deeds in the world that recovery brings back."""
    with Worker("bench.kept_server", told, SERVER_CORE) as server:
        server.expect("ready")
        server.say("start")
        server.say("stop")
        found: int = server.expect("ticks")["tally"]
        server.kill()
    return found


def _sync_ms(directory: Path) -> list[float]:
    """What a write and its sync take on this disk, alone: the least that a receipt waits for."""
    took_ms = []
    handle = os.open(directory / "sync", os.O_WRONLY | os.O_CREAT)
    try:
        for _ in range(_SYNCS):
            began_s = time.perf_counter()
            os.write(handle, bytes(_SYNC_BYTES))
            os.fsync(handle)
            took_ms.append((time.perf_counter() - began_s) * 1000)
    finally:
        os.close(handle)
    return took_ms
