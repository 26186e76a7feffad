"""What every bus does while nothing fails. A medium makes buses that hear each other."""

import asyncio

import pytest
from structlog.testing import capture_logs


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
