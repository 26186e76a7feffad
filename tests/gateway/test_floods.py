"""One connection that sends without measure is closed unheard; hanging up is no way around a limit."""

from __future__ import annotations

import asyncio

import pytest
from websockets.frames import Opcode

from protocol.codec import encode_hello, encode_input, encode_ping
from protocol.errors import CloseCode
from protocol.messages import Delta, Error, Receipt
from server.gateway.session import SessionState
from tests.gateway.glade import GAME, PAY, settings
from tests.gateway.visitor import Visitor, masked, serving

FLOODS = {
    "garbage": masked(b"\xc1"),
    "websocket pings": masked(b"", Opcode.PING),
    "pings": masked(encode_ping(1)),
    "fragments without end": masked(b"", Opcode.CONT, fin=False),
}


@pytest.mark.parametrize("flood", FLOODS)
async def test_a_flood_is_cut_before_it_is_parsed(flood):
    async with serving(settings(), GAME) as app:
        beside = await Visitor.join(app)
        wild = await Visitor.join(app)
        socket = app.gateway.sessions[wild.welcome.session].socket
        looked_at = 0
        process = socket.process_event

        def counted(event):
            nonlocal looked_at
            looked_at += 1
            process(event)

        socket.process_event = counted
        frame = FLOODS[flood]
        if flood == "fragments without end":
            await wild.send_raw(masked(b"\x93", Opcode.BINARY, fin=False))
        try:
            for _ in range(40):
                await wild.send_raw(frame * (65_536 // len(frame)))
        except ConnectionError:
            pass
        ended = await wild.until_closed()
        assert ended.code in (CloseCode.FLOOD, CloseCode.PROTOCOL, 1006)
        # 2.5 MB were sent; what was looked at is what one may send in a burst.
        assert looked_at * len(frame) <= 3 * app.settings.gateway.receive_burst_bytes
        for _ in range(5):
            await beside.until(Delta)
        await beside.check()


async def test_who_hangs_up_and_comes_again_gets_no_more_avatars_than_connections():
    few = settings(gateway__loopback_exempt=False, gateway__connections_per_address_max=3)
    async with serving(few, GAME) as app:
        for _ in range(3):
            guest = await Visitor.join(app)
            guest.abort()
            session = app.gateway.sessions[guest.welcome.session]
            async with asyncio.timeout(10):
                while session.state is not SessionState.RESUMING:  # noqa: ASYNC110  # the server has no event for it
                    await asyncio.sleep(0.002)
        late = await Visitor.connect(app)
        await late.send(encode_hello(name="Late"))
        assert (await late.until_closed()).code == CloseCode.ADDRESS_LIMIT
        assert len(app.gateway.sessions) == 3


async def test_a_full_inbox_loses_nothing_that_was_acknowledged():
    small = settings(world__inbox_max=10, world__commands_per_tick_max=1, gateway__inputs_burst=200)
    async with serving(small, GAME) as app:
        ada = await Visitor.join(app)
        refused: set[int | None] = set()
        # All at once, more than the world takes: what it does not take it says so of, and that is sent again.
        for seq in range(1, 41):
            await ada.send(encode_input(seq, PAY, [1]))
        await ada.until_seen(lambda _: (ada.me("Body.sum") or 0) >= 5)
        async with asyncio.timeout(20):
            while ada.acked < max(set(range(1, 41)) - refused, default=0):
                await ada.receive()
                refused = {m.seq for m in ada.log if isinstance(m, Error)}
        taken = 40 - len(refused)
        await ada.until_seen(lambda _: ada.me("Body.sum") == taken)
        # The last receipt comes about as the tick does.
        await ada.until(Delta)
        await ada.until(Delta)
        receipts = {m.seq for m in ada.log if isinstance(m, Receipt)}
        assert len(receipts | refused) == 40
        assert not receipts & refused
        assert "inbox_full" not in app.metrics.render().decode()
