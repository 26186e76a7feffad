"""A world of four regions in one process, over real sockets."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from clients.python import connect
from config.settings import Settings
from protocol.messages import Cross, Receipt
from server.app import Everstep, opened
from server.sim import U32, Mail, Migration, Saved, Tick, World, arg
from tests.gateway.glade import REGION, Body, Position, glade, settings
from tests.gateway.visitor import PATIENCE_S, Visitor, serving

GAME = glade(20)


def quarters(**given: Any) -> Settings:
    """128 by 128 units, in four."""
    divided = {"world__width": 128.0, "world__height": 128.0, "world__columns": 2, "world__rows": 2}
    return settings(**{**divided, "gateway__inputs_per_s": 1000.0, "gateway__inputs_burst": 1000, **given})


def avatars(app: Everstep, name: str) -> list[tuple[int, int]]:
    """(region, row) of everyone of this name, wherever."""
    found = []
    for number, region in app.regions.items():
        names = region.machine.world[Body].name
        found += [(number, row) for row in np.flatnonzero(names == name.encode()).tolist()]
    return found


async def walk_to(walker: Any, x: float, y: float) -> None:
    """Walk there, a unit per tick; the walker's own view says when it is there."""

    def place() -> tuple[float, float]:
        region, handle = walker.entity
        view = walker.view[region]
        return float(view.value(handle, "Position.x")), float(view.value(handle, "Position.y"))

    dx, dy = (to - at for to, at in zip((x, y), place(), strict=True))
    reach = max(abs(dx), abs(dy), 1.0)
    walker.send("Walk", dx=dx / reach, dy=dy / reach)
    await asyncio.wait_for(
        walker.until(lambda: max(abs(x - place()[0]) - 1.0, abs(y - place()[1]) - 1.0) <= 0), PATIENCE_S
    )
    walker.send("Walk", dx=0.0, dy=0.0)


class Word(Mail):
    number: U32 = arg("u32")


async def test_what_its_regions_tell_each_other_outlives_an_upgrade_of_the_game(tmp_path: Path):
    heard: list[tuple[int, int]] = []

    def chatter(_world: World, tick: Tick) -> None:
        """Each region tells all a number at every tick, so the last are under way whenever they stop."""
        words = tick.mail(Word)
        heard.extend(zip(words.source.tolist(), words.number.tolist(), strict=True))
        tick.send(Word, region=np.arange(REGION, REGION + 4), number=tick.number)

    def as_it_is(_saved: Saved) -> None: ...

    older = replace(GAME, mail=(Word,), systems=(*GAME.systems, chatter))
    newer = replace(older, version=2, migrations=(Migration(1, 2, as_it_is, same_mail=True),))
    ours = quarters(server__data_dir=tmp_path, store__kind="sqlite")

    async def until(app: Everstep, condition: Callable[[], bool]) -> None:
        there = asyncio.Event()
        app.host.after_tick.append(lambda _times, _took_s: there.set() if condition() else None)
        await asyncio.wait_for(there.wait(), PATIENCE_S)

    async with opened(ours, older) as app:
        await until(app, lambda: len(heard) >= 100)
    assert all(region.machine.post.unacked() for region in app.regions.values())
    said = {(n, number) for n, region in app.regions.items() for number in range(1, region.machine.tick + 1)}
    assert not said <= set(heard)
    async with opened(ours, newer) as app:
        await until(app, lambda: Counter(word for word in heard if word in said) == dict.fromkeys(said, 4))
        assert not any(region.machine.post.dead for region in app.regions.values())


async def test_a_client_walks_over_borders_and_keeps_its_socket_its_inputs_and_its_view():
    async with serving(quarters(), GAME) as app:
        middle = (-512.0 + 64.0, 64.0 + 64.0)
        async with await connect(app.ws_url, name="Ada") as ada:
            beside = await Visitor.join(app, name="Bob")
            paid, crossed = [], 0
            for n in range(12):
                dx, dy = ((-9, -9), (9, -9), (9, 9), (-9, 9), (9, -9), (-9, 9))[n % 6]
                await walk_to(ada, middle[0] + dx, middle[1] + dy)
                paid.append(ada.send("Pay", amount=3))
                ada.send("Add", amount=1)
                assert await asyncio.wait_for(ada.check(), PATIENCE_S)
            last = ada.seq
            await asyncio.wait_for(ada.until(lambda: ada.acked >= last), PATIENCE_S)
            receipts: set[int] = set()
            async with asyncio.timeout(PATIENCE_S):
                async for message in ada.messages():
                    crossed += isinstance(message, Cross)
                    receipts |= {message.seq} if isinstance(message, Receipt) else set()
                    if receipts >= set(paid):
                        break
            assert ada.connections == 1
            assert crossed >= 10
            ((region, row),) = avatars(app, "Ada")
            assert ada.entity == (region, row)
            assert int(app.regions[region].machine.world[Body].sum[row]) == 12 * 4
            await beside.check()


async def test_a_divided_world_is_kept_and_comes_back_with_everybody_in_one_place(tmp_path: Path):
    ours = quarters(server__data_dir=tmp_path, store__kind="sqlite", store__checkpoint_every_s=0.5)
    placed: dict[str, tuple[float, float]] = {}
    names = [f"p{n}" for n in range(6)]
    async with opened(ours, GAME) as app:
        clients = [await connect(app.ws_url, name=name) for name in names]
        await asyncio.gather(*(walk_to(c, -512.0 + 60 + n, 64.0 + 60 + n) for n, c in enumerate(clients)))
        tokens = [c.welcome.resume for c in clients]
        for client in clients:
            await client.close()
    before = {n: (r.machine.tick, r.machine.digest()) for n, r in app.regions.items()}
    async with opened(ours, GAME) as again:
        for number, region in again.regions.items():
            assert region.report is not None
            assert (region.report.tick, region.machine.tick >= region.report.tick) == (before[number][0], True)
        for name, token in zip(names, tokens, strict=True):
            async with await connect(again.ws_url, resume=token) as back:
                assert back.welcome.resumed
                ((region, row),) = avatars(again, name)
                assert back.entity == (region, row)
                position = again.regions[region].machine.world[Position]
                placed[name] = (float(position.x[row]), float(position.y[row]))
                assert await asyncio.wait_for(back.check(), PATIENCE_S)
    assert len(placed) == len(names)


async def test_an_undivided_world_has_no_margin_and_one_region():
    async with serving(settings(), GAME) as app:
        assert list(app.regions) == [3]
        assert app.machine.region.margin == 0
        ada = await Visitor.join(app)
        assert len(ada.welcome.regions) == 1
