"""The asyncio client: joins, keeps the view, sends commands, comes back when the connection breaks.

    async with await connect("ws://127.0.0.1:8080/ws", name="Ada") as client:
        seq = client.send("Move", dx=1.0, dy=0.0)
        await client.until(lambda: client.acked >= seq)
        region, handle = client.entity
        print(client.view[region].value(handle, "Position.x"))

One task per client reads and applies; whatever it learns is in plain attributes. All calls
belong on the event loop of `connect`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Final, Self

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, WebSocketException

from clients.python.clock import ServerClock
from clients.python.conversation import Conversation, Value
from clients.python.errors import Ended, Refused, Unreachable
from clients.python.view import Views
from protocol.codec import encode_check, encode_leave, encode_ping
from protocol.errors import CloseCode, MalformedMessage
from protocol.limits import SERVER_FRAME_BYTES_MAX
from protocol.messages import Delta, Keyframe, Pong, ServerMessage, ViewDigest, Welcome
from protocol.schema import Schema

# Backoff between attempts to come back, seconds: the first, and the most; each times 0.5 to 1.
BACKOFF_S: Final = 0.25
BACKOFF_MAX_S: Final = 10.0
# Seconds without a frame after which a connection is taken for dead: a DELTA comes every second.
SILENCE_S: Final = 10.0
# Seconds between PINGs, and between the first ones, by which the clock is set.
PING_S: Final = 2.0
FIRST_PING_S: Final = 0.2
FIRST_PINGS: Final = 5

# What RFC 6455 calls a connection that ended without a close frame.
BROKEN: Final = 1006

# Closed with one of these, a client does not come back by itself: docs/protocol.md "Close codes".
FINAL_CODES: Final = frozenset(
    {
        CloseCode.NORMAL,
        CloseCode.UNSUPPORTED,
        CloseCode.TOO_BIG,
        CloseCode.PROTOCOL,
        CloseCode.VERSION,
        CloseCode.UNAUTHORISED,
        CloseCode.ORIGIN,
        CloseCode.REPLACED,
        CloseCode.REMOVED,
    }
)


async def connect(
    url: str,
    name: str | None = None,
    token: str | None = None,
    resume: str | None = None,
    *,
    inputs_max: int = 1024,
    messages_max: int = 1024,
    return_within_s: float = 60.0,
) -> Client:
    """Join the world at `url` (ws://host:port/ws); returns once WELCOME and the first KEYFRAME are there.

    `inputs_max`: inputs that may wait for their ACK, or RECEIPT. `messages_max`: messages that may wait to be
    read; the oldest go first. `return_within_s`: how long to try to come back after a break, or to join where a part of
    the world does not answer (INTERNAL).
    Raises Unreachable, Refused, and ProtocolErrors for an answer that is none.
    """
    client = Client(url, name, token, resume, inputs_max, messages_max, return_within_s)
    await client._start()  # noqa: SLF001  # its other half
    return client


class Client:
    """A session. Made by `connect`."""

    def __init__(
        self,
        url: str,
        name: str | None,
        token: str | None,
        resume: str | None,
        inputs_max: int,
        messages_max: int,
        return_within_s: float,
    ) -> None:
        # WELCOMEs so far: 1 after joining, one more with each return.
        self.connections = 0
        # Messages dropped because nobody read them.
        self.messages_dropped = 0
        self._talk = Conversation(name, token, resume, inputs_max)
        self._url = url
        self._messages_max = messages_max
        self._return_within_s = return_within_s
        self._to_write = asyncio.Event()
        self._inbox: deque[ServerMessage] = deque()
        self._to_read = asyncio.Event()
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._pings: dict[float, asyncio.Future[float]] = {}
        self._checks: list[asyncio.Future[bool]] = []
        # Regions that are yet to answer the question under way, and whether all agreed so far.
        self._unanswered: set[int] = set()
        self._agreed = True
        self._socket: ClientConnection | None = None
        self._fault: Exception | None = None
        self._task: asyncio.Task[None]

    # -- what is known ---------------------------------------------------------

    @property
    def welcome(self) -> Welcome:
        """The latest WELCOME."""
        if self._talk.welcome is None:
            raise Unreachable("not connected yet")
        return self._talk.welcome

    @property
    def view(self) -> Views:
        """What is seen, by region number. Another object after each WELCOME."""
        return self._talk.view

    @property
    def clock(self) -> ServerClock:
        """The server's clock; its local times are those of `time.monotonic`."""
        return self._talk.clock

    @property
    def session(self) -> int:
        """The session's number."""
        return self.welcome.session

    @property
    def resume_token(self) -> str:
        """What another connection could take this session over with."""
        return self.welcome.resume

    @property
    def entity(self) -> tuple[int, int]:
        """(region, handle) of one's own entity."""
        return self._talk.view.entity

    @property
    def schema(self) -> Schema:
        """The game's schema."""
        return self.welcome.schema

    @property
    def tick(self) -> int:
        """Tick of the last DELTA or KEYFRAME of one's own region."""
        tick = self.view[self.entity[0]].tick
        return self.welcome.tick if tick is None else tick

    @property
    def tick_rate_hz(self) -> float:
        """Ticks per second, as declared; `clock.rate_hz` is what the server really makes."""
        return self.welcome.tick_rate_hz

    @property
    def seq(self) -> int:
        """Sequence number of the last command sent, 0 for none."""
        return self._talk.seq

    @property
    def acked(self) -> int:
        """Last sequence number that the server has processed."""
        return self._talk.acked

    @property
    def connected(self) -> bool:
        """A connection stands, and WELCOME has come on it."""
        return self._socket is not None and self._talk.joined

    @property
    def ended(self) -> Exception | None:
        """Why the session is over; None while it is not."""
        return self._fault

    # -- what can be done --------------------------------------------------------

    def send(self, command: str, **args: Value) -> int:
        """Send a command; returns its sequence number. While the connection is broken it waits.

        An entity is (region, handle), or its handle in the region of one's own.

        Raises UnknownMessage or InvalidArgument for what the server would refuse, BacklogFull, Ended, Unreachable.
        """
        self._raise_if_ended()
        seq = self._talk.command(command, args)
        self._to_write.set()
        return seq

    async def ping(self) -> float:
        """Ask for the server's clock; returns the round trip in seconds.

        Raises Unreachable when no connection stands or it breaks meanwhile, Ended with the session.
        """
        self._raise_if_broken()
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        sent_ms = self._ping_time()
        self._pings[sent_ms] = future
        self._write(encode_ping(sent_ms))
        return await future

    async def check(self) -> bool:
        """Compare the views of all regions in sight with the server's word for them; True: they agree.

        Raises Unreachable when no connection stands or it breaks meanwhile, Ended with the session.
        """
        self._raise_if_broken()
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._checks.append(future)
        if len(self._checks) == 1:
            views = self._talk.view
            self._unanswered, self._agreed = {views.entity[0], *(r for r, view in views.items() if len(view))}, True
            self._write(encode_check())
        return await future

    async def until(self, predicate: Callable[[], bool]) -> None:
        """Wait until `predicate()` holds; it is asked after every frame.

        Raises Ended or Unreachable with the session, and whatever the predicate raises.
        """
        if predicate():
            return
        self._raise_if_ended()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((predicate, future))
        await future

    async def messages(self) -> AsyncIterator[ServerMessage]:
        """Everything that changes no view: EVENT, ACK, RECEIPT, ERROR, YOU, WELCOME, BYE. Ends with the session.

        Where WELCOME begins a new session, or another client spoke in this one meanwhile, each input without its ACK or
        RECEIPT is answered just before it: ERROR, RESUME_FAILED. It may have been done or not, and is not sent again.

        At most `messages_max` wait here; then the oldest is dropped, and counted in `messages_dropped`.
        """
        while True:
            while self._inbox:
                yield self._inbox.popleft()
            if self._fault is not None:
                return
            self._to_read.clear()
            await self._to_read.wait()

    async def leave(self) -> None:
        """Leave the world for good. Harmless when the session is over."""
        if self._fault is None and self.connected:
            self._write(encode_leave())
            # The server's BYE ends it. One that never answers is left by closing.
            await asyncio.wait([self._task], timeout=5.0)
        await self.close()

    async def close(self) -> None:
        """Close the connection; the entity waits in the world for the grace time. Harmless when over."""
        self._task.cancel()
        await asyncio.wait([self._task])

    def abort(self) -> None:
        """Break the connection as a dead network would: without a word. The client comes back by itself."""
        if self._socket is not None:
            self._socket.transport.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.leave()

    # -- connections ---------------------------------------------------------------

    async def _start(self) -> None:
        self._task = asyncio.create_task(self._run())
        try:
            await self.until(self._has_view)
        except BaseException:
            await self.close()
            raise

    def _has_view(self) -> bool:
        return self.connected and self.view[self.entity[0]].tick is not None

    async def _run(self) -> None:
        """Connect, converse, come back; until something ends it. Never raises: `_fault` says why it ended."""
        fault: Exception
        try:
            fault = await self._connections()
        except asyncio.CancelledError:
            fault = Ended(CloseCode.NORMAL, "closed by the client")
        except Exception as error:  # noqa: BLE001  # a ProtocolError, or a bug: whoever waits gets it
            fault = error
        self._fault = fault
        self._lost(fault)
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(fault)
        self._waiting.clear()
        self._to_read.set()

    async def _connections(self) -> Exception:
        """Connect again and again; returns why there will be no further connection."""
        chance = random.Random()  # noqa: S311  # jitter, so that a crowd does not come back at once
        backoff_s = BACKOFF_S
        lost_at_s = time.monotonic()
        while True:
            joined_before = self._talk.welcome is not None
            code, reason = await self._connection()
            if self._talk.joined:
                self._talk.joined = False
                backoff_s = BACKOFF_S
                lost_at_s = time.monotonic()
            elif not joined_before and not (code == CloseCode.INTERNAL and self._again(lost_at_s, backoff_s)):
                return Unreachable(reason) if code == BROKEN else Refused(code, reason)
            self._lost(Unreachable(f"the connection broke ({code}: {reason})"))
            if code in FINAL_CODES:
                return Ended(code, reason)
            if not self._again(lost_at_s, backoff_s):
                return Unreachable(f"not back within {self._return_within_s:g} s; last: {code} {reason}")
            await asyncio.sleep(backoff_s * chance.uniform(0.5, 1.0))
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)

    def _again(self, lost_at_s: float, backoff_s: float) -> bool:
        """Whether there is time for another try."""
        return time.monotonic() - lost_at_s + backoff_s <= self._return_within_s

    async def _connection(self) -> tuple[int, str]:
        """One connection from start to end; returns its close code and reason."""
        try:
            async with open_websocket(
                self._url, compression=None, max_size=SERVER_FRAME_BYTES_MAX, ping_interval=None, close_timeout=1.0
            ) as socket:
                await self._converse(socket)
        except ConnectionClosed as closed:
            bye, received = self._talk.bye, closed.rcvd
            if bye is not None:
                return bye.code, bye.text
            return (BROKEN, "no close frame") if received is None else (received.code, received.reason)
        except (OSError, TimeoutError, WebSocketException) as error:
            return BROKEN, repr(error)
        return BROKEN, "closed"

    async def _converse(self, socket: ClientConnection) -> None:
        """Read until something is raised: ConnectionClosed, TimeoutError, a ProtocolError."""
        self._talk.begin()
        self._to_write.set()
        self._socket = socket
        tasks = [asyncio.create_task(self._writing(socket)), asyncio.create_task(self._pinging())]
        try:
            while True:
                async with asyncio.timeout(SILENCE_S):
                    data = await socket.recv()
                if isinstance(data, str):
                    raise MalformedMessage("a text frame")
                self._receive(data)
        finally:
            self._socket = None
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _writing(self, socket: ClientConnection) -> None:
        outbox = self._talk.outbox
        # A connection that closes shows in the reading task.
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self._to_write.wait()
                self._to_write.clear()
                while outbox:
                    await socket.send(outbox.popleft())

    async def _pinging(self) -> None:
        for sent in itertools.count():
            await asyncio.sleep(PING_S if sent >= FIRST_PINGS else FIRST_PING_S)
            self._write(encode_ping(self._ping_time()))
            if self._checks and sent >= FIRST_PINGS:
                # A question above the rate limit is passed over; of two the server makes one.
                self._write(encode_check())

    def _write(self, frame: bytes) -> None:
        """Send where a connection stands."""
        if self._socket is not None:
            self._talk.outbox.append(frame)
            self._to_write.set()

    def _ping_time(self) -> float:
        """Milliseconds, told apart from every PING under way."""
        now_ms = time.monotonic() * 1000
        while now_ms in self._pings:
            now_ms += 0.001
        return now_ms

    def _lost(self, fault: Exception) -> None:
        """Answers that will never come."""
        for ping in self._pings.values():
            if not ping.done():
                ping.set_exception(fault)
        for check in self._checks:
            if not check.done():
                check.set_exception(fault)
        self._pings.clear()
        self._checks.clear()

    def _raise_if_ended(self) -> None:
        if self._fault is not None:
            raise self._fault

    def _raise_if_broken(self) -> None:
        self._raise_if_ended()
        if not self.connected:
            raise Unreachable("the connection is broken; the client is trying to come back")

    # -- messages ------------------------------------------------------------------

    def _receive(self, data: bytes) -> None:
        now_s = time.monotonic()
        message = self._talk.receive(data, now_s)
        match message:
            case Welcome():
                self.connections += 1
            case Pong(client_time):
                # Answers come in order, and none to what a server could not answer, as this client did not read.
                for sent_ms in [sent_ms for sent_ms in self._pings if sent_ms <= client_time]:
                    ping = self._pings.pop(sent_ms)
                    if not ping.done():
                        ping.set_result(now_s - sent_ms / 1000)
            case ViewDigest():
                self._agreed &= self._talk.agrees(message)
                self._answered(message.region)
            case Keyframe(region, _, ()):
                # Out of view: it answers nothing any more.
                self._answered(region)
        # Before WELCOME: what comes after it may be of other numbers.
        while self._talk.void:
            self._show(self._talk.void.pop(0))
        if message is not None and not isinstance(message, Delta | Keyframe | Pong | ViewDigest):
            self._show(message)
        if self._talk.outbox:
            self._to_write.set()
        self._ask_waiting()

    def _answered(self, region: int) -> None:
        if region not in self._unanswered:
            return
        self._unanswered.remove(region)
        if not self._unanswered:
            for check in self._checks:
                if not check.done():
                    check.set_result(self._agreed)
            self._checks.clear()

    def _show(self, message: ServerMessage) -> None:
        if len(self._inbox) >= self._messages_max:
            self._inbox.popleft()
            self.messages_dropped += 1
        self._inbox.append(message)
        self._to_read.set()

    def _ask_waiting(self) -> None:
        if not self._waiting:
            return
        still: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        for predicate, future in self._waiting:
            if future.done():
                continue
            try:
                holds = predicate()
            except Exception as error:  # noqa: BLE001  # the caller's predicate: the caller gets its error
                future.set_exception(error)
                continue
            if holds:
                future.set_result(None)
            else:
                still.append((predicate, future))
        self._waiting = still
