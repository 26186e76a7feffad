"""A server that speaks MongoDB's protocol, as a process that benches and tests may kill: SecantusDB.

It is under the GPL, so nothing here imports it: scripts/setup-test-mongo.sh puts it into an environment of its
own, and it is spoken to over TCP alone.
"""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from typing import Final

from bench.daemon import Daemon
from bench.processes import ROOT

VENV: Final = ROOT / ".venv-mongo"
_LISTENING: Final = "listening on "


class MongoUnavailable(Exception):
    """The server is not installed here; the text says why."""


def executable() -> Path:
    """The server's program. Raises MongoUnavailable with the reason and what to do."""
    program = VENV / "bin" / "secantusd-py"
    if program.is_file() and (VENV / "version").is_file():
        return program
    failed = VENV / "failed"
    why = failed.read_text().strip() if failed.is_file() else "run scripts/setup-test-mongo.sh"
    raise MongoUnavailable(f"no server for the MongoDB store: {why}")


class MongoServer(Daemon):
    """One server on 127.0.0.1, with failpoints. Killed and started again it has the same port and the same data."""

    def __init__(self, data: Path, port: int = 0) -> None:
        super().__init__()
        self.data = data
        self.port = port

    @property
    def uri(self) -> str:
        """Where it listens. Polled: a failpoint that says "not primary" is no election that a monitor would hear of."""
        return f"mongodb://127.0.0.1:{self.port}/?directConnection=true&serverMonitoringMode=poll"

    def start(self) -> None:
        """Start it and return once it listens. Raises MongoUnavailable."""
        assert self._process is None, "it runs already"
        command = [str(executable()), "--host", "127.0.0.1", "--port", str(self.port), "--storage-path", str(self.data)]
        # It answers as a server alone, so that drivers do not look for the members of a replica set.
        command += ["--standalone", "--enable-test-commands", "--cache-size", "256M"]
        process = subprocess.Popen(  # noqa: S603  # the program that our script installed
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=_environment()
        )
        said = []
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if _LISTENING in line:
                self.port = int(line.rstrip().rpartition(":")[2])
                self._process = process
                # Whatever else it says must not fill the pipe.
                threading.Thread(target=_drain, args=(process,), daemon=True).start()
                return
        process.wait()
        process.stderr.close()
        raise MongoUnavailable(f"the server ended at once: {''.join(said)}")


def _environment() -> dict[str, str]:
    """Ours, without what would send its Python to our packages."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def _drain(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    with process.stderr:
        for _ in process.stderr:
            pass
