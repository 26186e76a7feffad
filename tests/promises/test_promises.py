"""What users of such servers suffer from, and ours never will: each ill a test that bears its name.

The finer tests are with the modules; these say the promise from outside, over real sockets. Ills that need
borders, stores or an economy come here with them.
"""

from __future__ import annotations

import asyncio

import pytest

from protocol.codec import encode_check, encode_input, encode_ping
from protocol.messages import Delta, Error, Pong, Receipt, ViewDigest
from server.store.memory import MemoryJournal
from tests.gateway.glade import ADD, GAME, HEIGHT, JUMP, NORTH, PAY, WEST, glade, settings
from tests.gateway.visitor import Visitor, serving


async def test_a_clients_view_that_drifts_from_the_servers_and_cannot_be_debugged():
    async with serving(settings(), GAME) as app:
        ada = await Visitor.join(app)
        await ada.check()
        # A client with a fault in its decoder finds out.
        ada.view.entities[ada.handle].record[-1] ^= 1
        await ada.send(encode_check())
        digest = await ada.until(ViewDigest)
        assert (digest.count, digest.crc) != ada.view.digest()


async def test_interest_silently_switched_off_so_that_everyone_gets_everything():
    async with serving(settings(), glade(60)) as app:
        west, east = await Visitor.join(app), await Visitor.join(app)
        await east.send(encode_input(1, JUMP, [WEST + 250.0, NORTH + HEIGHT / 2]))
        await west.send(encode_input(1, JUMP, [WEST + 5.0, NORTH + HEIGHT / 2]))
        for one, other in ((west, east), (east, west)):
            await one.until_seen(lambda view, one=one, other=other: one.handle in view and other.handle not in view)
            await one.check()
            assert len(one.view) < app.machine.world.count


async def test_acknowledged_writes_that_were_never_synced():
    journal = MemoryJournal(hold=True)
    async with serving(settings(), GAME, journal=journal) as app:
        ada = await Visitor.join(app)
        journal.sync()
        await ada.send(encode_input(1, PAY, [5]))
        # Applied, acked and seen: and not confirmed while a power cut could undo it.
        await ada.until_acked(1)
        await ada.until_seen(lambda _: ada.me("Body.sum") == 5)
        for _ in range(10):
            await ada.until(Delta)
        assert not [m for m in ada.log if isinstance(m, Receipt)]
        journal.sync()
        assert (await ada.until(Receipt)).seq == 1


async def test_a_server_that_answers_health_checks_while_its_ticks_are_dead():
    async with serving(settings(), GAME) as app:
        ada = await Visitor.join(app)
        await ada.until(Delta)
        assert app.health.judge().alive
        ticks = next(task for task in app._tasks if task.get_name() == "ticks")
        ticks.cancel()
        await asyncio.gather(ticks, return_exceptions=True)
        # The gateway still answers, and is not asked.
        await ada.send(encode_ping(1))
        await ada.until(Pong)
        now_s = app.clock.now_s
        app.health._clock = lambda: now_s() + 60.0
        assert not app.health.judge().alive


async def test_one_stuck_reader_that_takes_the_process_down():
    crowd = settings(gateway__send_buffer_bytes=32_768, view__near_cells=3, view__far_cells=3)
    async with serving(crowd, glade(600, spread=0.3)) as app:
        beside = await Visitor.join(app)
        stuck = await Visitor.join(app, receive_bytes=4096)
        session = app.gateway.sessions[stuck.welcome.session]
        while session.home.fresh:
            await beside.until(Delta)
        held = session.socket.transport.get_write_buffer_size()
        first = beside.view.tick
        while beside.view.tick < first + 60:
            await beside.until(Delta)
        # A second of ticks later nothing more is held for it, and its neighbour missed none.
        assert session.socket.transport.get_write_buffer_size() <= held
        await beside.check()


async def test_a_player_kicked_for_one_burst():
    async with serving(settings(gateway__inputs_burst=20, gateway__inputs_per_s=10.0), GAME) as app:
        ada = await Visitor.join(app)
        await ada.send(*[encode_input(n, ADD, [1]) for n in range(1, 60)])
        # Told, and held to its share; and playing on as if nothing had been.
        await ada.until(Error)
        await ada.until_seen(lambda _: (ada.me("Body.sum") or 0) >= 19)
        for seq in range(60, 1000):
            await ada.send(encode_input(seq, ADD, [0]))
            await ada.until(Delta)
            if ada.acked >= 60:
                break
        assert ada.acked >= 60


@pytest.fixture(autouse=True)
def _hang_up():
    yield
    while Visitor.opened:
        Visitor.opened.pop().close()
