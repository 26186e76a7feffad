"""Bots that play along: `everstep bots`, and the process of them that `everstep run --bots` starts.

That process has a pipe to the one that started it, and ends with it, however that ends: a killed server says nothing
to anybody, but the system closes its end of the pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Callable

_STDIN = 0


def start(url: str, game: str, count: int) -> subprocess.Popen[bytes]:
    """A process of bots: of `stop`, or it ends when this process does."""
    command = [sys.executable, "-m", "server", "bots", "--url", url, "--game", game, "--count", str(count)]
    command += ["--until-eof", "--log-level", "warning"]
    return subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603  # our own program, no shell


def stop(crowd: subprocess.Popen[bytes]) -> None:
    """End them, and return when they are gone."""
    crowd.terminate()
    crowd.communicate()


async def play(url: str, game: str, count: int, seed: int, *, until_eof: bool) -> None:
    """Play until cancelled; `until_eof`: or until standard input ends."""
    from clients.python.bots import play as play_on  # noqa: PLC0415  # `everstep run` has no use for a client

    brains = importlib.util.find_spec(f"{game}.bots") if not game.endswith(".py") else None
    brain = importlib.import_module(f"{game}.bots").Brain if brains else None
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    if until_eof:
        # A thread, for not every system's loop can wait for a pipe. Nobody waits for it at the end.
        threading.Thread(target=_tell_end, args=(loop, ended.set), name="stdin", daemon=True).start()
    playing, gone = asyncio.create_task(play_on(url, count, seed, brain)), asyncio.create_task(ended.wait())
    try:
        await asyncio.wait({playing, gone}, return_when=asyncio.FIRST_COMPLETED)
        if playing.done():
            playing.result()
    finally:
        playing.cancel()
        gone.cancel()


def _tell_end(loop: asyncio.AbstractEventLoop, tell: Callable[[], None]) -> None:
    while os.read(_STDIN, 4096):
        pass
    # Closed: they have ended by themselves.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(tell)
