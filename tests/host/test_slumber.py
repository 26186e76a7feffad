"""A shard that nobody looks at sleeps, and what wakes it is never lost."""

import asyncio
import random

import msgpack
import pytest

from server.bus.memory import MemoryBus
from server.host.checkpoints import Checkpoints
from server.host.host import HostOptions, ShardHost
from server.host.postman import MailOptions, encode_packet
from server.host.reception import ReceptionOptions
from server.host.recovery import recover
from server.observe.health import Health
from server.observe.metrics import Metrics
from server.regions.frame import Frame
from server.shard.envelope import unseal
from server.shard.mail import NO_ACKS, REFUSAL, Lane, Letter
from server.shard.ports import commands_topic, frames_topic, keyframes_topic, links_topic, mail_topic, uplink_topic
from server.shard.uplink import Answer, Outgoing
from server.store.errors import Fenced, StoreFailed
from server.store.memory import MemoryJournal
from server.store.memory_checkpoints import MemoryCheckpoints
from tests.support.faulty import FaultyNetwork
from tests.support.gossip import Gossip
from tests.support.orders import batch
from tests.support.pasture import GAME, REGION, pasture
from tests.support.virtual_loop import LoopTime, run

SHARD = REGION.id
RATE_HZ = 20.0
AFTER_S = 10.0


class Ward:
    """A machine in a host that sleeps when left alone, on virtual time."""

    def __init__(
        self, machine=None, *, bus=None, journal=None, claim=None, store=None, after_s=AFTER_S, durability="pipelined"
    ):
        self.clock = LoopTime()
        self.bus = bus or MemoryBus()
        self.journal = journal or MemoryJournal(keep_max=100_000)
        self.machine = machine or pasture()
        self.shard = self.machine.shard
        self.metrics = Metrics()
        self.health = Health(self.clock.now_s)
        self.store = store or MemoryCheckpoints()
        options = HostOptions(
            tick_rate_hz=RATE_HZ,
            catch_up_ticks_max=5,
            inbox_max=1000,
            commands_per_tick_max=8,
            durability=durability,
            simulation=self.machine.simulation,
            mail=MailOptions(retry_s=0.2),
            reception=ReceptionOptions(gateway_silence_s=2.0, grace_s=5.0),
            hibernate_after_s=after_s,
        )
        self.host = ShardHost(
            self.machine,
            self.journal,
            self.bus,
            self.clock,
            options,
            self.metrics,
            self.health,
            claim=claim or self.journal.claim_now(self.shard),
        )
        # So seldom that none is due by itself before it sleeps.
        self.checkpoints = Checkpoints(
            self.host, self.journal, self.store, self.clock, self.metrics, every_s=60.0, kept=2
        )
        self.frames = []
        if machine is None:
            self.bus.subscribe(
                frames_topic(self.shard), lambda d: self.frames.append(Frame.decode(unseal(d)[1], GAME.schema))
            )
        self.task = None

    async def __aenter__(self):
        self.task = asyncio.create_task(self.host.run())
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        await asyncio.wait([self.task])
        await self.checkpoints.close()
        self.host.close()

    @property
    def asleep(self):
        return self.host.slumber.asleep

    async def until(self, condition, within_s=60.0):
        due_s = self.clock.now_s() + within_s
        while not condition():
            if self.task.done():
                self.task.result()
            assert self.clock.now_s() < due_s, f"at tick {self.machine.tick}"
            await asyncio.sleep(0.01)

    async def sleeps(self):
        await self.until(lambda: self.asleep)

    def metric(self, name):
        return self.metrics.registry.get_sample_value(name, {"region": str(self.shard)})


def join(ward, session=7):
    return batch(ward.machine.shapes, [("join", session, 0, b"account", b"Ada")])


class Gateway:
    """One that is there as long as it says so."""

    def __init__(self, ward):
        self.ward, self.out, self.answers = ward, Outgoing(99), []
        ward.bus.subscribe(links_topic(99), self._hear)

    def _hear(self, data):
        self.answers.append(Answer.decode(data))
        self.out.hear(self.answers[-1], self.ward.clock.now_s())

    def send(self, data):
        self.ward.bus.publish(uplink_topic(SHARD), self.out.send(data, self.ward.clock.now_s()))

    def beat(self):
        for packet in self.out.due(self.ward.clock.now_s()):
            self.ward.bus.publish(uplink_topic(SHARD), packet)


