"""What every bus does while nothing fails, and what mail does over it when the way is bad.

A medium makes buses that hear each other.
"""

import asyncio
import random
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from server.host.postman import MailOptions, Postman
from server.shard.machine import NOTHING
from server.shard.mail import Lane
from tests.support.clock import VirtualClock
from tests.support.faulty import BadWay
from tests.support.gossip import Gossip


class Heard:
    """A handler that can be waited for."""

    def __init__(self):
        self.payloads = []
        self._turn = asyncio.Condition()

    def __call__(self, payload):
        self.payloads.append(payload)
        task = asyncio.ensure_future(self._notify())
        task.add_done_callback(lambda t: t.result())

    async def _notify(self):
        async with self._turn:
            self._turn.notify_all()

    async def until(self, n):
        """Wait until `n` were heard."""
        async with asyncio.timeout(10), self._turn:
            await self._turn.wait_for(lambda: len(self.payloads) >= n)
        return self.payloads


class BusContract:
    """Subclasses give a fixture `medium`: `await medium.bus()` makes one, `await medium.settled()` waits for all."""

    async def test_all_who_listen_hear_in_order_and_no_one_else(self, medium):
        here, there = await medium.bus(), await medium.bus()
        first, second, other = Heard(), Heard(), Heard()
        here.subscribe("a", first)
        there.subscribe("a", second)
        there.subscribe("b", other)
        await medium.settled()
        for n in range(500):
            here.publish("a", b"%d" % n)
        here.publish("b", b"end")
        assert await first.until(500) == await second.until(500) == [b"%d" % n for n in range(500)]
        assert await other.until(1) == [b"end"]

    @pytest.mark.parametrize(
        "payload", [b"", b"\x00\xff\r\n", bytes(range(256)) * 8192], ids=["empty", "binary", "2 MiB"]
    )
    async def test_bytes_arrive_as_they_were(self, medium, payload):
        here, there = await medium.bus(), await medium.bus()
        heard = Heard()
        there.subscribe("a", heard)
        await medium.settled()
        here.publish("a", payload)
        assert await heard.until(1) == [payload]

    @pytest.mark.parametrize("broken", [0, 1, 2])
    async def test_a_handler_that_raises_hurts_no_one_else(self, medium, broken):
        bus, heard, last = await medium.bus(), [], Heard()

        def handler(number):
            def handle(payload):
                if number == broken:
                    raise RuntimeError("broken on purpose")
                heard.append(number)

            return handle

        for number in range(3):
            bus.subscribe("a", handler(number))
        bus.subscribe("a", last)
        await medium.settled()
        with capture_logs() as logs:
            bus.publish("a", b"")
            bus.publish("a", b"")
            await last.until(2)
        assert heard == [n for n in range(3) if n != broken] * 2
        assert [(line["event"], line["topic"], line["log_level"]) for line in logs] == [
            ("bus handler failed", "a", "error")
        ] * 2

    async def test_what_ends_a_subscription_ends_that_one_and_may_be_called_twice(self, medium):
        bus = await medium.bus()
        one, two, mark = Heard(), Heard(), Heard()
        first = bus.subscribe("a", one)
        second = bus.subscribe("a", two)
        bus.subscribe("mark", mark)
        await medium.settled()
        bus.publish("a", b"both")
        await two.until(1)
        first()
        first()
        await medium.settled()
        bus.publish("a", b"one")
        await two.until(2)
        second()
        await medium.settled()
        bus.publish("a", b"none")
        bus.publish("mark", b"")
        await mark.until(1)
        assert (one.payloads, two.payloads) == ([b"both"], [b"both", b"one"])

    async def test_handlers_may_subscribe_unsubscribe_and_publish_while_they_hear(self, medium):
        bus, late, answers = await medium.bus(), Heard(), Heard()

        def once(payload):
            end()
            bus.subscribe("a", late)
            bus.publish("answer", payload + b"!")

        end = bus.subscribe("a", once)
        bus.subscribe("answer", answers)
        await medium.settled()
        bus.publish("a", b"1")
        assert await answers.until(1) == [b"1!"]
        await medium.settled()
        bus.publish("a", b"2")
        assert await late.until(1) == [b"2"]
        assert answers.payloads == [b"1!"]

    @pytest.mark.parametrize("seed", range(2))
    async def test_over_a_bad_way_mail_is_taken_once_and_in_order(self, medium, seed):
        """Between two shards messages are lost, repeated and change places, and for a while nothing gets through."""
        rng, clock = random.Random(seed), VirtualClock()
        ways = [BadWay(await medium.bus(), rng, loss=0.2, repetition=0.2, reordering=0.3) for _ in range(2)]
        shards = [Shard(n, way, clock) for n, way in zip((1, 2), ways, strict=True)]
        await medium.settled()
        for n in range(200):
            for way in ways:
                way.cut = 80 <= n < 120
            await ticks(shards, clock)
        for way in ways:
            way.mend()
        async with asyncio.timeout(60):
            while any(shard.machine.post.unacked() for shard in shards):
                await ticks(shards, clock)
        one, other = (shard.machine for shard in shards)
        for lane in Lane:
            assert one.taken.get((2, lane)) == other.sent[1, lane]
            assert other.taken.get((1, lane)) == one.sent[2, lane]
        assert sum(machine.tokens + machine.tokens_dead() for machine in (one, other)) == 200
        assert all(way.lost and way.repeated and way.held_back for way in ways)
        assert all(shard.postman.counts["resent"] and shard.postman.counts["repeated"] for shard in shards)


class Shard:
    """A machine that writes letters, and its postman. Every tick is durable at once."""

    def __init__(self, number, bus, clock):
        self.machine = Gossip(number, (1, 2), stop_tick=200)
        self.postman = Postman(self.machine, bus, clock, MailOptions(), lambda: 1.0)

    def tick(self):
        letters, acks = self.postman.take(self.machine.tick + 1)
        effects = self.machine.step(replace(NOTHING, mail=tuple(letters), acks=acks))
        self.postman.release(effects.mail, letters)
        self.postman.deliver()


async def ticks(shards, clock):
    """One of each, and time for what they sent to come."""
    clock.work(0.05)
    for shard in shards:
        shard.tick()
        await asyncio.sleep(0.001)
