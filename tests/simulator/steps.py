"""The steps of a handoff, found in what the processes of a cluster did, so that each can be met with a crash.

    source                               destination
    journals the tick they leave in
    has it durable
    shows them leave (a frame)
    sends the letter                     hears the letter
                                         journals the tick they come in
                                         has it durable
                                         shows them come (a frame)
    hears the acknowledgement            acknowledges the letter
    journals the tick that takes it
    has it durable

One run of a seed without faults is recorded; as the same seed goes the same way up to the first fault, an effect's
number in the record is where a later run is met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from server.host.postman import decode_packet
from server.regions.frame import Frame
from server.regions.travellers import Travellers
from server.shard.envelope import unseal
from server.shard.machine import TickInput, command_shapes
from server.shard.mail import HANDOFF, Letter
from server.shard.ports import frames_topic, mail_topic
from tests.simulator.cluster import Cluster
from tests.simulator.game import GAME
from tests.simulator.process import Process

_SHAPES = command_shapes(GAME.schema)

STEPS = (
    "source journals the tick they leave in",
    "source has it durable",
    "source shows them leave",
    "source sends the letter",
    "destination hears the letter",
    "destination journals the tick they come in",
    "destination has it durable",
    "destination shows them come",
    "destination acknowledges the letter",
    "source hears the acknowledgement",
    "source journals the tick that takes it",
    "source has that durable",
)


class Effect(NamedTuple):
    """One thing that a process did, its `number`th."""

    process: str
    number: int
    what: str
    detail: object


@dataclass(frozen=True)
class Handoff:
    """Who went over a border, and at which effects."""

    letter: Letter
    source: str
    destination: str
    # Sessions among them.
    passengers: int
    # By step.
    effects: tuple[Effect, ...]


@dataclass
class Recorder:
    """Give `watch` to a run as its `prepare`."""

    effects: list[Effect] = field(default_factory=list)

    def watch(self, cluster: Cluster) -> None:
        observe(cluster, self._note)

    def _note(self, process: Process, number: int, what: str, detail: object, *, done: bool) -> None:
        if not done:
            self.effects.append(Effect(process.name, number, what, detail))

    def handoffs(self) -> Iterator[Handoff]:
        """Those between two processes all of whose steps are there, in order."""
        for number, effect in enumerate(self.effects):
            for letter in _letters(effect):
                if letter.kind == HANDOFF and effect.what == "publish":
                    handoff = self._handoff(letter, number)
                    if handoff is not None and handoff.source != handoff.destination:
                        yield handoff

    def _handoff(self, letter: Letter, sent: int) -> Handoff | None:
        source = self.effects[sent].process
        left = self._find(0, lambda e: e.what == "append" and _record(e, letter.source, letter.tick))
        heard = self._find(sent, lambda e: e.what == "receive" and letter in _letters(e))
        if left is None or heard is None or self.effects[left].process != source:
            return None
        destination = self.effects[heard].process
        came = self._find(heard, lambda e: e.what == "append" and letter in _taken(e, letter.destination))
        if came is None or self.effects[came].process != destination:
            return None
        tick = self.effects[came].detail[0].tick
        acked = self._find(came, lambda e: e.what == "publish" and _acknowledges(e, letter))
        told = self._find(came, lambda e: e.what == "receive" and e.process == source and _acknowledges(e, letter))
        noted = self._find(told or 0, lambda e: e.what == "append" and _notes(e, letter))
        found = (
            left,
            self._find(left, lambda e: e.what == "sync" and _record(e, letter.source, letter.tick)),
            self._find(left, lambda e: _shows(e, letter.source, letter.tick)),
            sent,
            heard,
            came,
            self._find(came, lambda e: e.what == "sync" and _record(e, letter.destination, tick)),
            self._find(came, lambda e: _shows(e, letter.destination, tick)),
            acked,
            told,
            noted,
            noted and self._find(noted, lambda e: e.what == "sync" and self.effects[noted].detail[0] in e.detail),
        )
        passengers = Travellers.decode(letter.payload, GAME).passengers.size
        effects = tuple(self.effects[number] for number in found if number)
        return Handoff(letter, source, destination, passengers, effects) if len(effects) == len(STEPS) else None

    def _find(self, since: int, true: Callable[[Effect], bool]) -> int | None:
        return next((n for n in range(since, len(self.effects)) if true(self.effects[n])), None)


def observe(cluster: Cluster, observer: Callable[..., None]) -> None:
    """Have the observer told of every effect of every process of a node."""
    cluster.on_start.append(lambda process: setattr(process, "observer", observer))


def _letters(effect: Effect) -> list[Letter]:
    if effect.what not in ("publish", "receive") or not effect.detail[0].startswith("mail/"):
        return []
    return decode_packet(effect.detail[1])[1]


def _acknowledges(effect: Effect, letter: Letter) -> bool:
    topic, payload = effect.detail
    if topic != mail_topic(letter.source):
        return False
    source, _, acks = decode_packet(payload)
    return source == letter.destination and any(
        lane == letter.lane and seq >= letter.seq for _, lane, seq in acks.tolist()
    )


def _record(effect: Effect, shard: int, tick: int) -> bool:
    return any((record.shard, record.tick) == (shard, tick) for record in effect.detail)


def _inputs(effect: Effect, shard: int) -> TickInput | None:
    (record,) = effect.detail
    return (
        TickInput.decode(record.payload, _SHAPES, record.format) if record.shard == shard and record.payload else None
    )


def _taken(effect: Effect, shard: int) -> tuple[Letter, ...]:
    inputs = _inputs(effect, shard)
    return inputs.mail if inputs is not None else ()


def _notes(effect: Effect, letter: Letter) -> bool:
    inputs = _inputs(effect, letter.source)
    return inputs is not None and any(
        (peer, lane) == (letter.destination, letter.lane) and seq >= letter.seq
        for peer, lane, seq in inputs.acks.tolist()
    )


def _shows(effect: Effect, shard: int, tick: int) -> bool:
    if effect.what != "publish" or effect.detail[0] != frames_topic(shard):
        return False
    frame = Frame.decode(unseal(effect.detail[1])[1], GAME.schema)
    return frame.tick == tick and not frame.key
