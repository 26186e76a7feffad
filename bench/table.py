"""`bench table`: everything, several times, as the tables of docs/performance.md."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from bench import crowd, entities, floor, peer
from bench.figures import median_of
from bench.processes import Line
from bench.progress import console

CROWDS: Final = (1000, 2000, 2500)
STALLED: Final = 200
ENTITIES: Final = 100_000
ENTITY_TICKS: Final = 400
PEER_CLIENTS: Final = (250, 500, 1000)

_CROWD_KEYS: Final = (
    "hz",
    "cpu_us_per_client_tick",
    "tick_ms_p50",
    "tick_lateness_ms_p50",
    "tick_lateness_ms_p99",
    "input_to_visible_ms_p50",
    "input_to_visible_ms_p99",
    "bytes_per_client_tick",
    "bytes_per_visible_entity",
    "visible_mean",
    "rss_kib_per_client",
    "inputs_per_s",
    "mismatches",
)


class Sheet:
    """Runs what the tables need. `failures`: what went wrong; the tables are then not to be kept."""

    def __init__(self, seconds: float, runs: int, *, peers: bool) -> None:
        self.seconds = seconds
        self.runs = runs
        self.peers = peers
        self.failures: list[str] = []

    def fill(self) -> tuple[str, Line]:
        """(Markdown, medians by table and column). Crowd and floor alternate, so that both meet the same host."""
        first = crowd.CrowdOptions(CROWDS[0], self.seconds)
        crowds: dict[int, list[Line]] = {n: [] for n in CROWDS}
        floors: list[Line] = []
        for i in range(self.runs):
            console.print(f"run {i + 1} of {self.runs}")
            crowds[CROWDS[0]].append(self._crowd(first))
            size = round(crowds[CROWDS[0]][-1]["bytes_per_client_tick"])
            floors.append(floor.run(floor.FloorOptions(first.clients, self.seconds, size)).figures)
            for n in CROWDS[1:]:
                crowds[n].append(self._crowd(replace(first, clients=n)))
        ratio = statistics.median(
            c["cpu_us_per_client_tick"] / f["cpu_us_per_client_tick"]
            for c, f in zip(crowds[CROWDS[0]], floors, strict=True)
        )
        stalled = self._times(lambda: self._crowd(replace(first, stalled=STALLED, warm_up_s=crowd.STALLED_WARM_UP_S)))
        lone = self._times(lambda: entities.run(ENTITIES, ENTITY_TICKS).figures)
        medians: Line = {f"crowd_{n}": median_of(done) for n, done in crowds.items()}
        medians |= {
            "floor": median_of(floors),
            "crowd_by_floor": ratio,
            "stalled": median_of(stalled),
            "entities": median_of(lone),
        }
        if len({run["digest"] for run in lone}) > 1:
            self.failures.append("entities: the same ticks gave different worlds")
        columns = {f"crowd {n:,}": medians[f"crowd_{n}"] for n in CROWDS}
        columns[f"floor {CROWDS[0]:,}"] = medians["floor"]
        columns[f"{STALLED} of {CROWDS[0]:,} stalled"] = medians["stalled"]
        tables = [
            _table(columns, _CROWD_KEYS),
            f"crowd / floor, CPU: {ratio:.2f} (median of {self.runs} pairs)",
            _table(
                {"": medians["stalled"]},
                [k for k in medians["stalled"] if k.startswith(("held_", "without_stalled_"))],
            ),
            _table(
                {f"{ENTITIES:,} entities": medians["entities"]},
                ["step_frame_ms_p50", "step_frame_ms_p99", "replica_ms_p50", "frame_bytes_per_entity", "digest"],
            ),
        ]
        if self.peers:
            for n in PEER_CLIENTS:
                options = peer.PeerOptions("colyseus", n, self.seconds)
                medians[f"colyseus_{n}"] = median_of([peer.run(options) for _ in range(self.runs)])
            tables.append(_table({f"Colyseus {n:,}": medians[f"colyseus_{n}"] for n in PEER_CLIENTS}, _CROWD_KEYS[:-1]))
        return "\n\n".join(tables), medians

    def _times(self, measure: Callable[[], Line]) -> list[Line]:
        return [measure() for _ in range(self.runs)]

    def _crowd(self, options: crowd.CrowdOptions) -> Line:
        done = crowd.run_stalled(options) if options.stalled else crowd.run(options)
        if done.failed:
            self.failures.append(f"crowd of {options.clients}, {options.stalled} stalled: {done.figures['reasons']}")
        return done.figures


def _table(columns: dict[str, Line], keys: Sequence[str]) -> str:
    """One line per key, one column per run; "-" where a column has no such figure."""
    rows = [["", *columns], ["---", *("---:" for _ in columns)]]
    rows += [[f"`{key}`", *(_cell(figures.get(key, "-")) for figures in columns.values())] for key in keys]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if value >= 1000 else f"{value:.2f}"
