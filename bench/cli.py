"""The commands. Each ends its standard output with one JSON line; tables and progress go to standard error."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench import crowd as crowd_bench
from bench import floor as floor_bench
from bench.figures import hand_over, median_of, rounded
from bench.progress import console, show

app = typer.Typer(help="What a tick, a client and an entity cost. See bench/README.md.", no_args_is_help=True)

Clients = Annotated[int, typer.Option(min=1, help="Clients, each with an avatar.")]
Seconds = Annotated[float, typer.Option(min=0.5, help="Seconds to measure, after all have joined.")]
Runs = Annotated[int, typer.Option(min=1, help="Runs; figures are medians.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the JSON line to this file too.")]


@app.command()
def crowd(
    clients: Clients = 1000,
    seconds: Seconds = 10.0,
    runs: Runs = 1,
    stalled: Annotated[int, typer.Option(min=0, help="Clients that never read; compared with a run without.")] = 0,
    sample: Annotated[int, typer.Option(min=1, help="Clients that decode and check everything.")] = 16,
    json: Json = None,
) -> None:
    """The whole server under a crowd of moving avatars."""
    options = crowd_bench.CrowdOptions(clients, seconds, sample, stalled)
    measure = crowd_bench.run_stalled if stalled else crowd_bench.run
    done = [measure(options) for _ in range(runs)]
    figures = median_of([run.figures for run in done])
    # The median of three runs would hide the one that failed.
    for key in ("mismatches", "lost"):
        figures[key] = sum(run.figures[key] for run in done)
    failed = any(run.failed for run in done)
    show(f"crowd, {clients} clients", figures)
    for run in done:
        for reason in run.figures["reasons"]:
            console.print(f"[red]{reason}")
    hand_over(figures, json)
    raise typer.Exit(1 if failed else 0)


@app.command()
def floor(
    clients: Clients = 1000,
    seconds: Seconds = 10.0,
    runs: Runs = 1,
    bytes_per_frame: Annotated[int, typer.Option("--bytes", min=3, max=65_000, help="Bytes per client-tick.")] = 260,
    json: Json = None,
) -> None:
    """The same bytes and inputs through bare uvloop and websockets."""
    options = floor_bench.FloorOptions(clients, seconds, bytes_per_frame)
    figures = median_of([floor_bench.run(options) for _ in range(runs)])
    show(f"floor, {clients} clients", figures)
    hand_over(rounded(figures), json)
    raise typer.Exit(1 if figures["lost"] else 0)
