"""Several regions stepped by hand: mail is carried, lost, repeated and delayed as a test says; regions die and recover.

A tick's mail and acknowledgements leave when the tick is durable, as a host has it. What a region did after its last
durable tick is gone when it dies.
"""

from __future__ import annotations

import random
from collections import Counter

import numpy as np

from server.regions.frame import Frame
from server.regions.travellers import Travellers
from server.shard.inbox import Inbox
from server.shard.machine import TickInput
from server.shard.mail import ACK, HANDOFF, REFUSAL, unwrap_refusal
from tests.support.march import ATLAS, GAME, region
from tests.support.orders import batch


class Country:
    """Regions of an atlas. `chance`: seeded, for what `carry` does to mail."""

    def __init__(self, atlas=ATLAS, make=region, seed=0):
        self.atlas = atlas
        self.make = make
        self.chance = random.Random(seed)
        self.machines = {r.id: make(r.id) for r in atlas.sites}
        self.checkpoints = {n: m.capture() for n, m in self.machines.items()}
        # Since the checkpoint: inputs, encoded; and of how many of them the journal is durable.
        self.journals = {n: [] for n in self.machines}
        self.durable = dict.fromkeys(self.machines, 0)
        # What leaves with each tick of the journal that is not durable yet.
        self.held = {n: [] for n in self.machines}
        # Under way, in no order: (destination, letter) and (destination, (peer, lane, seq)).
        self.letters, self.acks = [], []
        # What lies at the door: stream -> {seq: letter}; (peer, lane) -> seq.
        self.door = {n: {} for n in self.machines}
        self.acked = {n: {} for n in self.machines}
        self.frames = {n: [] for n in self.machines}

    # -- time --------------------------------------------------------------------

    def tick(self, number, *orders, sync=True):
        """One tick of a region, on what lies at its door; its frame."""
        machine = self.machines[number]
        inbox = Inbox(machine.shapes, 1_000_000, 1_000_000)
        if orders:
            inbox.offer(batch(machine.shapes, orders))
        taken = inbox.take(machine.high_water)
        mail = tuple(sorted(self._next_letters(number)))
        acks = np.array([(*stream, seq) for stream, seq in sorted(self.acked[number].items())], ACK)
        self.acked[number].clear()
        inputs = TickInput(taken.batches, taken.processed, mail, acks)
        self.journals[number].append(inputs.encode())
        effects = machine.step(inputs)
        answers = {(letter.source, letter.lane): letter.seq for letter in mail}
        self.held[number].append((effects.mail, answers))
        if sync:
            self.sync(number)
        frame = Frame.decode(effects.frame, machine.game.schema)
        self.frames[number].append(frame)
        return frame

    def round(self, **orders):
        """One tick of every region, in order of their numbers; all mail is carried after. `r3=[...]`: orders."""
        frames = {n: self.tick(n, *orders.get(f"r{n}", ())) for n in self.machines}
        self.carry()
        return frames

    def sync(self, number):
        """The journal is durable up to here: what waited for it leaves."""
        for mail, answers in self.held[number]:
            self.letters += [(letter.destination, letter) for letter in mail]
            self.acks += [(source, (number, lane, seq)) for (source, lane), seq in answers.items()]
        self.held[number].clear()
        self.durable[number] = len(self.journals[number])

    def checkpoint(self, number):
        self.sync(number)
        self.checkpoints[number] = self.machines[number].capture()
        self.journals[number].clear()
        self.durable[number] = 0

    def crash(self, number):
        """The region dies and comes back from checkpoint and journal."""
        machine = self.make(number)
        machine.adopt(self.checkpoints[number])
        del self.journals[number][self.durable[number] :]
        for payload in self.journals[number]:
            machine.replay(TickInput.decode(payload, machine.shapes))
        self.machines[number] = machine
        self.held[number].clear()
        self.door[number].clear()
        self.acked[number].clear()
        self.send_again(number)

    def send_again(self, number):
        """All that is not acknowledged and of durable ticks is sent once more."""
        held = {letter[:4] for mail, _ in self.held[number] for letter in mail}
        letters = self.machines[number].post.unacked()
        self.letters += [(letter.destination, letter) for letter in letters if letter[:4] not in held]
        if not self.held[number]:
            for (source, lane), seq in self.machines[number].post.received().items():
                self.acks.append((source, (number, lane, seq)))

    def carry(self, lost=0.0, repeated=0.0, late=0.0):
        """Bring what is under way to the doors, but for what is lost or late, in any order."""
        letters, self.letters = self.letters, []
        acks, self.acks = self.acks, []
        self.chance.shuffle(letters)
        for way, all_of_it in ((self.letters, letters), (self.acks, acks)):
            for item in all_of_it:
                if self.chance.random() < late:
                    way.append(item)
                    continue
                if self.chance.random() < repeated:
                    way.append(item)
                if self.chance.random() >= lost:
                    self._deliver(*item)

    def settle(self, rounds=60):
        """Carry everything until nothing is under way. Fails if it never ends."""
        for _ in range(rounds):
            for number in self.machines:
                self.sync(number)
                self.send_again(number)
            self.carry()
            if all(not m.post.unacked() for m in self.machines.values()):
                return
            for number in self.machines:
                self.tick(number)
        raise AssertionError("mail is never done with")

    def _deliver(self, number, item):
        if len(item) == 3:
            peer, lane, seq = item
            self.acked[number][peer, lane] = max(seq, self.acked[number].get((peer, lane), 0))
        else:
            self.door[number].setdefault((item.source, item.lane), {})[item.seq] = item

    def _next_letters(self, number):
        received = self.machines[number].post.received()
        for stream, letters in self.door[number].items():
            seq = received.get(stream, 0) + 1
            while seq in letters:
                yield letters.pop(seq)
                seq += 1
            for old in [s for s in letters if s < seq]:
                del letters[old]

    # -- who is where --------------------------------------------------------------

    def mail(self, kind):
        """Letters of this kind, refused ones too, that their destination has not taken."""
        return letters_of(self.machines, kind)

    def under_way(self):
        """Travellers in letters that their destination has not taken, and those who wait for room."""
        return travellers_of(self.machines)

    def census(self):
        """How often each entity is anywhere, by its number."""
        return census_of(self.machines)

    def players(self):
        """How often each session is anywhere."""
        found = Counter()
        for machine in self.machines.values():
            found.update(machine.sessions.known()["session"].tolist())
        for travellers in self.under_way():
            found.update(travellers.passengers["session"].tolist())
        return found

    def find(self, number):
        """(region, row) of an entity, by its number; None while it is under way, or if it is no more."""
        for region_number, machine in self.machines.items():
            row = int(machine.world.rows_by_id(np.array([number], np.uint64))[0])
            if row >= 0:
                return region_number, row
        return None


def letters_of(machines, kind):
    """Letters of this kind, refused ones too, that their destination among these regions has not taken."""
    for number, machine in machines.items():
        for letter in machine.post.unacked():
            taken = machines[letter.destination].post.received().get((number, letter.lane), 0)
            if letter.seq > taken:
                ours = unwrap_refusal(letter)[0] if letter.kind == REFUSAL else letter
                if ours.kind == kind:
                    yield ours


def travellers_of(machines):
    """Those between these regions: in letters that their destination has not taken, and those who wait for room."""
    for letter in letters_of(machines, HANDOFF):
        yield Travellers.decode(letter.payload, machines[letter.source].game)
    for machine in machines.values():
        for _, payload in machine.borders._waiting:
            yield Travellers.decode(payload, machine.game)


def census_of(machines):
    """How often each entity is anywhere, by its number."""
    found = Counter()
    for machine in machines.values():
        found.update(machine.world.id_of(np.flatnonzero(machine.world.alive)).tolist())
    for travellers in travellers_of(machines):
        found.update(travellers.arrays["@id"].tolist())
    return found


__all__ = ["ATLAS", "GAME", "Country", "census_of", "travellers_of"]
