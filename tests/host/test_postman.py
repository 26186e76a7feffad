"""Mail over a bad bus between shards that die: each letter taken once, in order, and all of them in the end."""

import random
from collections import Counter
from functools import partial

import numpy as np
import pytest
from structlog.testing import capture_logs

from server.bus.memory import MemoryBus
from server.host.host import HostOptions, ShardHost
from server.host.postman import MailOptions, Postman, decode_packet, encode_packet
from server.host.recovery import recover
from server.observe.health import Health
from server.observe.metrics import Metrics
from server.shard.errors import MailError
from server.shard.journal import JournalRecord
from server.shard.mail import ACK, NO_ACKS, Lane, Letter
from server.shard.ports import mail_topic
from server.store.errors import Fenced
from server.store.memory import MemoryJournal
from server.store.memory_checkpoints import MemoryCheckpoints
from tests.support.clock import VirtualClock
from tests.support.faulty import FaultyNetwork
from tests.support.gossip import Gossip
from tests.support.orders import batch

TICK_S = 0.05


class Node:
    """A shard with a store of its own, and its lives."""

    def __init__(self, world, shard):
        self.world, self.shard = world, shard
        self.journal = MemoryJournal(hold=True, keep_max=1_000_000)
        self.store = MemoryCheckpoints()
        self.nudges = 0
        self.deaths = 0

    def make(self):
        return Gossip(self.shard, self.world.shards, stop_tick=self.world.stop_tick)

    async def start(self):
        recovered = await recover(self.make, self.journal, self.store, self.world.clock)
        self.machine = recovered.machine
        self.host = ShardHost(
            self.machine,
            self.journal,
            self.world.network.end(str(self.shard)),
            self.world.clock,
            HostOptions(20.0, 5, 1000, 8, "pipelined", 1, digest_every_ticks=7, mail=self.world.options),
            Metrics(),
            Health(self.world.clock.now_s),
            claim=recovered.claim,
            jitter=self.world.rng.random,
        )

    async def die(self):
        """What is not durable is gone."""
        self.deaths += 1
        self.host.close()
        self.journal = self.journal.reopened()
        await self.start()

    def tick(self, *, nudge):
        if nudge:
            # What the last life of this node had taken in vain is said again, as a gateway would.
            self.nudges = self.machine.seq + 1
            data = batch(self.machine.shapes, [("nudge", 1, self.nudges, self.world.rng.randrange(2**32))])
            # Past the network: it is not the commands that are tried here.
            self.host._on_commands(data)
        self.host.tick_once()


class World:
    """Some shards on one network. `die`: chance of a death per node and step."""

    def __init__(
        self, seed, shards=(1, 2), *, stop_tick=150, die=0.02, disk=(None, None, 0, 1, 2), options=None, **faults
    ):
        self.rng = random.Random(seed)
        self.network = FaultyNetwork(self.rng, **faults)
        self.clock = VirtualClock()
        self.shards, self.stop_tick, self.die = tuple(shards), stop_tick, die
        # How many records become durable after a tick, one of these by chance; None: all.
        self.disk = disk
        self.options = options or MailOptions()
        self.nodes = [Node(self, shard) for shard in shards]

    async def start(self):
        for node in self.nodes:
            await node.start()
        return self

    async def step(self):
        self.clock.work(TICK_S)
        for node in self.rng.sample(self.nodes, len(self.nodes)):
            self.network.advance(self.clock.now_s())
            if self.rng.random() < self.die:
                await node.die()
            node.tick(nudge=self.rng.random() < 0.3 and node.machine.tick < self.stop_tick)
            node.journal.sync(self.rng.choice(self.disk))
            if self.rng.random() < self.die:
                await node.die()

    async def run(self):
        while min(node.machine.tick for node in self.nodes) < self.stop_tick:
            await self.step()

    async def drain(self, steps_max=600):
        """The faults end; what is still under way gets there."""
        self.network.heal()
        self.die = 0.0
        for n in range(steps_max):
            if not any(node.machine.post.unacked() or node.journal.backlog for node in self.nodes):
                return n
            await self.step()
        raise AssertionError([node.machine.post.unacked() for node in self.nodes])

    def check(self):
        """What was sent is what was taken, stream by stream and byte by byte; no token is lost or doubled."""
        for one in self.nodes:
            for other in self.nodes:
                for lane in Lane:
                    sent = one.machine.sent.get((other.shard, lane))
                    assert other.machine.taken.get((one.shard, lane)) == sent, (one.shard, other.shard, lane)
        tokens = sum(node.machine.tokens + node.machine.tokens_dead() for node in self.nodes)
        assert tokens == 100 * len(self.nodes)
        assert sum(len(node.machine.sent) for node in self.nodes) > 2 * len(self.nodes), "hardly a letter was written"


