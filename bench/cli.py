"""The commands. Each ends its standard output with one JSON line; tables and progress go to standard error."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench import cluster_cli, crash_cli, durability_cli, store_cli
from bench import crossing as crossing_bench
from bench import crowd as crowd_bench
from bench import floor as floor_bench
from bench import peer as peer_bench
from bench.figures import hand_over, median_of
from bench.mongo_server import MongoUnavailable
from bench.processes import Line, WorkerError
from bench.progress import console, show
from bench.redis_server import RedisUnavailable
from bench.report import Plot, write
from bench.stores import Store
from bench.table import Sheet

app = typer.Typer(help="What a tick, a client and an entity cost. See bench/README.md.", no_args_is_help=True)

Clients = Annotated[int, typer.Option(min=1, help="Clients, each with an avatar.")]
Seconds = Annotated[float, typer.Option(min=0.5, help="Seconds to measure, after all have joined.")]
Runs = Annotated[int, typer.Option(min=1, help="Runs; figures are medians.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the JSON line to this file too.")]
Report = Annotated[Path | None, typer.Option("--report", help="Write an HTML page with plots to this file.")]


@app.command()
def crowd(
    clients: Clients = 1000,
    seconds: Seconds = 10.0,
    runs: Runs = 1,
    stalled: Annotated[int, typer.Option(min=0, help="Clients that never read; compared with a run without.")] = 0,
    sample: Annotated[int, typer.Option(min=1, help="Clients that decode and check everything.")] = 16,
    warm_up: Annotated[
        float | None, typer.Option(min=0, help="Seconds before measuring; 1.5, and 30 with stalled clients.")
    ] = None,
    store: Annotated[Store, typer.Option(help="Where the server keeps its world.")] = Store.MEMORY,
    json: Json = None,
    report: Report = None,
) -> None:
    """The whole server under a crowd of moving avatars."""
    if stalled >= clients:
        raise typer.BadParameter("somebody has to read", param_hint="--stalled")
    if warm_up is None:
        warm_up = crowd_bench.STALLED_WARM_UP_S if stalled else floor_bench.WARM_UP_S
    options = crowd_bench.CrowdOptions(clients, seconds, sample, stalled, warm_up_s=warm_up, store=store)
    measure = crowd_bench.run_stalled if stalled else crowd_bench.run
    done = [measure(options) for _ in range(runs)]
    figures = median_of([run.figures for run in done])
    # The median of three runs would hide the one that failed.
    for key in ("mismatches", "lost", "refused"):
        figures[key] = sum(run.figures[key] for run in done)
    plots = [
        Plot("From input to visible", _named([run.latency_ms for run in done]), distribution=True),
        Plot("A tick, from its begin to its last write", _named([run.took_ms for run in done])),
        Plot("Tick lateness", _named([run.lateness_ms for run in done])),
    ]
    _finish(f"crowd, {clients} clients", figures, plots, json, report)
    for run in done:
        for reason in run.figures["reasons"]:
            console.print(f"[red]{reason}", markup=True)
    raise typer.Exit(1 if any(run.failed for run in done) else 0)


@app.command()
def floor(
    clients: Clients = 1000,
    seconds: Seconds = 10.0,
    runs: Runs = 1,
    bytes_per_frame: Annotated[int, typer.Option("--bytes", min=3, max=65_000, help="Bytes per client-tick.")] = 260,
    json: Json = None,
    report: Report = None,
) -> None:
    """The same bytes and inputs through bare uvloop and websockets."""
    options = floor_bench.FloorOptions(clients, seconds, bytes_per_frame)
    done = [floor_bench.run(options) for _ in range(runs)]
    figures = median_of([run.figures for run in done])
    figures["lost"] = sum(run.figures["lost"] for run in done)
    plots = [Plot("A tick's writes", _named([run.took_ms for run in done]))]
    _finish(f"floor, {clients} clients", figures, plots, json, report)
    raise typer.Exit(1 if figures["lost"] else 0)


@app.command()
def entities(
    count: Annotated[int, typer.Option(min=1, max=1_048_576, help="Entities, all moving.")] = 100_000,
    ticks: Annotated[int, typer.Option(min=1, help="Ticks to measure.")] = 400,
    runs: Runs = 1,
    json: Json = None,
    report: Report = None,
) -> None:
    """One region's tick: step and frame."""
    from bench import entities as entities_bench

    done = [entities_bench.run(count, ticks) for _ in range(runs)]
    digests = {run.figures["digest"] for run in done}
    figures = median_of([run.figures for run in done])
    plots = [
        Plot("Step and frame", _named([run.step_ms for run in done])),
        Plot("A replica takes the frame in", _named([run.replica_ms for run in done])),
    ]
    _finish(f"{count:,} entities", figures, plots, json, report)
    if len(digests) > 1:
        console.print(f"[red]the same ticks gave different worlds: {sorted(digests)}")
    raise typer.Exit(1 if len(digests) > 1 else 0)


