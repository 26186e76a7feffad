"""Reliable orders: none is passed over, none stays without its receipt, none is confirmed that was not applied."""

from __future__ import annotations

from protocol.codec import encode_input
from protocol.errors import ErrorCode
from protocol.messages import Error, Receipt
from tests.gateway.glade import ADD, GAME, PAY, settings
from tests.gateway.visitor import Visitor, serving


def receipts(visitor: Visitor) -> list[int]:
    return [m.seq for m in visitor.log if isinstance(m, Receipt)]


async def test_a_lost_receipt_is_asked_after_however_many_came_since():
    async with serving(settings(gateway__receipts_max=8), GAME) as app:
        ada = await Visitor.join(app)
        for last in (8, 16, 24):
            await ada.send(*[encode_input(n, PAY, [1]) for n in range(last - 7, last + 1)])
            await ada.until(Receipt, lambda m, last=last: m.seq == last)
        # Her client heard none of them. A gateway tells the newest by itself, and no more.
        back = await Visitor.connect(app)
        welcome = await back.hello(resume=ada.welcome.resume)
        assert (welcome.resumed, welcome.ack) == (True, 24)
        while len(receipts(back)) < 8:
            await back.receive()
        assert receipts(back) == [*range(17, 25)]
        # It says again what it has no receipt for.
        await back.send(*[encode_input(n, PAY, [1]) for n in range(1, 9)])
        await back.until(Receipt, lambda m: m.seq == 8)
        assert receipts(back) == [*range(17, 25), *range(1, 9)]
        await back.until_acked(await back.input(ADD, 5))
        await back.until_seen(lambda _: back.me("Body.sum") == 24 + 5)


async def test_a_busy_world_passes_no_reliable_order_over():
    # The link takes 3 inputs at a time; reliable ones wait for the next, others are refused to their sender's face.
    async with serving(settings(world__inbox_max=6), GAME) as app:
        ada = await Visitor.join(app)
        kinds = [ADD if n % 4 == 3 else PAY for n in range(1, 71)]
        await ada.send(*[encode_input(n, kind, [1]) for n, kind in enumerate(kinds, 1)])
        paid = [n for n, kind in enumerate(kinds, 1) if kind == PAY]
        while len(receipts(ada)) < len(paid):
            await ada.receive()
        assert receipts(ada) == paid
        refused = [m for m in ada.log if isinstance(m, Error)]
        assert refused
        assert all(m.code == ErrorCode.FULL and kinds[m.seq - 1] == ADD for m in refused)
        # What was refused below what was taken counts for nothing, then and now.
        await ada.send(*[encode_input(m.seq, ADD, [1]) for m in refused])
        ada.seq = len(kinds)
        await ada.until_acked(await ada.input(ADD, 5))
        await ada.until_seen(lambda _: ada.me("Body.sum") == len(kinds) - len(refused) + 5)
