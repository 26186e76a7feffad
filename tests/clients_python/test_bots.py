"""Bots play on the real server: they join, think, come back when their wire breaks, and stand still without a brain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from clients.python.bots import play
from server.app import Everstep
from tests.gateway.glade import GAME, settings
from tests.gateway.visitor import PATIENCE_S, only_stream, serving


class Counting:
    """A brain that adds one at each thought, once it sees itself."""

    def decide(self, _rng: Any, view: Any, me: int) -> list[tuple[str, list[Any]]]:
        return [("Add", [1])] if me in view.entities and view.archetype(me) == "Avatar" else []


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  # what is inside the server has no event; the condition decides
            await asyncio.sleep(0.005)


def acked(app: Everstep) -> list[int]:
    return sorted(s.acked for s in app.gateway.sessions.values())


@pytest.mark.parametrize("brain", [Counting, None])
async def test_bots_join_and_play(brain):
    async with serving(settings(), GAME) as app:
        playing = asyncio.create_task(play(app.ws_url, 3, 1, brain))
        try:
            await until(lambda: len(only_stream(app).viewers) == 3)
            if brain is None:
                tick = app.machine.tick
                await until(lambda: app.machine.tick > tick + 40)
                assert acked(app) == [0, 0, 0]
            else:
                await until(lambda: min(acked(app)) >= 2)
            assert len({s.name for s in app.gateway.sessions.values()}) == 3
        finally:
            playing.cancel()
            with suppress(asyncio.CancelledError):
                await playing


@pytest.mark.parametrize("url", ["ws://127.0.0.1:9/ws", "nonsense"])
async def test_bots_that_reach_nobody_say_so_once(url):
    with capture_logs() as logs:
        playing = asyncio.create_task(play(url, 3, 1, None))
        try:
            # Each has failed, and the first one twice.
            await until(lambda: [line["bot"] for line in logs].count(logs[0]["bot"]) == 2 if logs else False)
        finally:
            playing.cancel()
            with suppress(asyncio.CancelledError):
                await playing
    (told,) = (line for line in logs if line["log_level"] == "warning")
    assert told["url"] == url
    assert told["reason"]


async def test_a_bot_whose_wire_breaks_comes_back():
    async with serving(settings(gateway__grace_s=0.0), GAME) as app:
        playing = asyncio.create_task(play(app.ws_url, 1, 1, Counting))
        try:
            await until(lambda: len(only_stream(app).viewers) == 1)
            first = only_stream(app).viewers[0]
            first.session.socket.transport.abort()
            await until(lambda: bool(only_stream(app).viewers) and only_stream(app).viewers[0] is not first)
            await until(lambda: only_stream(app).viewers[0].session.acked >= 1)
        finally:
            playing.cancel()
            with suppress(asyncio.CancelledError):
                await playing
