"""The commands over a world of many processes: `restarts`, `chaos`, `failover`."""

from __future__ import annotations

from math import isqrt
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.markup import escape

from bench.crash_cli import progress_of, seed_of
from bench.figures import hand_over
from bench.plants import ClusterFault, ClusterPlant
from bench.progress import console, show

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
    from bench import restarts as restarts_bench
    from server.observe import logs

    options = restarts_bench.RestartsOptions(redis_restarts, handoffs, entities, hz, seed_of(seed))
    # That Redis is away is what is asked for.
    logs.configure("error", "console")
    with progress_of("restarts") as glance:
        figures = restarts_bench.run(options, glance)
    show(f"{figures['handoffs']:,} handoffs, {redis_restarts} restarts of Redis", figures)
    hand_over(figures, json)
    raise typer.Exit(1 if restarts_bench.failed(figures) else 0)


def cluster(
    *,
    nodes: Annotated[int, typer.Option(min=1, help="Nodes.")] = 3,
    gateways: Annotated[int, typer.Option(min=1, help="Gateways.")] = 2,
    regions: Annotated[int, typer.Option(help="Regions of the world: 1, 4, 9, 16.")] = 16,
    clients: Annotated[int, typer.Option(min=1, help="Clients, each with an avatar.")] = 1000,
    walkers: Annotated[int, typer.Option(min=1, help="Players beside them who look at everything.")] = 24,
    seconds: Annotated[float, typer.Option(min=0.5, help="Seconds to measure, after all have joined.")] = 20.0,
    checkpoint_every_s: Annotated[float, typer.Option(min=1, help="As store.checkpoint_every_s.")] = 10.0,
    json: Json = None,
) -> None:
    """A crowd over the borders of a world on several nodes, through several gateways: what it costs, how it looks."""
    from bench import cluster as cluster_bench

    options = cluster_bench.ClusterOptions(
        nodes, gateways, _square(regions), clients, walkers, seconds, checkpoint_every_s=checkpoint_every_s
    )
    with progress_of("cluster", line_every=1) as glance:
        figures = cluster_bench.run(options, glance)
    show(f"{clients} clients, {regions} regions on {nodes} nodes", figures)
    for reason in figures["reasons"]:
        console.print(f"[red]{escape(reason)}", markup=True)
    hand_over(figures, json)
    raise typer.Exit(1 if cluster_bench.failed(figures) else 0)


def density(
    *,
    regions: Annotated[list[int] | None, typer.Option(help="Regions of a world; again for each: 1, 4, 16.")] = None,
    clients_per_region: Annotated[int, typer.Option(min=2, help="Clients for each region.")] = 60,
    seconds: Annotated[float, typer.Option(min=0.5, help="Seconds to measure, after all have joined.")] = 10.0,
    runs: Annotated[int, typer.Option(min=1, help="Runs of each world, by turns; figures are medians.")] = 3,
    json: Json = None,
) -> None:
    """A crowd of the same density in worlds of one region and more, each in one process: what a client costs."""
    from bench import density as density_bench

    worlds = [_square(number) for number in regions or (1, 4, 16)]
    with progress_of("density", line_every=1) as glance:
        figures = density_bench.run(density_bench.DensityOptions(worlds, clients_per_region, seconds, runs), glance)
    show("the same density", figures)
    hand_over(figures, json)
    raise typer.Exit(1 if figures["lost"] else 0)


def _square(regions: int) -> int:
    if isqrt(regions) ** 2 != regions or regions < 1:
        raise typer.BadParameter(f"{regions} regions are no square", param_hint="--regions")
    return regions


def chaos(  # noqa: PLR0913  # one parameter for each option
    *,
    minutes: Annotated[float, typer.Option(min=0.1, help="Minutes of faults.")] = 5.0,
    nodes: Annotated[int, typer.Option(min=2, help="Nodes.")] = 3,
    gateways: Annotated[int, typer.Option(min=1, help="Gateways.")] = 2,
    columns: Annotated[int, typer.Option(min=1, help="Regions beside each other along x.")] = 2,
    rows: Annotated[int, typer.Option(min=1, help="Regions beside each other along y.")] = 2,
    tellers: Annotated[int, typer.Option(min=1, help="Clients.")] = 24,
    rate_per_s: Annotated[
        float, typer.Option("--rate", min=1, help="Orders per second they all give together.")
    ] = 200.0,
    seed: Seed = None,
    only: Annotated[
        list[ClusterFault] | None, typer.Option(help="Faults of this kind alone; may be said again.")
    ] = None,
    plant: Annotated[ClusterPlant | None, typer.Option(help="Break a promise: the run must find it, and fail.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="An empty directory to keep data in; a temporary one unless told.")
    ] = None,
    json: Json = None,
) -> None:
    """Take away nodes, gateways, Redis and the store of a cluster under load, and look for what was acknowledged."""
    from bench import chaos as chaos_bench

    options = chaos_bench.ChaosOptions(
        minutes,
        nodes,
        gateways,
        columns,
        rows,
        tellers,
        rate_per_s,
        seed_of(seed),
        only=tuple(only or ()),
        data=data,
        plant=plant,
    )
    with progress_of("chaos", line_every=1) as glance:
        figures = uvloop.run(chaos_bench.run(options, glance))
    show(f"{figures['faults']} faults in {figures['minutes']:.1f} minutes", figures)
    for reason in figures["reasons"]:
        console.print(f"[red]{escape(reason)}", markup=True)
    hand_over(figures, json)
    raise typer.Exit(1 if chaos_bench.failed(figures) else 0)


def failover(
    *,
    rounds: Annotated[int, typer.Option(min=1, help="In each a node is told to end, and one is killed.")] = 5,
    clients: Annotated[int, typer.Option(min=1, help="Players who walk over borders.")] = 12,
    settle_s: Annotated[float, typer.Option(min=1, help="Seconds between two of these.")] = 6.0,
    json: Json = None,
) -> None:
    """How long players see nothing move while their regions change nodes, by standbys and by moves."""
    from bench import failover as failover_bench

    options = failover_bench.FailoverOptions(rounds, clients, settle_s)
    with progress_of("failover", line_every=1) as glance:
        figures = uvloop.run(failover_bench.run(options, glance))
    show(f"{rounds} nodes killed, {rounds} ended", figures)
    hand_over(figures, json)
    raise typer.Exit(1 if failover_bench.failed(figures) else 0)
