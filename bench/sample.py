"""The clients of the swarm that decode everything, with the Python SDK: they time inputs and check views.

Three checks of what they see, each a mismatch when it fails: VIEW_DIGEST (the gateway's idea of their view, by
CHECK), the SDK's own refusals (a message that makes no sense), and photographs of whole views at given
ticks, which bench/truth.py compares with the world itself.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final

from bench.client import Client, Counts
from bench.frames import InputFrame, masked
from clients.python.view import View, Views
from protocol.codec import decode_server, encode_check
from protocol.errors import ProtocolError
from protocol.messages import Ack, Delta, Keyframe, ViewDigest, Welcome

_CHECK: Final = masked(encode_check())


@dataclass(frozen=True, slots=True)
class Photograph:
    """A whole view at the end of a tick."""

    client: int
    tick: int
    # The client's own entity.
    handle: int
    # Full records, by ascending handle.
    records: bytes


@dataclass
class Findings:
    """What the sample found since `reset`."""

    # Every so many ticks the views are photographed; the server notes the truth of the same ticks.
    photograph_every_ticks: int
    # From sending an input to seeing its effect, milliseconds.
    latency_ms: list[float] = field(default_factory=list)
    photographs: list[Photograph] = field(default_factory=list)
    checks: int = 0
    mismatches: int = 0
    # Entities in view, summed over DELTAs, and the number of DELTAs.
    in_view: int = 0
    views: int = 0
    on: bool = False

    def reset(self) -> None:
        """Begin to measure. Mismatches stay."""
        self.latency_ms.clear()
        self.photographs.clear()
        self.in_view = self.views = 0
        self.on = True


class SampleClient(Client):
    """Decodes and checks. `marks`: frames of SetMark by its value."""

    def __init__(
        self, number: int, counts: Counts, upgrade: bytes, findings: Findings, marks: list[InputFrame]
    ) -> None:
        super().__init__(number, counts, upgrade)
        self._findings = findings
        self._marks = marks
        self._views: Views
        self._view: View | None = None
        self._value = 0
        # Value of a mark under way -> when it was sent. Values come round after 255 inputs, 51 s.
        self._under_way: dict[int, float] = {}

    def mark(self) -> None:
        """Send an input whose effect shows on this client's own entity."""
        self._value = self._value % 255 + 1
        self._under_way[self._value] = time.perf_counter()
        self.send(self._marks[self._value])

    def check(self) -> None:
        """Ask for the digest of this client's view."""
        self.transport.write(_CHECK)

    def message(self, data: bytes, start: int, stop: int) -> None:
        """One message: decoded, applied, checked."""
        message = data[start:stop]
        kind = message[1]
        if self._view is None:
            self.rare(kind, message)
            return
        try:
            decoded = decode_server(message)
            if isinstance(decoded, Delta):
                self._delta(decoded, self._view)
            elif isinstance(decoded, Keyframe):
                self._views.apply(decoded)
            elif isinstance(decoded, ViewDigest):
                self._compare(decoded, self._view)
            elif not isinstance(decoded, Ack):
                self._views.apply(decoded)
                self.rare(kind, message)
        except ProtocolError as error:
            self._mismatch(f"the SDK refused a message: {error}")

    def welcomed(self, message: bytes) -> None:
        """Learn the schema."""
        welcome = decode_server(message)
        assert isinstance(welcome, Welcome)
        self._views = Views(welcome)
        self._view = self._views[welcome.regions[0].id]
        super().welcomed(message)

    def _delta(self, delta: Delta, view: View) -> None:
        findings = self._findings
        if findings.on and view.tick is not None and (view.tick - delta.tick_low7) & 127:
            # The tick before is complete: its second DELTA, if the view moved, came before this one.
            if view.tick % findings.photograph_every_ticks == 0:
                self._photograph(view, view.tick)
            findings.in_view += len(view)
            findings.views += 1
        view.delta(delta)
        self.counts.deltas += 1
        if self._under_way:
            self._time_inputs(view)

    def _time_inputs(self, view: View) -> None:
        handle = self._views.entity[1]
        if handle not in view:
            return
        shown = int(view.value(handle, "Mark.value"))
        sent_s = self._under_way.get(shown)
        if sent_s is None:
            return
        now_s = time.perf_counter()
        # A mark overtaken by a later one in the same tick is seen with it.
        for value in list(self._under_way):
            sent_s = self._under_way.pop(value)
            if self._findings.on:
                self._findings.latency_ms.append((now_s - sent_s) * 1000)
            if value == shown:
                break

    def _photograph(self, view: View, tick: int) -> None:
        records = b"".join([view.entities[handle].record for handle in sorted(view.entities)])
        self._findings.photographs.append(Photograph(self.number, tick, self._views.entity[1], records))

    def _compare(self, told: ViewDigest, view: View) -> None:
        self._findings.checks += 1
        count, crc = view.digest()
        if (told.tick, told.count, told.crc) != (view.tick, count, crc):
            self._mismatch(
                f"client {self.number} sees {count} entities at tick {view.tick} (CRC {crc:08x}); "
                f"the server says {told.count} at {told.tick} ({told.crc:08x})"
            )

    def _mismatch(self, what: str) -> None:
        self._findings.mismatches += 1
        self.counts.complain(what)


def connected(client: Client) -> bool:
    """Whether the client has a connection to write to."""
    transport: asyncio.Transport | None = getattr(client, "transport", None)
    return transport is not None and not transport.is_closing()
