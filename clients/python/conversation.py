"""A session as its client keeps it: frames in, frames out. No socket, no clock, no task.

The asyncio shell around it is `clients.python.client`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

from clients.python.clock import ServerClock
from clients.python.errors import BacklogFull
from clients.python.view import Views
from protocol.codec import CommandReader, decode_server, encode_hello, encode_input
from protocol.errors import ErrorCode, InvalidArgument, MalformedMessage, UnknownMessage
from protocol.messages import Ack, Bye, Error, Input, Pong, Receipt, ServerMessage, ViewDigest, Welcome, You
from protocol.schema import CommandSchema

# What an argument of a command may be.
Value = int | float | bool | str | tuple[int, int]

# Where another client spoke: more than it can have under way, so that no number is given twice.
UNHEARD_INPUTS_MAX: Final = 65_536


def _whoever(_here: int, _region: int, handle: int) -> int:
    """The server knows who that is."""
    return handle


class Conversation:
    """What one session knows and has yet to say, across its connections."""

    def __init__(self, name: str | None, token: str | None, resume: str | None, inputs_max: int) -> None:
        # Set by WELCOME.
        self.welcome: Welcome | None = None
        self.view: Views
        self.clock: ServerClock
        # WELCOME of the present connection has come.
        self.joined = False
        # Why the server is about to close.
        self.bye: Bye | None = None
        # Last sequence number given out, and last that the server has processed.
        self.seq = 0
        self.acked = 0
        # Frames that no socket has taken yet. Bounded: inputs by `inputs_max`, the rest by who awaits an answer.
        self.outbox: deque[bytes] = deque()
        # Answers to what is not sent again, for whoever asks to take: the game come back to has no such command, the
        # session is another one, or another client spoke in it.
        self.void: list[Error] = []
        self._name = name
        self._token = token
        self._resume = resume
        self._inputs_max = inputs_max
        # Inputs that have no ACK yet, and reliable ones that have no RECEIPT, by number; a resumed session sends them
        # again. An ACK alone is no promise: a server that dies takes back what was not durable.
        # By name: a game of another version may number them otherwise.
        self._pending: dict[int, tuple[str, dict[str, Value]]] = {}
        self._reliable: set[int] = set()
        self._commands: dict[str, CommandSchema] = {}
        self._reader: CommandReader

    def begin(self) -> None:
        """A connection stands: HELLO is the first to go."""
        self.joined = False
        self.bye = None
        self.outbox.clear()
        self._hello()

    def command(self, name: str, args: Mapping[str, Value]) -> int:
        """Give a command its sequence number, and send it where a connection stands.

        An entity is (region, handle), or its handle in the region of one's own.

        Raises UnknownMessage, InvalidArgument, BacklogFull; then nothing was sent.
        """
        known = self._known(name)
        kept = dict(args)
        for place in known.entities:
            entity = known.args[place].name
            if type(handle := kept.get(entity)) is int:
                kept[entity] = (self.view.entity[0], handle)
        frame = self._encoded(self.seq + 1, name, kept)
        if len(self._pending) >= self._inputs_max:
            raise BacklogFull(f"{self._inputs_max} inputs wait for their ACK or RECEIPT")
        self.seq += 1
        if known.reliable:
            self._reliable.add(self.seq)
        self._pending[self.seq] = name, kept
        if self.joined:
            self.outbox.append(frame)
        return self.seq

    def receive(self, data: bytes, now_s: float) -> ServerMessage | None:
        """Take one frame; returns its message, None for one that a later server added. Raises ProtocolErrors."""
        try:
            message = decode_server(data)
        except UnknownMessage:
            return None
        match message:
            case Welcome():
                self._welcomed(message, now_s)
            case Error(code, _, seq):
                self._forget(seq or 0)
                if code == ErrorCode.RESUME_FAILED:
                    self._resume = None
                    self._hello()
            case Bye():
                self.bye = message
            case Pong() if not self.joined:
                pass
            case _ if self.joined:
                self._joined(message, now_s)
            case _:
                raise MalformedMessage(f"{type(message).__name__} before WELCOME")
        return message

    def agrees(self, digest: ViewDigest) -> bool:
        """Is the view what the server says it must be? To be asked before the next frame is received."""
        view = self.view.get(digest.region)
        return view is not None and view.digest() == (digest.count, digest.crc)

    def _hello(self) -> None:
        self.outbox.append(encode_hello(token=self._token, resume=self._resume, name=self._name))

    def _joined(self, message: ServerMessage, now_s: float) -> None:
        match message:
            case Ack(seq):
                self.acked = seq
                self._acked(seq)
            case Receipt(seq):
                self._forget(seq)
            case Pong(client_time):
                self.clock.pong(message, now_s - client_time / 1000, now_s)
            case You(region):
                before, _ = self.view.entity
                self.view.apply(message)
                tick = self.view[region].tick
                # Each region counts its own ticks; what was measured of the other's means nothing here.
                if region != before and tick is not None:
                    self.clock.begin(tick, now_s)
            case _:
                self.view.apply(message)

    def _welcomed(self, message: Welcome, now_s: float) -> None:
        highest = max(message.ack, message.taken)
        known = self.welcome is not None and self.welcome.session == message.session
        # What is above all that was sent here another client sent.
        goes_on = message.resumed and known and highest <= self.seq
        self.welcome = message
        self.joined = True
        self._resume = message.resume
        self.view = Views(message)
        self.clock = ServerClock(message.tick, message.tick_rate_hz, now_s)
        self._commands = {c.name: c for c in message.schema.commands}
        self._reader = CommandReader(message.schema, _whoever)
        self.acked = message.ack
        if goes_on:
            self._acked(message.ack)
            self._send_again()
        else:
            # Said again, it might be taken for another client's, whose inputs may be under way still.
            for seq in list(self._pending):
                self._void(seq, ErrorCode.RESUME_FAILED, "the session could not be gone on with")
            self.seq = highest + UNHEARD_INPUTS_MAX if message.resumed else 0

    def _known(self, name: str) -> CommandSchema:
        known = self._commands.get(name)
        if known is None:
            raise UnknownMessage(f"there is no command {name!r}")
        return known

    def _encoded(self, seq: int, name: str, args: Mapping[str, Value]) -> bytes:
        """The frame of a command that the game takes; raises UnknownMessage, InvalidArgument."""
        known = self._known(name)
        names = [a.name for a in known.args]
        if args.keys() != set(names):
            raise InvalidArgument(f"{name} takes {names}, not {sorted(args)}")
        values = [args[n] for n in names]
        self._reader.read(Input(seq, known.id, values))
        return encode_input(seq, known.id, values)

    def _send_again(self) -> None:
        for seq, (name, args) in list(self._pending.items()):
            try:
                self.outbox.append(self._encoded(seq, name, args))
            except (UnknownMessage, InvalidArgument) as why:
                self._void(seq, why.code, str(why))

    def _acked(self, seq: int) -> None:
        self._pending = {n: command for n, command in self._pending.items() if n > seq or n in self._reliable}

    def _void(self, seq: int, code: int, why: str) -> None:
        self._forget(seq)
        self.void.append(Error(code, why, seq))

    def _forget(self, seq: int) -> None:
        self._pending.pop(seq, None)
        self._reliable.discard(seq)
