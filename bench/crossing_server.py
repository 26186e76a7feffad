"""The world under measure: four regions in one process, journalled in SQLite, with the crowd for a game."""

from __future__ import annotations

import asyncio

import uvloop

from bench.crowd_game import CELL_UNITS, GAME, NEAR_CELLS
from bench.processes import Line, arguments, failures_told, listen, tell
from bench.ticks import TickLog
from config.settings import Settings, load
from server.app import opened
from server.observe.logs import configure

# The least that has a border in every view: five cells by five.
WORLD_UNITS = 5 * CELL_UNITS


def settings_for(hz: int, directory: str) -> Settings:
    """A world of two by two regions."""
    return load(
        overrides={
            "server.port": 0,
            "server.data_dir": directory,
            "world.width": WORLD_UNITS,
            "world.height": WORLD_UNITS,
            "world.columns": 2,
            "world.rows": 2,
            "world.entities_max": 4096,
            "world.tick_rate_hz": hz,
            "view.cell_units": CELL_UNITS,
            "view.near_cells": NEAR_CELLS,
            "view.far_cells": NEAR_CELLS,
            "log.level": "warning",
        },
        environment={},
    )


async def serve(told: Line) -> None:
    """Run until the parent goes."""
    ended = asyncio.Event()
    settings = settings_for(told["hz"], told["directory"])
    configure(settings.log.level, settings.log.format)
    async with opened(settings, GAME) as app:
        log = TickLog()
        app.host.after_tick.append(lambda times, took_s: log.note(times.due_s, times.start_s, took_s))

        def hear(word: str) -> None:
            if word == "start":
                log.start()
            elif word == "stop":
                tell("ticks", **log.stop())
            elif word == "end":
                ended.set()

        listen(hear)
        tell("listening", port=app.port)
        failed = asyncio.create_task(app.run())
        await asyncio.wait([failed, asyncio.create_task(ended.wait())], return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            failed.result()


if __name__ == "__main__":
    with failures_told():
        uvloop.run(serve(arguments()))
