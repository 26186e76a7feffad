"""A TCP proxy before a MongoDB server that loses answers and questions, or has them late."""

from __future__ import annotations

import asyncio
import json
from enum import Enum

from bench.mongo_wire import command_name, command_of, read_message
from bench.proxy import Proxy


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


class MongoProxy(Proxy):
    """Between a driver and a server on 127.0.0.1. Faults are armed with `fail` and met in order."""

    def __init__(self, server_port: int) -> None:
        super().__init__(server_port)
        self._faults: list[tuple[str, Fault]] = []
        self._late: list[bytes] = []
        # Commands that have passed or failed, by name, in order.
        self.seen: list[str] = []
        # What inserts and updates had to reach before they were answered, as JSON.
        self.concerns: set[str] = set()
        # Faults met so far.
        self.met: list[Fault] = []
        # Set by the first of them.
        self.parted = asyncio.Event()

    @property
    def uri(self) -> str:
        """Where it listens."""
        # Polling: a proxy of questions and answers has no place for a server that goes on talking.
        return f"mongodb://127.0.0.1:{self.port}/?directConnection=true&serverMonitoringMode=poll"

    def fail(self, command: str, *faults: Fault) -> None:
        """The next commands of this name meet these faults."""
        self._faults += [(command, fault) for fault in faults]

    async def deliver(self) -> list[bytes]:
        """What was late arrives now; returns the server's answers, which nobody waits for any more."""
        answers = []
        for message in self._late:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.server_port)
            writer.write(message)
            answers.append(await read_message(reader))
            await _close(writer)
        self._late.clear()
        return answers

    async def _converse(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        from_server: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
    ) -> None:
        while await self._pass_on(reader, writer, from_server, upstream):
            pass

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