@app.command()
def far(
    players: Annotated[int, typer.Option(min=1, help="Players, each at one of the sixteen hamlets.")] = 4,
    ticks: Annotated[int, typer.Option(min=1, help="Ticks to measure.")] = 1000,
    runs: Runs = 1,
    json: Json = None,
    report: Report = None,
) -> None:
    """The sample game with creatures far from every player in fewer steps, beside itself with all of them near."""
    from bench import far as far_bench

    done = [far_bench.run(players, ticks) for _ in range(runs)]
    figures = median_of([run.figures for run in done])
    plots = [
        Plot("Step and frame", _named([run.far.step_ms for run in done])),
        Plot("Step and frame, all near", _named([run.near.step_ms for run in done])),
    ]
    _finish(f"far from {players} players", figures, plots, json, report)


@app.command()
def mail(
    letters: Annotated[int, typer.Option(min=1, max=512, help="Letters of each shard in each tick.")] = 200,
    size: Annotated[int, typer.Option("--bytes", min=16, max=4096, help="Bytes of a letter.")] = 200,
    ticks: Annotated[int, typer.Option(min=1, help="Ticks in which they write.")] = 400,
    hz: Annotated[float, typer.Option(min=1, max=60, help="Ticks per second, where they are paced.")] = 20.0,
    runs: Runs = 1,
    json: Json = None,
    report: Report = None,
) -> None:
    """Two shards write to each other, journalled: letters per second, and ticks that a letter takes."""
    from bench import mail as mail_bench

    done = [mail_bench.run(mail_bench.MailBenchOptions(letters, size, ticks, hz)) for _ in range(runs)]
    figures = median_of([run.figures for run in done])
    for key in ("lost", "doubled", "diverged"):
        figures[key] = sum(run.figures[key] for run in done)
    plots = [
        Plot(
            "From the tick that sends to the tick that takes",
            _named([[n * 1000 / hz for n in run.latency_ticks] for run in done]),
            distribution=True,
        ),
        Plot("A tick", _named([run.took_ms for run in done])),
    ]
    _finish(f"mail, {letters} letters per tick", figures, plots, json, report)
    raise typer.Exit(1 if any(run.failed for run in done) else 0)


@app.command()
def bus(
    size: Annotated[int, typer.Option("--bytes", min=1, help="Bytes of a message.")] = 4096,
    round_trips: Annotated[int, typer.Option(min=1, help="Messages that are answered, one after the other.")] = 5000,
    messages: Annotated[int, typer.Option(min=1, help="Messages that go as fast as they can.")] = 50_000,
    runs: Runs = 1,
    json: Json = None,
    report: Report = None,
) -> None:
    """The bus, in one process and over Redis: microseconds there and back, messages per second."""
    from bench import bus as bus_bench

    done = [bus_bench.run(bus_bench.BusBenchOptions(size, round_trips, messages)) for _ in range(runs)]
    plots = [
        Plot(f"There and back: {name}", _named([run.round_trip_ms[name] for run in done]), distribution=True)
        for name in ("memory", "redis")
    ]
    _finish(f"bus, {size} bytes", median_of([run.figures for run in done]), plots, json, report)


@app.command()
def handoffs(
    count: Annotated[int, typer.Option("--entities", min=2, help="Entities that go to and fro over a border.")] = 1000,
    ticks: Annotated[int, typer.Option(min=1, help="Ticks in which they walk.")] = 400,
    hz: Annotated[float, typer.Option(min=1, max=60, help="Ticks per second, where they are paced.")] = 20.0,
    runs: Runs = 1,
    json: Json = None,
    report: Report = None,
) -> None:
    """Entities walk over the border between two regions, journalled: handoffs per second, and ticks that one takes."""
    from bench import handoffs as handoffs_bench

    done = [handoffs_bench.run(handoffs_bench.HandoffsOptions(count, ticks, hz)) for _ in range(runs)]
    figures = median_of([run.figures for run in done])
    for key in ("lost", "doubled", "changed", "diverged"):
        figures[key] = sum(run.figures[key] for run in done)
    plots = [
        Plot("A crossing", _named([[n * 1000 / hz for n in run.pause_ticks] for run in done]), distribution=True),
        Plot("A tick", _named([run.took_ms for run in done])),
    ]
    _finish(f"{count:,} entities to and fro", figures, plots, json, report)
    raise typer.Exit(1 if any(run.failed for run in done) else 0)