@pytest.mark.parametrize("seed", range(12))
async def test_exactly_once_in_order_over_a_bad_bus_between_shards_that_die(seed):
    world = await World(seed, loss=0.2, repetition=0.2, delay_s=(0.0, 0.4)).start()
    await world.run()
    await world.drain()
    world.check()
    assert world.network.lost
    assert world.network.repeated
    assert sum(node.deaths for node in world.nodes) > 2


@pytest.mark.parametrize("seed", range(4))
async def test_four_shards_of_which_two_are_cut_off_for_a_while(seed):
    world = await World(seed, shards=(1, 2, 3, 70_000), loss=0.05, delay_s=(0.0, 0.1), die=0.01, stop_tick=200).start()
    for groups in ((), (("1", "2"), ("3",)), (("1", "3", "70000"),)):
        world.network.partition(*groups)
        for _ in range(60):
            await world.step()
    await world.run()
    await world.drain()
    world.check()


@pytest.mark.parametrize("seed", range(4))
async def test_small_windows_and_small_ticks_lose_nothing_either(seed):
    options = MailOptions(letters_per_tick_max=2, bytes_per_tick_max=300, window_letters=3, window_bytes=400)
    world = await World(seed, stop_tick=100, loss=0.2, repetition=0.1, delay_s=(0.0, 0.3), options=options).start()
    await world.run()
    await world.drain(steps_max=3000)
    world.check()


async def test_a_quiet_network_drains_in_a_few_ticks():
    world = await World(1, die=0.0, disk=(None,)).start()
    await world.run()
    assert await world.drain() < 8
    world.check()
    assert all(node.host.postman.counts["resent"] == 0 for node in world.nodes)


async def test_every_crash_point_of_a_tick_leaves_each_letter_sent_once():
    """A letter from a tick without input, and a death before and after each of its records is durable."""
    for deaths in range(40):
        world = await World(7, die=0.0, stop_tick=40).start()
        one, other = world.nodes
        for n in range(40):
            world.clock.work(TICK_S)
            for node in world.nodes:
                world.network.advance(world.clock.now_s())
                node.tick(nudge=False)
            other.journal.sync()
            if n == deaths:
                await one.die()
            one.journal.sync(1)
        # The other way of living: what one nudge changes, everything after shows.
        one.tick(nudge=True)
        await world.drain()
        world.check()


# -- one postman, by hand ------------------------------------------------------------


