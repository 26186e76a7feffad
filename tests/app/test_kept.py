"""A world that outlives its process: killed again and again, it loses no confirmed command and doubles none."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect

from clients.python.view import Views
from config.settings import load
from protocol.codec import decode_server, encode_hello, encode_input
from protocol.messages import Delta, Keyframe, Receipt, Welcome
from server.app import opened
from server.roles.world import data_directory
from server.store.errors import StoreInUse
from tests.gateway.glade import GAME, PAY, settings
from tests.support.mongo_database import Database

PATIENCE_S = 180.0


class Process:
    """`everstep run` with the glade, over one data directory."""

    def __init__(self, process: asyncio.subprocess.Process, ws_url: str) -> None:
        self.process = process
        self.ws_url = ws_url

    @classmethod
    async def start(cls, root: Path, data: Path, environment: dict[str, str]) -> Process:
        words = ["run", "--game", "tests.gateway.glade", "--port", "0", "--data", str(data), "--log-level", "error"]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "server", *words, cwd=root, env=environment, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)).decode()
        assert "open http://" in line, line
        return cls(process, line.split()[-1].replace("http", "ws", 1) + "ws")

    async def end(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        await asyncio.wait_for(self.process.wait(), PATIENCE_S)


class Payer:
    """A client that pays, one at a time, and keeps book of what it was promised."""

    def __init__(self) -> None:
        self.resume: str | None = None
        self.sent = 0
        self.receipts: set[int] = set()
        self.views: Views | None = None

    async def join(self, wire: ClientConnection) -> Welcome:
        await wire.send(encode_hello(name="Ada", resume=self.resume))
        while True:
            message = await self.receive(wire)
            if isinstance(message, Welcome):
                self.resume = message.resume
                # What it was not promised it asks for again, under the same numbers.
                for seq in sorted(set(range(1, self.sent + 1)) - self.receipts):
                    await wire.send(encode_input(seq, PAY, [1]))
                return message

    async def receive(self, wire: ClientConnection) -> object:
        message = decode_server(await asyncio.wait_for(wire.recv(), PATIENCE_S))  # type: ignore[arg-type]  # bytes
        if isinstance(message, Welcome):
            self.views = Views(message)
        elif isinstance(message, Receipt):
            self.receipts.add(message.seq)
        elif self.views is not None and isinstance(message, Delta | Keyframe):
            self.views.apply(message)
        return message

    async def pay(self, wire: ClientConnection, count: int) -> None:
        """Pay so often; return when the first half is confirmed: the rest is under way."""
        confirmed = len(self.receipts)
        for _ in range(count):
            self.sent += 1
            await wire.send(encode_input(self.sent, PAY, [1]))
        while len(self.receipts) < confirmed + count // 2:
            await self.receive(wire)

    def paid(self) -> int:
        assert self.views is not None
        view = self.views[self.views.entity[0]]
        handle = self.views.entity[1]
        return int(view.value(handle, "Body.sum")) if handle in view else -1


@pytest.fixture(params=["sqlite", "mongodb"])
async def environment(request: pytest.FixtureRequest, mongo_database: str) -> AsyncIterator[dict[str, str]]:
    """What a server is told of where its world is kept."""
    told = {**os.environ, "EVERSTEP_STORE__KIND": request.param}
    if request.param == "sqlite":
        yield told
        return
    async with Database(request.getfixturevalue("mongo_server"), mongo_database) as made:
        yield told | {"EVERSTEP_STORE__MONGODB_URI": made.uri, "EVERSTEP_STORE__MONGODB_DATABASE": made.name}


async def test_killed_again_and_again_it_loses_no_confirmed_command_and_doubles_none(
    root: Path, tmp_path: Path, environment: dict[str, str]
):
    ada = Payer()
    for _ in range(4):
        server = await Process.start(root, tmp_path, environment)
        async with connect(server.ws_url, compression=None) as wire:
            await ada.join(wire)
            await ada.pay(wire, 30)
            await server.end(signal.SIGKILL)
    server = await Process.start(root, tmp_path, environment)
    async with connect(server.ws_url, compression=None) as wire:
        welcome = await ada.join(wire)
        assert welcome.resumed
        while len(ada.receipts) < ada.sent or ada.paid() < ada.sent:
            await ada.receive(wire)
        assert ada.paid() == ada.sent == len(ada.receipts) == 120
    await server.end(signal.SIGTERM)
    assert server.process.returncode == 0


async def test_a_clean_stop_leaves_nothing_to_replay(tmp_path: Path):
    ours = settings(server__data_dir=tmp_path)
    async with opened(ours, GAME) as app:
        ticked = asyncio.Event()
        app.host.after_tick.append(lambda _times, _took_s: ticked.set())
        await asyncio.wait_for(ticked.wait(), PATIENCE_S)
    async with opened(ours, GAME) as again:
        assert (again.machine.tick, again.machine.digest()) == (app.machine.tick, app.machine.digest())
    assert (data_directory(ours, GAME) / "resume.key").stat().st_mode & 0o077 == 0


async def test_one_directory_has_one_server(tmp_path: Path):
    ours = settings(server__data_dir=tmp_path)
    async with opened(ours, GAME):
        with pytest.raises(StoreInUse):
            async with opened(ours, GAME):
                pass


async def test_in_memory_nothing_is_left(tmp_path: Path):
    ours = load(None, {"server.port": 0, "server.data_dir": tmp_path / "none", "store.kind": "memory"})
    async with opened(ours, GAME) as app:
        assert app.checkpoints is None
    assert not (tmp_path / "none").exists()
