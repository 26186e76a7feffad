"""The commands over a world that is kept: `receipts`, `recovery`, `replay`, and all of them as `durability`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from bench import receipts as receipts_bench
from bench import recovery as recovery_bench
from bench.figures import hand_over, median_of
from bench.processes import Line
from bench.progress import console, show
from bench.report import Plot, write
from bench.stores import Store

Seconds = Annotated[float, typer.Option(min=0.5, help="Seconds to measure, after all have joined.")]
Runs = Annotated[int, typer.Option(min=1, help="Runs; figures are medians.")]
Kept = Annotated[Store, typer.Option("--store", help="Where the server keeps its world.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the JSON line to this file too.")]
Report = Annotated[Path | None, typer.Option("--report", help="Write an HTML page with plots to this file.")]


def receipts(
    clients: Annotated[int, typer.Option(min=1, help="Clients, each with an avatar.")] = 200,
    per_s: Annotated[float, typer.Option(min=1, help="Reliable commands per second, all clients together.")] = 1000.0,
    seconds: Seconds = 20.0,
    runs: Runs = 1,
    store: Kept = Store.SQLITE,
    json: Json = None,
    report: Report = None,
) -> None:
    """From sending a reliable command to its receipt."""
    options = receipts_bench.ReceiptsOptions(clients, per_s, seconds, store)
    done = [receipts_bench.run(options) for _ in range(runs)]
    figures = median_of([run.figures for run in done])
    # The median of three runs would hide the one that failed.
    for key in receipts_bench.FAULTS:
        figures[key] = sum(run.figures[key] for run in done)
    plots = [
        Plot("From sending to the receipt", _named([run.latency_ms for run in done]), distribution=True),
        Plot("Tick lateness", _named([run.lateness_ms for run in done])),
    ]
    _finish(f"receipts, {store}", figures, plots, json, report)
    for run in done:
        for reason in run.figures["reasons"]:
            console.print(reason, style="red", markup=False)
    raise typer.Exit(1 if any(run.failed for run in done) else 0)


def recovery(
    entities: Annotated[int, typer.Option(min=1, max=1_000_000, help="Entities, all moving.")] = 100_000,
    players: Annotated[int, typer.Option(min=1, help="Players among them, 5 inputs per second each.")] = 200,
    seconds: Annotated[float, typer.Option(min=1, help="Seconds of journal after the checkpoint.")] = 60.0,
    starts: Annotated[int, typer.Option(min=1, help="Starts to measure; figures are medians.")] = 3,
    checkpoint_seconds: Annotated[
        float, typer.Option(min=0, help="Seconds of ticks with checkpoints; 0: none.")
    ] = 20.0,
    store: Kept = Store.SQLITE,
    json: Json = None,
    report: Report = None,
) -> None:
    """A large world, killed and started again; and what its checkpoints cost its ticks."""
    if store is Store.MEMORY:
        raise typer.BadParameter("memory does not outlive a kill", param_hint="--store")
    options = recovery_bench.RecoveryOptions(entities, players, seconds, starts, checkpoint_seconds, store)
    done = recovery_bench.run(options)
    plots = [Plot("A tick", {"without a checkpoint": done.plain_ms, "beside one": done.beside_ms}, distribution=True)]
    _finish(f"recovery, {entities:,} entities, {store}", done.figures, plots, json, report)
    raise typer.Exit(1 if done.failed else 0)


def replay(
    players: Annotated[int, typer.Option(min=1, help="Bots that play.")] = 200,
    seconds: Annotated[float, typer.Option(min=0.5, help="Seconds of play, once all are in.")] = 30.0,
    edge: Annotated[
        float, typer.Option(min=64, help="Edge of the world, in units; 1,024 has 5,000 creatures.")
    ] = 1024.0,
    data: Annotated[Path | None, typer.Option(help="Keep the recording here, and use the one that is here.")] = None,
    json: Json = None,
    report: Report = None,
) -> None:
    """The sample game, recorded as it is played and then replayed: how much faster."""
    from bench import replay as replay_bench

    done = replay_bench.run(replay_bench.ReplayOptions(players, seconds, edge, data))
    _finish(f"replay, {players} players", done.figures, [Plot("A tick", _named([done.tick_ms]))], json, report)


def durability(
    runs: Annotated[int, typer.Option(min=1, help="Runs, and pairs of runs; figures are medians.")] = 3,
    seconds: Seconds = 20.0,
    clients: Annotated[int, typer.Option(min=1, help="Clients of the crowd.")] = 1000,
    receipt_clients: Annotated[
        int, typer.Option(min=1, help="Clients that wait for receipts, 5 commands per second each.")
    ] = 200,
    entities: Annotated[int, typer.Option(min=1, max=1_000_000, help="Entities of the world to recover.")] = 100_000,
    players: Annotated[int, typer.Option(min=1, help="Players in it, and in the sample game.")] = 200,
    play_seconds: Annotated[
        float, typer.Option(min=1, help="Seconds of journal to recover from, and to replay.")
    ] = 60.0,
    edge: Annotated[float, typer.Option(min=64, help="Edge of the sample game's world, in units.")] = 1024.0,
    *,
    mongodb: Annotated[bool, typer.Option(help="Measure the MongoDB store too; scripts/setup-test-mongo.sh.")] = True,
    json: Json = None,
) -> None:
    """What it costs to lose nothing: crowd, receipts, recovery, replay, as in docs/performance.md. About 15 minutes."""
    from bench.durability import Durability, DurabilityOptions

    sheet = Durability(
        DurabilityOptions(runs, seconds, clients, receipt_clients, entities, players, play_seconds, edge, mongodb)
    )
    with tempfile.TemporaryDirectory(prefix="bench") as data:
        table, figures = sheet.fill(Path(data))
    typer.echo(table + "\n")
    hand_over(figures, json)
    for failure in sheet.failures:
        console.print(failure, style="red", markup=False)
    raise typer.Exit(1 if sheet.failures else 0)


def _named(series: Sequence[list[float]]) -> dict[str, list[float]]:
    return {f"run {i + 1}": values for i, values in enumerate(series)}


def _finish(title: str, figures: Line, plots: list[Plot], json: Path | None, report: Path | None) -> None:
    show(title, figures)
    if report is not None:
        write(report, title, figures, plots)
    hand_over(figures, json)
