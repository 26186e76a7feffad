"""The commands over what a world of many processes stands on: `restarts`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench import restarts as restarts_bench
from bench.crash_cli import progress_of, seed_of
from bench.figures import hand_over
from bench.progress import show
from server.observe import logs

Seed = Annotated[int | None, typer.Option(help="What happens when; random unless told, and told in the end.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the JSON line to this file too.")]


def restarts(
    *,
    redis_restarts: Annotated[
        int, typer.Option(min=1, help="How often Redis is killed, and started with nothing.")
    ] = 50,
    handoffs: Annotated[int, typer.Option(min=1, help="Handoffs, spread over the restarts.")] = 10_000,
    entities: Annotated[int, typer.Option(min=4, help="Entities that wander between four regions.")] = 400,
    hz: Annotated[float, typer.Option(min=1, max=60, help="Ticks per second.")] = 20.0,
    seed: Seed = None,
    json: Json = None,
) -> None:
    """Entities wander over borders while the Redis between their regions is killed and started again."""
    options = restarts_bench.RestartsOptions(redis_restarts, handoffs, entities, hz, seed_of(seed))
    # That Redis is away is what is asked for.
    logs.configure("error", "console")
    with progress_of("restarts") as glance:
        figures = restarts_bench.run(options, glance)
    show(f"{figures['handoffs']:,} handoffs, {redis_restarts} restarts of Redis", figures)
    hand_over(figures, json)
    raise typer.Exit(1 if restarts_bench.failed(figures) else 0)
