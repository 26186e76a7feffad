"""A region divided and united by an operator's word, over real sockets, and brought back divided after a stop."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from clients.python import Client, connect
from config.settings import Settings
from server.app import Everstep, opened
from server.commands.kept import opened as opened_kept
from tests.app.test_regions import walk_to
from tests.gateway.glade import Body, glade, settings
from tests.gateway.visitor import PATIENCE_S
from tests.support.country import census_of, travellers_of

TOKEN = "of-an-operator-" + "x" * 32
GAME = glade(20)
REGION = 3
PARTS = (4, 5, 6)


def divisible(directory: Path, **given: Any) -> Settings:
    """One region of 128 by 128 units, which may be four."""
    return settings(
        **{
            "server__data_dir": directory,
            "operator__token": TOKEN,
            "world__width": 128.0,
            "world__height": 128.0,
            "world__split_depth": 1,
            "host__hibernate_after_s": 0.2,
            "gateway__inputs_per_s": 1000.0,
            "gateway__inputs_burst": 1000,
            **given,
        }
    )


async def order(root: Path, app: Everstep, action: str) -> None:
    """`everstep divide` or `everstep unite`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "server", action, str(REGION), "--url", app.url),
        cwd=root,
        env={**os.environ, "EVERSTEP_OPERATOR__TOKEN": TOKEN},
        stdout=asyncio.subprocess.PIPE,
    )
    answer, _ = await process.communicate()
    assert json.loads(answer) == {"region": REGION, "divide": action == "divide"}


async def until_home(client: Client, *regions: int) -> None:
    await asyncio.wait_for(client.until(lambda: client.entity[0] in regions), PATIENCE_S)


async def test_players_play_on_while_their_region_is_divided_stopped_and_united(root: Path, tmp_path: Path):
    ours = divisible(tmp_path)
    # In the south-east quarter, and the middle of all four.
    away, x, y = (-448.0 + 9.0, 128.0 + 9.0), -448.0, 128.0
    async with opened(ours, GAME) as app, await connect(app.ws_url, name="Ada") as ada:
        assert set(app.regions) == {REGION, *PARTS}
        await walk_to(ada, *away)
        ada.send("Add", amount=3)
        sleepers = [app.regions[part].host.slumber for part in PARTS]
        await asyncio.wait_for(ada.until(lambda: all(one.asleep for one in sleepers)), PATIENCE_S)
        await order(root, app, "divide")
        await until_home(ada, PARTS[-1])
        ada.send("Add", amount=4)
        # Through all four and back.
        for to in ((x - 9.0, y + 9.0), (x - 9.0, y - 9.0), (x + 9.0, y - 9.0), away):
            await walk_to(ada, *to)
            assert await asyncio.wait_for(ada.check(), PATIENCE_S)
        last = ada.seq
        await asyncio.wait_for(ada.until(lambda: ada.acked >= last), PATIENCE_S)
        assert ada.connections == 1
        divided = {number: region.machine for number, region in app.regions.items()}
        # Gone, but not for good: her entity is to be found again.
        await ada.close()
    assert all(machine.division.ground is not None for machine in divided.values())
    # Each in one place, be it in a letter between two.
    assert list(census_of(divided).values()) == [1] * 21
    # What is kept says the same, replayed from its beginning.
    async with opened_kept(tmp_path / GAME.name, GAME, ours) as kept:
        for number, machine in divided.items():
            again, _ = await kept.at(number, None)
            assert again.digest() == machine.digest()
    async with opened(ours, GAME) as app:
        assert app.regions[REGION].machine.division.ground == (-512.0, 64.0, -448.0, 128.0)
        assert app.regions[PARTS[0]].machine.division.ground is not None
        async with await connect(app.ws_url, name="Bob") as bob:
            await order(root, app, "unite")
            united = {number: region.machine for number, region in app.regions.items()}

            def at_home() -> bool:
                return not any(united[part].world.count for part in PARTS) and not any(travellers_of(united))

            await asyncio.wait_for(bob.until(at_home), PATIENCE_S)
            assert await asyncio.wait_for(bob.check(), PATIENCE_S)
            # Nobody is shown the parts any more, or comes there: they sleep on.
            sleepers = [app.regions[part].host.slumber for part in PARTS]
            await asyncio.wait_for(bob.until(lambda: all(one.asleep for one in sleepers)), PATIENCE_S)
        machine = app.regions[REGION].machine
        names = machine.world[Body].name
        (row,) = np.flatnonzero(names == b"Ada")
        assert int(machine.world[Body].sum[row]) == 7
