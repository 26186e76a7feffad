"""The pacer: when is the next tick due?

A fixed-step schedule. A tick that starts late is followed by the next as soon as it can be, until the
schedule is met again. When the backlog passes its limit the schedule itself moves: game time dilates, and
no tick is skipped, since inputs belong to ticks.

Source: fixed-step accumulators as in bevy's `Time<Fixed>`, with a cap on what accumulates.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TickTime:
    """When a tick was due and when it began, in the clock's seconds."""

    due_s: float
    start_s: float

    @property
    def lateness_s(self) -> float:
        """How late it began."""
        return self.start_s - self.due_s


class Pacer:
    """Sans-I/O: told the time, says when to tick. `catch_up_ticks_max`: a backlog above it dilates time."""

    def __init__(self, rate_hz: float, catch_up_ticks_max: int, start_s: float) -> None:
        self.rate_hz = rate_hz
        self._period_s = 1.0 / rate_hz
        self._catch_up_s = catch_up_ticks_max * self._period_s
        self._origin_s = start_s
        self._made = 0
        # Real seconds by which game time has fallen behind for good.
        self.dilated_s = 0.0
        self._starts: deque[float] = deque(maxlen=max(2, round(rate_hz * 2)))

    @property
    def due_s(self) -> float:
        """When the next tick is due. Computed from the origin, so that periods add up exactly."""
        return self._origin_s + (self._made + 1) * self._period_s

    def begin(self, now_s: float) -> TickTime:
        """The next tick begins now."""
        due_s = self.due_s
        behind_s = now_s - due_s
        if behind_s > self._catch_up_s:
            lost_s = behind_s - self._catch_up_s
            self._origin_s += lost_s
            self.dilated_s += lost_s
        self._made += 1
        self._starts.append(now_s)
        return TickTime(due_s, now_s)

    def rest(self, now_s: float) -> None:
        """Nothing was to be made until now: the next tick is due at once, and none is to be caught up with."""
        self._origin_s = now_s - (self._made + 1) * self._period_s
        self._starts.clear()

    def measured_hz(self, now_s: float) -> float:
        """Ticks per second over the last two seconds or so; the nominal rate until two were made.

        The rate falls while the next tick stays out longer than others did.
        """
        ticks = len(self._starts) - 1
        if ticks < 1:
            return self.rate_hz
        span_s = self._starts[-1] - self._starts[0]
        usual_s = max(self._period_s, span_s / ticks)
        span_s += max(0.0, now_s - self._starts[-1] - usual_s)
        return ticks / span_s if span_s > 0 else self.rate_hz

    def dilation(self, now_s: float) -> float:
        """Measured over nominal rate: 1.0 where time runs as it should, below where it dilates."""
        return min(1.0, self.measured_hz(now_s) / self.rate_hz)