# -- falling asleep ------------------------------------------------------------------------


@pytest.mark.parametrize("durability", ["pipelined", "strict"])
def test_left_alone_it_makes_a_last_tick_with_a_digest_and_a_checkpoint_and_then_none(durability):
    async def main():
        async with Ward(durability=durability) as ward:
            await asyncio.sleep(AFTER_S - 0.5)
            assert not ward.asleep
            await ward.sleeps()
            tick = ward.machine.tick
            assert tick == pytest.approx(AFTER_S * RATE_HZ, abs=3)
            assert ward.host.durable_tick == tick, "the last tick has a record of its own"
            await asyncio.sleep(3600)
            assert (ward.machine.tick, ward.host.journalled_tick) == (tick, tick)
            assert len(ward.frames) == tick
            assert [m.tick for m in await ward.store.manifests(SHARD)] == [tick - 1]
            # Whoever takes it over has it as it is, at once.
            found = await recover(pasture, ward.journal.reopened(), ward.store, ward.clock)
            assert (found.machine.tick, found.machine.digest()) == (tick, ward.machine.digest())
            assert found.report.ticks_replayed == found.report.digests_checked == 1

    run(main())


def test_it_is_asleep_and_not_stalled():
    async def main():
        async with Ward() as ward:
            await ward.sleeps()
            await asyncio.sleep(3600)
            verdict = ward.health.judge()
            assert (verdict.alive, verdict.ready, verdict.reasons, verdict.asleep) == (True, True, (), (SHARD,))
            assert ward.metric("everstep_asleep") == 1
            assert ward.metric("everstep_tick_rate_hz") == 0
            assert ward.metric("everstep_dilation") == 1
            assert ward.metric("everstep_checkpoint_age_seconds") <= 0.05, "what sleeps does not grow older"
            ward.bus.publish(keyframes_topic(SHARD), b"")
            await asyncio.sleep(1.5)
            assert ward.health.judge().asleep == ()
            assert ward.metric("everstep_asleep") == 0
            assert ward.metric("everstep_tick_rate_hz") == pytest.approx(RATE_HZ)
            assert ward.metric("everstep_checkpoint_age_seconds") <= 2

    run(main())


def test_what_letters_led_to_is_told_before_it_sleeps_on():
    async def main():
        async with Ward() as ward:
            await ward.sleeps()
            tick = ward.machine.tick
            refused = msgpack.packb([1, 60_000, 1, "nobody knows it", b"cargo"])
            letter = Letter(SHARD + 1, SHARD, Lane.NORMAL, 1, REFUSAL, 1, refused)
            ward.bus.publish(mail_topic(SHARD), encode_packet(SHARD + 1, [letter], NO_ACKS))
            await ward.until(lambda: ward.machine.tick > tick and ward.asleep)
            assert ward.machine.tick // RATE_HZ == tick // RATE_HZ, "it was not awake for a second"
            assert len(ward.machine.post.dead) == 1
            assert ward.metric("everstep_mail_dead") == 1

    run(main())


def test_told_never_to_it_never_does():
    async def main():
        async with Ward(after_s=0.0) as ward:
            await asyncio.sleep(100)
            assert ward.machine.tick == pytest.approx(100 * RATE_HZ, abs=2)
            assert ward.host.slumber.count == 0

    run(main())


class Shaky(MemoryCheckpoints):
    """One that takes a checkpoint when it is told to, and fails when it is told to."""

    def __init__(self):
        super().__init__()
        self.takes, self.fails = asyncio.Event(), 0

    async def write(self, manifest, chunks):
        await self.takes.wait()
        if self.fails:
            self.fails -= 1
            raise StoreFailed("no room")
        await super().write(manifest, chunks)


