"""`bench durability`: what it costs to lose nothing, as the table of docs/performance.md has it.

Runs on the memory journal and on SQLite alternate, and each pair has its ratio: so both meet the same host.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import crowd, receipts, recovery, replay
from bench.figures import median_of
from bench.processes import Line
from bench.progress import console
from bench.receipts import HZ
from bench.stores import Store

_TICK_MS: Final = 1000 / HZ
_RECEIPTS_PER_CLIENT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class DurabilityOptions:
    """What is asked for. The defaults of `bench durability` are what the targets are for."""

    runs: int
    # Of each crowd and each run of receipts.
    seconds: float
    clients: int
    # Each sends 5 reliable commands per second.
    receipt_clients: int
    entities: int
    players: int
    # Of journal to recover from; and of the sample game to replay, in a world of such an edge.
    play_seconds: float
    edge_units: float
    # Whether to measure the MongoDB store too.
    mongodb: bool

    @property
    def receipts_per_s(self) -> float:
        """Of all clients together."""
        return self.receipt_clients * _RECEIPTS_PER_CLIENT_S


@dataclass(frozen=True, slots=True)
class Row:
    """A target and what was measured."""

    key: str
    what: str
    # At most; at least, where `least`.
    limit: float
    unit: str
    measured: float
    least: bool = False

    @property
    def met(self) -> bool:
        """Whether it is as good as was asked."""
        return self.measured >= self.limit if self.least else self.measured <= self.limit

    def markdown(self) -> str:
        """A line of the table."""
        sign = "≥" if self.least else "≤"
        verdict = "" if self.met else " (missed)"
        return f"| {self.what} | {sign} {self.limit:g}{self.unit} | {self.measured:.4g}{self.unit}{verdict} |"


class Durability:
    """Measures everything. `failures`: what went wrong; the table is then not to be kept."""

    def __init__(self, options: DurabilityOptions) -> None:
        self.options = options
        self.failures: list[str] = []

    def fill(self, data: Path) -> tuple[str, Line]:
        """(Markdown, figures). `data`: an empty directory for the recording."""
        options = self.options
        stores = (Store.SQLITE, Store.MONGODB) if options.mongodb else (Store.SQLITE,)
        crowds: dict[Store, list[Line]] = {Store.MEMORY: [], Store.SQLITE: []}
        answered: dict[Store, list[Line]] = {store: [] for store in stores}
        for i in range(options.runs):
            console.print(f"run {i + 1} of {options.runs}")
            for store in sorted(crowds, reverse=bool(i % 2)):
                crowds[store].append(self._crowd(store))
            for store in stores:
                answered[store].append(self._receipts(store))
        ratios = [
            kept["cpu_us_per_client_tick"] / plain["cpu_us_per_client_tick"]
            for plain, kept in zip(crowds[Store.MEMORY], crowds[Store.SQLITE], strict=True)
        ]
        recovered = {store: self._recovery(store) for store in stores}
        replayed = [self._replay(data) for _ in range(options.runs)]
        if len({(run["digest"], run["records"]) for run in replayed}) > 1:
            self.failures.append("replay: one journal came to different worlds")
        kept, plain = median_of(crowds[Store.SQLITE]), median_of(crowds[Store.MEMORY])
        receipt = {store: median_of(runs) for store, runs in answered.items()}
        rows = list(_rows(options, ratios, kept, receipt, recovered, median_of(replayed)))
        figures: Line = {
            **{row.key: row.measured for row in rows},
            "missed": [row.key for row in rows if not row.met],
            "journal_cpu_more_percent_runs": [round((ratio - 1) * 100, 2) for ratio in ratios],
            "crowd_memory": plain,
            "crowd_sqlite": kept,
            **{f"receipts_{store}": line for store, line in receipt.items()},
            **{f"recovery_{store}": line for store, line in recovered.items()},
            "replay": median_of(replayed),
            "failures": self.failures,
        }
        table = "\n".join(["| what | asked | measured |", "|---|---|---|", *(row.markdown() for row in rows)])
        return table, figures

    def _crowd(self, store: Store) -> Line:
        done = crowd.run(crowd.CrowdOptions(self.options.clients, self.options.seconds, store=store))
        if done.failed:
            self.failures.append(f"crowd on {store}: {done.figures['reasons']}")
        return done.figures

    def _receipts(self, store: Store) -> Line:
        options = self.options
        done = receipts.run(
            receipts.ReceiptsOptions(options.receipt_clients, options.receipts_per_s, options.seconds, store)
        )
        if done.failed:
            self.failures.append(f"receipts on {store}: {[(k, done.figures[k]) for k in receipts.FAULTS]}")
        return done.figures

    def _recovery(self, store: Store) -> Line:
        options = self.options
        done = recovery.run(
            recovery.RecoveryOptions(
                options.entities, options.players, options.play_seconds, options.runs, options.seconds, store
            )
        )
        if done.failed:
            self.failures.append(f"recovery on {store}: {done.figures['ticks_lost']} ticks lost")
        return done.figures

    def _replay(self, data: Path) -> Line:
        options = self.options
        return replay.run(replay.ReplayOptions(options.players, options.play_seconds, options.edge_units, data)).figures


def _rows(
    options: DurabilityOptions,
    ratios: Sequence[float],
    kept: Line,
    receipt: dict[Store, Line],
    recovered: dict[Store, Line],
    replayed: Line,
) -> list[Row]:
    more = (statistics.median(ratios) - 1) * 100
    crowd_of = f"crowd of {options.clients:,} on SQLite"
    rate = f"receipt latency p99 at {options.receipts_per_s:,.0f} reliable commands/s"
    world = f"{options.entities:,} entities and {options.play_seconds:g} s of journal"
    rows = [
        Row("journal_cpu_more_percent", f"{crowd_of}: more CPU than on the memory journal", 10.0, " %", more),
        Row("crowd_tick_lateness_ms_p99", f"{crowd_of}: tick lateness p99", 6.0, " ms", kept["tick_lateness_ms_p99"]),
    ]
    for store, allowed_ms in ((Store.SQLITE, 10.0), (Store.MONGODB, 25.0)):
        if store in receipt:
            measured = receipt[store]["receipt_ms_p99"]
            rows.append(Row(f"receipt_ms_p99_{store}", f"{rate}, {store}", _TICK_MS + allowed_ms, " ms", measured))
    for store, line in recovered.items():
        rows.append(Row(f"recovery_s_{store}", f"recovery with {world}, {store}", 5.0, " s", line["recovery_s"]))
        rows.append(
            Row(
                f"capture_ms_max_{store}",
                f"the tick in which a checkpoint is taken, {options.entities:,} entities, {store}: waits at most",
                2.0,
                " ms",
                line["capture_ms_max"],
            )
        )
        rows.append(
            Row(
                f"beside_tick_ms_more_{store}",
                f"ticks beside a checkpoint, {store}: p99 more than the others'",
                2.0,
                " ms",
                line["beside_tick_ms_p99"] - line["plain_tick_ms_p99"],
            )
        )
    what = f"replay of the sample game, {replayed['entities']:,} entities, {options.players} players: times real time"
    rows.append(Row("times_real_time", what, 20.0, "", replayed["times_real_time"], least=True))
    return rows
