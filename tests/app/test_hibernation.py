"""Regions of a world that nobody looks at sleep, and wake for who comes: over real sockets."""

import asyncio

from clients.python import connect
from server.app import Everstep
from tests.app.test_regions import GAME, avatars, quarters, walk_to
from tests.gateway.visitor import PATIENCE_S, serving

MIDDLE = (-512.0 + 64.0, 64.0 + 64.0)


def asleep(app: Everstep) -> set[int]:
    return {number for number, region in app.regions.items() if region.host.slumber.asleep}


async def until(condition) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  # the server runs in this process: it tells nobody
            await asyncio.sleep(0.02)


def watch_clocks(app: Everstep) -> list[int]:
    """How far each region is behind the world's clock, after each of its ticks from now on."""
    apart: list[int] = []
    for region in app.regions.values():
        region.host.after_tick.append(
            lambda _times, _took_s, m=region.machine: apart.append(app.world_time.behind_ticks(m.world_tick))
        )
    return apart


async def test_an_empty_world_sleeps_and_wakes_where_a_player_comes_by():
    async with serving(quarters(host__hibernate_after_s=0.3, gateway__watch_linger_s=1.0), GAME) as app:
        every = set(app.regions)
        await until(lambda: asleep(app) == every)
        assert app.health.judge().asleep == tuple(sorted(every))
        assert app.health.judge().ready
        ticks = {number: region.machine.tick for number, region in app.regions.items()}
        # Into a world that sleeps, and through all of it.
        apart = watch_clocks(app)
        async with await connect(app.ws_url, name="Ada") as ada:
            assert ada.entity[0] not in asleep(app)
            for dx, dy in ((-9, -9), (9, -9), (9, 9), (-9, 9)):
                await walk_to(ada, MIDDLE[0] + dx, MIDDLE[1] + dy)
                assert await asyncio.wait_for(ada.check(), PATIENCE_S)
            seq = ada.send("Pay", amount=3)
            await asyncio.wait_for(ada.until(lambda: ada.acked >= seq), PATIENCE_S)
            assert len(avatars(app, "Ada")) == 1
            assert all(app.regions[number].machine.tick > tick for number, tick in ticks.items())
        # Whoever was dropped is waited for, and then all is still again.
        await until(lambda: asleep(app) == every)
        made = {number: region.machine.tick - ticks[number] for number, region in app.regions.items()}
        slept = {number: region.host.slumber.count for number, region in app.regions.items()}
        assert min(slept.values()) >= 2
        # However long each of them slept, they had one time at each of their ticks.
        assert apart
        assert max(apart) <= app.settings.world.tick_rate_hz
        assert min(made.values()) > 0