def test_it_does_not_fall_asleep_with_a_checkpoint_that_it_has_outlived():
    async def main():
        store = Shaky()
        async with Ward(store=store) as ward:
            gateway = Gateway(ward)
            while not ward.checkpoints.busy:
                gateway.beat()
                await asyncio.sleep(0.5)
            await asyncio.sleep(30)
            assert not ward.asleep
            store.takes.set()
            await ward.sleeps()
            await ward.checkpoints.settle()
            tick = ward.machine.tick
            # Of this moment, but for a tick or two.
            assert max(m.tick for m in await store.manifests(SHARD)) >= tick - 2

    run(main())


def test_a_checkpoint_that_fails_as_it_falls_asleep_is_made_when_it_wakes():
    async def main():
        store = Shaky()
        store.takes.set()
        store.fails = 1
        async with Ward(store=store) as ward:
            await ward.sleeps()
            await ward.checkpoints.settle()
            await asyncio.sleep(3600)
            assert await store.manifests(SHARD) == []
            tick = ward.machine.tick
            ward.bus.publish(keyframes_topic(SHARD), b"")
            await ward.until(lambda: ward.machine.tick > tick)
            await ward.checkpoints.settle()
            assert [m.tick for m in await store.manifests(SHARD)] == [tick]

    run(main())


def test_a_shard_that_comes_from_elsewhere_has_waited_for_its_next_tick():
    async def main():
        async with Ward() as first:
            began_s = first.clock.now_s()
            await first.until(lambda: first.machine.tick == 1)
            assert first.clock.now_s() - began_s == pytest.approx(0.05, abs=0.011)
        async with Ward(first.machine, journal=first.journal) as ward:
            began_s = ward.clock.now_s()
            await ward.until(lambda: ward.machine.tick == 2)
            assert ward.clock.now_s() - began_s < 0.011
            await ward.until(lambda: ward.machine.tick == 6)
            assert ward.clock.now_s() - began_s == pytest.approx(0.2, abs=0.011)

    run(main())


def test_it_does_not_sleep_while_a_gateway_looks_or_a_player_is_waited_for():
    async def main():
        async with Ward() as ward:
            gateway = Gateway(ward)
            gateway.send(batch(ward.machine.shapes, [("join", 7, 0, b"account", b"Ada"), ("claim", 7, 0, 0)]))
            for _ in range(60):
                await asyncio.sleep(0.5)
                gateway.beat()
            assert not ward.asleep
            assert 7 in ward.machine.attending()
            # The gateway falls silent. Its player has the grace time, leaves, and the rest begins.
            began_s = ward.clock.now_s()
            await ward.sleeps()
            assert not ward.machine.attending()
            assert ward.clock.now_s() - began_s >= 2.0 + 5.0 + AFTER_S
            # Another watches, and has nobody there.
            ward.bus.publish(keyframes_topic(SHARD), b"")
            for _ in range(60):
                await asyncio.sleep(0.5)
                gateway.beat()
            assert not ward.asleep

    run(main())


def test_it_does_not_sleep_before_its_letters_are_acknowledged_nor_while_someone_waits_for_room():
    async def main():
        async with Ward(Gossip(1, (2,), stop_tick=50)) as ward:
            await asyncio.sleep(120)
            assert not ward.asleep, "the other side never answered"
            assert ward.machine.post.unacked()
        lonely = Gossip(1, (2,), stop_tick=0)
        async with Ward(lonely) as ward:
            lonely.restless = True
            await asyncio.sleep(120)
            assert not ward.asleep
            lonely.restless = False
            await ward.sleeps()

    run(main())


def test_a_store_that_falls_behind_is_waited_for():
    async def main():
        journal = MemoryJournal(hold=True, keep_max=1000)
        async with Ward(journal=journal) as ward:
            # The first record of all is not durable.
            await asyncio.sleep(40)
            assert not ward.asleep

            def write(_times, _took_s):
                asyncio.get_running_loop().call_later(0.01, lambda: None if ward.asleep else journal.sync())

            # Each tick's record is, a little later: that is no unrest.
            journal.sync()
            ward.host.after_tick.append(write)
            await ward.sleeps()
            assert ward.host.durable_tick < ward.host.journalled_tick == ward.machine.tick
            # It becomes durable while the shard sleeps, and so does the checkpoint.
            journal.sync()
            await ward.checkpoints.settle()
            assert ward.asleep
            assert ward.checkpoints.tick == ward.machine.tick - 1

    run(main())


