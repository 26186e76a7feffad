"""The commands `crash` and `outages`. A seed repeats what is done when; not how far the machine had come by then."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Annotated, Final

import typer
import uvloop
from rich.markup import escape

from bench.figures import hand_over
from bench.plants import Plant
from bench.processes import Line
from bench.progress import console, show, steps
from bench.stores import Store

Seed = Annotated[int | None, typer.Option(help="What happens when; random unless told, and told in the end.")]
Tellers = Annotated[int, typer.Option(min=1, help="Clients.")]
Rate = Annotated[float, typer.Option("--rate", min=1, help="Orders per second they all give together.")]
Planted = Annotated[Plant | None, typer.Option(help="Break a promise: the run must find it, and fail.")]
Data = Annotated[Path | None, typer.Option(help="An empty directory to keep data in; a temporary one unless told.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the JSON line to this file too.")]

# Steps between two lines of progress, where nobody watches.
_LINE_EVERY: Final = 25


def crash(
    *,
    kills: Annotated[int, typer.Option(min=1, help="How often the server is killed.")] = 20,
    store: Annotated[Store, typer.Option(help="Its store.")] = Store.SQLITE,
    tellers: Tellers = 80,
    rate_per_s: Rate = 2000.0,
    seed: Seed = None,
    check_every: Annotated[int, typer.Option(min=1, help="Kills between two independent replays.")] = 25,
    plant: Planted = None,
    data: Data = None,
    json: Json = None,
) -> None:
    """Kill the server again and again under load, and look for what was acknowledged."""
    from bench import crash as crash_bench

    if store is Store.MEMORY:
        raise typer.BadParameter("memory does not outlive a kill", param_hint="--store")
    seed = seed_of(seed)
    options = crash_bench.CrashOptions(kills, store, tellers, rate_per_s, seed, check_every, plant, data)
    with progress_of("crash") as glance:
        figures = uvloop.run(crash_bench.run(options, glance))
    _finish(f"{kills} kills, {store}", figures, json)


def outages(
    *,
    outages: Annotated[int, typer.Option(min=1, help="How often the store is taken away.")] = 20,
    store: Annotated[Store, typer.Option(help="The store.")] = Store.MONGODB,
    tellers: Tellers = 80,
    rate_per_s: Rate = 2000.0,
    seed: Seed = None,
    plant: Planted = None,
    data: Data = None,
    json: Json = None,
) -> None:
    """Take the store away again and again under load, and look for what was acknowledged."""
    from bench import outages as outages_bench

    if store is not Store.MONGODB:
        raise typer.BadParameter("only a database can be taken away from a server that lives on", param_hint="--store")
    options = outages_bench.OutageOptions(outages, tellers, rate_per_s, seed_of(seed), plant, data)
    with progress_of("outages") as glance:
        figures = uvloop.run(outages_bench.run(options, glance))
    _finish(f"{outages} outages, {store}", figures, json)


@contextmanager
def progress_of(title: str, line_every: int = _LINE_EVERY) -> Iterator[Callable[[str], None]]:
    """A spinner for a person; for a file, a line for every so many steps."""
    if console.is_terminal:
        with steps(title) as glance:
            yield glance
        return
    glances = count()

    def line(step: str) -> None:
        if next(glances) % line_every == 0:
            console.print(f"{title}: {step}")

    yield line


def seed_of(seed: int | None) -> int:
    """The seed that was told, or one of chance; it is said either way."""
    seed = secrets.randbits(32) if seed is None else seed
    console.print(f"seed {seed}")
    return seed


def _finish(title: str, figures: Line, json: Path | None) -> None:
    from bench.crash_load import clean

    show(title, figures)
    for reason in figures["reasons"]:
        console.print(f"[red]{escape(reason)}", markup=True)
    hand_over(figures, json)
    raise typer.Exit(0 if clean(figures) else 1)
