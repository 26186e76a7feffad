"""A whole server on a disk that is full or fails: what an operator sees, what players keep, how it goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from server.store.sqlite_file import FILE_NAME
from tests.app.test_kept import PATIENCE_S, Payer
from tests.store.conftest import FailingDisk

DISK_BYTES = 6 * 1024 * 1024


class Server:
    """`everstep run` with the glade, and what it says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.ws_url = ""
        # Of standard error: log lines as they are, and the last words.
        self.said: list[str] = []

    @classmethod
    async def start(cls, root: Path, data: Path, environment: dict[str, str]) -> Server:
        words = ["run", "--game", "tests.gateway.glade", "--port", "0", "--data", str(data)]
        pipe = asyncio.subprocess.PIPE
        server = cls(
            await asyncio.create_subprocess_exec(
                sys.executable, "-m", "server", *words, cwd=root, env=environment, stdout=pipe, stderr=pipe
            )
        )
        assert server.process.stdout is not None
        line = (await asyncio.wait_for(server.process.stdout.readline(), PATIENCE_S)).decode()
        if "open http://" in line:
            server.ws_url = line.split()[-1].replace("http", "ws", 1) + "ws"
        return server

    async def hear(self, event: str) -> dict[str, object]:
        """Listen to its log until it says this; returns the line."""
        assert self.process.stderr is not None
        while line := (await asyncio.wait_for(self.process.stderr.readline(), PATIENCE_S)).decode():
            self.said.append(line)
            with contextlib.suppress(ValueError):
                told: dict[str, object] = json.loads(line)
                if told["event"] == event:
                    return told
        raise AssertionError(f"it never said {event!r}, but: {''.join(self.said)}")

    async def last_words(self) -> str:
        """What it said until it ended of itself."""
        assert self.process.stderr is not None
        rest = await asyncio.wait_for(self.process.stderr.read(), PATIENCE_S)
        await asyncio.wait_for(self.process.wait(), PATIENCE_S)
        return "".join(self.said) + rest.decode()

    async def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        await self.last_words()
        assert self.process.returncode is not None
        return self.process.returncode


@pytest.fixture
def environment() -> dict[str, str]:
    """A checkpoint five times a second: each of these tests meets some."""
    return {**os.environ, "EVERSTEP_STORE__CHECKPOINT_EVERY_S": "0.2"}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system, small enough to be filled."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(place)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> Path:
    """Take all the room there is."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return ballast


async def pay_until_it_ends(ada: Payer, wire: ClientConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            await ada.pay(wire, 30)


async def settle(ada: Payer, url: str) -> None:
    """All that she sent is confirmed, and done once."""
    async with connect(url, compression=None) as wire:
        assert (await ada.join(wire)).resumed
        while len(ada.receipts) < ada.sent or ada.paid() < ada.sent:
            await ada.receive(wire)
        assert ada.paid() == ada.sent == len(ada.receipts)


async def test_a_full_disk_ends_the_server_with_words_and_with_room_it_goes_on(
    root: Path, disk: Path, environment: dict[str, str]
) -> None:
    ada = Payer()
    server = await Server.start(root, disk, environment)
    async with connect(server.ws_url, compression=None) as wire:
        await ada.join(wire)
        await ada.pay(wire, 30)
        ballast = fill(disk)
        await pay_until_it_ends(ada, wire)
    words = await server.last_words()
    assert server.process.returncode == 3
    assert f"the world kept in {disk / 'glade'} can't go on" in words
    assert "SQLITE_FULL" in words
    assert "free space" in words
    assert "Traceback" not in words
    confirmed = len(ada.receipts)
    assert 0 < confirmed <= ada.sent

    ballast.unlink()
    server = await Server.start(root, disk, environment)
    await settle(ada, server.ws_url)
    assert len(ada.receipts) >= confirmed
    assert await server.end(signal.SIGTERM) == 0


async def test_a_disk_that_is_full_at_a_start_is_told_as_one(
    root: Path, disk: Path, environment: dict[str, str]
) -> None:
    ballast = fill(disk)
    server = await Server.start(root, disk / "data", environment)
    words = await server.last_words()
    assert server.process.returncode == 3
    assert "can't go on" in words
    assert "free space" in words
    assert "listen" not in words
    ballast.unlink()
    server = await Server.start(root, disk / "data", environment)
    assert await server.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("place", ["", "glade", "glade/checkpoints"])
async def test_a_file_where_a_directory_belongs_is_told_as_what_it_is(
    root: Path, tmp_path: Path, environment: dict[str, str], place: str
) -> None:
    data = tmp_path / "data"
    (data / place).parent.mkdir(parents=True, exist_ok=True)
    (data / place).write_text("in the way")
    server = await Server.start(root, data, environment)
    words = await server.last_words()
    assert server.process.returncode == 3
    assert f"the world kept in {data / 'glade'} can't go on: {data / place} can't be used: " in words or not place
    assert "listen" not in words
    assert "Traceback" not in words


@pytest.mark.parametrize("fault", ["sync", "eio", "full"])
async def test_a_journal_that_fails_ends_the_server_and_a_sound_disk_brings_it_back(
    root: Path, tmp_path: Path, environment: dict[str, str], failing_disk: FailingDisk, fault: str
) -> None:
    ada = Payer()
    server = await Server.start(root, tmp_path / "data", {**environment, **failing_disk.environment})
    async with connect(server.ws_url, compression=None) as wire:
        await ada.join(wire)
        await ada.pay(wire, 30)
        failing_disk.fail(f"{fault} {FILE_NAME}-wal")
        await pay_until_it_ends(ada, wire)
    words = await server.last_words()
    assert server.process.returncode == 3
    # Whichever write met it first.
    assert re.search("the journal's (commit|trim|checkpoint) failed", words)
    assert "Whatever was confirmed to a player is kept" in words
    # As long as it lasts, a supervisor that starts it again is told the same.
    server = await Server.start(root, tmp_path / "data", {**environment, **failing_disk.environment})
    assert server.ws_url == ""
    assert "can't go on" in await server.last_words()
    assert server.process.returncode == 3

    failing_disk.heal()
    server = await Server.start(root, tmp_path / "data", environment)
    await settle(ada, server.ws_url)
    assert await server.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("fault", ["sync", "full"])
async def test_checkpoints_that_fail_send_no_player_away_and_the_journal_keeps_it_all(
    root: Path, tmp_path: Path, environment: dict[str, str], failing_disk: FailingDisk, fault: str
) -> None:
    ada = Payer()
    server = await Server.start(root, tmp_path / "data", {**environment, **failing_disk.environment})
    async with connect(server.ws_url, compression=None) as wire:
        await ada.join(wire)
        await server.hear("checkpoint")
        failing_disk.fail(f"{fault} .unfinished")
        told = await server.hear("checkpoint failed")
        assert ("No space left" if fault == "full" else "Input/output error") in str(told["reason"])
        assert "exception" not in told
        await ada.pay(wire, 30)
        await server.hear("checkpoint failed")
        await server.end(signal.SIGKILL)
    # Nor does it matter at a start.
    server = await Server.start(root, tmp_path / "data", {**environment, **failing_disk.environment})
    await settle(ada, server.ws_url)
    failing_disk.heal()
    await server.hear("checkpoint")
    assert not list((tmp_path / "data" / "glade" / "checkpoints").glob("*.unfinished"))
    assert await server.end(signal.SIGTERM) == 0
