"""A TCP proxy before a MongoDB server that does what networks do: lose an answer, lose a question, be late, be gone."""

from __future__ import annotations

import asyncio
import json
from enum import Enum
from types import TracebackType
from typing import Self

from bench.mongo_wire import command_name, command_of, read_message


class Fault(Enum):
    """What befalls a command."""

    # It is done, and the connection ends before the answer.
    REPLY_LOST = "reply lost"
    # The connection ends before it arrives.
    REQUEST_LOST = "request lost"
    # The connection ends, and it arrives when `deliver` is called: long after the sender gave it up.
    REQUEST_LATE = "request late"
    # It is done, and the answer never comes, nor does the connection end.
    REPLY_STUCK = "reply stuck"


class MongoProxy:
    """Between a driver and a server on 127.0.0.1. Faults are armed with `fail` and met in order."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._faults: list[tuple[str, Fault]] = []
        self._late: list[bytes] = []
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._refusing = False
        # Commands that have passed or failed, by name, in order.
        self.seen: list[str] = []
        # What inserts and updates had to reach before they were answered, as JSON.
        self.concerns: set[str] = set()
        # Faults met so far.
        self.met: list[Fault] = []
        # Set by the first of them.
        self.parted = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._listener is not None
        self._listener.close()
        await self._end_all()
        await self._listener.wait_closed()

    @property
    def uri(self) -> str:
        """Where it listens."""
        # Polling: a proxy of questions and answers has no place for a server that goes on talking.
        assert self._listener is not None
        return f"mongodb://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}/?directConnection=true&serverMonitoringMode=poll"

    def fail(self, command: str, *faults: Fault) -> None:
        """The next commands of this name meet these faults."""
        self._faults += [(command, fault) for fault in faults]

    async def cut(self) -> None:
        """The network is gone until `mend`: all connections end, new ones end at once."""
        self._refusing = True
        await self._end_all()

    def mend(self) -> None:
        """The network is back."""
        self._refusing = False

    async def deliver(self) -> list[bytes]:
        """What was late arrives now; returns the server's answers, which nobody waits for any more."""
        answers = []
        for message in self._late:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._server_port)
            writer.write(message)
            answers.append(await read_message(reader))
            await _close(writer)
        self._late.clear()
        return answers

    async def _end_all(self) -> None:
        tasks = [t for t in self._tasks if t is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        upstream: asyncio.StreamWriter | None = None
        try:
            if self._refusing:
                return
            from_server, upstream = await asyncio.open_connection("127.0.0.1", self._server_port)
            while await self._pass_on(reader, writer, from_server, upstream):
                pass
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            # One side has ended, or we are to: the finally ends the other.
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()
            if upstream is not None:
                upstream.transport.abort()

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        from_server: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
    ) -> bool:
        """One question and its answer; False where the connection is to end."""
        message = await read_message(reader)
        name = command_name(message)
        self.seen.append(name)
        if name in ("insert", "update"):
            self.concerns.add(json.dumps(command_of(message).get("writeConcern"), sort_keys=True))
        fault = self._take(name)
        if fault is Fault.REQUEST_LATE:
            self._late.append(message)
        if fault in (Fault.REQUEST_LOST, Fault.REQUEST_LATE):
            return False
        upstream.write(message)
        answer = await read_message(from_server)
        if fault is Fault.REPLY_LOST:
            return False
        if fault is Fault.REPLY_STUCK:
            # Until the other side loses patience.
            await reader.read()
            return False
        writer.write(answer)
        await writer.drain()
        return True

    def _take(self, name: str) -> Fault | None:
        if self._faults and self._faults[0][0] == name:
            fault = self._faults.pop(0)[1]
            self.met.append(fault)
            self.parted.set()
            return fault
        return None


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()
