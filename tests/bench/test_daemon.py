"""A process that may be killed, paused and started again."""

import subprocess
from pathlib import Path

from bench.daemon import Daemon


class Echo(Daemon):
    """Says what it hears."""

    def start(self):
        self._process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def says(self, word):
        self._process.stdin.write(word)
        self._process.stdin.flush()
        return self._process.stdout.read(len(word))

    def ended(self):
        self._process.stdin.close()
        self._process.stdout.close()


def state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_it_is_killed_and_started_again():
    with Echo() as echo:
        first = echo.pid
        assert echo.says(b"one") == b"one"
        echo.ended()
        echo.kill()
        assert not Path(f"/proc/{first}").exists()
        # Nothing is left to kill.
        echo.kill()
        echo.start()
        assert echo.pid != first
        last = echo.pid
        echo.ended()
    assert not Path(f"/proc/{last}").exists()


def test_it_is_paused_and_goes_on():
    with Echo() as echo:
        echo.pause()
        while state(echo.pid) != "T":
            pass
        echo.resume()
        assert echo.says(b"two") == b"two"
        echo.ended()
