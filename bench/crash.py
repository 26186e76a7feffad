"""`python -m bench crash`: the server is killed again and again under load, and nothing acknowledged may be missing.

    tellers ──WebSockets──▶ everstep run ──▶ journal, checkpoints ──▶ an independent replay reads the books

Every kill is a SIGKILL at a random moment: while players play, while the process is stopped (SIGSTOP), or
while it starts and recovers. It is started again at once on the same data. What happens when comes from the seed.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.crash_load import Load, Verdict, clean, judge
from bench.crash_server import ServerProcess, environment, init_database
from bench.figures import percentile
from bench.mongo_server import MongoServer
from bench.plants import Plant, program
from bench.processes import ROOT, Line, WorkerError
from bench.stores import Store

# Seconds that a server has between its first receipt and its end.
UP_S: Final = (0.1, 1.6)
# Of the kills: those that meet a starting server, and those that meet a stopped one.
RECOVERING: Final = 0.15
STOPPED: Final = 0.1
# How often it is stopped and goes on before its end, and for how long.
PAUSED: Final = 0.25
PAUSE_S: Final = (0.02, 0.5)
_RECEIPT_WITHIN_S: Final = 30.0
_SETTLED_WITHIN_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class CrashOptions:
    """What to do."""

    kills: int
    store: Store
    tellers: int
    rate_per_s: float
    seed: int
    # Kills between two independent replays.
    check_every: int = 25
    # A planted fault.
    plant: Plant | None = None
    # Where data is kept; None: a temporary directory, removed after a run without findings.
    data: Path | None = None


@dataclass
class Book:
    """What happened."""

    verdict: Verdict = field(default_factory=Verdict)
    kills: Counter[str] = field(default_factory=Counter)
    pauses: int = 0
    # Kills that left a checkpoint half written.
    in_checkpoint: int = 0
    replays: int = 0
    digests_checked: int = 0
    mismatches: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    # Seconds: from the kill until players are taken, from the start until then, from the kill to the first receipt.
    recovery_s: list[float] = field(default_factory=list)
    start_s: list[float] = field(default_factory=list)
    receipt_s: list[float] = field(default_factory=list)
    # Seconds in which the server took players.
    up_s: float = 0.0
    elapsed_s: float = 0.0

    def ended(self, error: WorkerError) -> None:
        """The server ended by itself, which it never should; or the replay did, or a teller."""
        told = str(error)
        (self.mismatches if "digest" in told else self.failures).append(told)

    def figures(self, load: Load) -> Line:
        """The JSON line."""
        findings, verdict = load.findings, self.verdict
        return {
            "kills": self.kills.total() - self.kills["last"],
            "acknowledged": verdict.acknowledged,
            "lost": verdict.lost,
            "doubled": verdict.doubled,
            "digest_mismatches": len(self.mismatches) + findings.mismatches,
            "recovery_s_p50": percentile(self.recovery_s, 50),
            "recovery_s_p99": percentile(self.recovery_s, 99),
            "start_to_ready_s_p50": percentile(self.start_s, 50),
            "start_to_ready_s_p99": percentile(self.start_s, 99),
            "kill_to_receipt_s_p50": percentile(self.receipt_s, 50),
            "kill_to_receipt_s_p99": percentile(self.receipt_s, 99),
            "acknowledged_per_s": load.acknowledged / self.elapsed_s if self.elapsed_s else 0.0,
            "acknowledged_per_up_s": load.acknowledged / self.up_s if self.up_s else 0.0,
            "kills_playing": self.kills["playing"],
            "kills_stopped": self.kills["stopped"],
            "kills_recovering": self.kills["recovering"],
            "kills_in_checkpoint": self.in_checkpoint,
            "pauses": self.pauses,
            "replays": self.replays,
            "digests_checked": self.digests_checked,
            **load.figures(),
            "elapsed_s": self.elapsed_s,
            "reasons": [*self.mismatches, *self.failures, *findings.reasons],
        }


async def replayed(data: Path, store: Store, uri: str | None, told: dict[str, str]) -> Line:
    """The independent replay, in a process of its own. Raises WorkerError."""
    ours = {name: value for name, value in told.items() if name.startswith("EVERSTEP_")}
    arguments = {"data": str(data), "store": store, "uri": uri, "environment": ours}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.crash_check", json.dumps(arguments), cwd=ROOT, env=told,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, errors = await process.communicate()
    if process.returncode:
        raise WorkerError(f"the replay failed: {errors.decode(errors='replace')[-2000:]}")
    line: Line = json.loads(said.splitlines()[-1])
    return line


@contextmanager
def data_directory(given: Path | None) -> Iterator[Path]:
    """Where a run keeps its data: as given, or a temporary directory that goes if nothing was found."""
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    made = Path(tempfile.mkdtemp(prefix="everstep-"))
    yield made
    shutil.rmtree(made)


def keep_if_unclean(figures: Line, data: Path, given: Path | None) -> None:
    """Save a temporary directory from its end where something was found."""
    if given is None and not clean(figures):
        kept = data.with_name(data.name + "-kept")
        shutil.copytree(data, kept)
        figures["reasons"].append(f"the data is kept in {kept}")


class Crash:
    """One run."""

    def __init__(self, options: CrashOptions, data: Path, told: dict[str, str], uri: str | None) -> None:
        self.book = Book()
        self.load = Load(options.tellers, options.rate_per_s, renumber=options.plant is Plant.RENUMBER)
        self._options = options
        self._random = random.Random(options.seed)  # noqa: S311  # from the seed, so that it can be repeated
        self._data = data
        self._told = told
        self._uri = uri
        self._log = data / "server.log"
        self._program = program(options.plant)
        self._server: ServerProcess

    async def run(self, glance: Callable[[str], None]) -> Line:
        """Kill so often; returns the figures."""
        began_s = time.monotonic()
        async with self.load:
            try:
                await self._start()
                self.load.address.set(await self._server.ready())
                await self.load.all_joined()
                await self.load.receipt(_RECEIPT_WITHIN_S)
                while self.book.kills.total() < self._options.kills:
                    glance(f"{self.book.kills.total()} of {self._options.kills} kills, {self.load.acknowledged} orders")
                    await self._life()
                await self.load.settled(_SETTLED_WITHIN_S)
                self.book.elapsed_s = time.monotonic() - began_s
                glance("the last kill, and the replay")
                await self._kill("last")
                await self._replay()
            except WorkerError as error:
                self.book.ended(error)
            finally:
                self._server.signal(signal.SIGKILL)
        if not self.book.elapsed_s:
            self.book.elapsed_s = time.monotonic() - began_s
        self.book.verdict.add(self.load.seen())
        return {**self.book.figures(self.load), "seed": self._options.seed, "store": self._options.store}

    async def _life(self) -> None:
        """From one first receipt to the next: a kill, and those that meet the recovery from it."""
        chance = self._random
        if chance.random() < PAUSED:
            await self._play(chance.uniform(*UP_S) / 2)
            self._server.signal(signal.SIGSTOP)
            await asyncio.sleep(chance.uniform(*PAUSE_S))
            self._server.signal(signal.SIGCONT)
            self.book.pauses += 1
        await self._play(chance.uniform(*UP_S))
        kind = "playing"
        if chance.random() < STOPPED:
            kind = "stopped"
            self._server.signal(signal.SIGSTOP)
            await asyncio.sleep(chance.uniform(*PAUSE_S))
        killed_s = await self._kill(kind)
        checked = self.book.kills[kind] and self.book.kills.total() % self._options.check_every == 0
        if checked:
            await self._replay()
        await self._start()
        while chance.random() < RECOVERING and self.book.kills.total() < self._options.kills:
            usual_s = percentile(self.book.start_s, 50) or 1.0
            await asyncio.sleep(chance.uniform(0.0, usual_s))
            killed_s = await self._kill("recovering")
            checked = False
            await self._start()
        url = await self._server.ready()
        assert self._server.ready_s is not None
        self.book.start_s.append(self._server.ready_s - self._server.began_s)
        self.load.address.set(url)
        receipt_s = await self.load.receipt(_RECEIPT_WITHIN_S)
        if not checked:
            self.book.recovery_s.append(self._server.ready_s - killed_s)
            self.book.receipt_s.append(receipt_s - killed_s)

    async def _start(self) -> None:
        self._server = await ServerProcess.start(self._data, self._told, self._log, program=self._program)
        self.load.watch = self._server.check

    async def _play(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.load.check()

    async def _kill(self, kind: str) -> float:
        self.load.address.set(None)
        self.load.watch = lambda: None
        at_s = await self._server.kill()
        self.book.kills[kind] += 1
        if self._server.ready_s is not None:
            self.book.up_s += at_s - self._server.ready_s
        self.book.in_checkpoint += any(self._data.glob("*/checkpoints/*.unfinished"))
        return at_s

    async def _replay(self) -> None:
        """Let another process judge what is kept now."""
        found = await replayed(self._data, self._options.store, self._uri, self._told)
        self.book.replays += 1
        self.book.digests_checked += found["digests_checked"]
        self.book.mismatches += found["mismatches"]
        if found["digests"]:
            self.book.verdict.add(judge(self.load.promises(), found["books"]))


async def run(options: CrashOptions, glance: Callable[[str], None] = lambda _step: None) -> Line:
    """One run; returns the figures. Raises MongoUnavailable, WorkerError."""
    with data_directory(options.data) as data, ExitStack() as stack:
        uri: str | None = None
        if options.store is Store.MONGODB:
            uri = stack.enter_context(MongoServer(data / "database")).uri
        told = environment(options.store, uri)
        if uri is not None:
            init_database(told)
        figures = await Crash(options, data, told, uri).run(glance)
        keep_if_unclean(figures, data, options.data)
        return figures
