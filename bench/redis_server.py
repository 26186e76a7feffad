"""A Redis server as a process that benches and tests may kill: on 127.0.0.1, keeping nothing on disk."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_START_TIMEOUT_S: Final = 10.0


class RedisUnavailable(Exception):
    """Redis is not installed here, or did not start; the text says why."""


class RedisServer:
    """One server. Killed and started again it has the same port, and none of the data: what pub/sub may expect.

    `cluster`: it serves all slots of a Redis Cluster of one.
    """

    def __init__(self, directory: Path, *, cluster: bool = False) -> None:
        self._directory = directory
        self.cluster = cluster
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Its process. It must run."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and return once it answers. Raises RedisUnavailable."""
        assert self._process is None, "it runs already"
        program = shutil.which("redis-server")
        if program is None:
            raise RedisUnavailable("redis-server is not installed")
        self.port = self.port or _free_port()
        command = [program, "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._directory)]
        command += ["--save", "", "--appendonly", "no", "--loglevel", "warning"]
        if self.cluster:
            command += ["--cluster-enabled", "yes", "--cluster-config-file", f"nodes-{self.port}.conf"]
            # By default 10,000 above its port: past the last one there is.
            command += ["--cluster-port", str(_free_port())]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603  # the system's Redis
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while self._ask(b"PING\r\n") != b"+PONG":
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                self.kill()
                raise RedisUnavailable(f"redis-server on port {self.port} did not answer")
            time.sleep(0.01)
        if self.cluster:
            self._ask(b"CLUSTER ADDSLOTSRANGE 0 16383\r\n")
            while b"cluster_state:ok" not in self._ask(b"CLUSTER INFO\r\n", whole=True):
                if time.monotonic() > deadline_s:
                    self.kill()
                    raise RedisUnavailable("the cluster of one did not form")
                time.sleep(0.01)

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL), if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Stop it where it stands (SIGSTOP): connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)

    def _ask(self, command: bytes, *, whole: bool = False) -> bytes:
        """The first line of the answer to an inline command, or some kilobytes of it; empty where there is none."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                connection.sendall(command)
                answer = connection.recv(65_536)
        except OSError:
            return b""
        return answer if whole else answer.partition(b"\r\n")[0]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
