"""Players who walk to and fro over a border, and watch themselves as they do.

Everyone moves in every tick, so a player who sees itself stand still has been made to wait. Words it hears: "start"
(measure), "stop" (tell the result).
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import uvloop

from bench.pauses import Step, crossings
from bench.processes import Line, arguments, failures_told, listen, settle_memory, tell
from clients.python import Client, connect
from clients.python.errors import ClientError

# How far past the border they walk before they turn, in world units: more than its hysteresis.
TURN_UNITS: Final = 5.0
# Seconds between two marks, and between two questions for the view digest.
_MARK_S: Final = 0.5
_CHECK_S: Final = 2.0


class Walker:
    """One player."""

    def __init__(self, client: Client, hz: float) -> None:
        self.client = client
        self.steps: list[Step] = []
        # Messages after which it did not see itself; inputs acknowledged and not to be seen; views that were wrong.
        self.missing = 0
        self.lost = 0
        self.wrong = 0
        self.checks = 0
        self._tick_s = 1.0 / hz
        self._key = client.entity
        self._place = (0.0, 0.0)
        self.moved_s = time.perf_counter()
        self._crossed = False
        self._way = 0
        self._marks: dict[int, int] = {}
        # From sending a mark to seeing it on oneself, milliseconds.
        self.latency_ms: list[float] = []
        self._sent_s: dict[int, float] = {}
        # Where regions lie beside each other, and the border it walks over: the one that was nearest when it came.
        # What WELCOME says of a region has the region's margin around it.
        self._borders = sorted({r.x + r.margin for r in client.welcome.regions})[1:]
        self._border: float | None = None

    def look(self) -> bool:
        """After every message. Never done: it is asked again."""
        client = self.client
        region, handle = client.entity
        view = client.view[region]
        if handle not in view:
            self.missing += 1
            return False
        x, y = float(view.value(handle, "Position.x")), float(view.value(handle, "Position.y"))
        if client.entity != self._key:
            self._key, self._crossed = client.entity, True
        if (x, y) != self._place:
            now_s = time.perf_counter()
            waited = max(0.0, (now_s - self.moved_s) / self._tick_s - 1.0)
            self.steps.append(Step(self.moved_s, now_s, waited, self._crossed))
            self._place, self.moved_s, self._crossed = (x, y), now_s, False
            if self._borders:
                if self._border is None:
                    self._border = min(self._borders, key=lambda border: abs(border - x))
                self._turn(x - self._border)
            # An ACK comes just before the state that it speaks of: this is it, or a later one.
            self._look_for_marks(int(view.value(handle, "Mark.value")))
        return False

    def _turn(self, off: float) -> None:
        way = -1 if off > TURN_UNITS else 1 if off < -TURN_UNITS else self._way or 1
        if way != self._way:
            self._way = way
            self.client.send("Move", dx=float(way), dy=0.0)

    def _look_for_marks(self, seen: int) -> None:
        applied = [seq for seq in self._marks if seq <= self.client.acked]
        if applied:
            # Of several the last counts.
            self.lost += self._marks[applied[-1]] != seen
            now_s = time.perf_counter()
            self.latency_ms += [(now_s - self._sent_s.pop(seq)) * 1000 for seq in applied]
            for seq in applied:
                del self._marks[seq]

    async def mark(self) -> None:
        """Carry another number, again and again."""
        for n in range(1, 1_000_000):
            seq = self.client.send("SetMark", value=n % 251)
            self._marks[seq], self._sent_s[seq] = n % 251, time.perf_counter()
            await asyncio.sleep(_MARK_S)

    async def check(self) -> None:
        """Compare the views with the server's word for them, again and again."""
        while True:
            self.wrong += not await self.client.check()
            self.checks += 1
            await asyncio.sleep(_CHECK_S)


async def play(told: Line) -> None:
    """Run until the parent goes."""
    ended = asyncio.Event()
    urls = [f"ws://127.0.0.1:{port}/ws" for port in told["ports"]]
    walkers = [Walker(await connect(urls[n % len(urls)], name=f"w{n}"), told["hz"]) for n in range(told["clients"])]
    tasks = [asyncio.create_task(task) for w in walkers for task in (w.client.until(w.look), w.mark(), w.check())]
    settle_memory()

    began_s = began_cpu_s = 0.0

    def hear(word: str) -> None:
        nonlocal began_s, began_cpu_s
        if word == "start":
            began_s, began_cpu_s = time.perf_counter(), time.process_time()
            for walker in walkers:
                walker.steps.clear()
                walker.latency_ms.clear()
        elif word == "stop":
            busy = (time.process_time() - began_cpu_s) / (time.perf_counter() - began_s)
            faults = [str(task.exception()) for task in tasks if task.done()]
            over = crossings([w.steps for w in walkers])
            tell(
                "result",
                crossing=[crossing.waited for crossing in over],
                # What the others waited just then, for each of those.
                others=[crossing.others for crossing in over],
                plain=[step.waited for w in walkers for step in w.steps if not step.crossed],
                walkers_cpu=busy,
                latency_ms=[round(ms, 3) for w in walkers for ms in w.latency_ms],
                missing=sum(w.missing for w in walkers),
                inputs_lost=sum(w.lost for w in walkers),
                mismatches=sum(w.wrong for w in walkers),
                checks=sum(w.checks for w in walkers),
                reconnects=sum(w.client.connections - 1 for w in walkers),
                faults=faults,
            )
        elif word == "end":
            ended.set()

    listen(hear)
    tell("joined")
    await ended.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for walker in walkers:
        walker.client.abort()
        try:
            await walker.client.close()
        except ClientError:
            continue


if __name__ == "__main__":
    with failures_told():
        uvloop.run(play(arguments()))
