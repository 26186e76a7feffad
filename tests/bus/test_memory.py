"""The bus within a process."""

import pytest

from server.bus.memory import MemoryBus
from tests.bus.contract import BusContract


class Process:
    """A medium: everyone has the same bus."""

    def __init__(self):
        self._bus = MemoryBus()

    async def bus(self):
        return self._bus

    async def settled(self):
        pass


class TestMemoryBus(BusContract):
    @pytest.fixture
    def medium(self):
        return Process()


def test_handlers_are_called_at_once_in_order_of_subscription():
    bus, heard = MemoryBus(), []
    bus.subscribe("a", lambda data: heard.append(("first", data)))
    bus.subscribe("b", lambda data: heard.append(("other", data)))
    bus.subscribe("a", lambda data: heard.append(("second", data)))
    bus.publish("a", b"1")
    bus.publish("nobody", b"2")
    assert heard == [("first", b"1"), ("second", b"1")]
