"""The commands over what lies on a disk: `damage` and `week`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.figures import hand_over
from bench.processes import Line
from bench.progress import attempts, console, show

Json = Annotated[Path | None, typer.Option("--json", help="Write the JSON line to this file too.")]


def damage(
    cuts: Annotated[str, typer.Option(help="Cuts of the files' ends: a number, or all of their last 64 KiB.")] = "1000",
    flips: Annotated[int, typer.Option(min=0, help="Bit flips.")] = 1000,
    sectors: Annotated[str, typer.Option(help="Sectors of 512 bytes never written: a number, or all.")] = "200",
    seed: Annotated[int, typer.Option(help="Chooses them.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the work.")] = 2,
    json: Json = None,
) -> None:
    """What comes back of a damaged data directory: a state that was, or a refusal that names the damage."""
    from bench import store_damage_run

    plan = store_damage_run.Plan(_all_or(cuts, "--cuts"), flips, _all_or(sectors, "--sectors"), seed)
    with attempts("damage") as progress:
        figures = store_damage_run.run(plan, workers, console.print, progress)
    _finish("damage", figures, json)
    raise typer.Exit(1 if figures["diverged"] or figures["crashed"] else 0)


def week(
    ticks: Annotated[int, typer.Option(min=6000, help="Ticks, each a second of game time.")] = 604_800,
    retained: Annotated[int, typer.Option(min=0, help="Ticks that are kept for audits.")] = 86_400,
    checkpoint_every: Annotated[float, typer.Option(min=1, help="Seconds of game time between checkpoints.")] = 60.0,
    json: Json = None,
) -> None:
    """What a week of play leaves on the disk: whether it stops growing, and can be replayed."""
    from bench import store_week

    with attempts("week") as progress:
        figures = store_week.run(store_week.WeekOptions(ticks, checkpoint_every, retained), progress)
    _finish("week", figures, json)
    raise typer.Exit(0 if figures["steady"] and figures["came_back"] and not figures["replayed_wrong"] else 1)


def _all_or(wanted: str, option: str) -> int | None:
    if wanted == "all" or wanted.isdecimal():
        return None if wanted == "all" else int(wanted)
    raise typer.BadParameter("a number, or all", param_hint=option)


def _finish(title: str, figures: Line, json: Path | None) -> None:
    show(title, figures)
    hand_over(figures, json)