def test_time_asleep_counts_as_time_without_work():
    async def main():
        async with Ward() as ward:
            loop = asyncio.get_running_loop()

            def work():
                loop.now_s += 0.4 / RATE_HZ

            ward.host.before_tick.append(work)
            await ward.sleeps()
            assert ward.host.load == pytest.approx(0.4, abs=0.01)
            assert ward.host.measured_s == pytest.approx(10.0)
            await asyncio.sleep(5)
            ward.host.before_tick.clear()
            ward.bus.publish(keyframes_topic(SHARD), b"")
            await asyncio.sleep(0.01)
            assert ward.host.load == pytest.approx(0.2, abs=0.01)
            # A letter's few ticks are no reason to measure it anew.
            assert ward.host.measured_s == pytest.approx(10.0)

    run(main())


# -- waking ----------------------------------------------------------------------------------


def order(ward):
    ward.bus.publish(commands_topic(SHARD), join(ward))


def packet(ward):
    Gateway(ward).send(join(ward))


@pytest.mark.parametrize("come", [order, packet])
def test_the_message_that_wakes_it_is_taken(come):
    async def main():
        async with Ward() as ward:
            await ward.sleeps()
            slept_at = ward.machine.tick
            for hours in (1, 50):
                await asyncio.sleep(hours * 3600)
                assert ward.machine.tick == slept_at
            come(ward)
            await asyncio.sleep(0.001)
            # With the very next tick, which is due at once.
            assert 7 in ward.machine.attending()
            assert ward.machine.tick == slept_at + 1
            await asyncio.sleep(1.0)
            assert ward.machine.tick <= slept_at + 1 + RATE_HZ, "nothing is made up for"
            assert ward.host.pacer.dilated_s == 0

    run(main())


def test_who_asks_for_a_keyframe_has_it_and_the_frames_that_follow():
    async def main():
        async with Ward() as ward:
            await ward.sleeps()
            slept_at, n = ward.machine.tick, len(ward.frames)
            await asyncio.sleep(500)
            ward.bus.publish(keyframes_topic(SHARD), b"")
            await asyncio.sleep(1.0)
            frames = ward.frames[n:]
            assert [(f.key, f.tick) for f in frames[:3]] == [
                (False, slept_at + 1),
                (True, slept_at + 1),
                (False, slept_at + 2),
            ]
            # Nobody is heard of after that: it sleeps again.
            await ward.sleeps()
            assert ward.host.slumber.count == 2

    run(main())


def test_a_gateway_is_answered_while_the_shard_sleeps():
    async def main():
        async with Ward() as ward:
            await ward.sleeps()
            await asyncio.sleep(500)
            gateway = Gateway(ward)
            gateway.beat()
            assert gateway.answers[-1].room == 1000
            await asyncio.sleep(0.001)
            assert not ward.asleep

    run(main())


def test_what_comes_with_the_last_tick_is_not_slept_over():
    async def main():
        async with Ward() as ward:

            def gather():
                if ward.host.falls_asleep and not ward.machine.attending():
                    ward.bus.publish(commands_topic(SHARD), join(ward))

            def see(_times, _took_s):
                if ward.host.falls_asleep and ward.machine.tick > 1000:
                    ward.bus.publish(mail_topic(SHARD), b"not mail")

            ward.host.before_tick.append(gather)
            await asyncio.sleep(AFTER_S + 1)
            assert 7 in ward.machine.attending()
            assert ward.host.slumber.count == 0
            ward.host.before_tick.clear()
            # Whoever comes after the last tick's input was taken ends the sleep before it begins.
            ward.host.after_tick.append(see)
            ward.bus.publish(commands_topic(SHARD), batch(ward.machine.shapes, [("leave", 7, 0)]))
            await ward.until(lambda: ward.host.slumber.count == 1)
            await asyncio.sleep(0.2)
            assert ward.machine.tick > 1000 or ward.asleep

    run(main())


