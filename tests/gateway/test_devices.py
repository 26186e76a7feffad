"""Several devices of one account, one after the other: each hears of its own orders what became of them.

They are the Python client's own `Conversation`.
"""

from __future__ import annotations

import pytest

from clients.python.conversation import Conversation
from protocol.errors import ErrorCode
from protocol.messages import Receipt
from tests.gateway.borderland import Wire
from tests.gateway.farland import FarLand
from tests.gateway.glade import Body, glade
from tests.gateway.meadow import messages
from tests.gateway.test_far import account


class Device:
    """A client of ada's, and its connection."""

    def __init__(self, land: FarLand) -> None:
        self.land = land
        self.talk = Conversation("ada", account("ada"), None, inputs_max=100)
        self.receipts: list[int] = []
        self.wire: Wire | None = None

    def connect(self, gateway: int = 0) -> None:
        """HELLO is said."""
        self.wire, self.gateway = Wire(), self.land.gateways[gateway]
        self.gateway.opened(self.wire)
        self.talk.begin()
        self.read()

    def join(self, gateway: int = 0) -> None:
        """Until WELCOME; all that the land does meanwhile happens."""
        self.connect(gateway)
        while not self.talk.joined:
            self.land.tick()
            self.read()

    def unplug(self) -> None:
        """Nothing comes through any more, and nobody hears of that."""
        self.wire = None

    def pay(self, amount: int) -> int:
        seq = self.talk.command("Pay", {"amount": amount})
        self.read()
        return seq

    def read(self) -> None:
        """Take what came, and write what waits."""
        while self.wire is not None and (self.wire.taken or self.talk.outbox):
            data, self.wire.taken = self.wire.taken, b""
            for payload in messages(data):
                message = self.talk.receive(payload, self.land.clock.now_s())
                if isinstance(message, Receipt):
                    self.receipts.append(message.seq)
            while self.talk.outbox:
                self.gateway.received(self.wire, self.talk.outbox.popleft())
        # What is written to a wire that leads nowhere is gone.
        self.talk.outbox.clear()


@pytest.fixture
def land() -> FarLand:
    return FarLand(columns=1, game=glade(0))


def paid(land: FarLand) -> int:
    """What counted, of ada's one entity."""
    (region,) = land.regions.values()
    world = region.machine.world
    (row,) = world.rows(Body).tolist()
    return int(world[Body].sum[row])


@pytest.mark.parametrize("at", [0, 1])
def test_who_comes_back_after_another_device_has_played_hears_that_her_order_is_void(land: FarLand, at: int):
    laptop, phone = Device(land), Device(land)
    laptop.join()
    first = laptop.pay(1)
    land.seconds(1)
    laptop.read()
    assert laptop.receipts == [first]
    laptop.unplug()
    lost = laptop.pay(100)
    phone.join(gateway=at)
    given = phone.pay(10)
    land.seconds(2)
    phone.read()
    assert given in phone.receipts
    laptop.join()
    assert laptop.talk.welcome is not None
    assert laptop.talk.welcome.resumed
    assert [(e.code, e.seq) for e in laptop.talk.void] == [(ErrorCode.RESUME_FAILED, lost)]
    # What she orders now is done once.
    laptop.receipts.clear()
    again = laptop.pay(50)
    land.seconds(2)
    laptop.read()
    assert again in laptop.receipts
    assert lost not in laptop.receipts
    assert paid(land) == 1 + 10 + 50


@pytest.mark.parametrize("played", [True, False])
def test_of_two_that_come_to_a_gateway_before_either_is_heard_each_has_its_own_receipt(land: FarLand, *, played: bool):
    one, two, three = Device(land), Device(land), Device(land)
    one.join()
    if played:
        one.pay(1)
        land.seconds(1)
    two.join()
    second = two.pay(10)
    # It is on its way to its region.
    three.join()
    third = three.pay(100)
    assert third > second
    land.seconds(2)
    three.read()
    assert third in three.receipts
    assert paid(land) == played + 10 + 100