@app.command()
def crossing(
    clients: Annotated[int, typer.Option(min=1, help="Players, each walking to and fro over a border.")] = 60,
    seconds: Seconds = 40.0,
    divide_every: Annotated[
        float, typer.Option(min=0, help="Have one region divided into the four, and united, so many seconds apart.")
    ] = 0.0,
    warm_up: Annotated[
        float, typer.Option(min=0, help="Seconds before measuring, in which they come to the border.")
    ] = crossing_bench.WARM_UP_S,
    runs: Runs = 1,
    json: Json = None,
    report: Report = None,
) -> None:
    """Players walk over the borders between four regions: how long they wait there, and whether they see anything."""
    options = crossing_bench.CrossingOptions(clients, seconds, divide_every_s=divide_every, warm_up_s=warm_up)
    done = [crossing_bench.run(options) for _ in range(runs)]
    figures = median_of([run.figures for run in done])
    for key in ("missing", "inputs_lost", "mismatches", "reconnects", "faults"):
        figures[key] = sum(run.figures[key] for run in done)
    plots = [
        Plot("A step over a border, ticks waited", _named([run.crossing_ticks for run in done]), distribution=True),
        Plot("Any other step, ticks waited", _named([run.plain_ticks for run in done]), distribution=True),
    ]
    _finish(f"{clients} players over borders", figures, plots, json, report)
    raise typer.Exit(1 if any(run.failed for run in done) else 0)


@app.command()
def peer(
    name: Annotated[str, typer.Argument(help="A directory of bench/peers.")],
    clients: Clients = 250,
    seconds: Seconds = 10.0,
    runs: Runs = 1,
    json: Json = None,
) -> None:
    """The same crowd against another server. Installs its packages the first time (npm)."""
    options = peer_bench.PeerOptions(name, clients, seconds)
    done = [peer_bench.run(options) for _ in range(runs)]
    figures = median_of(done)
    figures["lost"] = sum(run["lost"] for run in done)
    _finish(f"{name}, {clients} clients", figures, [], json, None)
    raise typer.Exit(1 if figures["lost"] else 0)


@app.command()
def table(
    *,
    seconds: Seconds = 10.0,
    runs: Runs = 3,
    peers: Annotated[bool, typer.Option(help="Measure the peers too; needs Node and npm.")] = True,
    json: Json = None,
) -> None:
    """Crowds, floor, entities and Colyseus, several times, as the tables of docs/performance.md."""
    sheet = Sheet(seconds, runs, peers=peers)
    tables, medians = sheet.fill()
    typer.echo(tables + "\n")
    hand_over(medians, json)
    for failure in sheet.failures:
        console.print(f"[red]{failure}")
    raise typer.Exit(1 if sheet.failures else 0)


app.command()(durability_cli.receipts)
app.command()(durability_cli.recovery)
app.command()(durability_cli.replay)
app.command()(durability_cli.durability)
app.command()(crash_cli.crash)
app.command()(crash_cli.outages)
app.command()(cluster_cli.restarts)
app.command()(cluster_cli.cluster)
app.command()(cluster_cli.density)
app.command()(cluster_cli.chaos)
app.command()(cluster_cli.failover)
app.command()(store_cli.damage)
app.command()(store_cli.week)


def _named(series: list[list[float]]) -> dict[str, list[float]]:
    return {f"run {i + 1}": values for i, values in enumerate(series)}


def _finish(title: str, figures: Line, plots: list[Plot], json: Path | None, report: Path | None) -> None:
    show(title, figures)
    if report is not None:
        write(report, title, figures, plots)
    hand_over(figures, json)


def main() -> None:
    """The way in. A worker that fails ends the command with its reason, not with a traceback."""
    try:
        app()
    except (MongoUnavailable, RedisUnavailable, WorkerError) as error:
        console.print(f"[red]{error}")
        raise SystemExit(1) from None
