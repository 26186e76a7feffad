"""A client written from docs/protocol.md alone works against the real server."""

from __future__ import annotations

import ast
import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from server.app import Everstep
from tests.clients_python.pasture import GAME
from tests.protocol import page_client as page
from tests.protocol.page_client import PageClient

SOURCE = Path(page.__file__)


@pytest.fixture
async def server(settings):
    async with Everstep(settings, GAME) as app:
        yield app


@pytest.fixture
async def client(server):
    """Joined. Ends a test that would wait for ever."""
    async with asyncio.timeout(60), connect(server.ws_url, compression=None) as socket:
        made = PageClient(socket)
        await made.say(page.HELLO, 1, None, None, "Zoë")
        await made.wait_for(page.WELCOME)
        await made.wait_for(page.KEYFRAME)
        yield made


def test_it_is_short_and_knows_nothing_of_this_project() -> None:
    text = SOURCE.read_text()
    assert len(text.splitlines()) < 150
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    assert imported - {"msgpack", "websockets"} <= sys.stdlib_module_names


async def test_it_reads_the_schema_and_finds_itself(client: PageClient) -> None:
    region, handle = client.entity
    assert client.schema["game"] == "pasture"
    assert client.value(region, handle, "Body", "name") == "Zoë"
    assert client.value(region, handle, "Position", "x") == 512.0
    assert client.value(region, handle, "Body", "steps") == 0


async def test_its_input_is_acked_and_shows(client: PageClient) -> None:
    region, handle = client.entity
    seq = await client.command("Move", 1, -0.5)
    await client.wait_for(page.ACK, lambda message: message[1] >= seq)
    await client.wait_for(page.DELTA)
    x, y = (client.value(region, handle, "Position", field) for field in "xy")
    assert x >= 513.0
    assert y - 512.0 == (512.0 - x) / 2
    seq = await client.command("Step")
    assert await client.wait_for(page.RECEIPT) == [page.RECEIPT, seq]
    await client.command("Say", "hello")
    event = await client.wait_for(page.EVENT)
    assert event[3] == [handle, "hello"]


async def test_its_view_digest_agrees_on_a_walk(client: PageClient) -> None:
    region, handle = client.entity
    await client.command("Move", 1, 1)
    # Across two borders of 32 units, through both rings of the view.
    for x in (530.0, 550.0, 580.0):
        await client.wait_for(page.DELTA, lambda _, reached=x: client.value(region, handle, "Position", "x") >= reached)
        await client.say(page.CHECK)
        _, of, tick, count, crc = await client.wait_for(page.VIEW_DIGEST)
        assert of == region
        assert tick >= client.ticks[region]
        assert (count, crc) == client.digest(region)
        assert count > 1


async def test_its_ping_comes_back(client: PageClient) -> None:
    await client.say(page.PING, 1500.5)
    _, client_time, tick, micros, rate_mhz = await client.wait_for(page.PONG)
    assert client_time == 1500.5
    assert tick >= client.info["tick"]
    assert micros >= 0
    assert 0 < rate_mhz <= 40_000


async def test_it_resumes(client: PageClient, server: Everstep) -> None:
    step = await client.command("Step")
    await client.wait_for(page.ACK, lambda message: message[1] == step)
    client.socket.transport.abort()
    async with connect(server.ws_url, compression=None) as socket:
        again = PageClient(socket)
        await again.say(page.HELLO, 1, None, client.info["resume"], None)
        await again.wait_for(page.WELCOME)
        assert again.info["resumed"]
        assert again.seq == step
        assert again.entity == client.entity
        await again.wait_for(page.KEYFRAME)
        assert again.value(*again.entity, "Body", "steps") == 1
        await again.say(page.LEAVE)
        while page.BYE not in again.last:
            await again.receive()
        assert again.last[page.BYE][1] == 1000


async def test_it_runs_as_a_program(server: Everstep) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SOURCE), server.ws_url, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    text = output.decode()
    assert process.returncode == 0, text
    here, there = text.strip().split(": ")[1].removesuffix(" there").split(" here, ")
    assert here == there
