"""What an operator's requests have in common: who may ask, and how it is answered.

    400  the question makes no sense     401  no token, or another one
    404  no such thing here              403  no token is set: nobody is an operator
    503  what is ordered would reach nobody, and has not been

That they are GET is the port's way: it speaks no other. No page of a stranger can ask, for it has no token to show.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs

import orjson

from server.api.http import Reply
from server.shard.ports import Bus, commands_topic

# Of a number, which has 32 bits.
_DIGITS_MAX: Final = 9

Options = Mapping[str, Sequence[str]]


class Refused(Exception):
    """An answer that is none."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def answered(
    token: str, prefix: str, asked: str, authorization: str | None, act: Callable[[str, Options], Reply]
) -> Reply:
    """What `act` answers, given the path below `prefix` and the query; or why it does not.

    `authorization`: the header of that name, "Bearer" and the operator's `token`.
    """
    try:
        _admit(token, authorization)
        path, _, query = asked.partition("?")
        return act(path.removeprefix(prefix), parse_qs(query))
    except Refused as refused:
        headers = {"WWW-Authenticate": "Bearer"} if refused.status is HTTPStatus.UNAUTHORIZED else {}
        return reply(refused.status, orjson.dumps({"error": str(refused)}) + b"\n", headers)


def _admit(token: str, authorization: str | None) -> None:
    if not token:
        raise Refused(HTTPStatus.FORBIDDEN, "no token is set: nobody is an operator here")
    scheme, _, given = (authorization or "").partition(" ")
    # As bytes: text that is not ASCII can't be compared.
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
        raise Refused(HTTPStatus.UNAUTHORIZED, "this takes the operator's token")


class Orders:
    """What operators have shards do. `lacks`: what an order needs on its way and does not have, None: nothing."""

    def __init__(self, bus: Bus, lacks: Callable[[], str | None]) -> None:
        self._bus = bus
        self._lacks = lacks

    def give(self, shard: int, order: bytes) -> None:
        """Have a shard take a command batch with its next tick. Raises Refused."""
        if (lacking := self._lacks()) is not None:
            # The bus would drop it, and whoever ordered it would believe that it is done.
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, f"{lacking}: nothing was ordered")
        self._bus.publish(commands_topic(shard), order)


def numbers(texts: Sequence[str], name: str) -> list[int]:
    """Each once, ascending. Raises Refused."""
    if not all(text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX for text in texts):
        raise Refused(HTTPStatus.BAD_REQUEST, f"{name} is a number from 0 on")
    return sorted({int(text) for text in texts})


def reply(status: HTTPStatus, body: bytes, headers: Mapping[str, str] | None = None) -> Reply:
    """JSON that nobody keeps."""
    return Reply(status, "application/json", body, {"Cache-Control": "no-store", **(headers or {})})