def test_an_owner_that_slept_while_another_took_its_shard_learns_it_with_its_first_tick():
    async def main():
        ward = Ward()
        ward.task = asyncio.create_task(ward.host.run())
        await ward.sleeps()
        tick = ward.machine.tick
        ward.journal.reopened().claim_now(SHARD)
        ward.bus.publish(keyframes_topic(SHARD), b"")
        await asyncio.wait([ward.task], timeout=5)
        with pytest.raises(Fenced):
            ward.task.result()
        assert ward.machine.tick <= tick + 1

    run(main())


# -- mail over a bus that loses, repeats and reorders ---------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_letters_wake_who_they_are_for_and_each_is_taken_once(seed):
    async def main():
        chance = random.Random(seed)
        network = FaultyNetwork(chance, loss=0.3, repetition=0.2, delay_s=(0.0, 0.6))
        # One writes now and then, between long silences; the other only ever listens.
        writer = Gossip(1, (2,), letters_max=2, stop_tick=0)
        listener = Gossip(2, (1,), stop_tick=0)
        async with (
            Ward(writer, bus=network.end("a"), after_s=5.0) as a,
            Ward(listener, bus=network.end("b"), after_s=5.0) as b,
        ):
            for _ in range(12):
                writer.stop_tick = writer.tick + chance.randrange(1, 40)
                # Somebody looks, for as long as that.
                network.end("a").publish(keyframes_topic(1), b"")
                for _ in range(chance.randrange(20, 900)):
                    await asyncio.sleep(0.05)
                    network.advance(a.clock.now_s())
            assert network.lost
            assert network.repeated
            network.heal()
            for _ in range(600):
                await asyncio.sleep(0.05)
                network.advance(a.clock.now_s())
            assert a.asleep
            assert b.asleep
            # It wakes for each letter, and for no longer than that takes.
            assert listener.tick * 4 < a.clock.now_s() * RATE_HZ
            assert b.host.slumber.count > 2, "it slept in between"
            assert not writer.post.unacked()
            assert listener.taken == {(1, lane): crc for (_, lane), crc in writer.sent.items()}

    run(main())


# -- gateways over a bus that loses, repeats and reorders -----------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_who_joins_a_sleeping_shard_joins_once_whatever_the_bus_does(seed):
    async def main():
        chance = random.Random(seed)
        network = FaultyNetwork(chance, loss=0.3, repetition=0.2, delay_s=(0.0, 0.3))
        async with Ward(bus=network.end("shard"), after_s=1.0) as ward:
            out = Outgoing(99, retry_s=0.2)
            desk = network.end("gateway")
            desk.subscribe(links_topic(99), lambda data: heard(Answer.decode(data)))
            # What the shard is to do next, said again where it turns out to know nothing of what it was told.
            wanted = []

            def say():
                desk.publish(uplink_topic(SHARD), out.send(batch(ward.machine.shapes, wanted), ward.clock.now_s()))

            def heard(answer):
                if out.hear(answer, ward.clock.now_s()):
                    say()

            async def have(order, condition):
                """Give it an order, and be there until it is done."""
                wanted[:] = [order]
                say()
                while not condition():
                    await asyncio.sleep(0.05)
                    network.advance(ward.clock.now_s())
                    for packet in out.due(ward.clock.now_s()):
                        desk.publish(uplink_topic(SHARD), packet)

            async def silence():
                while not ward.asleep:
                    await asyncio.sleep(0.05)
                    network.advance(ward.clock.now_s())
                await asyncio.sleep(chance.uniform(1, 1000))

            async with asyncio.timeout(20_000):
                for n in range(1, 6):
                    await silence()
                    came = ward.machine.tick
                    await have(("join", n, 0, b"", b"Ada"), lambda n=n: n in ward.machine.attending())
                    assert ward.machine.attending() == {n}
                    await have(("leave", n, 0), lambda: not ward.machine.attending())
                    assert ward.machine.tick - came < 60 * RATE_HZ
                await silence()
            assert ward.host.slumber.count >= 6
            assert network.lost
            assert network.repeated
            found = await recover(pasture, ward.journal.reopened(), ward.store, ward.clock)
            assert (found.machine.tick, found.machine.digest()) == (ward.machine.tick, ward.machine.digest())

    run(main())
