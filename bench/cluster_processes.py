"""A cluster of real processes: `everstep node` and `everstep gateway`, Redis and a MongoDB server, all on 127.0.0.1.

    gateways ──┐                      ┌── nodes
               ├── proxies ── Redis ──┤
    clients    │                      └── proxies ── MongoDB server

With `proxied`, each process has proxies of its own to what it stands on, so that it can be parted from it alone.
"""

from __future__ import annotations

import asyncio
import signal
import urllib.request
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bench.crash_client import Address
from bench.crash_server import ServerEnded, ServerProcess, environment, init_database
from bench.mongo_server import MongoServer
from bench.proxy import Proxy
from bench.redis_server import RedisServer, free_port
from bench.stores import Store

_STOP_WITHIN_S: Final = 120.0
_ANSWER_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class ClusterShape:
    """What it is made of."""

    nodes: int
    gateways: int
    # A module that has a GAME.
    game: str
    # Beside what every cluster here is told: EVERSTEP_... and its value.
    settings: Mapping[str, str]
    proxied: bool = False
    # See ServerProcess.start.
    program: tuple[str, ...] = ("server",)
    # Whether Redis has what it was told again after a kill: then it waits for its disk at each lease, and so does what
    # goes over the bus. Otherwise it keeps nothing, as in deploy/compose.yaml.
    redis_kept: bool = False


class Member:
    """One process of the cluster, and its ways to what it stands on."""

    def __init__(self, role: str, name: str, data: Path, shape: ClusterShape, told: dict[str, str]) -> None:
        self.role = role
        self.name = name
        self._data = data
        self._game = shape.game
        self._program = shape.program
        self._told = told
        # Of a gateway's players, of a node's health and metrics. It comes back where it was.
        self.port = free_port()
        self.process: ServerProcess | None = None
        # None where it has no proxy.
        self.redis: Proxy | None = None
        self.store: Proxy | None = None

    @property
    def log(self) -> Path:
        """What it says on standard error."""
        return self._data / f"{self.name}.log"

    @property
    def ws_url(self) -> str:
        """Where clients connect, of a gateway."""
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def pid(self) -> int:
        """Its process. It must run."""
        assert self.process is not None
        return self.process.process.pid

    async def start(self) -> None:
        """Start it and return when it says that it runs. Raises ServerEnded."""
        self.process = await ServerProcess.start(
            self._data,
            self._told,
            self.log,
            program=self._program,
            role=self.role,
            game=self._game,
            port=self.port,
        )
        await self.process.running()

    def check(self) -> None:
        """Raises ServerEnded where it has ended by itself."""
        if self.process is not None:
            try:
                self.process.check()
            except ServerEnded as error:
                raise ServerEnded(f"{self.name}: {error}") from None

    async def kill(self) -> None:
        """End it with SIGKILL. Raises ServerEnded where it was gone before."""
        assert self.process is not None
        self.check()
        process, self.process = self.process, None
        await process.kill()

    async def stop(self) -> int:
        """End it with SIGTERM, as an operator does; returns its status. Raises ServerEnded, TimeoutError."""
        assert self.process is not None
        self.check()
        process, self.process = self.process, None
        process.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_WITHIN_S):
                return await process.process.wait()
        finally:
            process.signal(signal.SIGKILL)

    def metrics(self) -> str:
        """What its /metrics says. Raises OSError."""
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.port}/metrics", timeout=_ANSWER_S
        ) as answer:  # our own process
            page: str = answer.read().decode()
            return page

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self.process is not None:
            self.process.signal(number)


class Cluster:
    """`async with Cluster(shape, directory) as cluster`: everything runs, and is killed in the end."""

    def __init__(self, shape: ClusterShape, directory: Path) -> None:
        self.shape = shape
        self._directory = directory
        (directory / "redis").mkdir()
        self.redis = RedisServer(directory / "redis", kept=shape.redis_kept)
        self.store = MongoServer(directory / "database")
        self.nodes: list[Member] = []
        self.gateways: list[Member] = []
        self._stack = AsyncExitStack()

    @property
    def members(self) -> list[Member]:
        """Nodes and gateways."""
        return [*self.nodes, *self.gateways]

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.enter_context(self.redis)
            stack.enter_context(self.store)
            await asyncio.to_thread(init_database, self.environment())
            for role, names, count in (
                ("node", self.nodes, self.shape.nodes),
                ("gateway", self.gateways, self.shape.gateways),
            ):
                for number in range(1, count + 1):
                    names.append(await self._member(role, f"{role}-{number}", stack))
            stack.push_async_callback(self._kill_all)
            await asyncio.gather(*(member.start() for member in self.members))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def environment(self, redis_port: int | None = None, store_port: int | None = None) -> dict[str, str]:
        """What a process is told. Ports: those of its proxies; None: the servers' own."""
        uri = f"mongodb://127.0.0.1:{store_port or self.store.port}/?directConnection=true&serverMonitoringMode=poll"
        return (
            environment(Store.MONGODB, uri)
            | {"EVERSTEP_REDIS__URL": f"redis://127.0.0.1:{redis_port or self.redis.port}"}
            | dict(self.shape.settings)
        )

    async def _member(self, role: str, name: str, stack: AsyncExitStack) -> Member:
        if not self.shape.proxied:
            return Member(role, name, self._directory, self.shape, self.environment() | {"EVERSTEP_NODE__NAME": name})
        redis = await stack.enter_async_context(Proxy(self.redis.port))
        store = await stack.enter_async_context(Proxy(self.store.port))
        told = self.environment(redis.port, store.port) | {"EVERSTEP_NODE__NAME": name}
        member = Member(role, name, self._directory, self.shape, told)
        member.redis, member.store = redis, store
        return member

    def check(self) -> None:
        """Raises ServerEnded where a process has ended by itself."""
        for member in self.members:
            member.check()

    async def _kill_all(self) -> None:
        for member in self.members:
            member.signal(signal.SIGKILL)
        for member in self.members:
            if member.process is not None:
                await member.process.process.wait()


class Doors(Address):
    """All the gateways: who loses one tries the next."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []
        self._next = 0

    async def wait(self) -> str:
        """The URL of a gateway, another one each time."""
        self._next += 1
        return self.urls[self._next % len(self.urls)]


def metric(page: str, name: str, *having: str) -> float:
    """Sum of a metric's values, of the series whose labels have all these words."""
    return sum(
        float(line.rpartition(" ")[2])
        for line in page.splitlines()
        if line.startswith((f"{name}{{", f"{name} ")) and all(word in line for word in having)
    )
