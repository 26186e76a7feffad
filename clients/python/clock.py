"""The server's clock as a client knows it: ticks with a fraction. No clock of its own; times are handed in."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from protocol.messages import Pong

# Answers that are remembered; the one with the shortest round trip is believed.
SAMPLES: Final = 8
# Seconds beside its way by which an answer may differ from those before it.
JUMP_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Sample:
    """What one PONG said."""

    # Local time of its arrival, seconds.
    now_s: float
    # Round trip, seconds.
    rtt_s: float
    # The server's time at `now_s`, in ticks.
    ticks: float


class ServerClock:
    """Estimates the server's time from PONGs, as docs/protocol.md "Clock" says.

    An estimate may jump when a better sample comes; who draws from it should glide.
    """

    def __init__(self, tick: int, rate_hz: float, now_s: float) -> None:
        # Ticks per second that the server really makes.
        self.rate_hz = rate_hz
        self._samples: deque[Sample] = deque(maxlen=SAMPLES)
        self._start = Sample(now_s, 0.0, float(tick))

    def pong(self, message: Pong, rtt_s: float, now_s: float) -> None:
        """Take an answer that arrived at `now_s` after `rtt_s`."""
        self.rate_hz = message.rate_mhz / 1000
        ticks = message.tick + (message.micros / 1e6 + rtt_s / 2) * self.rate_hz
        if abs(ticks - self.tick_at(now_s)) > (rtt_s / 2 + JUMP_S) * self.rate_hz:
            # Further off than a slow way explains: the server stood, and what it said before it did leads past it.
            self._samples.clear()
        self._samples.append(Sample(now_s, rtt_s, ticks))

    def begin(self, tick: int, now_s: float) -> None:
        """Count another region's ticks from now on, of which a frame of `tick` has just come."""
        rtt_s = self.rtt_s
        self._samples.clear()
        self._start = Sample(now_s, rtt_s, tick + rtt_s / 2 * self.rate_hz)

    @property
    def best(self) -> Sample:
        """The sample that is believed; before any PONG, WELCOME's tick, or that of the region's frame."""
        return min(self._samples, key=lambda sample: sample.rtt_s, default=self._start)

    @property
    def rtt_s(self) -> float:
        """Shortest recent round trip, seconds; 0 before any PONG."""
        return self.best.rtt_s

    def tick_at(self, now_s: float) -> float:
        """The server's time at local time `now_s`, in ticks."""
        best = self.best
        return best.ticks + (now_s - best.now_s) * self.rate_hz
