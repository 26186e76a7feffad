"""Nodes and leases: every shard runs on one node, whoever comes and goes.

A long module: each way for a shard to change its node is asked in the same cluster.
"""

import asyncio
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import msgpack
import pytest

from server.bus.memory import MemoryBus
from server.host.host import HostOptions
from server.host.node import Node, NodeOptions
from server.host.tenure import ShardParts, Surroundings
from server.observe.health import Health
from server.observe.metrics import Metrics
from server.regions.frame import Frame, RegionSpec
from server.regions.machine import RegionMachine
from server.shard.envelope import unseal
from server.shard.machine import encode_batches
from server.shard.ports import SEEK_TOPIC, frames_topic, links_topic, sessions_topic, uplink_topic
from server.shard.uplink import Outgoing
from server.sim import fingerprint
from server.store.errors import LeaseStoreAway, StoreFailed
from server.store.leases_memory import MemoryLeases
from server.store.memory import MemoryJournal
from server.store.memory_checkpoints import MemoryCheckpoints
from tests.support.pasture import GAME
from tests.support.virtual_loop import LoopTime, run

SHARDS = (1, 2, 3, 4, 5, 6)
OPTIONS = HostOptions(
    tick_rate_hz=20.0,
    catch_up_ticks_max=5,
    inbox_max=1000,
    commands_per_tick_max=8,
    durability="pipelined",
    simulation=GAME.version,
)


def machine(shard):
    region = RegionSpec(id=shard, x=0.0, y=0.0, width=128.0, height=128.0, entities_max=256)
    return RegionMachine(GAME, region, seed=11, tick_rate_hz=20.0, digest_every_ticks=5)


class Cluster:
    """Nodes in one process, on virtual time, with one bus, one medium and one store of leases."""

    shards = SHARDS
    host_options = OPTIONS
    make = staticmethod(machine)

    def __init__(self, **options):
        self.clock = LoopTime()
        self.bus = MemoryBus()
        self.medium = MemoryJournal(keep_max=100_000)
        self.checkpoints = MemoryCheckpoints()
        self.leases = MemoryLeases(3.0, self.clock.now_s)
        self.options = NodeOptions(**options)
        self.nodes = {}
        self.tasks = {}
        # By node: stores that are open.
        self.opened = Counter()
        # Raises, where a store does not close in order.
        self.close_again()
        # Shard -> (when, tick) of each frame.
        self.frames = {shard: [] for shard in self.shards}
        for shard in self.shards:
            self.bus.subscribe(frames_topic(shard), self._note)

    def _note(self, data):
        frame = Frame.decode(unseal(data)[1], GAME.schema)
        if not frame.key:
            self.frames[frame.region].append((self.clock.now_s(), frame.tick))

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        for name in tuple(self.nodes):
            await self.stop(name)

    async def start(self, name):
        async def open_shard(shard):
            journal = self.medium.reopened()
            self.opened[name] += 1

            async def close():
                # As a process that ends: what it has not written is lost, and nothing is written later.
                self.opened[name] -= 1
                self.closing(shard)

            return ShardParts(lambda: self.make(shard), journal, self.checkpoints, close)

        around = Surroundings(
            self.bus,
            self.clock,
            Metrics(),
            Health(self.clock.now_s),
            self.host_options,
            checkpoint_every_s=10.0,
            checkpoints_kept=2,
        )
        node = self.nodes[name] = Node(name, self.shards, self.leases, open_shard, around, self.options)
        self.tasks[name] = asyncio.create_task(node.run())
        return node

    async def stop(self, name):
        """As SIGTERM would, without draining."""
        node, task = self.nodes.pop(name), self.tasks.pop(name)
        task.cancel()
        await asyncio.wait([task])
        await node.close()

    async def kill(self, name):
        """As SIGKILL would: whatever it was doing, it does no more, and gives nothing back."""
        node, task = self.nodes.pop(name), self.tasks.pop(name)
        node._unsubscribe()
        everything = [task, *node._busy.values(), *(t._ticks for t in node.tenures.values())]
        everything += [f.task for f in node._following.values() if f.task is not None]
        for one in everything:
            one.cancel()
        for tenure in node.tenures.values():
            tenure.host.close()
        await asyncio.wait(everything)

    def fail_to_close(self):
        """From now on no store closes in order. The shards whose stores did not, as they come."""
        closed = []

        def closing(shard):
            closed.append(shard)
            raise StoreFailed("the disk is gone")

        self.closing = closing
        return closed

    def close_again(self):
        """They close in order."""
        self.closing = lambda shard: None

    def owners(self):
        """Shard -> name, of shards that tick."""
        found = {}
        for name, node in self.nodes.items():
            for shard, tenure in node.tenures.items():
                if tenure.failure is None and shard not in node._busy:
                    assert shard not in found, f"shard {shard} runs on {found[shard]} and {name}"
                    found[shard] = name
        return found

    def counts(self):
        owners = list(self.owners().values())
        return {name: owners.count(name) for name in sorted(self.nodes)}

    async def until(self, condition, within_s=60.0):
        due_s = self.clock.now_s() + within_s
        while not condition():
            assert self.clock.now_s() < due_s, self.owners()
            await asyncio.sleep(0.01)

    async def all_run(self):
        await self.until(lambda: set(self.owners()) == set(self.shards))

    def gap_s(self, shard, since_s):
        """The longest time without a frame."""
        times = [t for t, _ in self.frames[shard] if t >= since_s]
        return max(b - a for a, b in pairwise(times))


