"""Several devices of one account, one after the other: each hears of its own orders what became of them.

They are the Python client's own `Conversation`.
"""

from __future__ import annotations

import pytest

from clients.python.conversation import Conversation
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


@pytest.fixture
def land() -> FarLand:
    return FarLand(columns=1, game=glade(0))


def paid(land: FarLand) -> int:
    """What counted, of ada's one entity."""
    (region,) = land.regions.values()
    world = region.machine.world
    (row,) = world.rows(Body).tolist()
    return int(world[Body].sum[row])


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
