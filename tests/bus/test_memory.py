"""The bus within a process: everyone who listens hears, in order, whatever the others do."""

import pytest
from structlog.testing import capture_logs

from server.bus.memory import MemoryBus


def test_all_who_listen_hear_in_order_of_subscription_and_no_one_else():
    bus, heard = MemoryBus(), []
    bus.subscribe("a", lambda data: heard.append(("first", data)))
    bus.subscribe("b", lambda data: heard.append(("other", data)))
    bus.subscribe("a", lambda data: heard.append(("second", data)))
    bus.publish("a", b"1")
    bus.publish("nobody", b"2")
    assert heard == [("first", b"1"), ("second", b"1")]


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_a_handler_that_raises_hurts_no_one_else(broken):
    bus, heard = MemoryBus(), []

    def handler(number):
        def handle(data):
            if number == broken:
                raise RuntimeError("broken on purpose")
            heard.append(number)

        return handle

    for number in range(3):
        bus.subscribe("a", handler(number))
    with capture_logs() as logs:
        bus.publish("a", b"")
        bus.publish("a", b"")
    assert heard == [n for n in range(3) if n != broken] * 2
    assert [(line["event"], line["topic"], line["log_level"]) for line in logs] == [
        ("bus handler failed", "a", "error")
    ] * 2


def test_what_ends_a_subscription_ends_that_one_and_may_be_called_twice():
    bus, heard = MemoryBus(), []
    first = bus.subscribe("a", heard.append)
    second = bus.subscribe("a", heard.append)
    bus.publish("a", b"both")
    first()
    first()
    bus.publish("a", b"one")
    second()
    bus.publish("a", b"none")
    assert heard == [b"both", b"both", b"one"]


def test_handlers_may_subscribe_and_unsubscribe_while_they_hear():
    bus, heard = MemoryBus(), []

    def once(data):
        heard.append(data)
        end()
        bus.subscribe("a", lambda data: heard.append(b"late " + data))

    end = bus.subscribe("a", once)
    bus.publish("a", b"1")
    bus.publish("a", b"2")
    assert heard == [b"1", b"late 2"]


def test_a_handler_may_publish():
    bus, heard = MemoryBus(), []
    bus.subscribe("question", lambda data: bus.publish("answer", data + b"!"))
    bus.subscribe("answer", heard.append)
    bus.publish("question", b"x")
    assert heard == [b"x!"]
