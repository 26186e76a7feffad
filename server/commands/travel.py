"""`everstep travel`: the time-travel page over what is kept, whether its server runs or not."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request

from config.settings import Settings
from server.api.travel import PREFIX, Travel, Worker
from server.commands.kept import WallClock
from server.roles.desk import http_response, travel_options, travelled, web_files
from server.roles.listener import Answer, Listener

PAGE: Final = "/travel.html"
_TOKEN_BYTES: Final = 32


@asynccontextmanager
async def travelling(settings: Settings, worker: Worker, host: str, port: int) -> AsyncIterator[str]:
    """Serve the page; gives its address. It has the token of the settings, or one that is good until the end.

    `port`: 0 takes any free one. Raises OSError where it can't listen.
    """
    options = travel_options(settings)
    if not options.token:
        options = replace(options, token=secrets.token_urlsafe(_TOKEN_BYTES))
    past, files = Travel(worker, options, WallClock().now_s), web_files()

    def answer(_connection: ServerConnection, request: Request) -> Answer:
        if request.path.startswith(PREFIX):
            return travelled(past, request)
        return http_response(files.get(request.path.partition("?")[0]))

    listener = Listener(answer)
    await listener.open(host, port)
    address, taken = listener.address
    try:
        # Behind the #: a browser keeps it to itself.
        yield f"http://{_host(address)}:{taken}{PAGE}#token={options.token}"
    finally:
        past.close()
        await listener.close()


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
