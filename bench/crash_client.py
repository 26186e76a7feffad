"""A teller: a client that sends numbered orders and keeps book of what it was promised.

It is the Python client's own `Conversation` over a WebSocket, with a shell that comes back at once: no
backoff, so that everybody knocks in the very moment the server is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from clients.python.conversation import Conversation
from protocol.codec import encode_check
from protocol.messages import Delta, Error, Keyframe, Receipt, ServerMessage, ViewDigest, Welcome

# Orders that may wait for their receipt; then a teller waits, too. Below `gateway.receipts_max`.
OPEN_MAX = 200
_CHECK_EVERY_S = 1.0
_RETRY_S = 0.02
# Seconds without a word after which a connection is given up: longer than any pause that is injected.
_SILENCE_S = 30.0


class Address:
    """Where the server is now; `wait` until it is somewhere."""

    def __init__(self) -> None:
        self._url: str | None = None
        self._known = asyncio.Event()

    def set(self, url: str | None) -> None:
        """It listens there; None: it does not."""
        self._url = url
        self._known.set() if url else self._known.clear()

    async def wait(self) -> str:
        """The URL."""
        await self._known.wait()
        assert self._url is not None
        return self._url


@dataclass
class Findings:
    """What all tellers together saw that must not be, and how long receipts took."""

    # View digests compared, and those that differed.
    checks: int = 0
    mismatches: int = 0
    # Sessions that were acknowledged something and could not be resumed.
    forgotten: int = 0
    # Orders that the server refused.
    refused: int = 0
    receipts: int = 0
    # Seconds from sending an order to its receipt.
    latency_s: list[float] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def complain(self, reason: str) -> None:
        """Remember the first few."""
        if len(self.reasons) < 16:
            self.reasons.append(reason)


class Teller:
    """One client. `renumber`: a planted fault, an order that is sent again gets a new sequence number."""

    def __init__(self, name: str, address: Address, findings: Findings, *, renumber: bool = False) -> None:
        self.name = name
        # Orders given, 1 to `given`; all are sent sooner or later, and again until their receipt.
        self.given = 0
        self.acknowledged: set[int] = set()
        # What the server itself showed of its books: acknowledged orders that were not in them, and doubles.
        self.missing = 0
        self.doubled = 0
        self.session = 0
        self.resumes = 0
        self._address = address
        self._findings = findings
        self._renumber = renumber
        self._talk = Conversation(name, None, None, inputs_max=4 * OPEN_MAX)
        # Sequence number -> (order, when it was first sent).
        self._open: dict[int, tuple[int, float]] = {}
        self._wake = asyncio.Event()
        self._checking = False

    @property
    def joined(self) -> bool:
        """In the world, on a connection that stands."""
        return self._talk.joined

    @property
    def settled(self) -> bool:
        """Every order has its receipt."""
        return len(self.acknowledged) == self.given

    def order(self) -> bool:
        """Give the next order; False where too many wait."""
        if not self._talk.joined or len(self._open) >= OPEN_MAX:
            return False
        self.given += 1
        self._send(self.given)
        return True

    def _send(self, number: int) -> None:
        self._open[self._talk.command("Order", {"number": number})] = (number, time.monotonic())
        self._wake.set()

    async def run(self) -> None:
        """Connect, converse, come back, until cancelled."""
        while True:
            url = await self._address.wait()
            try:
                async with connect(url, compression=None, ping_interval=None, close_timeout=0.5) as socket:
                    await self._converse(socket)
            except (OSError, TimeoutError, ConnectionClosed, WebSocketException):
                self._talk.joined = False
            await asyncio.sleep(_RETRY_S)

    async def _converse(self, socket: ClientConnection) -> None:
        self._talk.begin()
        self._checking = False
        self._wake.set()
        tasks = [asyncio.create_task(self._writing(socket)), asyncio.create_task(self._asking())]
        try:
            while True:
                async with asyncio.timeout(_SILENCE_S):
                    data = await socket.recv()
                assert isinstance(data, bytes)
                message = self._talk.receive(data, time.monotonic())
                if message is not None:
                    self._heard(message)
                if self._talk.outbox:
                    self._wake.set()
        finally:
            self._talk.joined = False
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _writing(self, socket: ClientConnection) -> None:
        outbox = self._talk.outbox
        # A connection that closes shows in the reading.
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self._wake.wait()
                self._wake.clear()
                while outbox:
                    await socket.send(outbox.popleft())

    async def _asking(self) -> None:
        """Ask for the view's digest now and then."""
        while True:
            await asyncio.sleep(_CHECK_EVERY_S)
            if self._talk.joined and not self._checking:
                self._checking = True
                self._talk.outbox.append(encode_check())
                self._wake.set()

    def _heard(self, message: ServerMessage) -> None:
        match message:
            case Receipt(seq):
                self._promised(seq)
            case Delta() | Keyframe():
                self._look()
            case ViewDigest():
                self._checking = False
                self._findings.checks += 1
                if not self._talk.agrees(message):
                    self._findings.mismatches += 1
                    self._findings.complain(f"{self.name}: its view is not the server's at tick {message.tick}")
            case Welcome():
                self._welcomed(message)
            case Error(code, text, seq) if seq is not None:
                self._findings.refused += 1
                self._findings.complain(f"{self.name}: {seq} refused: ERROR {code}: {text}")

    def _promised(self, seq: int) -> None:
        # A receipt may be told again; of a number that another already answered for, too.
        known = self._open.pop(seq, None)
        if known is None:
            return
        number, sent_s = known
        self.acknowledged.add(number)
        self._findings.receipts += 1
        self._findings.latency_s.append(time.monotonic() - sent_s)

    def _look(self) -> None:
        """Compare one's own books, as the server shows them, with what it promised."""
        region, handle = self._talk.view.entity
        view = self._talk.view[region]
        if handle not in view:
            return
        count, again = int(view.value(handle, "Ledger.count")), int(view.value(handle, "Ledger.again"))
        missing = len(self.acknowledged) - count
        if missing > self.missing:
            self.missing = missing
            self._findings.complain(
                f"{self.name}: {len(self.acknowledged)} orders acknowledged, {count} in the books at tick {view.tick}"
            )
        if again > self.doubled:
            self.doubled = again
            self._findings.complain(f"{self.name}: {again} doubles in the books at tick {view.tick}")

    def _welcomed(self, welcome: Welcome) -> None:
        again = self.session != 0
        if again and not welcome.resumed:
            if self.acknowledged:
                self._findings.forgotten += 1
                self._findings.complain(f"{self.name}: session {self.session:x} is gone with what it was promised")
            # Nothing was promised: the session itself was not durable yet, and its orders are given again.
            self._again(range(1, self.given + 1))
        elif again:
            self.resumes += 1
            if self._renumber:
                self._again(sorted(number for number, _ in self._open.values()))
        self.session = welcome.session

    def _again(self, numbers: list[int] | range) -> None:
        """Send these under new sequence numbers."""
        wanted = [number for number in numbers if number not in self.acknowledged]
        self._open.clear()
        for number in wanted:
            self._send(number)
