"""Tellers under load, and the verdict on what became of their orders."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from types import TracebackType
from typing import Final, Self

from bench.crash_client import Address, Findings, Teller
from bench.crash_game import MASK, order_hash
from bench.crash_server import ServerEnded
from bench.figures import percentile
from bench.processes import Line, WorkerError

# What the tellers together may give at once after nobody could give anything: seconds of the rate.
_BURST_S: Final = 0.2
_SLICE_S: Final = 0.005
_ASK_AGAIN_S: Final = 0.002
_JOIN_WITHIN_S: Final = 60.0


@dataclass
class Verdict:
    """What the books say of what was acknowledged."""

    acknowledged: int = 0
    # Acknowledged and not applied, and applied more than once.
    lost: int = 0
    doubled: int = 0

    def add(self, other: Verdict) -> None:
        """The worse of two readings of the same orders, and the later count of acknowledgements."""
        self.acknowledged = max(self.acknowledged, other.acknowledged)
        self.lost = max(self.lost, other.lost)
        self.doubled = max(self.doubled, other.doubled)


def clean(figures: Line) -> bool:
    """Whether everything is as it was promised, and there was something to promise."""
    wrong = ("lost", "doubled", "digest_mismatches", "forgotten", "refused")
    return figures["acknowledged"] > 0 and not figures["reasons"] and not any(figures[key] for key in wrong)


def judge(promises: Iterable[tuple[str, set[int]]], books: Mapping[str, Sequence[int]]) -> Verdict:
    """Compare what each session (in hex) was acknowledged with its books: [count, again, last, mix].

    Numbers come in order, so what was applied is 1 to `last` where `count` equals it; `mix` proves it.
    """
    verdict = Verdict()
    hashes = _Sums()
    for session, acknowledged in promises:
        verdict.acknowledged += len(acknowledged)
        if session not in books:
            verdict.lost += len(acknowledged)
            continue
        count, again, last, mix = books[session]
        verdict.doubled += again
        verdict.lost += last - count + sum(number > last for number in acknowledged)
        if count == last and mix != hashes.up_to(last):
            # The counts are right, and it is other numbers that were counted.
            verdict.lost += 1
    return verdict


class _Sums:
    """Sums of `order_hash` over 1 to n, modulo 2**64."""

    def __init__(self) -> None:
        self._sums = [0]

    def up_to(self, last: int) -> int:
        """The sum over 1 to `last`."""
        if last >= len(self._sums):
            more = map(order_hash, range(len(self._sums), last + 1))
            self._sums = [*self._sums[:-1], *accumulate(more, lambda a, b: (a + b) & MASK, initial=self._sums[-1])]
        return self._sums[last]


class Load:
    """`async with Load(...)`: so many tellers give `rate_per_s` orders together whenever they can.

    `address`: where they find the server; `kind`: what they are.
    """

    def __init__(
        self,
        tellers: int,
        rate_per_s: float,
        *,
        renumber: bool = False,
        address: Address | None = None,
        kind: type[Teller] = Teller,
    ) -> None:
        self.address = address or Address()
        self.findings = Findings()
        self.tellers = [kind(f"teller {i}", self.address, self.findings, renumber=renumber) for i in range(tellers)]
        # Raises where waiting is in vain: the server has ended, say.
        self.watch: Callable[[], None] = lambda: None
        self._rate_per_s = rate_per_s
        self._giving = True
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(teller.run()) for teller in self.tellers]
        self._tasks.append(asyncio.create_task(self._give()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def acknowledged(self) -> int:
        """Orders with a receipt."""
        return self.findings.receipts

    def seen(self) -> Verdict:
        """What the tellers saw in the server's own books."""
        return Verdict(self.acknowledged, sum(t.missing for t in self.tellers), sum(t.doubled for t in self.tellers))

    def figures(self) -> Line:
        """What they all saw, for the JSON line."""
        found = self.findings
        return {
            **{f"receipt_ms_p{p}": 1000 * percentile(found.latency_s, p) for p in (50, 99)},
            "resumes": sum(t.resumes for t in self.tellers),
            "views_checked": found.checks,
            "forgotten": found.forgotten,
            "refused": found.refused,
        }

    def promises(self) -> list[tuple[str, set[int]]]:
        """What each session was acknowledged."""
        return [(f"{teller.session:x}", teller.acknowledged) for teller in self.tellers]

    async def all_joined(self, within_s: float = _JOIN_WITHIN_S) -> None:
        """Wait until everybody is in the world."""
        await self.until(lambda: all(t.joined for t in self.tellers), within_s, "joined")

    async def receipt(self, within_s: float) -> float:
        """Wait for the next receipt; returns when it came, by time.monotonic."""
        before = self.findings.receipts
        await self.until(lambda: self.findings.receipts > before, within_s, "had a receipt")
        return time.monotonic()

    async def settled(self, within_s: float) -> None:
        """Give no more, and wait until everything that was given has its receipt."""
        self._giving = False
        await self.until(lambda: all(t.settled for t in self.tellers), within_s, "had every receipt")

    async def until(self, holds: Callable[[], bool], within_s: float, what: str) -> None:
        """Wait until it holds. Raises ServerEnded, with `what` not everybody did by then."""
        until_s = time.monotonic() + within_s
        while not holds():
            self.check()
            if time.monotonic() > until_s:
                away = sum(not t.joined for t in self.tellers)
                waiting = sum(t.given - len(t.acknowledged) for t in self.tellers)
                raise ServerEnded(
                    f"within {within_s} s not everybody {what}: {away} of {len(self.tellers)} are away, "
                    f"{waiting} orders have no receipt; {self.findings.reasons}"
                )
            await asyncio.sleep(_ASK_AGAIN_S)

    def check(self) -> None:
        """Raise what a teller's task raised, a bug of the bench or a message that makes no sense; and ask `watch`."""
        self.watch()
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise WorkerError(f"a teller failed: {error!r}") from error

    async def _give(self) -> None:
        """Each teller in turn, as often as the rate has it."""
        due, before_s, at = 0.0, time.monotonic(), 0
        while True:
            await asyncio.sleep(_SLICE_S)
            now_s = time.monotonic()
            due = min(due + (now_s - before_s) * self._rate_per_s, _BURST_S * self._rate_per_s)
            before_s = now_s
            for _ in range(len(self.tellers) * 2):
                if due < 1 or not self._giving:
                    break
                at = (at + 1) % len(self.tellers)
                due -= self.tellers[at].order()
