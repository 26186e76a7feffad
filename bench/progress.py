"""What a person at the terminal sees while a command measures. Everything here goes to standard error."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bench.processes import Line

console = Console(stderr=True)


@contextmanager
def steps(title: str) -> Iterator[Callable[[str], None]]:
    """A line with a spinner; call what is given with the step that begins."""
    with console.status(title) as status:
        yield lambda step: status.update(f"{title}: {step}")


def measure(title: str, seconds: float, glance: Callable[[], str]) -> None:
    """Let `seconds` pass, with a bar. `glance`: a few words on how it goes, asked twice a second."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), TextColumn("{task.fields[now]}"))
    until_s = time.monotonic() + seconds
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as bar:
        task = bar.add_task(title, total=seconds, now="")
        while (left_s := until_s - time.monotonic()) > 0:
            bar.update(task, completed=seconds - left_s, now=glance(), refresh=True)
            time.sleep(min(0.5, left_s))


@contextmanager
def attempts(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar; call what is given with how many are done, of how many."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(title)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def show(title: str, figures: Line) -> None:
    """The figures as a table."""
    table = Table(title=title, show_header=False)
    for key, value in figures.items():
        if not isinstance(value, list | dict):
            table.add_row(key, f"{value:,.3f}" if isinstance(value, float) else str(value))
    console.print(table)
