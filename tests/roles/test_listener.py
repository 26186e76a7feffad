"""The port of a process, and its end."""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request

from server.roles.listener import Answer, Listener

PATIENCE_S = 60.0
HOST = "127.0.0.1"


def answer(connection: ServerConnection, _request: Request) -> Answer:
    return connection.respond(HTTPStatus.OK, "Here.\n")


@pytest.mark.parametrize("said", [b"", b"GET /healthz HT"])
async def test_an_end_does_not_wait_for_who_asks_nothing(said: bytes):
    listener = Listener(answer, open_timeout=None)
    await listener.open(HOST, 0)
    port = listener.address[1]
    spare, writer = await asyncio.open_connection(HOST, port)
    writer.write(said)
    # Behind it: it has been accepted by then.
    other, asking = await asyncio.open_connection(HOST, port)
    asking.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
    try:
        async with asyncio.timeout(PATIENCE_S):
            assert (await other.readline()).startswith(b"HTTP/1.1 200")
            await listener.close(10 * PATIENCE_S)
            with contextlib.suppress(ConnectionResetError):
                assert await spare.read() == b""
    finally:
        writer.close()
        asking.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(HOST, port)


async def test_one_that_never_opened_closes():
    await Listener(answer).close()
