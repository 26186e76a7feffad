"""Prometheus metrics of one process.

Hot paths count in plain integers and hand over a sum once per tick: a counter's
`inc` costs about a microsecond, a tick's frames number in the thousands.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

# Fine where the targets lie (5 and 12 ms), and past the 50 ms of a tick at 20 Hz.
TICK_BUCKETS_S: Final = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.012, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0
)  # fmt: skip
CHECKPOINT_BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
PAUSE_BUCKETS_S: Final = (0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)


class Tally:
    """Brings a counter up to sums that are counted elsewhere, by name: its last label.

    `labels`: the labels before that one. `since`: the sums that somebody else has told already.
    """

    def __init__(self, counter: Counter, *labels: object, since: Mapping[str, int] | None = None) -> None:
        self._counter = counter
        self._labels = labels
        self._told = dict(since or {})
        self._counters: dict[str, Counter] = {}

    def tell(self, sums: Mapping[str, int]) -> None:
        """Add what the sums have grown by."""
        for name, n in sums.items():
            counter = self._counters.get(name)
            if counter is None:
                # From now on it is shown, though it be 0.
                counter = self._counters[name] = self._counter.labels(*self._labels, name)
            if grown := n - self._told.get(name, 0):
                counter.inc(grown)
                self._told[name] = n


class Metrics:
    """Every metric, in a registry of its own so that two servers in one process do not share them."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()

        self.tick_seconds = Histogram(
            "everstep_tick_seconds",
            "Time one tick took: step, frame and fan-out.",
            ["region"],
            registry=registry,
            buckets=TICK_BUCKETS_S,
        )
        self.tick_lateness_seconds = Histogram(
            "everstep_tick_lateness_seconds",
            "Time between when a tick was due and when it began.",
            registry=registry,
            buckets=TICK_BUCKETS_S,
        )
        self.tick_rate_hz = Gauge(
            "everstep_tick_rate_hz", "Ticks per second that are really made.", ["region"], registry=registry
        )
        self.dilation = Gauge(
            "everstep_dilation",
            "Rate of game time against real time: 1 is none, 0.5 half speed.",
            ["region"],
            registry=registry,
        )
        self.asleep = Gauge(
            "everstep_asleep",
            "1 while a region makes no ticks because nobody looks at it, 0 while it ticks.",
            ["region"],
            registry=registry,
        )
        self.ticks_total = Counter("everstep_ticks_total", "Ticks made.", registry=registry)
        self.entities = Gauge("everstep_entities", "Entities alive.", ["region"], registry=registry)

        self.sessions = Gauge("everstep_sessions", "Sessions by state.", ["state"], registry=registry)
        self.disconnects_total = Counter(
            "everstep_disconnects_total", "Connections closed, by cause.", ["cause"], registry=registry
        )

        self.bytes_out_total = Counter("everstep_bytes_out_total", "Bytes written to clients.", registry=registry)
        self.frames_in_total = Counter(
            "everstep_frames_in_total",
            "Frames of regions decoded: one for each region and tick, however many clients see it.",
            registry=registry,
        )
        self.frames_out_total = Counter("everstep_frames_out_total", "Frames written to clients.", registry=registry)
        self.frames_skipped_total = Counter(
            "everstep_frames_skipped_total", "Frames not written because the client did not read.", registry=registry
        )
        self.inputs_total = Counter("everstep_inputs_total", "Inputs received from clients.", registry=registry)
        self.inputs_dropped_total = Counter(
            "everstep_inputs_dropped_total",
            "Inputs that never reached the world, by reason.",
            ["reason"],
            registry=registry,
        )

        self.inbox_depth = Gauge(
            "everstep_inbox_depth", "Commands that wait for a tick.", ["region"], registry=registry
        )
        self.mail_total = Counter(
            "everstep_mail_total",
            "Letters between shards, by what happened to them: sent, resent, taken, repeated and so on.",
            ["region", "event"],
            registry=registry,
        )
        self.mail_unacked = Gauge(
            "everstep_mail_unacked", "Letters sent and not known to be taken.", ["region"], registry=registry
        )
        self.mail_waiting = Gauge(
            "everstep_mail_waiting", "Letters that came and wait for a tick.", ["region"], registry=registry
        )
        self.mail_dead = Gauge(
            "everstep_mail_dead", "Letters that nobody could use, kept for an operator.", ["region"], registry=registry
        )
        self.mail_to_nobody_total = Counter(
            "everstep_mail_to_nobody_total",
            "Messages of the game to entities that are no more.",
            ["region"],
            registry=registry,
        )
        self.reception_total = Counter(
            "everstep_reception_total",
            "What regions noticed of gateways and absent players: gateways that fell silent, players not back in time.",
            ["region", "event"],
            registry=registry,
        )
        self.bus_dropped_total = Counter(
            "everstep_bus_dropped_total",
            "Messages that were not handed to Redis, by reason.",
            ["reason"],
            registry=registry,
        )
        self.bus_reconnects_total = Counter(
            "everstep_bus_reconnects_total", "Times that listening to Redis had to begin again.", registry=registry
        )
        self.bus_circuit = Gauge(
            "everstep_bus_circuit",
            "1 for the state that the way to Redis is in, 0 for the others: closed is well, open tries nothing.",
            ["way", "state"],
            registry=registry,
        )
        self.journal_backlog = Gauge(
            "everstep_journal_backlog", "Ticks journalled but not yet durable.", registry=registry
        )
        self.checkpoint_capture_seconds = Histogram(
            "everstep_checkpoint_capture_seconds",
            "Time a tick waited while the state was copied.",
            registry=registry,
            buckets=PAUSE_BUCKETS_S,
        )
        self.checkpoint_seconds = Histogram(
            "everstep_checkpoint_seconds",
            "Time from the copy of the state to its being durable; the world ticks meanwhile.",
            registry=registry,
            buckets=CHECKPOINT_BUCKETS_S,
        )
        self.checkpoint_bytes = Gauge(
            "everstep_checkpoint_bytes", "Size of the last checkpoint as it is stored.", ["region"], registry=registry
        )
        self.checkpoint_age_seconds = Gauge(
            "everstep_checkpoint_age_seconds",
            "Time since the last checkpoint was taken, without that in which the region was asleep.",
            ["region"],
            registry=registry,
        )
        self.checkpoint_failures_total = Counter(
            "everstep_checkpoint_failures_total", "Checkpoints that could not be written.", registry=registry
        )
        self.gc_pause_seconds = Histogram(
            "everstep_gc_pause_seconds",
            "Time the garbage collector held the process.",
            registry=registry,
            buckets=PAUSE_BUCKETS_S,
        )

        # What is so now of a region that runs here.
        self._regions = (
            self.tick_rate_hz,
            self.dilation,
            self.asleep,
            self.entities,
            self.inbox_depth,
            self.mail_unacked,
            self.mail_waiting,
            self.mail_dead,
            self.checkpoint_bytes,
            self.checkpoint_age_seconds,
        )

        # Memory, CPU time and open files, where the system tells (Linux).
        ProcessCollector(registry=registry)

    def render(self) -> bytes:
        """The text exposition that `/metrics` serves, of type CONTENT_TYPE."""
        return generate_latest(self.registry)

    def forget(self, region: int) -> None:
        """A region runs here no more: tell nothing of it that is not so any more. What was counted stays."""
        for gauge in self._regions:
            # One of which nothing was said yet is not there.
            with suppress(KeyError):
                gauge.remove(str(region))

    @contextmanager
    def watching_gc(self) -> Iterator[None]:
        """Measure the pauses of the garbage collector while the context is open."""
        began_s = 0.0

        def on_gc(phase: Literal["start", "stop"], _info: dict[str, int]) -> None:
            nonlocal began_s
            if phase == "start":
                began_s = time.perf_counter()
            else:
                self.gc_pause_seconds.observe(time.perf_counter() - began_s)

        gc.callbacks.append(on_gc)
        try:
            yield
        finally:
            gc.callbacks.remove(on_gc)