class Desk:
    """One shard's postman on a bus where the test plays all others."""

    def __init__(self, shard=1, machine=None, **options):
        self.machine = machine or Gossip(shard, (shard,))
        self.clock = VirtualClock()
        self.bus = MemoryBus()
        self.out = []
        for peer in (5, 6):
            self.bus.subscribe(mail_topic(peer), partial(self.note, peer))
        self.postman = Postman(self.machine, self.bus, self.clock, MailOptions(**options), lambda: 1.0)
        self.tick = 0

    def note(self, peer, data):
        self.out.append((peer, *decode_packet(data)[1:]))

    def post(self, lane, first, last, *, to=5, tick=0, size=0):
        self.postman.release([Letter(1, to, lane, n, 16, tick, bytes(size)) for n in range(first, last + 1)], [])

    def arrive(self, lane, *seqs, source=5, size=0):
        letters = [Letter(source, 1, lane, n, 16, 0, bytes(size)) for n in seqs]
        self.bus.publish(mail_topic(1), encode_packet(source, letters, NO_ACKS))

    def ack(self, lane, seq, peer=5):
        self.bus.publish(mail_topic(1), encode_packet(peer, [], np.array([(peer, lane, seq)], ACK)))

    def take(self):
        """(lane, number) of what the next tick takes."""
        self.tick += 1
        self.taken, self.acks = self.postman.take(self.tick)
        return [(x.lane, x.seq) for x in self.taken]

    def deliver(self):
        """(peer, lane, number) of the letters that leave."""
        self.out.clear()
        self.postman.deliver()
        return [(peer, x.lane, x.seq) for peer, letters, _ in self.out for x in letters]

    def acked(self):
        return [(peer, *record) for peer, _, acks in self.out for record in acks.tolist()]


def test_letters_reach_a_tick_in_order_once_and_are_acknowledged_when_it_is_durable():
    desk = Desk()
    desk.arrive(1, 3, 2)
    assert desk.take() == []
    desk.arrive(1, 1, 2)
    assert desk.take() == [(1, 1), (1, 2), (1, 3)]
    taken = desk.taken
    desk.arrive(1, 1, 2, 3)
    assert desk.take() == []
    assert desk.deliver() == []
    assert desk.acked() == [], "nobody is told of what a crash would undo"
    desk.postman.release([], taken)
    desk.deliver()
    assert desk.acked() == [(5, 1, 1, 3)]
    desk.deliver()
    assert desk.acked() == []
    desk.arrive(1, 2)
    desk.deliver()
    assert desk.acked() == [(5, 1, 1, 3)], "the acknowledgement was lost: once more"


def test_a_letter_that_waits_holds_up_its_stream_and_no_other():
    desk = Desk()
    desk.arrive(1, 2, 3)
    desk.arrive(0, 1)
    desk.arrive(1, 1, source=6)
    assert desk.take() == [(0, 1), (1, 1)]
    desk.arrive(1, 1)
    assert desk.take() == [(1, 1), (1, 2), (1, 3)]


def test_lanes_share_a_tick_by_their_worth_and_age():
    desk = Desk(letters_per_tick_max=10, age_ticks=3)
    desk.arrive(2, *range(1, 21))
    first = {}
    for n in range(12):
        # More urgent mail than a tick can take, for ever.
        desk.arrive(0, *range(12 * n + 1, 12 * n + 13))
        for lane, _ in desk.take():
            first.setdefault(lane, n)
    # It came before tick 1, and 2 lanes of 3 ticks each later it goes before what came then.
    assert first[0] == 0
    assert 6 <= first[2] <= 9
    assert desk.postman._in[5, 2].taken == 20


def test_letters_leave_by_worth_and_age_too_and_within_the_ticks_share():
    desk = Desk(letters_per_tick_max=4, age_ticks=2)
    desk.post(Lane.BULK, 1, 3)
    desk.post(Lane.URGENT, 1, 3, tick=3)
    desk.post(Lane.URGENT, 4, 4, tick=5)
    desk.take()
    assert desk.deliver() == [(5, 0, 1), (5, 0, 2), (5, 0, 3), (5, 2, 1)]
    assert desk.deliver() == []
    desk.take()
    assert desk.deliver() == [(5, 2, 2), (5, 2, 3), (5, 0, 4)]


def test_a_share_in_bytes_holds_but_a_large_letter_goes_alone():
    desk = Desk(bytes_per_tick_max=100)
    desk.post(1, 1, 3, size=60)
    desk.post(1, 4, 4, size=500)
    desk.arrive(1, 1, 2, size=500)
    assert desk.take() == [(1, 1)]
    assert desk.deliver() == [(5, 1, 1), (5, 1, 2)]
    assert desk.take() == [(1, 2)]
    assert desk.deliver() == [(5, 1, 3), (5, 1, 4)]