class Pair(Cluster):
    """For what takes minutes and is the same of any number of shards."""

    shards = (1, 2)


def gapless(cluster):
    """From one frame to the next the tick goes on by one, or back after a fall: nobody missed any."""
    for frames in cluster.frames.values():
        for (_, a), (_, b) in pairwise(frames):
            assert b <= a + 1


@pytest.mark.parametrize("names", [["a"], ["a", "b"], ["a", "b", "c", "d"]])
def test_shards_are_shared_out_evenly(names):
    async def main():
        async with Cluster() as cluster:
            for name in names:
                await cluster.start(name)
            await cluster.all_run()
            await asyncio.sleep(30)
            counts = cluster.counts().values()
            assert max(counts) - min(counts) <= 1
            gapless(cluster)

    run(main())


def test_a_node_that_comes_takes_load_and_nobody_sees_a_tick_missing():
    async def main():
        async with Cluster() as cluster:
            await cluster.start("a")
            await cluster.all_run()
            await asyncio.sleep(5)
            began_s = cluster.clock.now_s()
            await cluster.start("b")
            await cluster.until(lambda: cluster.counts() == {"a": 3, "b": 3})
            await asyncio.sleep(5)
            for shard in SHARDS:
                ticks = [n for t, n in cluster.frames[shard] if t >= began_s]
                assert ticks == list(range(ticks[0], ticks[0] + len(ticks))), "every tick once, in order"
                assert cluster.gap_s(shard, began_s) <= 0.1001

    run(main())


@pytest.mark.parametrize(("standby", "turn_s", "gap_s"), [(False, 1.0, 6.0), (True, 0.2, 1.0)])
def test_a_killed_nodes_shards_go_on_elsewhere(standby, turn_s, gap_s):
    async def main():
        async with Cluster(standby=standby, turn_s=turn_s) as cluster:
            if standby:
                cluster.leases = MemoryLeases(0.6, cluster.clock.now_s)
            for name in "abc":
                await cluster.start(name)
            await cluster.all_run()
            await asyncio.sleep(10)
            for victim in ("a", "b"):
                began_s = cluster.clock.now_s()
                lost = [s for s, owner in cluster.owners().items() if owner == victim]
                assert lost
                await cluster.kill(victim)
                await cluster.all_run()
                await asyncio.sleep(8)
                for shard in lost:
                    assert cluster.gap_s(shard, began_s - 1) <= gap_s
            gapless(cluster)

    run(main())


def test_leases_that_are_forgotten_move_nothing_and_an_old_epoch_is_mended():
    async def main():
        async with Cluster() as cluster:
            for name in "ab":
                await cluster.start(name)
            await cluster.all_run()
            await asyncio.sleep(10)
            before = {name: dict(node.tenures) for name, node in cluster.nodes.items()}
            for _ in range(5):
                cluster.leases.forget()
                await asyncio.sleep(3)
                assert {name: node.tenures for name, node in cluster.nodes.items()} == before
            # A cluster that starts after Redis lost its count: the journal knows of later epochs.
            for name in "ab":
                await cluster.kill(name)
            cluster.leases.forget()
            await cluster.start("c")
            await cluster.all_run()

    run(main())


