"""The machine: what a shard runs, and what goes in and comes out of one tick.

    state(t+1), effects(t) = step(state(t), inputs(t))

A region, a match, the realm are machines. The host journals inputs before it calls `step`
and carries out the effects after; the machine knows neither journal nor network.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, Protocol

import msgpack
import numpy as np
from numpy.typing import NDArray

from protocol.schema import Argument, CommandSchema, Schema
from server.shard.errors import BatchError, MailError
from server.shard.journal import FORMAT
from server.shard.mail import ACK, NO_ACKS, Acks, Letter, Post, letter_of

# The engine's own commands. They lie in batches like any game's; a client can't send them.
JOIN: Final = 1
LEAVE: Final = 2
PRESENCE: Final = 3
REPLAY_LETTER: Final = 4
DROP_LETTER: Final = 5
CHAIN: Final = 6
DIVIDE: Final = 7
CLOCK: Final = 8
CLAIM: Final = 9

# What PRESENCE says of a session: its connection broke, or stands. And to the shard's host alone, which passes it over:
# the gateway has heard that the session is another's.
AWAY: Final = 0
HERE: Final = 1
LET_GO: Final = 2

NAME_BYTES: Final = 24
PLAYER_BYTES: Final = 64

SYSTEM_COMMANDS: Final = (
    # A session enters the world: who it is for the game's books, and what it is called.
    CommandSchema(
        JOIN,
        "join",
        (Argument("player", "utf8", size=PLAYER_BYTES), Argument("name", "utf8", size=NAME_BYTES)),
        latest_wins=True,
        reliable=False,
    ),
    # A session leaves for good.
    CommandSchema(LEAVE, "leave", (), latest_wins=True, reliable=False),
    # Its connection broke, or is back; of several in a tick the newest counts.
    CommandSchema(PRESENCE, "presence", (Argument("here", "u8"),), latest_wins=True, reliable=False),
    # An operator has a dead letter sent again, or forgotten; see Post.replay and Post.drop.
    CommandSchema(REPLAY_LETTER, "replay_letter", (Argument("number", "u32"),), latest_wins=False, reliable=False),
    CommandSchema(DROP_LETTER, "drop_letter", (Argument("number", "u32"),), latest_wins=False, reliable=False),
    # Of a session's first command in a batch: the number of the one before it, 0 where nothing before it is missing.
    # For the inbox, which takes no command whose predecessor it did not have; no tick is given any.
    CommandSchema(CHAIN, "chain", (Argument("before", "u32"),), latest_wins=False, reliable=False),
    # A region is to be divided into four (1), or to be one again (0); of several in a tick the last counts.
    CommandSchema(DIVIDE, "divide", (Argument("divide", "u8"),), latest_wins=False, reliable=False),
    # The world's clock is so many ticks ahead of the shard's own; it never goes back.
    CommandSchema(CLOCK, "clock", (Argument("ahead", "u32"),), latest_wins=False, reliable=False),
    # A gateway speaks for the session: when its player came there, in milliseconds of the gateway's own clock, modulo
    # 2**32. For the shard's host, which gives the session to the gateway that the player came to last; no tick is
    # given any.
    CommandSchema(CLAIM, "claim", (Argument("came_ms", "u32"),), latest_wins=True, reliable=False),
)

# Structured records, (n,), of CommandSchema.dtype: session, seq, arguments.
Records = NDArray[np.void]


def command_shapes(schema: Schema) -> dict[int, CommandSchema]:
    """Every command a region of this game takes, by number: the engine's, then the game's."""
    return {c.id: c for c in (*SYSTEM_COMMANDS, *schema.commands)}


@dataclass(frozen=True, slots=True)
class TickInput:
    """All that a tick is given, in one total order: by kind, then session, then sequence number."""

    # Kind -> (n,) records sorted by (session, seq); kinds ascending, none empty.
    batches: Mapping[int, Records]
    # Highest sequence number each session has had taken, superseded commands included:
    # (n,) records of PROCESSED, sorted by session.
    processed: Records
    # By (source, lane, seq), each the next of its stream.
    mail: tuple[Letter, ...] = ()
    # How far others have taken what this shard sent: by (peer, lane), one record each.
    acks: Acks = field(default_factory=lambda: NO_ACKS)

    @property
    def empty(self) -> bool:
        """Nothing came: the tick needs no record."""
        return not (self.batches or self.processed.size or self.mail or self.acks.size)

    def encode(self) -> bytes:
        """Canonical bytes: equal inputs have equal bytes. Without mail they are what they were before there was any."""
        parts: list[object] = [encode_batches(self.batches), self.processed.tobytes()]
        if self.mail or self.acks.size:
            parts += [self.mail, self.acks.tobytes()]
        encoded: bytes = msgpack.packb(parts)
        return encoded

    @classmethod
    def decode(cls, data: bytes, shapes: Mapping[int, CommandSchema], format: int = FORMAT) -> TickInput:
        """Read what `encode` wrote, or an earlier version; `format`: that of the journal record. Raises BatchError."""
        try:
            batches, processed, *rest = msgpack.unpackb(data)
            commands = decode_batches(batches, shapes, format), np.frombuffer(processed, PROCESSED)
            if not rest:
                return cls(*commands)
            mail, acks = rest
            return cls(*commands, _ordered(letter_of(parts) for parts in mail), np.frombuffer(acks, ACK))
        except (ValueError, TypeError, MailError) as error:
            raise BatchError(f"not a tick's input: {error}") from error


PROCESSED: Final = np.dtype([("session", "<u8"), ("seq", "<u4")])
NOTHING: Final = TickInput({}, np.zeros(0, PROCESSED))


def _ordered(mail: Iterable[Letter]) -> tuple[Letter, ...]:
    letters = tuple(mail)
    if any(a[:4] >= b[:4] for a, b in pairwise(letters)):
        raise MailError("mail out of order")
    return letters


def encode_batches(batches: Mapping[int, Records]) -> bytes:
    """Command batches as bytes, kinds ascending: what a gateway sends and a journal keeps."""
    encoded: bytes = msgpack.packb([[kind, batches[kind].tobytes()] for kind in sorted(batches)])
    return encoded


def decode_batches(data: bytes, shapes: Mapping[int, CommandSchema], format: int = FORMAT) -> dict[int, Records]:
    """Read what `encode_batches` wrote, and nothing else: kinds ascending, none empty. Raises BatchError.

    Of a journal record of format 1 they are records of CommandSchema.handles_dtype.
    """
    batches: dict[int, Records] = {}
    newest = -1
    try:
        for kind, raw in msgpack.unpackb(data):
            # `type(...) is`: True and 1.0 would find command 1, and be journalled as other bytes.
            if type(kind) is not int or kind <= newest or not raw:
                raise BatchError(f"not a command batch: kind {kind!r} after {newest}, {len(raw)} bytes")
            shape = shapes[kind]
            batches[kind] = np.frombuffer(raw, shape.dtype if format > 1 else shape.handles_dtype)
            newest = kind
    except (ValueError, TypeError, KeyError) as error:
        raise BatchError(f"not a command batch: {error!r}") from error
    return batches


@dataclass(frozen=True, slots=True)
class Effects:
    """What a tick leads to. The host carries it out, journal first."""

    tick: int
    # The frame for replicas, encoded; leaves at once, or with `durability = "strict"` once durable.
    frame: bytes
    # Reliable commands done: (n,) records of PROCESSED. Leave only once the tick is durable.
    receipts: Records = field(default_factory=lambda: np.zeros(0, PROCESSED))
    # What this tick sent, each stream in order. Leaves only once the tick is durable.
    mail: tuple[Letter, ...] = ()


# What a state was made under, beside its game: the seed, the region's bounds, the tick rate. Any of them changed,
# the same input would give another state.
Terms = Mapping[str, int | float | str]


@dataclass(frozen=True, slots=True)
class Capture:
    """A state between two ticks, taken out of its machine: nothing in it changes when the machine goes on."""

    game: str
    # The game version whose state it is.
    simulation: int
    # Ticks made.
    tick: int
    terms: Terms
    # What determinism depends on where it was taken: versions, byte order, how floats behave.
    fingerprint: Mapping[str, str]
    # Every array that is state, by name.
    arrays: Mapping[str, NDArray[Any]]


class Machine(Protocol):
    """A deterministic state machine. All methods are pure but for the machine's own state."""

    @property
    def shard(self) -> int:
        """The shard's number."""

    @property
    def tick(self) -> int:
        """Ticks made; 0 after init."""

    @property
    def world_tick(self) -> int:
        """The world's clock as of the last tick, in ticks; `tick`, where CLOCK never said otherwise."""

    @property
    def simulation(self) -> int:
        """The version whose replay of the same input is the same state."""

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """What determinism depends on here; see Capture."""

    @property
    def shapes(self) -> Mapping[int, CommandSchema]:
        """The commands it takes."""

    @property
    def post(self) -> Post:
        """Its mail, part of its state; only asked from outside, never told."""

    def high_water(self, sessions: NDArray[np.uint64]) -> NDArray[np.int64]:
        """(n,) int64: last sequence number applied for each session, -1 for a session it does not know."""

    def attending(self) -> Collection[int]:
        """The sessions that are here."""

    @property
    def restless(self) -> bool:
        """Whether something is under way that only ticks bring to an end, so that it must not be left alone."""

    def find(self, session: int, player: bytes) -> bytes | None:
        """What is known of this session, or else of the one that this account plays: for whoever takes it over.

        None where neither is here. An empty `player` is nobody's.
        """

    def sending(self, session: int, player: bytes) -> bool:
        """Whether it is on its way from here to another shard, which has not said that it came."""

    def step(self, inputs: TickInput) -> Effects:
        """Advance by one tick."""

    def replay(self, inputs: TickInput) -> None:
        """Advance by one tick that had its effects before: the same state as `step`, sooner."""

    def keyframe(self) -> bytes:
        """An encoded frame from which an empty replica can start, as of the last tick."""

    def capture(self, spare: Capture | None = None) -> Capture:
        """The whole state, copied; at most 2 ms for 100,000 entities, for the next tick waits.

        `spare`: an earlier capture that nobody reads any more. Its memory may be written over.
        """

    def adopt(self, capture: Capture) -> None:
        """Become the machine it was taken of. Raises CaptureRefused; the machine is then unchanged."""

    def migrated(self, capture: Capture) -> Capture:
        """A capture of another version of the game as one of this version.

        Raises CaptureRefused where the game says no way from there to here.
        """

    def digest(self) -> int:
        """64 bits that differ when any byte of the state does."""

    def gauges(self) -> Mapping[str, float]:
        """Numbers for the operator (entities, sessions); no part of the state."""


def empty_records(shape: CommandSchema) -> NDArray[Any]:
    """(0,) records of this command."""
    return np.zeros(0, shape.dtype)


def differences(written: Mapping[str, object], here: Mapping[str, object]) -> Sequence[str]:
    """What differs between two sets of terms or fingerprints, in words; empty where nothing does."""
    return [
        f"{name} is {here.get(name, 'unknown')} here and was {written.get(name, 'unknown')} where it was written"
        for name in sorted({*written, *here})
        if written.get(name) != here.get(name)
    ]
