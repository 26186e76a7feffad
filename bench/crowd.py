"""`bench crowd`: N avatars, one per client, against the whole server."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from bench.crowd_game import MOVE, SET_MARK
from bench.figures import percentile
from bench.floor import SERVER_CORE, SWARM_CORE, WARM_UP_S, Window, watch
from bench.processes import Line, Worker
from bench.stores import Store, kept_in
from bench.truth import compare

# Ticks between two photographs of every sampled view.
PHOTOGRAPH_EVERY_TICKS = 10
# At 5 KB per second a stalled client's buffers take this long to fill as far as they ever will.
STALLED_WARM_UP_S = 30.0
HYSTERESIS_UNITS = 4.0


@dataclass(frozen=True, slots=True)
class CrowdOptions:
    """What is asked for."""

    clients: int
    seconds: float
    # Of the clients: those that decode and check everything, and those that never read.
    sample: int = 16
    stalled: int = 0
    hz: int = 20
    inputs_per_s: float = 5.0
    warm_up_s: float = WARM_UP_S
    store: Store = Store.MEMORY


@dataclass(frozen=True, slots=True)
class CrowdRun:
    """Figures for the last line, and every tick and latency for the report."""

    figures: Line
    # Milliseconds, in order of ticks.
    lateness_ms: list[float]
    took_ms: list[float]
    # Milliseconds, in order of arrival.
    latency_ms: list[float]

    @property
    def failed(self) -> bool:
        """Whether a view was wrong or a client lost: the figures then say nothing."""
        return bool(self.figures["mismatches"] or self.figures["lost"])


def run(options: CrowdOptions) -> CrowdRun:
    """One run. Keys: see bench/README.md."""
    sample = max(1, min(options.sample, options.clients - options.stalled))
    with (
        tempfile.TemporaryDirectory(prefix="bench") as directory,
        kept_in(options.store, Path(directory), SWARM_CORE) as kept,
    ):
        photographs, truth = Path(directory) / "photographs.npz", Path(directory) / "truth.npz"
        told: Line = {
            "clients": options.clients,
            "hz": options.hz,
            "photograph_every_ticks": PHOTOGRAPH_EVERY_TICKS,
            "truth": str(truth),
            "store": kept,
            # A stalled client is to be held all through the run, not let go.
            "lag_timeout_s": options.seconds + options.warm_up_s + 300.0 if options.stalled else 20.0,
        }
        with Worker("bench.crowd_server", told, SERVER_CORE) as server:
            listening = server.expect("listening")
            before_kib = server.rss_kib()
            swarm_told: Line = {
                "port": listening["port"],
                "clients": options.clients,
                "sample": sample,
                "stalled": options.stalled,
                "floor": False,
                "inputs_per_s": options.inputs_per_s,
                "turn": MOVE,
                "mark": SET_MARK,
                "photograph_every_ticks": PHOTOGRAPH_EVERY_TICKS,
                "photographs": str(photographs),
            }
            with Worker("bench.swarm", swarm_told, SWARM_CORE) as swarm:
                window = watch("crowd", server, swarm, before_kib, options.clients, options.seconds, options.warm_up_s)
        compared, wrong = compare(photographs, truth, listening["world_units"], HYSTERESIS_UNITS)
    return CrowdRun(
        _figures(options, window, compared, wrong),
        window.server["lateness_ms"],
        window.server["took_ms"],
        window.swarm["latency_ms"],
    )


def _figures(options: CrowdOptions, window: Window, compared: int, wrong: list[str]) -> Line:
    server, swarm = window.server, window.swarm
    client_ticks = options.clients * server["ticks"]
    # Stalled clients receive nothing: the bytes are those of the others.
    bytes_per_client_tick = swarm["bytes"] / ((options.clients - options.stalled) * server["ticks"])
    visible = swarm["visible_mean"] or swarm["sample_visible_mean"]
    mismatches = swarm["mismatches"] + len(wrong)
    if not swarm["checks"] or not compared or not swarm["latency_ms"]:
        # A sample that checked nothing must not pass for one that found nothing.
        mismatches += 1
        wrong = [*wrong, f"{swarm['checks']} checks, {compared} photographs, {len(swarm['latency_ms'])} inputs timed"]
    return {
        "clients": options.clients,
        "hz": server["hz"],
        "cpu_us_per_client_tick": window.cpu_s * 1e6 / client_ticks,
        "tick_lateness_ms_p50": percentile(server["lateness_ms"], 50),
        "tick_lateness_ms_p99": percentile(server["lateness_ms"], 99),
        "input_to_visible_ms_p50": percentile(swarm["latency_ms"], 50),
        "input_to_visible_ms_p99": percentile(swarm["latency_ms"], 99),
        "bytes_per_client_tick": bytes_per_client_tick,
        "bytes_per_visible_entity": bytes_per_client_tick / visible if visible else 0.0,
        "visible_mean": visible,
        "rss_kib_per_client": (window.rss_after_kib - window.rss_before_kib) / options.clients,
        "inputs_per_s": swarm["inputs"] / swarm["elapsed_s"],
        "mismatches": mismatches,
        "tick_ms_p50": percentile(server["took_ms"], 50),
        "tick_ms_p99": percentile(server["took_ms"], 99),
        "sample_visible_mean": swarm["sample_visible_mean"],
        "inputs_timed": len(swarm["latency_ms"]),
        "digests_checked": swarm["checks"],
        "views_compared": compared,
        "refused": swarm["refused"],
        "lost": swarm["lost"],
        "swarm_cpu": swarm["swarm_cpu"],
        "kernel_queued_kib": server["queued_bytes"] / 1024,
        "rss_grown_kib": window.rss_after_kib - window.rss_before_kib,
        "store": str(options.store),
        "checkpoints": server["checkpoints"],
        "reasons": [*swarm["reasons"], *wrong[:5]],
    }


def run_stalled(options: CrowdOptions) -> CrowdRun:
    """A run with stalled clients beside one without: what the others notice, and what is held."""
    without = run(replace(options, stalled=0))
    stalled = run(options)
    base, figures = without.figures, stalled.figures
    user_kib = (figures["rss_grown_kib"] - base["rss_grown_kib"]) / options.stalled
    kernel_kib = (figures["kernel_queued_kib"] - base["kernel_queued_kib"]) / options.stalled
    figures |= {
        "stalled": options.stalled,
        "held_kib_per_stalled_client": max(0.0, user_kib) + max(0.0, kernel_kib),
        "held_user_kib_per_stalled_client": user_kib,
        "held_kernel_kib_per_stalled_client": kernel_kib,
        "mismatches": figures["mismatches"] + base["mismatches"],
        "lost": figures["lost"] + base["lost"],
        "reasons": [*base["reasons"], *figures["reasons"]],
    }
    for key in ("tick_lateness_ms_p99", "input_to_visible_ms_p99", "cpu_us_per_client_tick"):
        figures[f"without_stalled_{key}"] = base[key]
    return stalled
