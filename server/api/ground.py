"""Regions divided and united over HTTP, by an operator of a world that runs; see server/regions/division.py.

    GET /ground/divide?region=1    have it divided into four
    GET /ground/unite?region=1     have it be one again

Input of the region's next tick, journalled like a player's; asked twice it is done once. Accepted is not done: of a
region that has no node just then, or is on its way to another, nobody hears it. The rest is as in
server/api/operators.py.
"""

from __future__ import annotations

from collections.abc import Collection
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode

import orjson

from server.api.http import Reply
from server.api.operators import Options, Orders, Refused, answered, numbers, reply
from server.regions.division import division_order

PREFIX: Final = "/ground/"
ACTIONS: Final = {"divide": True, "unite": False}


class Ground:
    """Answers requests below PREFIX. `token`: an operator's; `regions`: those of the world that may be divided."""

    def __init__(self, token: str, regions: Collection[int], orders: Orders) -> None:
        self._token = token
        self._regions = regions
        self._orders = orders

    def get(self, asked: str, authorization: str | None) -> Reply:
        """Answer a request target; `authorization`: the header of that name, "Bearer" and the token."""
        return answered(self._token, PREFIX, asked, authorization, self._act)

    def _act(self, action: str, options: Options) -> Reply:
        if action not in ACTIONS:
            raise Refused(HTTPStatus.NOT_FOUND, "there is divide and unite")
        asked = numbers(options.get("region", ()), "region")
        if len(asked) != 1:
            raise Refused(HTTPStatus.BAD_REQUEST, "choose a region")
        if asked[0] not in self._regions:
            why = "no such region is in this world" if self._regions else "world.split_depth lets no region be divided"
            raise Refused(HTTPStatus.NOT_FOUND, why)
        self._orders.give(asked[0], division_order(divide=ACTIONS[action]))
        return reply(HTTPStatus.ACCEPTED, orjson.dumps({"region": asked[0], "divide": ACTIONS[action]}) + b"\n")


def target(action: str, region: int) -> str:
    """The request target that asks for this."""
    return f"{PREFIX}{action}?{urlencode({'region': region})}"