def test_what_is_not_acknowledged_is_sent_again_after_ever_longer_waits():
    desk = Desk(retry_s=1.0, retry_max_s=5.0, window_letters=20)
    desk.post(1, 1, 30)
    assert len(desk.deliver()) == 20
    waits, last_s, sent = [], 0.0, []
    for _ in range(200):
        desk.take()
        desk.clock.work(0.125)
        if again := desk.deliver():
            waits.append(desk.clock.now_s() - last_s)
            last_s = desk.clock.now_s()
            sent.append([seq for _, _, seq in again])
    assert waits[:5] == [1.0, 2.0, 4.0, 5.0, 5.0]
    # Only some, as long as nothing is heard.
    assert sent[:2] == [list(range(1, 9))] * 2
    desk.ack(1, 7)
    assert [seq for _, _, seq in desk.deliver()] == list(range(9, 28))
    assert desk.take() == []
    assert desk.acks.tolist() == [(5, 1, 7)]
    assert desk.postman.unacked == 23


def test_who_begins_anew_says_how_far_it_is_and_what_was_sent_in_vain_comes_at_once():
    machine = Gossip(1, (5,))
    machine.post.take(1, [Letter(5, 1, 1, 1, 16, 0, b"")], NO_ACKS)
    desk = Desk(machine=machine)
    desk.deliver()
    assert desk.acked() == [(5, 1, 1, 1)]
    # And on the other side.
    desk = Desk(retry_s=1.0, retry_max_s=5.0)
    desk.post(1, 1, 3)
    desk.deliver()
    desk.ack(1, 1)
    assert desk.deliver() == []
    # What is under way may have come while the other side moved, and nobody was there to take it.
    desk.ack(1, 1)
    assert desk.deliver() == [(5, 1, 2), (5, 1, 3)]
    assert desk.deliver() == []
    desk.clock.work(2.0)
    assert desk.deliver() == [(5, 1, 2), (5, 1, 3)]
    desk.clock.work(0.125)
    desk.take()
    assert desk.deliver() == []
    desk.ack(1, 1)
    assert desk.deliver() == [(5, 1, 2), (5, 1, 3)]
    assert desk.deliver() == []


def test_what_is_acknowledged_twice_because_it_was_sent_twice_has_nothing_more_sent_twice():
    desk = Desk(retry_s=1.0, retry_max_s=1.0)
    desk.post(1, 1, 1)
    assert desk.deliver() == [(5, 1, 1)]
    desk.clock.work(1.0)
    assert desk.deliver() == [(5, 1, 1)]
    desk.ack(1, 1)
    # Both came; and each of these would be sent twice as well, for the copy of the one before.
    for n in (2, 3, 4):
        desk.post(1, n, n)
        assert desk.deliver() == [(5, 1, n)]
        desk.ack(1, n - 1)
        assert desk.deliver() == []
        desk.ack(1, n)
        desk.clock.work(0.25)
    desk.clock.work(0.25)
    # The other side moves.
    desk.post(1, 5, 5)
    assert desk.deliver() == [(5, 1, 5)]
    desk.ack(1, 4)
    assert desk.deliver() == [(5, 1, 5)]


def test_an_acknowledgement_is_one_ticks_input_and_counts_once():
    desk = Desk()
    desk.post(1, 1, 5)
    desk.deliver()
    desk.ack(1, 2)
    desk.ack(1, 4)
    desk.ack(1, 3)
    desk.take()
    assert desk.acks.tolist() == [(5, 1, 4)]
    desk.ack(1, 4)
    desk.take()
    assert desk.acks.size == 0
    assert desk.postman.unacked == 1


