"""What is answered to whoever asks a process over HTTP: pages, metrics, health, and an operator's questions.

Nothing of the network is here: a request in, a response out. The WebSocket's library serves it beside the players.
"""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from config.settings import Settings
from server.api import ground, mailroom, travel
from server.api.http import Files, Http, Reply

_ROOT: Final = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True, slots=True)
class Desk:
    """Routes what is asked."""

    http: Http
    mailroom: mailroom.Mailroom
    ground: ground.Ground
    # None: nobody looks at the past here.
    travel: travel.Travel | None = None

    def answer(self, request: Request) -> Response | Coroutine[Any, Any, Response]:
        """The response to any request but that for a WebSocket."""
        if self.travel is not None and request.path.startswith(travel.PREFIX):
            return travelled(self.travel, request)
        if request.path.startswith(mailroom.PREFIX):
            return http_response(self.mailroom.get(request.path, authorization(request)))
        if request.path.startswith(ground.PREFIX):
            return http_response(self.ground.get(request.path, authorization(request)))
        return http_response(self.http.get(request.path))


def web_files() -> Files:
    """The pages and what they import."""
    return Files({"/clients/js/": _ROOT / "clients" / "js", "/": _ROOT / "web"})


def travel_options(settings: Settings) -> travel.TravelOptions:
    """What an operator who looks at the past may ask for."""
    limits = settings.travel
    return travel.TravelOptions(
        token=settings.operator.token.get_secret_value(),
        ticks_max=max(1, int(limits.stretch_s_max * settings.world.tick_rate_hz)),
        bytes_max=limits.stretch_bytes_max,
        memory_bytes_max=limits.memory_bytes_max,
        timeout_s=limits.timeout_s,
    )


async def travelled(past: travel.Travel, request: Request) -> Response:
    """The answer to a request below travel.PREFIX."""
    return http_response(await past.get(request.path, authorization(request)))


def authorization(request: Request) -> str | None:
    """The header of that name; None unless there is one, and one alone."""
    given = request.headers.get_all("Authorization")
    return given[0] if len(given) == 1 else None


def http_response(reply: Reply) -> Response:
    """An answer, as the library sends it; the connection ends behind it."""
    headers: dict[str, Any] = {
        "Content-Type": reply.content_type,
        "Content-Length": str(len(reply.body)),
        "Connection": "close",
        **reply.headers,
    }
    return Response(reply.status.value, reply.status.phrase, Headers(headers), reply.body)
