"""`bench recovery`: a large world is killed and started again; and what its checkpoints cost its ticks.

Players move among many drifters; the only checkpoint is the one that a new world begins with, so the journal of all
the seconds of play comes after it. The process is killed, and started again, from the kept state to the first tick.
Then the world goes on, with a checkpoint every few seconds, and ticks beside a checkpoint are compared with the others.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import progress
from bench.entities_game import WORLD_UNITS
from bench.figures import median_of, percentile
from bench.floor import SERVER_CORE, SWARM_CORE
from bench.processes import Line, Worker
from bench.recovery_game import MOVE
from bench.stores import Store, kept_in

HZ: Final = 20
INPUTS_PER_S: Final = 5.0
_GAME: Final = "bench.recovery_game"
_NO_CHECKPOINT_S: Final = 86_400.0
# Checkpoints far oftener than anyone would want them, so that there are enough ticks beside one.
_CHECKPOINT_EVERY_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class RecoveryOptions:
    """What is asked for."""

    entities: int
    players: int
    # Of journal after the checkpoint.
    seconds: float
    # Starts measured, each of the same journal and the little that the start before it added.
    starts: int
    # Of ticks with checkpoints among them; 0: none.
    checkpoint_seconds: float
    store: Store


@dataclass(frozen=True, slots=True)
class RecoveryRun:
    """Figures for the last line, and ticks for the report: without a checkpoint beside them, and with."""

    figures: Line
    plain_ms: list[float]
    beside_ms: list[float]

    @property
    def failed(self) -> bool:
        """Whether something durable was not found again."""
        return bool(self.figures["ticks_lost"])


def run(options: RecoveryOptions) -> RecoveryRun:
    """Record, kill, start, kill, start; then go on with checkpoints."""
    with (
        tempfile.TemporaryDirectory(prefix="bench") as directory,
        kept_in(options.store, Path(directory), SWARM_CORE) as kept,
    ):
        told = {
            "game": _GAME,
            "count": options.entities,
            "settings": _settings(options) | kept,
        }
        durable_tick = _record(options, told)
        starts = []
        for number in range(options.starts):
            with progress.steps("recovery") as step:
                step(f"start {number + 1} of {options.starts}")
                starts.append(_start(told))
        figures = median_of(starts) | {
            "recovery_s_max": max(start["recovery_s"] for start in starts),
            "entities": options.entities,
            "players": options.players,
            "store": str(options.store),
            # Of those that were durable when the process was killed.
            "ticks_lost": max(0, durable_tick - min(start["tick"] for start in starts)),
        }
        plain_ms: list[float] = []
        beside_ms: list[float] = []
        if options.checkpoint_seconds:
            stalls, plain_ms, beside_ms = _with_checkpoints(options, told)
            figures |= stalls
    return RecoveryRun(figures, plain_ms, beside_ms)


def _settings(options: RecoveryOptions) -> dict[str, Any]:  # Any: checked by the settings
    return {
        "server.port": 0,
        "world.width": WORLD_UNITS,
        "world.height": WORLD_UNITS,
        # Players come twice, and those who were there when the process was killed are waited for.
        "world.entities_max": options.entities + 2 * options.players,
        "world.tick_rate_hz": HZ,
        # What players see is not measured here: their own cell.
        "view.near_cells": 0,
        "view.far_cells": 0,
        "gateway.idle_timeout_s": 300.0,
        "store.checkpoint_every_s": _NO_CHECKPOINT_S,
        "log.level": "error",
    }


@contextmanager
def _played(options: RecoveryOptions, server: Worker, port: int) -> Iterator[None]:
    """Players, for as long as it lasts."""
    told = {
        "port": port,
        "clients": options.players,
        "sample": 0,
        "stalled": 0,
        "floor": False,
        "inputs_per_s": INPUTS_PER_S,
        "turn": MOVE,
        "mark": MOVE,
        "photograph_every_ticks": 1,
        "photographs": "",
    }
    with Worker("bench.swarm", told, SWARM_CORE) as swarm:
        swarm.expect("joined")
        server.say("start")
        yield


def _record(options: RecoveryOptions, told: Line) -> int:
    """Play, and kill. Returns a tick that was durable."""
    with Worker("bench.kept_server", told, SERVER_CORE) as server:
        port = server.expect("listening")["port"]
        with _played(options, server, port):
            progress.measure("recording", options.seconds, lambda: f"{options.players} players")
            server.say("stop")
            durable_tick: int = server.expect("ticks")["durable_tick"]
            server.kill()
    return durable_tick


def _start(told: Line) -> Line:
    """One start, from the process's to its first tick, and a kill."""
    with Worker("bench.kept_server", told, SERVER_CORE) as server:
        listening = server.expect("listening")
        ready = server.expect("ready")
        server.kill()
    report = listening["recovered"]
    return {
        "recovery_s": ready["at_s"] - server.started_s,
        # Of that: the interpreter, our modules, the libraries.
        "import_s": listening["imported_s"] - server.started_s,
        "load_checkpoint_s": report["load_s"],
        "replay_s": report["replay_s"],
        "ticks_replayed": report["ticks_replayed"],
        "records_replayed": report["records_replayed"],
        "digests_checked": report["digests_checked"],
        "checkpoint_tick": report["checkpoint_tick"],
        "tick": report["tick"],
    }


def _with_checkpoints(options: RecoveryOptions, told: Line) -> tuple[Line, list[float], list[float]]:
    """The ticks of a world that takes checkpoints, apart: those without one beside them, and those with."""
    often = told | {"settings": told["settings"] | {"store.checkpoint_every_s": _CHECKPOINT_EVERY_S}}
    with Worker("bench.kept_server", often, SERVER_CORE) as server:
        port = server.expect("listening")["port"]
        with _played(options, server, port):
            progress.measure("checkpoints", options.checkpoint_seconds, lambda: f"{options.entities:,} entities")
            server.say("stop")
            ticks = server.expect("ticks")
            server.kill()
    beside = set(ticks["beside"])
    plain_ms = [ms for i, ms in enumerate(ticks["took_ms"]) if i not in beside]
    beside_ms = [ticks["took_ms"][i] for i in sorted(beside)]
    figures = {
        "checkpoints": len(ticks["capture_ms"]),
        "capture_ms_p50": percentile(ticks["capture_ms"], 50),
        "capture_ms_max": max(ticks["capture_ms"], default=0.0),
        "plain_ticks": len(plain_ms),
        "plain_tick_ms_p50": percentile(plain_ms, 50),
        "plain_tick_ms_p99": percentile(plain_ms, 99),
        "plain_tick_ms_max": max(plain_ms, default=0.0),
        "beside_ticks": len(beside_ms),
        "beside_tick_ms_p50": percentile(beside_ms, 50),
        "beside_tick_ms_p99": percentile(beside_ms, 99),
        "beside_tick_ms_max": max(beside_ms, default=0.0),
        "tick_lateness_ms_p99": percentile(ticks["lateness_ms"], 99),
    }
    return figures, plain_ms, beside_ms
