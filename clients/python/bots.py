"""Bots: many clients in one process, each with a brain that a game brings along.

A game's `bots` module has a `Brain` with `decide(rng, view, handle) -> [(command, arguments), ...]`; a game
without one gets bots that send nothing and just stand there.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from clients.python.table import TableViews
from protocol.codec import encode_hello, encode_input, encode_ping
from protocol.errors import ProtocolError
from protocol.messages import Welcome
from protocol.reading import decode_server

_log = structlog.get_logger("bots")

# Seconds between two thoughts of one bot, and between two arrivals.
_THINK_S: Final = (0.25, 0.5)
_ARRIVAL_S: Final = 0.01
_PING_S: Final = 5.0
# Reconnecting waits this long, then twice as long each time, up to the last.
_BACKOFF_S: Final = 0.5
_BACKOFF_MAX_S: Final = 10.0

_FIRST_NAMES: Final = (
    "Ash", "Bryn", "Cleo", "Dara", "Eli", "Fern", "Gus", "Hazel", "Ivo", "Juno", "Kit", "Lark",
    "Moss", "Nell", "Oak", "Pip", "Quill", "Rowan", "Sage", "Tarn", "Una", "Vale", "Wren", "Yew",
)  # fmt: skip


class Brain(Protocol):
    """What a game brings."""

    def decide(self, rng: Any, view: Any, me: int, /) -> Iterable[tuple[str, Sequence[Any]]]:  # Any: the game's own
        """The commands to send now."""
        ...


async def play(url: str, count: int, seed: int, brain: Callable[[], Brain] | None) -> None:
    """Have `count` bots play at `url` until cancelled."""
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            rng = random.Random(f"{seed}/{number}")  # noqa: S311  # whims, not secrets
            name = f"{_FIRST_NAMES[number % len(_FIRST_NAMES)]}-{number}"
            group.create_task(_live(url, name, rng, brain, loud=number == 0))
            await asyncio.sleep(_ARRIVAL_S)


async def _live(url: str, name: str, rng: random.Random, brain: Callable[[], Brain] | None, *, loud: bool) -> None:
    """One bot, through broken connections. `loud`: it tells of the first failure in a row, for all of them."""
    wait_s = _BACKOFF_S
    while True:
        try:
            async with connect(url, compression=None, ping_interval=None, max_queue=None) as socket:
                welcome = await _welcomed(socket, name)
                wait_s = _BACKOFF_S
                await _converse(socket, welcome, rng, brain() if brain else None)
        except (OSError, WebSocketException, ProtocolError) as error:
            tell = _log.warning if loud and wait_s == _BACKOFF_S else _log.debug
            tell("no connection", bot=name, url=url, reason=str(error))
        await asyncio.sleep(wait_s * rng.uniform(0.5, 1.5))
        wait_s = min(wait_s * 2, _BACKOFF_MAX_S)


async def _welcomed(socket: ClientConnection, name: str) -> Welcome:
    await socket.send(encode_hello(name=name))
    while not isinstance(told := decode_server(_binary(await socket.recv())), Welcome):
        pass
    return told


async def _converse(socket: ClientConnection, welcome: Welcome, rng: random.Random, brain: Brain | None) -> None:
    views = TableViews(welcome)
    numbers = {c.name: c.id for c in welcome.schema.commands}
    seq = welcome.ack
    loop = asyncio.get_running_loop()
    think_s, ping_s = loop.time() + rng.uniform(*_THINK_S), loop.time() + _PING_S
    with contextlib.suppress(StopAsyncIteration):
        async for data in socket:
            views.receive(_binary(data))
            now_s = loop.time()
            if now_s >= ping_s:
                ping_s = now_s + _PING_S
                await socket.send(encode_ping(now_s))
            if brain is None or now_s < think_s or views.own.tick is None:
                continue
            think_s = now_s + rng.uniform(*_THINK_S)
            for command, args in brain.decide(rng, views.own, views.handle):
                seq += 1
                await socket.send(encode_input(seq, numbers[command], args))


def _binary(data: str | bytes) -> bytes:
    return data if isinstance(data, bytes) else data.encode()