def test_a_shard_whose_game_raises_is_left_alone_and_the_others_go_on():
    async def main():
        async with Cluster() as cluster:
            node = await cluster.start("a")
            await cluster.all_run()
            node.tenures[3].host.machine.step = lambda inputs: 1 / 0
            await cluster.until(lambda: set(cluster.owners()) == set(SHARDS) - {3})
            ticks = {s: node.tenures[s].host.machine.tick for s in cluster.owners()}
            await asyncio.sleep(5)
            for shard, tick in ticks.items():
                assert node.tenures[shard].host.machine.tick > tick + 80
            # Left alone for a while, and then tried again.
            await cluster.all_run()

    run(main())


def test_a_shard_whose_store_does_not_close_in_order_is_run_again_and_the_others_go_on():
    async def main():
        async with Cluster() as cluster:
            node = await cluster.start("a")
            await cluster.all_run()
            closed = cluster.fail_to_close()
            node.tenures[3].host.machine.step = lambda inputs: 1 / 0
            await cluster.until(lambda: closed == [3])
            cluster.close_again()
            await cluster.all_run()
            tick = node.tenures[3].host.machine.tick
            await cluster.until(lambda: node.tenures[3].host.machine.tick > tick)

    run(main())


def test_a_tenure_whose_end_failed_may_be_ended_again():
    async def main():
        async with Cluster() as cluster:
            node = await cluster.start("a")
            await cluster.all_run()
            closed = cluster.fail_to_close()
            with pytest.raises(StoreFailed):
                await node.tenures[3].end(orderly=True)
            await node.tenures[3].end(orderly=True)
            assert closed == [3]
            cluster.close_again()

    run(main())


@pytest.mark.parametrize("fails", [False, True], ids=["its lease is lost", "a system raises"])
def test_a_shard_that_ticks_no_more_answers_nobody_while_its_store_takes_its_time(fails):
    async def main():
        async with Cluster() as cluster:
            node = await cluster.start("a")
            await cluster.all_run()
            answers = []
            cluster.bus.subscribe(sessions_topic(9), answers.append)
            cluster.bus.subscribe(links_topic(9), answers.append)

            def ask():
                answers.clear()
                cluster.bus.publish(SEEK_TOPIC, msgpack.packb([9, 5, b"", 1, 0]))
                cluster.bus.publish(uplink_topic(3), Outgoing(9).send(encode_batches({}), 0.0))
                said = [msgpack.unpackb(data) for data in answers]
                return sum("none" not in word or word[1] == 3 for word in said)

            assert ask() == 2
            tenure = node.tenures[3]
            stuck, written = asyncio.Event(), cluster.checkpoints.write

            async def write(manifest, chunks):
                await stuck.wait()
                await written(manifest, chunks)

            cluster.checkpoints.write = write
            taking = asyncio.create_task(tenure._checkpoints.take())
            await cluster.until(lambda: tenure._checkpoints.busy)
            if fails:
                tenure.host.machine.step = lambda inputs: 1 / 0
            else:
                # Another has it behind the node's back.
                other = replace(tenure.lease, owner="b", epoch=tenure.lease.epoch + 1)
                cluster.leases._held[3] = (other, cluster.clock.now_s() + 9.0)
            await cluster.until(tenure._ticks.done)
            await asyncio.sleep(0)
            assert 3 in node.tenures, "what it was writing is on its way"
            assert ask() == 0
            stuck.set()
            taking.cancel()

    run(main())


def test_an_owner_that_lost_its_shard_without_noticing_writes_nothing_more():
    async def main():
        async with Cluster() as cluster:
            node = await cluster.start("a")
            await cluster.all_run()
            await asyncio.sleep(2)
            # Another takes it behind the back of the leases: the journal alone knows.
            await cluster.medium.reopened().claim(2)
            last = (await cluster.medium.spans())[2].last_tick
            await cluster.until(lambda: 2 in node.tenures and node.tenures[2].lease.epoch > 2)
            await asyncio.sleep(5)
            after = [record async for record in cluster.medium.read(2, last)]
            assert after
            assert {record.epoch for record in after} == {node.tenures[2].lease.epoch}

    run(main())


