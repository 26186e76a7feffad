"""Time travel over HTTP: what `everstep inspect reach` and `everstep stretch` write, for an operator's page.

    GET /travel/reach?at=0                          which ticks of which shard can be rebuilt, a JSON line each
    GET /travel/stretch?shard=1&from=1&to=9&at=0    the frames of those ticks; with &x, &y, &reach of a window alone

Either is a program of its own, which reads what is kept beside the world and gives way to it: no tick waits. One
runs at a time, and not for long. Its output is asked for piece by piece, `at` counting bytes; what is not there yet
is waited for a moment. The header Everstep-State says whether more may come: "working", then "done".

    401  no token, or another one           429  another's stretch is being rebuilt
    403  time travel is off                 409  it can't be done: the reason is the program's own
    400  the question makes no sense        503  it took too long, or the program fell

Where everybody was is not for players to know: there is a token, and without one in the settings it is off.
"""

from __future__ import annotations

import asyncio
import hmac
import math
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import IO, Final
from urllib.parse import parse_qs

import orjson
import structlog

from server.api.http import Reply

_log = structlog.get_logger(__name__)

PREFIX: Final = "/travel/"
# Bytes of one answer.
PIECE_BYTES: Final = 1024 * 1024
# How long an answer waits for a first byte, and how often it looks.
_PATIENCE_S: Final = 1.0
_LOOK_EVERY_S: Final = 0.02
# A program that nobody has asked about for so long is ended.
_FORGOTTEN_S: Final = 5.0
_WATCH_EVERY_S: Final = 0.1
_REASON_BYTES: Final = 4000
# Of a tick, which has 64 bits at the most.
_DIGITS_MAX: Final = 19
_WINDOW: Final = ("x", "y", "reach")


@dataclass(frozen=True, slots=True)
class TravelOptions:
    """From config, section travel."""

    # "": off.
    token: str
    ticks_max: int
    bytes_max: int
    memory_bytes_max: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Worker:
    """The program that rebuilds."""

    # `everstep`, as it is called.
    program: Sequence[str]
    # Its options that name what is kept: --game, --config, --data.
    kept: Sequence[str]


class _Refused(Exception):
    """An answer that is none."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Travel:
    """Answers requests below PREFIX. To be used from one loop. `worker`: None where nothing is kept."""

    def __init__(self, worker: Worker | None, options: TravelOptions, now_s: Callable[[], float]) -> None:
        self._worker = worker
        self._options = options
        self._now_s = now_s
        self._work: _Work | None = None

    async def get(self, target: str, authorization: str | None) -> Reply:
        """Answer a request target; `authorization`: the header of that name, "Bearer" and the token."""
        try:
            worker = self._admit(authorization)
            path, _, query = target.partition("?")
            asked = {name: values[-1] for name, values in parse_qs(query).items()}
            arguments = self._arguments(path.removeprefix(PREFIX), asked)
            return await self._piece(worker, arguments, _whole(asked, "at"))
        except _Refused as refused:
            body = orjson.dumps({"error": str(refused)})
            headers = {"Cache-Control": "no-store"}
            if refused.status is HTTPStatus.UNAUTHORIZED:
                headers["WWW-Authenticate"] = "Bearer"
            return Reply(refused.status, "application/json", body, headers)

    def close(self) -> None:
        """End the program that runs, if one does."""
        if self._work is not None:
            self._work.end()
            self._work = None

    def _admit(self, authorization: str | None) -> Worker:
        token = self._options.token
        if not token:
            raise _Refused(HTTPStatus.FORBIDDEN, "time travel is off here: operator.token is not set")
        scheme, _, given = (authorization or "").partition(" ")
        # As bytes: text that is not ASCII can't be compared.
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
            raise _Refused(HTTPStatus.UNAUTHORIZED, "this takes the token of the settings, operator.token")
        if self._worker is None:
            raise _Refused(HTTPStatus.CONFLICT, "this world keeps nothing: it has no past to go to")
        return self._worker

    def _arguments(self, name: str, asked: dict[str, str]) -> tuple[str, ...]:
        """The program's, as words. Raises _Refused."""
        if name == "reach":
            return ("inspect", "reach")
        if name != "stretch":
            raise _Refused(HTTPStatus.NOT_FOUND, "there is reach, and stretch")
        first, last = _whole(asked, "from"), _whole(asked, "to")
        if not 0 <= first <= last < first + self._options.ticks_max:
            raise _Refused(HTTPStatus.BAD_REQUEST, f"a stretch has 1 to {self._options.ticks_max} ticks")
        words = ["stretch", "-", "--from", str(first), "--to", str(last), "--shard", str(_whole(asked, "shard"))]
        words += ["--bytes-max", str(self._options.bytes_max)]
        words += ["--memory-bytes-max", str(self._options.memory_bytes_max)]
        if asked.keys() & set(_WINDOW):
            words += ["--window", *(repr(_number(asked, name)) for name in _WINDOW)]
        return tuple(words)

    async def _piece(self, worker: Worker, arguments: tuple[str, ...], at: int) -> Reply:
        while (work := self._work) is not None and work.arguments != arguments and work.running:
            # It may be about to end.
            if not await work.ended():
                raise _Refused(HTTPStatus.TOO_MANY_REQUESTS, "another stretch is being rebuilt: ask again in a while")
        if work is None or work.arguments != arguments or (at == 0 and work.stale):
            if at:
                raise _Refused(HTTPStatus.CONFLICT, "that stretch is gone: ask for it from its beginning")
            self.close()
            work = self._work = _Work(arguments, self._options.timeout_s, self._now_s)
            work.begin([*worker.program, *arguments, *worker.kept])
        body, more = await work.read(at)
        headers = {"Cache-Control": "no-store", "Everstep-State": "working" if more else "done"}
        return Reply(HTTPStatus.OK, "application/octet-stream", body, headers)


