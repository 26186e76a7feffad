"""A cluster of real processes: a Redis, a database, nodes and gateways, as an operator would start them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Self

from bench.redis_server import RedisServer
from clients.python.client import Client, connect
from tests.gateway.glade import HEIGHT, NORTH, REGION, WEST, WIDTH
from tests.support.mongo_database import Database

# A generous bound, so that a broken promise ends a test instead of hanging it; nothing asserts a time.
PATIENCE_S = 180.0

# Two regions beside each other; who stands in the middle of one sees the middle of the other.
CONFIG = f"""
[world]
region_id = {REGION}
x = {WEST}
y = {NORTH}
width = {WIDTH}
height = {HEIGHT}
columns = 2
entities_max = 4096

[view]
far_cells = 8

[node]
turn_s = 0.4
lease_ttl_s = 2.0
drain_within_s = 30.0

[log]
level = "error"
"""


class Process:
    """One of ours, with what it said at its start."""

    def __init__(self, process: asyncio.subprocess.Process, said: str) -> None:
        self.process = process
        self.said = said

    @property
    def url(self) -> str:
        return self.said.split()[-1]

    @property
    def ws_url(self) -> str:
        return self.url.replace("http", "ws", 1) + "ws"

    @property
    def name(self) -> str:
        """Of a node."""
        return self.said.split()[1]

    async def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), PATIENCE_S)


class Cluster:
    """Redis and the database run when it is made; the rest is started by whoever tests."""

    def __init__(self, root: Path, directory: Path, redis: RedisServer, database: Database) -> None:
        self.root = root
        self.redis = redis
        self.config = directory / "cluster.toml"
        self.config.write_text(CONFIG)
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("EVERSTEP_")} | {
            "EVERSTEP_REDIS__URL": redis.url,
            "EVERSTEP_STORE__KIND": "mongodb",
            "EVERSTEP_STORE__MONGODB_URI": database.uri,
            "EVERSTEP_STORE__MONGODB_DATABASE": database.name,
            "EVERSTEP_OPERATOR__TOKEN": "an operator of thirty-two bytes!",
        }
        self._processes: list[Process] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._processes:
            if process.process.returncode is None:
                process.process.kill()
            await process.process.wait()

    async def node(self, *words: str) -> Process:
        return await self._start("node", "--game", "tests.gateway.glade", *words)

    async def gateway(self) -> Process:
        return await self._start("gateway", "--game", "tests.gateway.glade", "--port", "0")

    async def _start(self, *words: str) -> Process:
        command = [sys.executable, "-m", "server", *words, "--config", str(self.config)]
        started = await asyncio.create_subprocess_exec(
            *command, cwd=self.root, env=self.environment, stdout=asyncio.subprocess.PIPE
        )
        assert started.stdout is not None
        process = Process(started, (await asyncio.wait_for(started.stdout.readline(), PATIENCE_S)).decode().strip())
        self._processes.append(process)
        assert "http://" in process.said, process.said
        return process

    async def ask(self, *words: str) -> str:
        """What an operator's command answers."""
        command = [sys.executable, "-m", "server", *words, "--config", str(self.config)]
        asked = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.root,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await asyncio.wait_for(asked.communicate(), PATIENCE_S)
        assert asked.returncode == 0, said.decode()
        return said.decode()


class Player:
    """Pays again and again, and knows what it was promised."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.paid = 0

    @classmethod
    async def join(cls, gateway: Process, name: str, resume: str | None = None) -> Player:
        return cls(await connect(gateway.ws_url, name, resume=resume))

    def pay(self, times: int) -> None:
        for _ in range(times):
            self.paid += 1
            self.client.send("Pay", amount=1)

    async def settle(self) -> None:
        """Until the world has all that it paid, once each."""
        await asyncio.wait_for(self.client.until(lambda: self.sum >= self.paid), PATIENCE_S)
        assert self.sum == self.paid

    @property
    def sum(self) -> int:
        region, handle = self.client.entity
        view = self.client.view[region]
        return int(view.value(handle, "Body.sum")) if handle in view else -1

    def sees(self, name: str) -> bool:
        for view in self.client.view.values():
            for handle in list(view.entities):
                if view.archetype(handle) == "Avatar" and view.value(handle, "Body.name") == name:
                    return True
        return False

    async def until_sees(self, name: str) -> None:
        await asyncio.wait_for(self.client.until(lambda: self.sees(name)), PATIENCE_S)


async def fetched(url: str) -> str:
    """The body, whatever the status."""

    def fetch() -> str:
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:  # noqa: S310  # our own process
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.read().decode()

    return await asyncio.to_thread(fetch)


async def until_says(url: str, text: str) -> None:
    """Until what is there has this text in it."""

    async def told() -> None:
        while text not in await fetched(url):
            pass

    await asyncio.wait_for(told(), PATIENCE_S)
