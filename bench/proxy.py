"""A TCP proxy before a server on 127.0.0.1 that does what networks do: pass on, be gone, fall silent."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Self

_CHUNK_BYTES: Final = 65_536


class Proxy:
    """Between one or many clients and a server, on a port of its own: `async with Proxy(server_port) as proxy`."""

    def __init__(self, server_port: int) -> None:
        self.server_port = server_port
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._refusing = False
        # Clear while nothing gets through though connections stand.
        self._passing = asyncio.Event()
        self._passing.set()

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
    def port(self) -> int:
        """Where it listens."""
        assert self._listener is not None
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    async def cut(self) -> None:
        """The network is gone until `mend`: all connections end, new ones end at once."""
        self._refusing = True
        await self._end_all()

    def silence(self) -> None:
        """Until `mend` nothing gets through in either direction, and nobody is told."""
        self._passing.clear()

    def mend(self) -> None:
        """The network is back."""
        self._refusing = False
        self._passing.set()

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
            from_server, upstream = await asyncio.open_connection("127.0.0.1", self.server_port)
            await self._converse(reader, writer, from_server, upstream)
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            # One side has ended, or we are to: the finally ends the other.
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()
            if upstream is not None:
                upstream.transport.abort()

    async def _converse(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        from_server: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
    ) -> None:
        """Pass on what either side says, until one of them ends."""
        pumps = [
            asyncio.create_task(self._pump(reader, upstream)),
            asyncio.create_task(self._pump(from_server, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(_CHUNK_BYTES):
            await self._passing.wait()
            sink.write(data)
            await sink.drain()