def test_nodes_tell_each_other_the_worlds_time():
    async def main():
        async with Cluster() as cluster:
            node = await cluster.start("a")
            await cluster.all_run()
            # Its regions have made more time than any that is to come.
            node._around.world_time.hear(50_000)
            await cluster.until(lambda: all(t.host.machine.world_tick > 50_000 for t in node.tenures.values()))
            other = await cluster.start("b")
            await cluster.until(lambda: other.tenures)
            await cluster.until(lambda: all(t.host.machine.world_tick > 50_000 for t in other.tenures.values()))
            clocks = [t.host.machine.world_tick for n in (node, other) for t in n.tenures.values()]
            # As old as what was announced, and as far as nobody minds.
            assert max(clocks) - min(clocks) <= 20 + 2 * 20

    run(main())


def test_a_move_whose_target_dies_is_given_up_and_the_shard_goes_on_where_it_was():
    async def main():
        async with Cluster(balance=False, move_timeout_s=2.0) as cluster:
            node = await cluster.start("a")
            await cluster.all_run()
            began_s = cluster.clock.now_s()
            node.move(1, "nobody")
            await asyncio.sleep(5)
            assert cluster.owners()[1] == "a"
            assert cluster.gap_s(1, began_s) <= 0.06
            assert not node._moving

    run(main())


def test_a_shard_whose_move_meets_leases_that_can_not_be_asked_goes_on_where_it_is():
    class Away:
        def __getattr__(self, name):
            async def ask(*_):
                raise LeaseStoreAway(name)

            return ask

    async def main():
        async with Cluster(balance=False) as cluster:
            node = await cluster.start("a")
            await cluster.all_run()
            target = await cluster.start("b")
            await asyncio.sleep(3)
            began_s, there = cluster.clock.now_s(), node._leases
            node._leases = target._leases = Away()
            node.move(1, "b")
            await cluster.until(lambda: not node._moving)
            await asyncio.sleep(20)
            assert cluster.owners()[1] == "a"
            assert cluster.gap_s(1, began_s) <= 0.06
            node._leases = target._leases = there

    run(main())


def test_what_a_node_is_told_while_it_looks_around_is_not_forgotten():
    async def main():
        async with Pair(turn_s=2.0) as cluster:
            held = [await cluster.leases.acquire(shard, "x", 0) for shard in cluster.shards]
            nodes, looks = cluster.leases.nodes, asyncio.Event()

            async def slowly():
                looks.set()
                await asyncio.sleep(0.1)
                return await nodes()

            cluster.leases.nodes = slowly
            node = await cluster.start("a")
            await looks.wait()
            given = await cluster.leases.hand_over(held[0], "a")
            told_s = cluster.clock.now_s()
            cluster.bus.publish("nodes/a", msgpack.packb(["yours", 1, "x", given.epoch]))
            await cluster.until(lambda: 1 in node.tenures)
            assert cluster.clock.now_s() - told_s < 1.0

    run(main())


async def all_followed(cluster, name):
    followings = cluster.nodes[name]._following
    await cluster.until(lambda: set(followings) == set(cluster.shards))
    await cluster.until(lambda: all(one.follower is not None for one in followings.values()))


def open_slowly(node):
    """Its stores take a while to open, so that something may happen meanwhile."""
    opened = node._open

    async def slowly(shard):
        await asyncio.sleep(0.2)
        return await opened(shard)

    node._open = slowly


def fail_half_way(machine):
    """Have the next tick raise once it has changed the state: a frame that can't be made, for one."""
    step = machine.step

    def fails(inputs):
        machine.step = step
        machine.replay(inputs)
        machine.world.generation[0] += 1
        raise MemoryError

    machine.step = fails


def test_a_shard_that_fails_while_it_is_on_its_way_to_another_node_can_be_brought_back():
    async def main():
        # So long a turn that nobody looks at the failure before the target is ready.
        async with Cluster(balance=False, turn_s=2.0) as cluster:
            node = await cluster.start("a")
            await cluster.all_run()
            taker = await cluster.start("b")
            open_slowly(taker)
            await asyncio.sleep(3)
            tenure = node.tenures[1]
            node.move(1, "b")
            fail_half_way(tenure.host.machine)
            await cluster.until(lambda: tenure.failure is not None)
            assert 1 not in taker._following
            await cluster.until(lambda: 1 not in node.tenures)
            await cluster.all_run()

    run(main())


