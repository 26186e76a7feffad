"""The server under measure: Everstep as anyone runs it, with the crowd for a game.

Beside it only a notebook: when ticks were due and began, and at some ticks where everyone really was.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import uvloop

from bench.crowd_game import CELL_UNITS, GAME, NEAR_CELLS, Mark, Position, world_units_for
from bench.processes import Line, arguments, failures_told, listen, tell
from bench.ticks import TickLog
from config.settings import Settings, load
from server.app import Everstep, opened
from server.host.pacer import TickTime
from server.observe.logs import configure

# getsockopt's SO_MEMINFO, and the place of the bytes queued for writing in what it returns (linux/sock_diag.h).
_SO_MEMINFO: Final = 55
_WMEM_QUEUED: Final = 5


def settings_for(clients: int, hz: int, *, lag_timeout_s: float, store: Mapping[str, Any]) -> Settings:  # Any: checked
    """The crowd's settings: a view of 5 by 5 cells all at full rate, and room for all from one address.

    `store`: where the world is kept, see bench/stores.py.
    """
    edge_units = world_units_for(clients)
    return load(
        overrides={
            "server.port": 0,
            "world.width": edge_units,
            "world.height": edge_units,
            "world.entities_max": max(4096, clients * 2),
            "world.tick_rate_hz": hz,
            "view.cell_units": CELL_UNITS,
            "view.near_cells": NEAR_CELLS,
            "view.far_cells": NEAR_CELLS,
            "gateway.connections_per_address_max": 1_000_000,
            # The first to connect wait, silent, for the last.
            "gateway.idle_timeout_s": 300.0,
            "gateway.handshake_timeout_s": 60.0,
            "gateway.lag_timeout_s": lag_timeout_s,
            "log.level": "warning",
            **store,
        },
        environment={},
    )


class Notebook:
    """Ticks, and the truth at every `every_ticks`-th of them."""

    def __init__(self, app: Everstep, every_ticks: int) -> None:
        self.log = TickLog()
        # Checkpoints that became durable since the start.
        self.checkpoints = 0
        self._checkpoint: int | None = None
        self._app = app
        self._every_ticks = every_ticks
        self._truth: dict[str, Any] = {}  # Any: arrays by name, as np.savez takes them

    def note(self, times: TickTime, took_s: float) -> None:
        """After a tick."""
        self.log.note(times.due_s, times.start_s, took_s)
        tick = self._app.machine.tick
        newest = self._app.checkpoints.tick if self._app.checkpoints else None
        if newest != self._checkpoint:
            self._checkpoint = newest
            self.checkpoints += self.log.on
        if self.log.on and tick % self._every_ticks == 0:
            world = self._app.machine.world
            rows = world.rows(Position)
            self._truth |= {
                f"rows_{tick}": rows.copy(),
                f"x_{tick}": world[Position].x[rows],
                f"y_{tick}": world[Position].y[rows],
                f"mark_{tick}": world[Mark].value[rows],
            }

    def save(self, path: Path) -> None:
        """Write the truth down."""
        np.savez(path, **self._truth)


def queued_bytes() -> int:
    """What the kernel holds for writing on all of this process's TCP sockets, its own overhead included."""
    total = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            with socket.socket(fileno=int(entry.name)) as connection:
                try:
                    if connection.family == socket.AF_INET and connection.type == socket.SOCK_STREAM:
                        memory = connection.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36)
                        total += struct.unpack("9I", memory)[_WMEM_QUEUED]
                finally:
                    connection.detach()
        except OSError:
            continue
    return total


async def serve(told: Line) -> None:
    """Run until the parent goes."""
    ended = asyncio.Event()
    settings = settings_for(told["clients"], told["hz"], lag_timeout_s=told["lag_timeout_s"], store=told["store"])
    configure(settings.log.level, settings.log.format)
    async with opened(settings, GAME) as app:
        notebook = Notebook(app, told["photograph_every_ticks"])
        app.host.after_tick.append(notebook.note)

        def hear(word: str) -> None:
            if word == "start":
                notebook.log.start()
            elif word == "stop":
                notebook.save(Path(told["truth"]))
                tell("ticks", queued_bytes=queued_bytes(), checkpoints=notebook.checkpoints, **notebook.log.stop())
            elif word == "end":
                ended.set()

        listen(hear)
        tell("listening", port=app.port, world_units=settings.world.width)
        failed = asyncio.create_task(app.run())
        await asyncio.wait([failed, asyncio.create_task(ended.wait())], return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            failed.result()


if __name__ == "__main__":
    with failures_told():
        uvloop.run(serve(arguments()))