def test_an_acknowledgement_of_what_was_never_sent_is_said_loudly_and_not_believed():
    desk = Desk()
    desk.post(1, 1, 2)
    desk.take()
    for lane, seq in ((1, 3), (0, 1)):
        desk.ack(lane, seq)
    desk.take()
    assert desk.acks.size == 0
    assert desk.postman.unacked == 2
    assert desk.postman.counts["impossible_acks"] == 2
    # What was written before says nothing; what was written since says that nobody else has the shard.
    with capture_logs() as logs:
        desk.postman.durable(1)
    assert logs == []
    with capture_logs() as logs:
        desk.postman.durable(2)
        desk.postman.durable(3)
    assert [(log["log_level"], log["peer"], log["lane"]) for log in logs] == [("error", 5, 1), ("error", 5, 0)]


async def test_an_owner_that_was_overtaken_says_nothing_of_what_its_successor_was_acknowledged():
    world = await World(3, die=0.0).start()
    node = world.nodes[0]
    for _ in range(10):
        world.clock.work(TICK_S)
        node.tick(nudge=True)
        world.network.advance(world.clock.now_s())
    node.journal.sync()
    later = node.journal.reopened()
    # Another has the shard, and its mail is acknowledged to whoever hears it.
    later.claim_now(node.shard)
    peer = next(other.shard for other in world.nodes if other is not node)
    with capture_logs() as logs:
        end = world.network.end("successor's friend")
        end.publish(mail_topic(node.shard), encode_packet(peer, [], np.array([(peer, 1, 10_000)], ACK)))
        world.clock.work(TICK_S)
        world.network.advance(world.clock.now_s())
        assert node.host.postman.counts["impossible_acks"] == 1
        node.tick(nudge=True)
        with pytest.raises(Fenced):
            node.journal.sync()
    assert [log for log in logs if log["log_level"] == "error"] == []


def test_windows_bound_what_is_kept_and_the_next_letter_always_fits():
    desk = Desk(window_letters=4, window_bytes=100)
    desk.arrive(1, 2, 3, 4, 5, 6, size=30)
    assert desk.postman.waiting == 3
    assert desk.postman.counts["beyond_window"] == 2
    desk.arrive(1, 1, size=90)
    assert desk.take() == [(1, 1), (1, 2), (1, 3), (1, 4)]
    desk.arrive(1, 5, 6, size=30)
    assert desk.take() == [(1, 5), (1, 6)]
    assert desk.postman._in[5, 1].waiting_bytes == 0


def test_after_a_recovery_everything_unacknowledged_is_due_at_once():
    machine = Gossip(1, (5,))
    for n in range(3):
        machine.post.send(5, Lane.NORMAL, 16, b"%d" % n)
    machine.post.send(6, Lane.BULK, 16, b"")
    machine.post.take(1, [Letter(5, 1, 1, 1, 16, 0, b"")], np.array([(5, 1, 1), (6, 2, 1)], ACK))
    desk = Desk(machine=machine)
    assert desk.deliver() == [(5, 1, 2), (5, 1, 3)]
    desk.post(Lane.BULK, 2, 2, to=6)
    assert desk.deliver() == [(6, 2, 2)]
    # What the state has taken is taken, and its source may have missed that.
    desk.arrive(1, 1, 2)
    assert desk.take() == [(1, 2)]
    desk.deliver()
    assert desk.acked() == [(5, 1, 1, 1)]


def test_mail_to_oneself_goes_the_same_way():
    desk = Desk()
    desk.post(1, 1, 1, to=1)
    assert desk.take() == []
    desk.deliver()
    assert desk.take() == [(1, 1)]
    desk.postman.release([], desk.taken)
    desk.deliver()
    desk.take()
    assert desk.acks.tolist() == [(1, 1, 1)]
    assert desk.postman.unacked == 0


