"""Everstep as a process that a bench may kill: `everstep run` with the ledger, on one data directory or database."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.processes import ROOT, WorkerError
from bench.stores import Store

GAME: Final = "bench.crash_game"
CHECKPOINT_EVERY_S: Final = 0.5
DATABASE: Final = "ledger"
_READY_WITHIN_S: Final = 120.0
_ASK_AGAIN_S: Final = 0.005


class ServerEnded(WorkerError):
    """The server ended by itself; the text has what it said."""


def environment(store: Store, uri: str | None = None) -> dict[str, str]:
    """What the server is told, whatever else this process was told of Everstep's settings."""
    told = {name: value for name, value in os.environ.items() if not name.startswith("EVERSTEP_")}
    told |= {
        "EVERSTEP_STORE__KIND": store,
        # So often that many a kill meets one.
        "EVERSTEP_STORE__CHECKPOINT_EVERY_S": str(CHECKPOINT_EVERY_S),
        "EVERSTEP_WORLD__WIDTH": "256",
        "EVERSTEP_WORLD__HEIGHT": "256",
        "EVERSTEP_LOG__LEVEL": "warning",
    }
    if uri is not None:
        told |= {"EVERSTEP_STORE__MONGODB_URI": uri, "EVERSTEP_STORE__MONGODB_DATABASE": DATABASE}
    return told


def init_database(told: dict[str, str]) -> None:
    """`everstep store init`."""
    subprocess.run(
        [sys.executable, "-m", "server", "store", "init"], cwd=ROOT, env=told, check=True, capture_output=True
    )  # our own program


class ServerProcess:
    """One life of the server."""

    def __init__(self, process: asyncio.subprocess.Process, began_s: float, log: Path) -> None:
        self.process = process
        # By time.monotonic: when it was started, and when it took players.
        self.began_s = began_s
        self.ready_s: float | None = None
        self.url: str | None = None
        self._log = log

    @classmethod
    async def start(
        cls,
        data: Path,
        told: dict[str, str],
        log: Path,
        *,
        program: Sequence[str] = ("server",),
        role: str = "run",
        game: str = GAME,
        port: int = 0,
    ) -> ServerProcess:
        """Start it; it is not ready yet. `log`: what it says on standard error is appended there.

        `program`: a module and what goes before the rest, for a server with a planted fault. `role`: the command of
        `everstep`: run, gateway or node.
        """
        words = ["-m", *program, role, "--game", game, "--port", str(port), "--data", str(data)]
        began_s = time.monotonic()
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *words, cwd=ROOT, env=told, stdout=asyncio.subprocess.PIPE, stderr=errors
            )
        return cls(process, began_s, log)

    async def running(self) -> int:
        """Wait until it says where it listens; returns its port. Raises ServerEnded."""
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(_READY_WITHIN_S):
                line = (await self.process.stdout.readline()).decode()
                if not line:
                    await self.process.wait()
                    raise ServerEnded(self._end())
        except TimeoutError:
            raise ServerEnded(f"not running within {_READY_WITHIN_S} s; {self._end()}") from None
        self.url = line.split()[-1]
        return int(self.url.rstrip("/").rpartition(":")[2])

    async def ready(self) -> str:
        """Wait until it takes players; returns its WebSocket's URL. Raises ServerEnded."""
        port = await self.running()
        assert self.url is not None
        try:
            async with asyncio.timeout(_READY_WITHIN_S):
                while not await _is_ready(port):
                    if self.process.returncode is not None:
                        raise ServerEnded(self._end())
                    await asyncio.sleep(_ASK_AGAIN_S)
        except TimeoutError:
            raise ServerEnded(f"not ready within {_READY_WITHIN_S} s; {self._end()}") from None
        self.ready_s = time.monotonic()
        return self.url.replace("http", "ws", 1) + "ws"

    def check(self) -> None:
        """Raises ServerEnded where it has ended by itself."""
        if self.process.returncode is not None:
            raise ServerEnded(self._end())

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self.process.returncode is None:
            self.process.send_signal(number)

    async def kill(self) -> float:
        """End it with SIGKILL; returns when, by time.monotonic. Raises ServerEnded where it was gone before."""
        self.check()
        at_s = time.monotonic()
        self.signal(signal.SIGKILL)
        status = await self.process.wait()
        if status != -signal.SIGKILL:
            raise ServerEnded(self._end())
        return at_s

    def _end(self) -> str:
        said = self._log.read_bytes()[-2000:].decode(errors="replace").strip()
        return f"the server ended (status {self.process.returncode}): {said or 'it said nothing'}"


async def _is_ready(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            return b" 200 " in await reader.readline()
        finally:
            writer.close()
    except OSError:
        return False