class _Work:
    """One run of the program, and what it has written."""

    def __init__(self, arguments: tuple[str, ...], timeout_s: float, now_s: Callable[[], float]) -> None:
        self.arguments = arguments
        # It was read to its end, and what is kept may have changed since.
        self.stale = False
        self._timeout_s = timeout_s
        self._now_s = now_s
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `end`
        self._complaints: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # the same
        self._process: subprocess.Popen[bytes] | None = None
        self._began_s = self._asked_s = now_s()
        self._failure: _Refused | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether the program may write more."""
        return self._watch is not None and not self._watch.done()

    def begin(self, command: Sequence[str]) -> None:
        """Start the program."""
        try:
            self._process = subprocess.Popen(  # noqa: S603  # our own program, its arguments are numbers
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._complaints,
                # One thread for numpy: more are memory that is refused, and processors that the world needs.
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                # Connections are not inheritable anyhow. To close each would take as long as there are many.
                close_fds=False,
            )
        except OSError as error:
            self._failure = _Refused(HTTPStatus.SERVICE_UNAVAILABLE, f"it can't be begun: {error.strerror}")
        else:
            self._watch = asyncio.create_task(self._run(self._process), name="travel")

    async def ended(self) -> bool:
        """Whether the program ends while one waits."""
        assert self._watch is not None
        await asyncio.wait({self._watch}, timeout=_PATIENCE_S)
        return not self.running

    def end(self) -> None:
        """Kill the program, if it runs, and let go of what it wrote."""
        if self._watch is not None:
            self._watch.cancel()
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._output.close()
        self._complaints.close()

    async def read(self, at: int) -> tuple[bytes, bool]:
        """What it wrote from byte `at` on, and whether there may be more. Raises _Refused where it failed."""
        self._asked_s = self._now_s()
        until_s = self._asked_s + _PATIENCE_S
        while self.running and self._size() <= at and self._now_s() < until_s:  # noqa: ASYNC110  # a file tells nobody
            await asyncio.sleep(_LOOK_EVERY_S)
        if self._output.closed:
            raise _Refused(HTTPStatus.CONFLICT, "that stretch is gone: ask for it from its beginning")
        # First whether it runs: what it writes meanwhile is then read the next time.
        running = self.running
        piece = os.pread(self._output.fileno(), PIECE_BYTES, at)
        more = running or at + len(piece) < self._size()
        if not more and self._failure is not None:
            self.stale = True
            raise self._failure
        self.stale = not more
        return piece, more

    def _size(self) -> int:
        return 0 if self._output.closed else os.fstat(self._output.fileno()).st_size

    async def _run(self, process: subprocess.Popen[bytes]) -> None:
        while process.poll() is None:
            self._failure = self._failure or self._patience_lost()
            if self._failure is not None:
                process.kill()
            await asyncio.sleep(_WATCH_EVERY_S)
        if process.returncode and self._failure is None:
            self._failure = self._complaint(process.returncode)

    def _patience_lost(self) -> _Refused | None:
        now_s = self._now_s()
        if now_s - self._began_s > self._timeout_s:
            return _Refused(
                HTTPStatus.SERVICE_UNAVAILABLE, f"it took longer than {self._timeout_s:g} s: ask for fewer ticks"
            )
        if now_s - self._asked_s > _FORGOTTEN_S:
            return _Refused(HTTPStatus.SERVICE_UNAVAILABLE, "nobody asked about it any more, and it was given up")
        return None

    def _complaint(self, code: int) -> _Refused:
        """The program's own last words."""
        size = os.fstat(self._complaints.fileno()).st_size
        said = os.pread(self._complaints.fileno(), _REASON_BYTES, max(0, size - _REASON_BYTES))
        last = said.decode(errors="replace").strip().rpartition("\n")[2]
        _log.warning("time travel refused", arguments=self.arguments, code=code, reason=last)
        if code == 1 and last.startswith("everstep: "):
            return _Refused(HTTPStatus.CONFLICT, last.removeprefix("everstep: "))
        return _Refused(HTTPStatus.SERVICE_UNAVAILABLE, f"it ended with {code}: {last or 'without a word'}")


def _whole(asked: dict[str, str], name: str) -> int:
    """A number from 0 on. Raises _Refused."""
    text = asked.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX):
        raise _Refused(HTTPStatus.BAD_REQUEST, f"{name} is a number from 0 on")
    return int(text)


def _number(asked: dict[str, str], name: str) -> float:
    try:
        number = float(asked.get(name, ""))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise _Refused(HTTPStatus.BAD_REQUEST, f"{name} is a number")
    return number