def test_who_stands_by_too_slowly_for_the_journal_begins_again():
    async def main():
        # Checkpoints come every 10 s, two are kept, and so is the journal behind the older of them.
        follow_s = 45.0
        async with Pair(standby=True, balance=False, follow_s=follow_s) as cluster:
            await cluster.start("a")
            await cluster.all_run()
            await cluster.start("b")
            followers = cluster.nodes["b"]._following
            await cluster.until(lambda: set(followers) == set(cluster.shards))
            for _ in range(3):
                await asyncio.sleep(follow_s + 5)
                for shard, tenure in cluster.nodes["a"].tenures.items():
                    follower = followers[shard].follower
                    assert follower is not None
                    assert follower.tick > tenure.host.machine.tick - (follow_s + 10) * 20

    run(main())


def test_a_shard_that_its_standby_can_not_take_over_is_recovered_at_once():
    async def main():
        # So slow that the journal is trimmed in front of it, as in front of a node that was stopped for a while.
        async with Cluster(standby=True, balance=False, follow_s=45.0) as cluster:
            await cluster.start("a")
            await cluster.all_run()
            await cluster.start("b")
            await all_followed(cluster, "b")
            await asyncio.sleep(40)
            began_s = cluster.clock.now_s()
            await cluster.kill("a")
            await cluster.all_run()
            # The lease, and two or three turns.
            assert cluster.clock.now_s() - began_s < 3.0 + 4.0

    run(main())


def test_a_strange_message_does_nothing(caplog):
    words = [
        7,
        ["follow"],
        [1, 2, "b"],
        ["follow", 99, "b"],
        ["follow", "1", "b"],
        ["follow", [1], "b"],
        ["follow", 1, 5],
        ["yours", 2, "a", "2"],
    ]

    async def main():
        async with Cluster(balance=False) as cluster:
            await cluster.start("a")
            await cluster.all_run()
            node = await cluster.start("b")
            # What comes in a good one's place has to be a message itself.
            cluster.bus.publish("nodes/b", msgpack.packb(["follow", 2, "a"]))
            await cluster.until(lambda: 2 in node._following and not node._busy)
            for data in (b"", b"\xc1", *map(msgpack.packb, words)):
                cluster.bus.publish("nodes/b", data)
            await asyncio.sleep(3)
            assert set(node._following) == {2}
            assert cluster.opened["b"] == 1
            assert cluster.counts() == {"a": 6, "b": 0}

    run(main())
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_lease_is_held_while_its_shard_is_brought_back_however_long_that_takes():
    async def main():
        async with Cluster() as cluster:
            node = await cluster.start("a")
            opened, began_s = node._open, {}

            async def slowly(shard):
                began_s[shard] = cluster.clock.now_s()
                await asyncio.sleep(12)
                return await opened(shard)

            node._open = slowly
            await cluster.until(lambda: set(began_s) == set(SHARDS))
            await cluster.start("b")
            while len(cluster.owners()) < len(SHARDS):
                assert {lease.owner for lease in (await cluster.leases.holders(SHARDS)).values()} == {"a"}
                assert set(await cluster.leases.holders(SHARDS)) == set(SHARDS)
                await asyncio.sleep(0.1)
            assert max(began_s.values()) - min(began_s.values()) < 1.0, "each was begun once"

    run(main())


def test_a_machine_that_computes_differently_begins_with_a_checkpoint_or_not_at_all(monkeypatch):
    async def main():
        async with Cluster() as cluster:
            await cluster.start("a")
            await cluster.all_run()
            await cluster.stop("a")
            other = {**fingerprint.fingerprint(), "numpy": "9.9"}
            monkeypatch.setattr("server.regions.machine.fingerprint", lambda: other)
            written = cluster.checkpoints.write

            async def write(manifest, chunks):
                raise StoreFailed("there is no room")

            cluster.checkpoints.write = write
            await cluster.start("b")
            await asyncio.sleep(5)
            await cluster.kill("b")
            cluster.checkpoints.write = written
            # What was played on top of the other machine's state could be replayed by neither.
            await cluster.start("c")
            await cluster.all_run()

    run(main())


def test_what_a_node_can_not_run_is_run_by_others():
    async def main():
        async with Cluster() as cluster:
            node = await cluster.start("a")
            await cluster.start("b")
            await cluster.until(lambda: cluster.counts() == {"a": 3, "b": 3})

            async def cut_off(shard):
                raise StoreFailed("the store can't be reached from here")

            node._open = cut_off
            for tenure in node.tenures.values():
                tenure.host.machine.step = lambda inputs: 1 / 0
            await cluster.until(lambda: cluster.counts() == {"a": 0, "b": 6}, within_s=15.0)

    run(main())
