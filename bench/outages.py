"""`python -m bench outages`: the store is taken away again and again under load, while the server lives on.

    tellers ──WebSockets──▶ everstep run ──▶ proxy ──▶ MongoDB server: killed, stopped, cut off, misheard

What befalls the store, when, and for how long comes from the seed. Time may stand still meanwhile, and receipts
wait; in the end an independent replay of what the store has must hold every acknowledged order, once.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.crash import data_directory, keep_if_unclean, replayed
from bench.crash_load import Load, Verdict, judge
from bench.crash_server import ServerEnded, ServerProcess, environment, init_database
from bench.figures import percentile
from bench.mongo_proxy import Fault, MongoProxy
from bench.mongo_server import MongoServer
from bench.plants import Plant, program
from bench.processes import Line, WorkerError
from bench.stores import Store

# Seconds of play between two outages, and how long an outage lasts that has a length.
_BETWEEN_S: Final = (0.1, 1.0)
_DOWN_S: Final = (0.0, 1.5)
# A driver gives an answer that never comes up after 5 s (server/store/mongo_client.py).
_ANSWER_WITHIN_S: Final = 40.0
_SETTLED_WITHIN_S: Final = 90.0
# How many inserts in a row meet a fault.
_IN_A_ROW: Final = (1, 1, 1, 2, 3)


@dataclass(frozen=True, slots=True)
class OutageOptions:
    """What to do; see CrashOptions."""

    outages: int
    tellers: int
    rate_per_s: float
    seed: int
    plant: Plant | None = None
    data: Path | None = None


@dataclass
class Book:
    """What happened."""

    verdict: Verdict = field(default_factory=Verdict)
    outages: Counter[str] = field(default_factory=Counter)
    # Seconds from the end of an outage, or the fault met, to the next receipt.
    answer_s: list[float] = field(default_factory=list)
    digests_checked: int = 0
    mismatches: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    elapsed_s: float = 0.0


class Outages:
    """One run."""

    def __init__(self, options: OutageOptions, data: Path, mongo: MongoServer, proxy: MongoProxy) -> None:
        self.book = Book()
        self.load = Load(options.tellers, options.rate_per_s, renumber=options.plant is Plant.RENUMBER)
        self._options = options
        self._random = random.Random(options.seed)  # noqa: S311  # from the seed, so that it can be repeated
        self._data = data
        self._mongo = mongo
        self._proxy = proxy
        self._server: ServerProcess
        # In the order in which the seed picks them; the names are keys of the JSON line.
        self._kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "killed": self._killed,
            "paused": self._paused,
            "cut_off": self._cut_off,
            "reply_lost": lambda: self._misheard(Fault.REPLY_LOST),
            "request_lost": lambda: self._misheard(Fault.REQUEST_LOST),
            "request_late": lambda: self._misheard(Fault.REQUEST_LATE),
            "reply_stuck": lambda: self._misheard(Fault.REPLY_STUCK),
        }

    async def run(self, glance: Callable[[str], None]) -> Line:
        """Have so many outages; returns the figures."""
        began_s = time.monotonic()
        told = environment(Store.MONGODB, self._proxy.uri)
        log = self._data / "server.log"
        wanted = program(self._options.plant)
        async with self.load:
            self._server = await ServerProcess.start(self._data, told, log, program=wanted)
            self.load.watch = self._server.check
            try:
                self.load.address.set(await self._server.ready())
                await self.load.all_joined()
                while (done := self.book.outages.total()) < self._options.outages:
                    glance(f"{done} of {self._options.outages} outages, {self.load.acknowledged} orders")
                    await self._outage()
                await self.load.settled(_SETTLED_WITHIN_S)
                self.book.elapsed_s = time.monotonic() - began_s
                glance("the end, and the replay")
                self.load.watch = lambda: None
                await self._server.kill()
                found = await replayed(
                    self._data, Store.MONGODB, self._mongo.uri, environment(Store.MONGODB, self._mongo.uri)
                )
                self.book.digests_checked = found["digests_checked"]
                self.book.mismatches += found["mismatches"]
                if found["digests"]:
                    self.book.verdict.add(judge(self.load.promises(), found["books"]))
            except WorkerError as error:
                self.book.failures.append(str(error))
            finally:
                self._server.signal(signal.SIGKILL)
        self.book.verdict.add(self.load.seen())
        return self._figures(time.monotonic() - began_s)

    def _figures(self, elapsed_s: float) -> Line:
        book, load = self.book, self.load
        return {
            "outages": book.outages.total(),
            "acknowledged": book.verdict.acknowledged,
            "lost": book.verdict.lost,
            "doubled": book.verdict.doubled,
            "digest_mismatches": len(book.mismatches) + load.findings.mismatches,
            "answer_s_p50": percentile(book.answer_s, 50),
            "answer_s_p99": percentile(book.answer_s, 99),
            "acknowledged_per_s": load.acknowledged / (book.elapsed_s or elapsed_s),
            **{f"outages_{kind}": book.outages[kind] for kind in self._kinds},
            "write_concerns": sorted(self._proxy.concerns),
            "digests_checked": book.digests_checked,
            **load.figures(),
            "elapsed_s": book.elapsed_s or elapsed_s,
            "seed": self._options.seed,
            "reasons": [*book.mismatches, *book.failures, *load.findings.reasons],
        }

    async def _outage(self) -> None:
        await asyncio.sleep(self._random.uniform(*_BETWEEN_S))
        kind = self._random.choice(list(self._kinds))
        await self._kinds[kind]()
        self.book.outages[kind] += 1
        over_s = time.monotonic()
        self.book.answer_s.append(await self.load.receipt(_ANSWER_WITHIN_S) - over_s)

    # -- what befalls the store --------------------------------------------------

    async def _down(self) -> None:
        await asyncio.sleep(self._random.uniform(*_DOWN_S))

    async def _killed(self) -> None:
        self._mongo.kill()
        await self._down()
        await asyncio.to_thread(self._mongo.start)

    async def _paused(self) -> None:
        self._mongo.pause()
        await self._down()
        self._mongo.resume()

    async def _cut_off(self) -> None:
        await self._proxy.cut()
        await self._down()
        self._proxy.mend()

    async def _misheard(self, fault: Fault) -> None:
        """An insert of the journal is done and its answer lost, or one of its like."""
        before = len(self._proxy.met)
        times = 1 if fault is Fault.REPLY_STUCK else self._random.choice(_IN_A_ROW)
        self._proxy.fail("insert", *[fault] * times)
        until_s = time.monotonic() + _ANSWER_WITHIN_S
        while len(self._proxy.met) < before + times:
            self.load.check()
            if time.monotonic() > until_s:
                raise ServerEnded(f"nothing was inserted for {_ANSWER_WITHIN_S} s")
            await asyncio.sleep(0.005)
        if fault is Fault.REQUEST_LATE:
            # Long after the server has sent it again by another way.
            await self._down()
            await self._proxy.deliver()


async def run(options: OutageOptions, glance: Callable[[str], None] = lambda _step: None) -> Line:
    """One run; returns the figures. Raises MongoUnavailable, WorkerError."""
    with data_directory(options.data) as data, MongoServer(data / "database") as mongo:
        init_database(environment(Store.MONGODB, mongo.uri))
        async with MongoProxy(mongo.port) as proxy:
            figures = await Outages(options, data, mongo, proxy).run(glance)
        keep_if_unclean(figures, data, options.data)
        return figures
