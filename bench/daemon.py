"""A server of somebody else's that Everstep stands on, as a process that benches and tests may kill and pause."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class Daemon(ABC):
    """`with`: it runs, and is killed in the end. Killed and started again it has the same port."""

    def __init__(self) -> None:
        # Any: bytes or text, as its pipes are.
        self._process: subprocess.Popen[Any] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @abstractmethod
    def start(self) -> None:
        """Start it and return once it can be spoken to."""

    @property
    def pid(self) -> int:
        """Its process. It must run."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL), if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Stop it where it stands (SIGSTOP): connections stay open and nothing answers from now on."""
        os.kill(self.pid, signal.SIGSTOP)
        threads = Path(f"/proc/{self.pid}/task")
        # One that is at work on another processor stops a little later.
        while not all(map(_stands_still, threads.glob("*/stat"))):
            time.sleep(0.001)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)


def _stands_still(stat: Path) -> bool:
    """Whether a thread is stopped or gone. Source: proc_pid_stat(5)."""
    try:
        return stat.read_text().rpartition(")")[2].split()[0] in "TtZX"
    except OSError:
        return True
