"""A network that is gone, that is silent, and that is back."""

import asyncio
import contextlib

import pytest

from bench.proxy import Proxy


@pytest.fixture
async def echo():
    async def serve(reader, writer):
        with contextlib.closing(writer):
            while data := await reader.read(100):
                writer.write(data)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with Proxy(server.sockets[0].getsockname()[1]) as proxy:
        yield proxy
    server.close()
    await server.wait_closed()


@contextlib.asynccontextmanager
async def connected(proxy):
    """Says a word; returns what comes back, nothing where the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)

    async def say(word):
        try:
            writer.write(word)
            return await reader.read(100)
        except ConnectionError:
            return b""

    try:
        yield say
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_it_passes_on(echo):
    async with connected(echo) as first, connected(echo) as second:
        assert await first(b"one") == b"one"
        assert await second(b"two") == b"two"


async def test_cut_off_connections_end_until_it_is_mended(echo):
    async with connected(echo) as say:
        assert await say(b"one") == b"one"
        await echo.cut()
        assert await say(b"two") == b""
    async with connected(echo) as say:
        assert await say(b"three") == b""
    echo.mend()
    async with connected(echo) as say:
        assert await say(b"four") == b"four"


async def test_silent_it_holds_what_it_has_until_it_is_mended(echo):
    async with connected(echo) as say:
        assert await say(b"one") == b"one"
        echo.silence()
        answer = asyncio.create_task(say(b"two"))
        done, _ = await asyncio.wait([answer], timeout=0.1)
        assert not done
        echo.mend()
        assert await answer == b"two"


async def test_whose_server_is_gone_is_told(echo):
    echo.server_port = 1
    async with connected(echo) as say:
        assert await say(b"one") == b""