def test_packets_are_cut_to_size_and_read_back():
    desk = Desk()
    desk.post(1, 1, 5, size=150_000)
    desk.arrive(1, 1)
    desk.take()
    desk.postman.release([], desk.taken)
    desk.deliver()
    assert [len(letters) for _, letters, _ in desk.out] == [2, 2, 1]
    assert desk.acked() == [(5, 1, 1, 1)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x93\x05\x90",
        encode_packet(5, [Letter(6, 1, 1, 1, 16, 0, b"")], NO_ACKS),
        encode_packet(5, [], np.array([(6, 1, 1)], ACK)),
        encode_packet(5, [Letter(5, 1, 3, 1, 16, 0, b"")], NO_ACKS),
        encode_packet(5, [(5, 1, 1)], NO_ACKS),
        encode_packet([5], [], NO_ACKS),
        encode_packet([5], [], np.array([(5, 1, 1)], ACK)),
    ],
)
def test_what_is_no_packet_is_refused_and_counted(data):
    with pytest.raises(MailError):
        decode_packet(data)
    desk = Desk()
    desk.bus.publish(mail_topic(1), data)
    assert desk.postman.counts == Counter(unreadable=1)
    assert desk.take() == []


def test_mail_for_another_is_not_taken():
    desk = Desk()
    desk.bus.publish(mail_topic(1), encode_packet(5, [Letter(5, 2, 1, 1, 16, 0, b"")], NO_ACKS))
    assert desk.take() == []
    assert desk.postman.counts["misdirected"] == 1


# -- the host --------------------------------------------------------------------------


async def test_letters_and_acknowledgements_wait_for_the_journal():
    world = await World(3, die=0.0).start()
    one, other = world.nodes
    heard = []
    for node in world.nodes:
        end = world.network.end("ear")
        end.subscribe(mail_topic(node.shard), lambda data: heard.append(decode_packet(data)))
    for _ in range(30):
        world.clock.work(TICK_S)
        for node in world.nodes:
            node.tick(nudge=False)
        world.network.advance(world.clock.now_s())
        assert heard == []
    for node in world.nodes:
        node.journal.sync()
    world.network.advance(world.clock.now_s())
    assert [source for source, _, _ in heard] == [1, 1, 2, 2] or {s for s, _, _ in heard} == {1, 2}
    one.tick(nudge=False)
    other.tick(nudge=False)
    heard.clear()
    world.network.advance(world.clock.now_s())
    assert all(not acks.size for _, _, acks in heard)
    for node in world.nodes:
        node.journal.sync()
    world.network.advance(world.clock.now_s())
    assert any(acks.size for _, _, acks in heard)


async def test_a_tick_without_input_that_sends_mail_has_a_record():
    world = await World(3, die=0.0).start()
    node = world.nodes[0]
    ticks = {}
    for _ in range(40):
        world.clock.work(TICK_S)
        before = node.machine.tick
        effects = node.host.tick_once()
        ticks[before + 1] = len(effects.mail)
    node.journal.sync()
    records = {record.tick: record for record in node.journal.records(node.shard)}
    assert sum(ticks.values()) > 5
    assert all(tick in records for tick, letters in ticks.items() if letters)
    assert any(record.payload == b"" and record.digest is None for record in records.values())
    assert all(JournalRecord.decode(record.encode()) == record for record in records.values())


async def test_mail_is_counted_for_the_operator():
    world = await World(5, die=0.0).start()
    await world.run()
    await world.drain()
    dead = {}
    for node in world.nodes:
        # They are told once a second.
        while node.machine.tick % 20:
            node.tick(nudge=False)
        dead[node.shard] = len(node.machine.post.dead)
    for node in world.nodes:
        value = node.host._metrics.registry.get_sample_value
        assert value("everstep_mail_total", {"region": str(node.shard), "event": "sent"}) > 5
        assert value("everstep_mail_total", {"region": str(node.shard), "event": "taken"}) > 5
        assert value("everstep_mail_unacked", {"region": str(node.shard)}) is not None
        assert value("everstep_mail_waiting", {"region": str(node.shard)}) == 0
        assert value("everstep_mail_dead", {"region": str(node.shard)}) == dead[node.shard]
