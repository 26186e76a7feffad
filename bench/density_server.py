"""The worlds under measure: one or several in this process, each of one region or more, with the crowd and its rim.

Nothing is kept on a disk: a commit serves all regions of a process alike, and would be told apart from none.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from bisect import bisect_right
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

import uvloop

from bench.crossing_server import settings_for
from bench.density_game import GAME, ground_within
from bench.processes import Line, arguments, failures_told, listen, tell
from bench.ticks import TickLog
from config.settings import Settings
from server.app import Everstep, opened
from server.gateway.session import Session
from server.observe.logs import configure
from server.regions.atlas import Atlas

_GOLDEN: Final = 0.6180339887498949


def settings_of(told: Line) -> Settings:
    """Of each world."""
    settings = settings_for(told["hz"], "", cuts=told["cuts"], world_units=told["world_units"])
    store = settings.store.model_copy(update={"kind": "memory"})
    return settings.model_copy(update={"store": store})


def spread_evenly(atlas: Atlas) -> Callable[[Session], int]:
    """Which region the next newcomer begins in: each gets as much of the crowd as it has of the ground."""
    shares = []
    for region in atlas.regions:
        x0, y0, x1, y1 = ground_within(region.bounds, atlas.limits)
        shares.append((x1 - x0) * (y1 - y0))
    past, numbers = list(itertools.accumulate(shares)), itertools.count()

    def choose(_session: Session) -> int:
        # Multiples of the golden ratio lie evenly, however many there are.
        return atlas.regions[bisect_right(past, next(numbers) * _GOLDEN % 1.0 * past[-1])].id

    return choose


def decodes(apps: list[Everstep]) -> int:
    """Frames of regions that the gateways have decoded."""
    return sum(app.gateway.router.sent.heard for app in apps)


async def serve(told: Line) -> None:
    """Run until the parent goes."""
    ended = asyncio.Event()
    settings = settings_of(told)
    configure(settings.log.level, settings.log.format)
    async with AsyncExitStack() as stack:
        apps = [await stack.enter_async_context(opened(settings, GAME)) for _ in range(told["worlds"])]
        for app in apps:
            app.gateway.router.choose = spread_evenly(app.atlas)
        log, heard = TickLog(), 0
        apps[0].host.after_tick.append(lambda times, took_s: log.note(times.due_s, times.start_s, took_s))
        began_s = 0.0

        def hear(word: str) -> None:
            nonlocal heard, began_s
            if word == "start":
                heard, began_s = decodes(apps), time.process_time()
                log.start()
            elif word == "stop":
                cpu_s = time.process_time() - began_s
                tell("ticks", **log.stop(), decodes=decodes(apps) - heard, cpu_s=cpu_s)
            elif word == "end":
                ended.set()

        listen(hear)
        tell("listening", ports=[app.port for app in apps])
        failed = [asyncio.create_task(app.run()) for app in apps]
        await asyncio.wait([*failed, asyncio.create_task(ended.wait())], return_when=asyncio.FIRST_COMPLETED)
        for task in failed:
            if task.done():
                task.result()


if __name__ == "__main__":
    with failures_told():
        uvloop.run(serve(arguments()))
