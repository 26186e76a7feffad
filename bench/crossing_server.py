"""The world under measure: regions in one process, journalled in SQLite, with the crowd for a game.

Or one that is divided into four and united again, every so many seconds.
"""

from __future__ import annotations

import asyncio

import uvloop

from bench.crowd_game import CELL_UNITS, GAME, NEAR_CELLS
from bench.processes import Line, arguments, failures_told, listen, tell
from bench.ticks import DurableLog, TickLog
from config.settings import Settings, load
from server.app import Everstep, opened
from server.observe.logs import configure
from server.regions.division import division_order
from server.shard.ports import commands_topic

# The least that has a border in every view: five cells by five.
WORLD_UNITS = 5 * CELL_UNITS


def settings_for(
    hz: int, directory: str, *, divided: bool = False, cuts: int = 2, world_units: float = WORLD_UNITS
) -> Settings:
    """A square world of `cuts` by `cuts` regions; or of one that may be divided into two by two."""
    cuts = 1 if divided else cuts
    return load(
        overrides={
            "server.port": 0,
            "server.data_dir": directory,
            "world.width": world_units,
            "world.height": world_units,
            "world.columns": cuts,
            "world.rows": cuts,
            "world.split_depth": int(divided),
            "world.entities_max": 4096,
            "world.tick_rate_hz": hz,
            "view.cell_units": CELL_UNITS,
            "view.near_cells": NEAR_CELLS,
            "view.far_cells": NEAR_CELLS,
            # A crowd comes from one address, and the first to connect wait, silent, for the last.
            "gateway.connections_per_address_max": 1_000_000,
            "gateway.idle_timeout_s": 300.0,
            "gateway.handshake_timeout_s": 60.0,
            "log.level": "warning",
        },
        environment={},
    )


class Orders:
    """Divides the first region, and unites it, and so on, `every_s` seconds apart; never for 0."""

    def __init__(self, app: Everstep, every_s: float) -> None:
        self.given = 0
        self._app = app
        self._every_s = every_s

    async def run(self) -> None:
        """Until cancelled."""
        if not self._every_s:
            await asyncio.Event().wait()
        divide = True
        while True:
            await asyncio.sleep(self._every_s)
            self._app.bus.publish(commands_topic(self._app.settings.world.region_id), division_order(divide=divide))
            self.given += 1
            divide = not divide


async def serve(told: Line) -> None:
    """Run until the parent goes."""
    ended = asyncio.Event()
    every_s = told["divide_every_s"]
    world = {key: told[key] for key in ("cuts", "world_units") if key in told}
    settings = settings_for(told["hz"], told["directory"], divided=bool(every_s), **world)
    configure(settings.log.level, settings.log.format)
    async with opened(settings, GAME) as app:
        log, orders, durable = TickLog(), Orders(app, every_s), DurableLog()
        for region in app.regions.values():
            durable.follow(region.host)
        app.host.after_tick.append(lambda times, took_s: log.note(times.due_s, times.start_s, took_s))

        def hear(word: str) -> None:
            if word == "start":
                log.start()
                durable.ms.clear()
                orders.given = 0
            elif word == "stop":
                tell("ticks", **log.stop(), divisions=orders.given, durable_ms=[round(ms, 3) for ms in durable.ms])
            elif word == "end":
                ended.set()

        listen(hear)
        tell("listening", port=app.port)
        failed = asyncio.create_task(app.run())
        tasks = [failed, asyncio.create_task(ended.wait()), asyncio.create_task(orders.run())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            failed.result()


if __name__ == "__main__":
    with failures_told():
        uvloop.run(serve(arguments()))
