"""A Redis server as a process that benches and tests may kill: on 127.0.0.1."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.daemon import Daemon

_START_TIMEOUT_S: Final = 60.0
# Of a Redis Cluster.
SLOTS: Final = 16_384


class RedisUnavailable(Exception):
    """Redis is not installed here, or did not start; the text says why."""


class RedisServer(Daemon):
    """One server. Killed and started again it has the same port, and none of the data: what pub/sub may expect.

    `cluster`: it is of a Redis Cluster, and serves these slots; all of them: a cluster of one. `kept`: it writes each
    change to its disk before it answers, and has it again after a kill, until `forget`. `more`: arguments of its own.
    """

    def __init__(
        self,
        directory: Path,
        *,
        cluster: bool = False,
        slots: range = range(SLOTS),
        kept: bool = False,
        more: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self._directory = directory
        self.cluster = cluster
        self._slots = slots
        self._cluster_port = 0
        self._kept = kept
        self._more = tuple(more)
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and return once it answers. Raises RedisUnavailable."""
        assert self._process is None, "it runs already"
        program = shutil.which("redis-server")
        if program is None:
            raise RedisUnavailable("redis-server is not installed")
        self.port = self.port or free_port()
        command = [program, "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._directory)]
        command += ["--save", "", "--loglevel", "warning", *self._more]
        command += ["--appendonly", "yes", "--appendfsync", "always"] if self._kept else ["--appendonly", "no"]
        if self.cluster:
            command += ["--cluster-enabled", "yes", "--cluster-config-file", f"nodes-{self.port}.conf"]
            # By default 10,000 above its port: past the last one there is.
            self._cluster_port = self._cluster_port or free_port()
            command += ["--cluster-port", str(self._cluster_port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603  # the system's Redis
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while self.ask(b"PING\r\n") != b"+PONG":
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                self.kill()
                raise RedisUnavailable(f"redis-server on port {self.port} did not answer")
            time.sleep(0.01)
        if self.cluster:
            self.ask(b"CLUSTER ADDSLOTSRANGE %d %d\r\n" % (self._slots[0], self._slots[-1]))
            if len(self._slots) == SLOTS:
                formed([self])

    def forget(self) -> None:
        """Lose what it kept. It must not run."""
        assert self._process is None, "it runs"
        shutil.rmtree(self._directory / "appendonlydir", ignore_errors=True)

    def meet(self, other: RedisServer) -> None:
        """Be of one cluster with the other."""
        self.ask(b"CLUSTER MEET 127.0.0.1 %d %d\r\n" % (other.port, other._cluster_port))

    def ask(self, command: bytes, *, whole: bool = False) -> bytes:
        """The first line of the answer to an inline command, or some kilobytes of it; empty where there is none."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                connection.sendall(command)
                answer = connection.recv(65_536)
        except OSError:
            return b""
        return answer if whole else answer.partition(b"\r\n")[0]


def formed(servers: Sequence[RedisServer]) -> None:
    """Wait until these are a cluster that serves all slots. Raises RedisUnavailable, and kills them."""
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    known = b"cluster_known_nodes:%d\r" % len(servers)
    for server in servers:
        while not (b"cluster_state:ok" in (said := server.ask(b"CLUSTER INFO\r\n", whole=True)) and known in said):
            if time.monotonic() > deadline_s:
                for one in servers:
                    one.kill()
                raise RedisUnavailable(f"the cluster of {len(servers)} did not form")
            time.sleep(0.01)


def free_port() -> int:
    """A TCP port that nobody has, at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
