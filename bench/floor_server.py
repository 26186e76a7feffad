"""The floor: uvloop and the `websockets` library without a game.

Per tick and client one finished frame, written below the library's `send`; messages come through the
library's own `async for`. Whatever a game server does on these two libraries, it does on top of this.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import uvloop
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from bench.processes import arguments, failures_told, listen, settle_memory, tell
from bench.ticks import TickLog


class Floor:
    """All connections, and the tick that writes to them."""

    def __init__(self, bytes_per_frame: int, hz: float) -> None:
        body = bytes_per_frame - (4 if bytes_per_frame > 127 else 2)
        head = bytes((0x82, 126)) + body.to_bytes(2, "big") if body > 125 else bytes((0x82, body))
        self.frame = head + bytes(body)
        self.period_s = 1 / hz
        self.connections: dict[ServerConnection, asyncio.Transport] = {}
        self.inputs = 0
        self.log = TickLog()
        self.ended = asyncio.Event()

    async def handle(self, connection: ServerConnection) -> None:
        """One client's messages, until it goes."""
        self.connections[connection] = connection.transport
        try:
            with suppress(ConnectionClosed):
                async for _message in connection:
                    self.inputs += 1
        finally:
            del self.connections[connection]

    async def tick(self) -> None:
        """Write to everyone, at a fixed rate."""
        due_s = time.monotonic()
        while not self.ended.is_set():
            due_s += self.period_s
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            start_s = time.monotonic()
            # A client that has just gone may stand here until its handler has run; only at the end of a run.
            with suppress(RuntimeError):
                for transport in self.connections.values():
                    transport.write(self.frame)
            self.log.note(due_s, start_s, time.monotonic() - start_s)

    def hear(self, word: str) -> None:
        """A word of the parent's."""
        if word == "settle":
            settle_memory()
        elif word == "start":
            self.inputs = 0
            self.log.start()
        elif word == "stop":
            tell("ticks", inputs=self.inputs, **self.log.stop())
        elif word == "end":
            self.ended.set()


async def main() -> None:
    """Serve until the parent goes."""
    told = arguments()
    floor = Floor(told["bytes"], told["hz"])
    async with serve(floor.handle, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        listen(floor.hear)
        tell("listening", port=server.sockets[0].getsockname()[1])
        await floor.tick()
        # At once: a closing handshake with every client would only take time.
        for connection in list(floor.connections):
            connection.transport.abort()


if __name__ == "__main__":
    with failures_told():
        uvloop.run(main())
