"""A process of bots that play a game through real clients, until the parent goes.

python -m bench.bots '{"game": "games.frontier", "url": "ws://...", "count": 200, "seed": 1}'
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib

import uvloop

from bench.processes import Line, arguments, failures_told, listen
from clients.python.bots import play


async def main(told: Line) -> None:
    """Play."""
    ended = asyncio.Event()
    listen(lambda word: ended.set() if word == "end" else None)
    brain = importlib.import_module(f"{told['game']}.bots").Brain
    playing = asyncio.create_task(play(told["url"], told["count"], told["seed"], brain))
    await asyncio.wait([playing, asyncio.create_task(ended.wait())], return_when=asyncio.FIRST_COMPLETED)
    playing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await playing


if __name__ == "__main__":
    with failures_told():
        uvloop.run(main(arguments()))
