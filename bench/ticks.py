"""What a server worker notes of every tick, and hands over at the end."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from bench.processes import Line
from server.host.host import ShardHost
from server.host.pacer import TickTime


@dataclass
class TickLog:
    """Ticks since `start`."""

    on: bool = False
    # Monotonic seconds at which each tick began.
    starts_s: list[float] = field(default_factory=list)
    # Milliseconds between when it was due and when it began.
    lateness_ms: list[float] = field(default_factory=list)
    # Milliseconds from its begin to the last write.
    took_ms: list[float] = field(default_factory=list)

    def start(self) -> None:
        """Forget what was; note from here."""
        self.starts_s.clear()
        self.lateness_ms.clear()
        self.took_ms.clear()
        self.on = True

    def note(self, due_s: float, start_s: float, took_s: float) -> None:
        """A tick."""
        if self.on:
            self.starts_s.append(start_s)
            self.lateness_ms.append(max(0.0, start_s - due_s) * 1000)
            self.took_ms.append(took_s * 1000)

    def stop(self) -> Line:
        """What was noted, as JSON. `hz`: ticks begun per second between the first and the last."""
        self.on = False
        span_s = self.starts_s[-1] - self.starts_s[0] if len(self.starts_s) > 1 else 0.0
        return {
            "ticks": len(self.starts_s),
            "hz": (len(self.starts_s) - 1) / span_s if span_s else 0.0,
            "lateness_ms": [round(v, 4) for v in self.lateness_ms],
            "took_ms": [round(v, 4) for v in self.took_ms],
        }


@dataclass
class DurableLog:
    """How long the ticks of several hosts took to be durable."""

    # From a tick's begin to when its record was known to be durable, of ticks that have one.
    ms: list[float] = field(default_factory=list)

    def follow(self, host: ShardHost) -> None:
        """Note this host's ticks too."""
        # Tick of a record, and when that tick began.
        waiting: deque[tuple[int, float]] = deque()

        def ticked(times: TickTime, _took_s: float) -> None:
            if host.journalled_tick > max(host.durable_tick, waiting[-1][0] if waiting else -1):
                waiting.append((host.journalled_tick, times.start_s))

        def durable() -> None:
            now_s = time.monotonic()
            while waiting and waiting[0][0] <= host.durable_tick:
                self.ms.append((now_s - waiting.popleft()[1]) * 1000)

        host.after_tick.append(ticked)
        host.after_durable.append(durable)
