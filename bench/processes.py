"""The processes of a run: started on a core of their own, spoken to in JSON lines, measured from outside.

A worker writes one JSON object per line to its standard output and reads one word per line from its
standard input; the end of its input ends it, so that no worker outlives its parent.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

ROOT: Final = Path(__file__).resolve().parent.parent
_CLOCK_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_KIB: Final = os.sysconf("SC_PAGE_SIZE") / 1024

# A line from a worker. Any: JSON.
Line = dict[str, Any]


class WorkerError(Exception):
    """A worker ended, or said something else than it should."""


class Worker:
    """A child process on one core; its arguments are one JSON text. `name`: a module of ours, or a Node script."""

    def __init__(self, name: str, arguments: Line, core: int) -> None:
        self.name = name
        command = ["node", name] if name.endswith(".js") else [sys.executable, "-m", name]
        # Of the monotonic clock, which all processes of a machine share.
        self.started_s = time.monotonic()
        with on_core(core):
            self._process = subprocess.Popen(  # noqa: S603  # our own programs
                [*command, json.dumps(arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def say(self, word: str) -> None:
        """Tell the worker one word."""
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    def lines(self) -> Iterator[Line]:
        """What it says, line by line, until it ends."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            yield json.loads(line)

    def expect(self, event: str, also: Callable[[Line], None] = lambda _line: None) -> Line:
        """The next line of this event; `also` gets those before it. Raises WorkerError when the worker ends first."""
        for line in self.lines():
            if line["event"] == event:
                return line
            if line["event"] == "failed":
                raise WorkerError(f"{self.name}: {line['why']}")
            also(line)
        raise WorkerError(f"{self.name} ended (status {self._process.wait()}) before it said {event!r}")

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL)."""
        self._process.kill()
        self._process.wait()

    def cpu_s(self) -> float:
        """Processor seconds it has used so far, user and system, all threads."""
        return cpu_s(self.pid)

    def rss_kib(self) -> float:
        """Resident memory."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE_KIB


def cpu_s(pid: int) -> float:
    """Processor seconds that a process has used so far, user and system, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS_PER_S


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Be on a core for as long as a child is started: it inherits the place, with every thread it will have."""
    allowed = os.sched_getaffinity(0)
    pin(core)
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


# -- inside a worker ---------------------------------------------------------


def arguments() -> Line:
    """What the parent passed. From here on the process may open all the files it is allowed to."""
    told: Line = json.loads(sys.argv[1])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return told


def pin(core: int) -> None:
    """Stay on this core, where there are two to choose from."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) > 1:
        os.sched_setaffinity(0, {allowed[core % len(allowed)]})


def tell(event: str, **facts: Any) -> None:  # Any: JSON
    """One line to the parent."""
    sys.stdout.write(json.dumps({"event": event} | facts) + "\n")
    sys.stdout.flush()


def listen(hear: Callable[[str], None]) -> None:
    """Call `hear` with each word the parent says; its end is the word "end"."""
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()
    rest = b""

    def readable() -> None:
        nonlocal rest
        data = os.read(descriptor, 4096)
        if not data:
            loop.remove_reader(descriptor)
            hear("end")
            return
        *words, rest = (rest + data).split(b"\n")
        for word in words:
            hear(word.decode())

    loop.add_reader(descriptor, readable)


def settle_memory() -> None:
    """Put what exists beyond the collector's reach, and stop it: collecting a swarm's objects takes 100 ms."""
    gc.collect()
    gc.freeze()
    gc.disable()


@contextmanager
def failures_told() -> Iterator[None]:
    """An exception becomes a "failed" line before it ends the worker."""
    try:
        yield
    except Exception as error:
        tell("failed", why=f"{type(error).__name__}: {error}")
        raise
