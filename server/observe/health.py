"""Liveness from what the server does, not from an open port.

A process whose event loop answers HTTP while its ticks are dead, or whose ticks
advance while no frame leaves, is not alive. The clock is handed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `/healthz` and `/readyz` answer."""

    # Ticks advance and frames leave. False: restart the process.
    alive: bool
    # Alive, past the first tick, and taking clients. False: send new clients elsewhere.
    ready: bool
    # A sentence for each thing that is wrong; empty when ready.
    reasons: tuple[str, ...]
    # Regions that rightly don't tick, for nobody looks at them; ascending.
    asleep: tuple[int, ...] = ()


class Health:
    """Collects heartbeats and judges them.

    `clock`: seconds, never going back. `tick_stall_s`: how long a region's tick may stand still.
    `frame_stall_s`: how long no frame may leave while somebody could take one. Both must exceed the longest
    rightful pause: a tick at the lowest rate, `quiet_ticks_max` ticks without a change. `runs_regions`: whether a
    process in which no region runs lacks something.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        tick_stall_s: float = 5.0,
        frame_stall_s: float = 10.0,
        runs_regions: bool = True,
    ) -> None:
        assert min(tick_stall_s, frame_stall_s) > 0, "a stall takes time"
        self._clock = clock
        self._tick_stall_s = tick_stall_s
        self._frame_stall_s = frame_stall_s
        # region -> (newest tick, when it advanced last, in seconds); tick -1: none yet.
        self._regions: dict[int, tuple[int, float]] = {}
        # region -> why it does not tick, though it could.
        self._held: dict[int, str] = {}
        self._asleep: set[int] = set()
        self._readers = 0
        # When a frame left last, or when the first reader came, whichever is later.
        self._frame_s = clock()
        self._draining = False
        self._runs_regions = runs_regions
        # What the process stands on and does not have now.
        self._without: str | None = None

    def expect(self, region: int) -> None:
        """`region` is to tick from now on."""
        self._regions[region] = (-1, self._clock())

    def forget(self, region: int) -> None:
        """`region` is no longer run here."""
        self._regions.pop(region, None)
        self._held.pop(region, None)
        self._asleep.discard(region)

    def ticked(self, region: int, tick: int) -> None:
        """`region` finished `tick`. A number that does not rise is no sign of life."""
        newest, _ = self._regions.get(region, (-1, 0.0))
        self._held.pop(region, None)
        if tick > newest:
            self._regions[region] = (tick, self._clock())

    def holds(self, region: int, reason: str) -> None:
        """`region` waits for something it stands on, and knows it: alive, and no place for new clients."""
        tick, _ = self._regions.get(region, (-1, 0.0))
        self._regions[region] = (tick, self._clock())
        # No frame leaves either, and rightly.
        self._frame_s = self._clock()
        self._held[region] = reason

    def sleeps(self, region: int) -> None:
        """`region` does not tick until something comes for it, and is not expected to."""
        self._asleep.add(region)
        self._held.pop(region, None)

    def wakes(self, region: int) -> None:
        """`region` is to tick again."""
        self._asleep.discard(region)
        tick, _ = self._regions.get(region, (-1, 0.0))
        self._regions[region] = (tick, self._clock())

    def waits(self, reason: str | None) -> None:
        """The whole process waits for something it stands on, and knows it, or no longer does."""
        self._without = reason
        if reason is not None:
            # No frame leaves then, and rightly.
            self._frame_s = self._clock()

    @property
    def lacks(self) -> str | None:
        """What the whole process waits for; None: nothing."""
        return self._without

    def readers(self, count: int) -> None:
        """How many clients could take a frame now.

        Those that lag do not count: one client that never reads must not take the process down.
        """
        if self._readers == 0 and count > 0:
            self._frame_s = self._clock()
        self._readers = count

    def sent(self, frames: int) -> None:
        """`frames` frames left for clients."""
        if frames > 0:
            self._frame_s = self._clock()

    def drain(self) -> None:
        """No new clients are taken any more: the server is about to stop."""
        self._draining = True

    def judge(self) -> Verdict:
        """The state of things now."""
        now_s = self._clock()
        dead = []
        waiting = []
        for region, (tick, since_s) in self._regions.items():
            if region in self._asleep:
                continue
            still_s = now_s - since_s
            if still_s > self._tick_stall_s:
                dead.append(f"region {region} stands at tick {tick} for {still_s:.1f} s")
            elif tick < 0:
                waiting.append(f"region {region} has not ticked yet")
        waiting += [f"region {region} waits: {reason}" for region, reason in self._held.items()]
        silent_s = now_s - self._frame_s
        if self._readers > 0 and silent_s > self._frame_stall_s:
            dead.append(f"no frame left for {silent_s:.1f} s though {self._readers} clients could take one")
        if self._without is not None:
            waiting.append(f"waits: {self._without}")
        if self._runs_regions and not self._regions:
            waiting.append("no region runs here")
        if self._draining:
            waiting.append("the server is stopping")
        asleep = tuple(sorted(self._asleep))
        return Verdict(alive=not dead, ready=not dead and not waiting, reasons=(*dead, *waiting), asleep=asleep)
